package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// admin is a server whose configuration is loaded through the admin API.
type admin struct {
	h             home
	p             *process
	https, http   int
	api, upstream string
}

func startAdmin(t *testing.T, upstream string) *admin {
	t.Helper()
	return newHome(t).startAdmin(upstream)
}

func (h home) startAdmin(upstream string) *admin {
	t := h.t
	t.Helper()
	a := &admin{h: h, https: freePort(t), http: freePort(t), upstream: upstream}
	a.api = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	name := filepath.Join(h.dir, "config.json")
	if err := os.WriteFile(name, []byte(a.config("", "first")), 0o600); err != nil {
		t.Fatal(err)
	}
	a.p = h.start("serving initial configuration", "caddy", "run", "--config", name)
	tlsReady(t, fmt.Sprintf("127.0.0.1:%d", a.https))
	return a
}

// config is a configuration that proxies to the upstream. soc2 is put into the
// app's options, and the instance makes each configuration another one. No
// connection to the upstream is kept: Caddy keeps those of old configurations
// open for minutes, which has nothing to do with the log.
func (a *admin) config(soc2, instance string) string {
	return fmt.Sprintf(`{
		"admin": {"listen": %q, "config": {"persist": false}},
		"apps": {
			"soc2": {"instance": %q %s},
			"pki": {"certificate_authorities": {"local": {"install_trust": false}}},
			"tls": {"automation": {"policies": [{"issuers": [{"module": "internal"}]}]}},
			"http": {"http_port": %d, "grace_period": "5s", "servers": {"site": {
				"listen": ["127.0.0.1:%d"],
				"listener_wrappers": [{"wrapper": "soc2"}, {"wrapper": "tls"}],
				"routes": [{"match": [{"host": ["localhost"]}], "handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": %q}], "transport": {"protocol": "http", "keep_alive": {"enabled": false}}}]}]
			}}}
		}
	}`, a.api, instance, soc2, a.http, a.https, a.upstream)
}

// adminClient opens a connection for each request: a reload replaces the admin
// endpoint and breaks connections to the old one.
var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// load posts a configuration and returns the status. A connection that the old
// endpoint had not accepted yet may break too: then it is posted again.
func (a *admin) load(t *testing.T, config string) int {
	t.Helper()
	var err error
	for range 5 {
		var resp *http.Response
		resp, err = adminClient.Post("http://"+a.api+"/load", "application/json", strings.NewReader(config)) //nolint:noctx // loopback
		if err == nil {
			_ = resp.Body.Close()
			return resp.StatusCode
		}
	}
	t.Fatal(err)
	return 0
}

// bad returns a configuration that is rejected, after the soc2 app was
// provisioned or by it.
func (a *admin) bad(i int) string {
	switch i % 4 {
	case 0:
		return strings.Replace(a.config("", "bad"), `"handler": "reverse_proxy"`, `"handler": "nonsense"`, 1)
	case 1:
		return a.config(`, "profile": "paranoid"`, "bad")
	case 2:
		return a.config(`, "audit": {"dir": "/proc/nowhere"}`, "bad")
	default: // the app starts, the HTTP app cannot
		return strings.Replace(a.config("", "bad"), `"listen": ["127.0.0.1:`, `"listen": ["192.0.2.1:1", "127.0.0.1:`, 1)
	}
}

