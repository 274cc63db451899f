package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// startWaiting serves responses that begin at once and end when they are told
// to, endless ones, and a WebSocket. The first call of release ends the waits.
func startWaiting(t *testing.T) (addr string, release func()) {
	t.Helper()
	end := make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/ws", websocket.Handler(func(ws *websocket.Conn) { _, _ = io.Copy(ws, ws) }))
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin ")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-end:
			_, _ = io.WriteString(w, "end")
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for b := make([]byte, 64<<10); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return strings.TrimPrefix(srv.URL, "http://"), func() { close(end) }
}

// answer is a response whose body has begun.
type answer struct {
	id, proto string
	body      io.ReadCloser
}

// begun starts a request and returns its answer.
func begun(t *testing.T, proto, addr, path string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := newClient(t, proto).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if _, err := io.ReadFull(resp.Body, make([]byte, len("begin "))); err != nil {
		t.Fatal(err)
	}
	return answer{resp.Header.Get("X-Request-Id"), proto, resp.Body}
}

// mustEnd reads the rest of a body of /wait.
func (a answer) mustEnd(t *testing.T) {
	t.Helper()
	if b, err := io.ReadAll(a.body); err != nil || string(b) != "end" {
		t.Errorf("%s: %q, %v", a.proto, b, err)
	}
}

// openSocket opens a WebSocket, has a message echoed and leaves it open.
func openSocket(t *testing.T, addr string) (id string) {
	t.Helper()
	s, ws := dialSocket(t, addr)
	t.Cleanup(func() { _ = ws.Close() })
	return s.id
}

var protocols = []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"}

// ended says how the records of requests must end.
func (h home) ended(want map[string]string) {
	h.t.Helper()
	requests, kinds := h.readLog()
	if kinds["request"] != len(want) || kinds["log.close"] != 1 {
		h.t.Errorf("%d requests, records %v", len(want), kinds)
	}
	for id, end := range want {
		r, ok := requests[id]
		if !ok {
			h.t.Errorf("request %s, which ended %q, is not recorded", id, end)
		} else if r.Response.End != end {
			h.t.Errorf("request %s is recorded as %+v, but ended %q", id, r.Response, end)
		}
	}
	h.verify()
}

// TestRequestsOutliveAReload reloads while requests of every protocol and a
// WebSocket are under way. The responses must come whole, and each request is
// recorded once.
func TestRequestsOutliveAReload(t *testing.T) {
	upstream, release := startWaiting(t)
	a := startAdmin(t, upstream)
	addr := fmt.Sprintf("localhost:%d", a.https)
	want := map[string]string{openSocket(t, addr): "hijacked"}
	var answers []answer
	for _, proto := range protocols {
		answers = append(answers, begun(t, proto, addr, "/wait"))
	}
	if got := a.load(t, a.config("", "changed")); got != http.StatusOK {
		t.Fatal(got)
	}
	release()
	for _, a := range answers {
		want[a.id] = "complete"
		a.mustEnd(t)
	}
	if code := a.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	a.h.ended(want)
}

// TestStopLetsRequestsEnd stops the proxy while requests are under way that end
// within the grace period.
func TestStopLetsRequestsEnd(t *testing.T) {
	upstream, release := startWaiting(t)
	h := newHome(t)
	p, addr := h.startProxy("--to", upstream)
	want := map[string]string{}
	var clients sync.WaitGroup
	for _, proto := range protocols {
		a := begun(t, proto, addr, "/wait")
		want[a.id] = "complete"
		clients.Go(func() { a.mustEnd(t) })
	}
	time.AfterFunc(500*time.Millisecond, release)
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, p.text())
	}
	clients.Wait()
	h.ended(want)
}

// TestClientsThatLeaveAreRecorded breaks responses off half-way.
func TestClientsThatLeaveAreRecorded(t *testing.T) {
	upstream, _ := startWaiting(t)
	h := newHome(t)
	p, addr := h.startProxy("--to", upstream)
	want := map[string]string{}
	for _, proto := range protocols {
		for _, path := range []string{"/endless", "/wait"} {
			a := begun(t, proto, addr, path)
			want[a.id] = "client_aborted"
			_ = a.body.Close()
		}
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, p.text())
	}
	h.ended(want)
}
