package e2e_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/availability"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// family returns the records of a family, decoded.
func (h home) family(prefix string) (list []audit.Record) {
	h.t.Helper()
	_, err := records.Dir{FS: os.DirFS(h.logDir())}.Scan(0, func(_ int64, b []byte) error {
		r, err := audit.Decode(b)
		if err == nil && strings.HasPrefix(string(r.Kind), prefix) {
			list = append(list, r)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

// count is how many records of a kind there are.
func (h home) count(kind audit.Kind) int {
	n := 0
	for _, r := range h.family(string(kind)) {
		if r.Kind == kind {
			n++
		}
	}
	return n
}

// pass waits for real time to pass.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// startResponder starts a process that answers on a port, and returns when it does.
func startResponder(t *testing.T, port int) *process {
	t.Helper()
	p := newHome(t).start("", "caddy", "respond", "--listen", fmt.Sprintf("127.0.0.1:%d", port), "--body", "ok")
	atLeast(t, "connections to the upstream", 1, func() int {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return 0
		}
		_ = conn.Close()
		return 1
	})
	return p
}

// TestAvailabilityOfAScriptedOutageIsThatOfTheScript kills a real upstream,
// reloads the configuration in the middle of the outage and starts the upstream
// again. What is computed from the log must be what was done.
func TestAvailabilityOfAScriptedOutageIsThatOfTheScript(t *testing.T) {
	port := freePort(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	app := startResponder(t, port)
	a := &admin{h: newHome(t), https: freePort(t), http: freePort(t), upstream: address}
	a.api = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	config := func(instance string) string {
		return strings.Replace(a.config("", instance), `"handler": "reverse_proxy",`,
			`"handler": "reverse_proxy", "health_checks": {"active": {"uri": "/", "interval": "100ms", "timeout": "1s"}},`, 1)
	}
	name := a.h.dir + "/config.json"
	if err := os.WriteFile(name, []byte(config("first")), 0o600); err != nil {
		t.Fatal(err)
	}
	a.p = a.h.start("serving initial configuration", "caddy", "run", "--config", name)
	tlsReady(t, fmt.Sprintf("127.0.0.1:%d", a.https))
	atLeast(t, "upstream.up", 1, func() int { return a.h.count(audit.KindUpstreamUp) })
	client := newClient(t, "HTTP/1.1")
	ask := func(want int) {
		t.Helper()
		resp, err := client.Get(fmt.Sprintf("https://localhost:%d/", a.https)) //nolint:noctx // loopback
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Fatalf("status %d, want %d", resp.StatusCode, want)
		}
	}

	from := time.Now()
	for range 7 {
		ask(http.StatusOK)
	}
	pass(t, 1500*time.Millisecond)
	killed := time.Now()
	app.stop(syscall.SIGKILL)
	atLeast(t, "upstream.down", 1, func() int { return a.h.count(audit.KindUpstreamDown) })
	ask(http.StatusServiceUnavailable)
	pass(t, time.Second)
	for i := range 3 {
		if got := a.load(t, config(fmt.Sprint("again-", i))); got != http.StatusOK {
			t.Fatalf("reload: status %d:\n%s", got, a.p.text())
		}
	}
	pass(t, 1500*time.Millisecond)
	if n := a.h.count(audit.KindUpstreamUp); n != 1 {
		t.Errorf("a reload ended the outage: upstream.up is recorded %d times", n)
	}
	startResponder(t, port)
	restored := time.Now()
	atLeast(t, "upstream.up", 2, func() int { return a.h.count(audit.KindUpstreamUp) })
	pass(t, time.Second)
	to := time.Now()
	if code := a.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}

	code, out := a.h.run("caddy", "soc2", "upstreams", "--json", "--from", from.UTC().Format(time.RFC3339Nano), "--to", to.UTC().Format(time.RFC3339Nano))
	var r availability.Report
	if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil || len(r.Upstreams) != 1 {
		t.Fatalf("exit %d, %v:\n%s", code, err, out)
	}
	u := r.Upstreams[0]
	period, down := to.Sub(from).Seconds(), restored.Sub(killed).Seconds()
	t.Logf("outage %.3f s of %.3f s; from the log %.3f s: off by %.0f ms; availability %.5f, of the script %.5f", down, period, u.Down, (u.Down-down)*1000, *u.Availability, 1-down/period)
	if math.Abs(u.Down-down) > 1 || math.Abs(*u.Availability-(1-down/period)) > 1/period {
		t.Error("the availability is not that of the script")
	}
	if u.Outages != 1 || u.MTTR == nil || math.Abs(*u.MTTR-down) > 1 || math.Abs(u.Up+u.Down-period) > 0.01 || u.Coverage < 0.999 {
		t.Errorf("%+v", u)
	}
	code, out = a.h.run("caddy", "soc2", "upstreams")
	if code != 0 || !strings.Contains(out, address) || !strings.Contains(out, "GET /") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	t.Log("\n" + out)
	whole := availability.Report{}
	_, out = a.h.run("caddy", "soc2", "upstreams", "--json")
	if err := json.Unmarshal([]byte(out), &whole); err != nil || whole.Upstreams[0].Served != 7 || whole.Upstreams[0].Failed != 0 {
		t.Errorf("%v: the upstream was given 7 requests:\n%s", err, out)
	}
	a.h.verify()
}