// TestTwoHundredReloadsUnderLoad reloads with a changed and with a rejected
// configuration in turn while requests run. Caddy closes connections of the old
// configuration, so some requests fail, as many as without soc2; those that are
// answered must be recorded. In the end the server keeps no more files and
// goroutines than before.
func TestTwoHundredReloadsUnderLoad(t *testing.T) {
	a := startAdmin(t, startUpstream(t))
	acked := map[string]seen{}
	warm(t, a)
	files, routines := openFiles(t, a.p), a.goroutines(t)
	l := startLoad(t, fmt.Sprintf("https://localhost:%d", a.https), acked)
	const reloads = 200
	for i := range reloads {
		want, config := http.StatusOK, a.config("", fmt.Sprint("edge-", i))
		if i%2 == 1 {
			want, config = http.StatusBadRequest, a.bad(i/2)
		}
		before := l.count()
		if got := a.load(t, config); got != want {
			t.Fatalf("reload %d: status %d, want %d:\n%s", i, got, want, a.p.text())
		}
		atLeast(t, "answers after a reload", before+10, l.count) // the service goes on
	}
	l.stop()
	settles(t, "open files", files, func() int { return openFiles(t, a.p) })
	settles(t, "goroutines", routines, func() int { return a.goroutines(t) })
	if code := a.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	requests, kinds := a.h.readLog()
	for id, s := range acked {
		if _, ok := requests[id]; !ok {
			t.Errorf("%+v is not recorded", s)
		}
	}
	const workers = 12 // each may have had one under way in the end
	if n := kinds["request"] - warming; n > len(acked)+l.failures()+workers {
		t.Errorf("%d records for %d requests that were answered and %d that failed", n, len(acked), l.failures())
	}
	if kinds["log.open"] != 1 || kinds["log.close"] != 1 {
		t.Errorf("the log was opened %d times and closed %d times", kinds["log.open"], kinds["log.close"])
	}
	t.Logf("%d reloads: %d requests acknowledged, %d failed %v, %d records", reloads, len(acked), l.failures(), l.errors, kinds["request"])
	t.Log("\n" + a.h.verify())
}

// warming is how many requests warm makes.
const warming = 6

// warm has the server do once what leaves something behind for good: a request
// of each protocol, and a reload.
func warm(t *testing.T, a *admin) {
	t.Helper()
	for range warming / len(protocols) {
		for _, proto := range protocols {
			client := newClient(t, proto)
			if _, _, err := (call{method: "GET", path: "/small"}).do(t.Context(), client, fmt.Sprintf("https://localhost:%d", a.https)); err != nil {
				t.Fatal(err)
			}
			client.CloseIdleConnections()
		}
		if got := a.load(t, a.config("", "warm")); got != http.StatusOK {
			t.Fatal(got)
		}
	}
}

// settles fails if a count stays above what it was before. The connections of
// old configurations take a while to go.
func settles(t *testing.T, what string, before int, count func() int) {
	t.Helper()
	const slack = 3
	now := 0
	for range 100 {
		if now = count(); now <= before+slack {
			t.Logf("%s: %d before, %d after", what, before, now)
			return
		}
		time.Sleep(100 * time.Millisecond) // polling another process
	}
	t.Errorf("%d %s after, %d before", now, what, before)
}

// goroutines returns how many there are in the server.
func (a *admin) goroutines(t *testing.T) int {
	t.Helper()
	resp, err := adminClient.Get("http://" + a.api + "/debug/pprof/goroutine?debug=1") //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n := 0
	if _, err := fmt.Fscanf(resp.Body, "goroutine profile: total %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func openFiles(t *testing.T, p *process) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		needs(t, "/proc")
	}
	return len(list)
}

// TestRejectedReloadTouchesNothing loads every kind of rejected configuration
// into an idle server: the log must gain nothing but the records of the
// attempts and of the calls.
func TestRejectedReloadTouchesNothing(t *testing.T) {
	a := startAdmin(t, startUpstream(t))
	client := newClient(t, "HTTP/2.0")
	base := fmt.Sprintf("https://localhost:%d", a.https)
	if _, _, err := (call{method: "GET", path: "/small"}).do(t.Context(), client, base); err != nil {
		t.Fatal(err)
	}
	// What is recorded by itself after a start is to be there.
	atLeast(t, "process.start and upstream.up", 2, func() int {
		return a.h.count(audit.KindProcessStart) + a.h.count(audit.KindUpstreamUp)
	})
	atLeast(t, "changes", 1, func() int { _, kinds := a.h.readLog(); return kinds["config.change"] })
	_, before := a.h.readLog()
	for i := range 4 {
		if got := a.load(t, a.bad(i)); got != http.StatusBadRequest {
			t.Errorf("configuration %d: status %d", i, got)
		}
	}
	_, after := a.h.readLog()
	after["config.change"] -= 4
	if after["admin.call"] < 4 { // one that the old endpoint broke off was made again
		t.Errorf("%d calls", after["admin.call"])
	}
	delete(after, "admin.call")
	for _, kinds := range []map[string]int{before, after} {
		delete(kinds, "check.transition") // rejected attempts, and calls by nobody known, are findings
	}
	if !maps.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
	if _, _, err := (call{method: "GET", path: "/small"}).do(t.Context(), client, base); err != nil {
		t.Errorf("after the rejected reloads: %v", err)
	}
	if code := a.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	a.h.verify()
}
