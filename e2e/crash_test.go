package e2e_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startUpstream serves small, large and chunked responses from this process.
func startUpstream(t *testing.T) string {
	t.Helper()
	large := make([]byte, 64<<10)
	mux := http.NewServeMux()
	mux.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(large)))
		_, _ = w.Write(large)
	})
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			_, _ = w.Write(large[:8<<10])
			_ = http.NewResponseController(w).Flush()
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// load makes requests until it is stopped, and keeps the ids of those whose
// response came whole: they are acknowledged.
type load struct {
	mu      sync.Mutex
	acked   map[string]seen
	errors  map[string]int
	refused int      // answers that say that there is no log
	idle    []func() // close idle connections
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

func startLoad(t *testing.T, base string, acked map[string]seen) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{acked: acked, errors: map[string]int{}, cancel: cancel}
	paths := []string{"/small", "/large", "/chunked"}
	for w := range 12 {
		client := newClient(t, []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"}[w%3])
		if tr, ok := client.Transport.(interface{ CloseIdleConnections() }); ok {
			l.idle = append(l.idle, tr.CloseIdleConnections)
		}
		l.wg.Go(func() {
			for i := w; ctx.Err() == nil; i++ {
				s, _, err := call{method: "GET", path: paths[i%len(paths)]}.do(ctx, client, base)
				if ctx.Err() == nil || err == nil {
					l.add(s, err)
				}
				if err != nil && ctx.Err() == nil {
					select { // a dead server answers at once
					case <-ctx.Done():
					case <-time.After(time.Millisecond):
					}
				}
			}
		})
	}
	return l
}

func (l *load) add(s seen, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if urlErr, ok := errors.AsType[*url.Error](err); ok {
			err = urlErr.Err
		}
		l.errors[err.Error()]++
		return
	}
	if s.status == http.StatusServiceUnavailable {
		l.refused++
		return
	}
	l.acked[s.id] = s
}

// count returns how many requests were acknowledged so far.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// await returns when so many requests were acknowledged.
func (l *load) await(t *testing.T, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 6000 {
		if l.count() >= n {
			return
		}
		<-tick.C
	}
	t.Fatal("no request is answered")
}

// failures returns how many requests got no whole response.
func (l *load) failures() (n int) {
	for _, m := range l.errors {
		n += m
	}
	return n
}

func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
	for _, f := range l.idle {
		f()
	}
}

// TestKillTwentyTimes kills the proxy under load twenty times in a row. Each
// response that a client got whole must have its record, and the log must
// verify before and after each start.
func TestKillTwentyTimes(t *testing.T) {
	upstream := startUpstream(t)
	h := newHome(t)
	acked := map[string]seen{}
	for round := range 20 {
		p, addr := h.startProxy("--to", upstream)
		before := len(acked)
		l := startLoad(t, "https://"+addr, acked)
		l.await(t, before+1)
		time.Sleep(time.Duration(50+rand.IntN(300)) * time.Millisecond) // the load, not a wait
		if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-p.ended
		l.stop()
		out := h.verify()
		if len(acked) == before {
			t.Errorf("round %d: no request was answered", round)
		}
		if round == 19 {
			t.Log("after the last kill:\n" + out)
		}
	}
	requests, kinds := h.readLog()
	for id, s := range acked {
		if r, ok := requests[id]; !ok || r.Response.Status != s.status || r.Response.Bytes != s.bytes {
			t.Errorf("%+v was acknowledged and is recorded as %+v (%v)", s, r, ok)
		}
	}
	p, _ := h.startProxy("--to", upstream)
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	h.verify()
	t.Logf("20 kills: %d requests acknowledged, %d records, %d times opened; %d records of requests whose response did not get through", len(acked), kinds["request"], kinds["log.open"], kinds["request"]-len(acked))
}
