package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// gaps sums up the log.gap records of a log.
func (h home) gaps() (sum audit.LogGap) {
	h.t.Helper()
	_, err := records.Dir{FS: os.DirFS(h.logDir())}.Scan(0, func(_ int64, b []byte) error {
		r, err := audit.Decode(b)
		if g, ok := r.Body.(*audit.LogGap); ok {
			sum.Lost += g.Lost
			sum.Refused += g.Refused
			sum.Served += g.Served
			sum.Late += g.Late
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return sum
}

// healthy returns 1 when the server says that its log takes records.
func (a *admin) healthy() int {
	resp, err := adminClient.Get("http://" + a.api + "/soc2/v1/healthz") //nolint:noctx // loopback
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return 1
	}
	return 0
}

// TestGapsAreExact makes the disk fail for a while. When it is back the log
// goes on without a restart, and says exactly how many requests it missed.
func TestGapsAreExact(t *testing.T) {
	upstream := startUpstream(t)
	for _, c := range []struct {
		onFailure string
		want      int
	}{{"refuse", http.StatusServiceUnavailable}, {"count", http.StatusOK}} {
		a := startAdmin(t, upstream)
		if got := a.load(t, a.config(fmt.Sprintf(`, "audit": {"on_failure": %q}`, c.onFailure), "edge")); got != http.StatusOK {
			t.Fatalf("status %d:\n%s", got, a.p.text())
		}
		base := fmt.Sprintf("https://localhost:%d", a.https)
		client := newClient(t, "HTTP/2.0")
		tlsReady(t, fmt.Sprintf("127.0.0.1:%d", a.https))
		recorded := map[string]bool{}
		request := func(want int) {
			t.Helper()
			s, _, err := call{method: "GET", path: "/small"}.do(t.Context(), client, base)
			switch {
			case err != nil && want == http.StatusServiceUnavailable: // broken off, after its header had left
			case err != nil || s.status != want:
				t.Fatalf("%s: %+v, %v", c.onFailure, s, err)
			default:
				recorded[s.id] = true
			}
		}
		for range 20 {
			request(http.StatusOK)
		}
		good := len(recorded)
		const missed = 30
		limitFiles(t, a.p, 1)
		for range missed {
			request(c.want)
		}
		limitFiles(t, a.p, unix.RLIM_INFINITY)
		atLeast(t, "healthy answer", 1, a.healthy)
		for range 10 {
			request(http.StatusOK)
		}
		if code := a.p.stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit %d:\n%s", code, a.p.text())
		}
		a.h.verify()
		_, kinds := a.h.readLog()
		g := a.h.gaps()
		if kinds["request"] != good+10 || g.Lost+g.Refused+g.Served != missed || g.Late != 0 {
			t.Errorf("%s: %d records, %d lost, %d refused, %d served, %d late", c.onFailure, kinds["request"], g.Lost, g.Refused, g.Served, g.Late)
		}
		if (c.onFailure == "refuse") != (g.Refused > 0) || (c.onFailure == "count") != (g.Served > 0) {
			t.Errorf("%s: %+v", c.onFailure, g)
		}
	}
}

// TestStrictRecordsIntents sends requests in mode strict: those that may change
// something have a record of their intent before their own.
func TestStrictRecordsIntents(t *testing.T) {
	a := startAdmin(t, startUpstream(t))
	if got := a.load(t, a.config(`, "audit": {"mode": "strict"}`, "edge")); got != http.StatusOK {
		t.Fatalf("status %d:\n%s", got, a.p.text())
	}
	addr := fmt.Sprintf("127.0.0.1:%d", a.https)
	tlsReady(t, addr)
	client := newClient(t, "HTTP/1.1")
	posts := map[string]bool{}
	for i := range 30 {
		method := []string{"GET", "POST", "DELETE"}[i%3]
		s, _, err := call{method: method, path: "/small"}.do(t.Context(), client, fmt.Sprintf("https://localhost:%d", a.https))
		if err != nil {
			t.Fatal(err)
		}
		if method != "GET" {
			posts[s.id] = true
		}
	}
	if code := a.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, a.p.text())
	}
	a.h.verify()
	intents := map[string]bool{}
	_, err := records.Dir{FS: os.DirFS(a.h.logDir())}.Scan(0, func(seq int64, b []byte) error {
		r, err := audit.Decode(b)
		switch b := r.Body.(type) {
		case *audit.Intent:
			intents[b.ID.String()] = true
		case *audit.Event:
			if id := b.ID.String(); posts[id] != intents[id] {
				return fmt.Errorf("record %d: %s %s, intent recorded before: %t", seq, b.Method, id, intents[id])
			}
		}
		return err
	})
	if err != nil || len(intents) != len(posts) {
		t.Errorf("%d intents of %d, %v", len(intents), len(posts), err)
	}
}
