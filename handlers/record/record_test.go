package record

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/quic-go/quic-go/http3"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// recorder is a log under the test's control.
type recorder struct {
	mu       sync.Mutex
	events   []audit.Event
	refuses  error
	fails    error
	ahead    error // of Intent and Opening
	openings []audit.Event
	entered  chan struct{} // told when Record is called, if not nil
	release  chan struct{} // Record waits for it, if not nil
	withhold bool
}

func (r *recorder) Begin() error    { return r.refuses }
func (r *recorder) Withholds() bool { return r.withhold }

func (r *recorder) Intent(*audit.Event) error { return r.ahead }

func (r *recorder) Opening(ev *audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.openings = append(r.openings, *ev)
	return r.ahead
}

func (r *recorder) WantsHeaders() bool { return false }

func (r *recorder) Record(ev *audit.Event, _, _ http.Header) error {
	if r.entered != nil {
		r.entered <- struct{}{}
		<-r.release
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, *ev)
	return r.fails
}

func (r *recorder) only(t *testing.T) audit.Event {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) != 1 {
		t.Fatalf("%d records, want 1", len(r.events))
	}
	return r.events[0]
}

type handlerFunc = caddyhttp.HandlerFunc

// server runs a route chain, and an error chain as Caddy's server does.
func server(primary, errorChain caddyhttp.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repl := caddy.NewReplacer()
		r = caddyhttp.PrepareRequest(r, repl, w, &caddyhttp.Server{})
		err := primary.ServeHTTP(w, r)
		if err == nil {
			return
		}
		status := errorStatus(err)
		if errorChain != nil {
			r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ErrorCtxKey, err))
			if errorChain.ServeHTTP(w, r) == nil {
				return
			}
		}
		w.WriteHeader(status)
	})
}

func serve(t *testing.T, h2 bool, primary, errorChain caddyhttp.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(server(primary, errorChain))
	srv.EnableHTTP2 = h2
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// chain puts the handler in front of another.
func chain(h *Handler, inner caddyhttp.Handler) caddyhttp.Handler {
	return handlerFunc(func(w http.ResponseWriter, r *http.Request) error { return h.ServeHTTP(w, r, inner) })
}

func newHandler(r *recorder, covered bool) *Handler {
	return &Handler{Covered: covered, recorder: r, now: time.Now, errors: zap.NewNop()}
}

const large = 256 << 10

// bodies are the forms that a response can have.
var forms = map[string]struct {
	method string
	size   int
	serve  func(w http.ResponseWriter, r *http.Request) error
}{
	"small with length": {"GET", 5, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", "5")
		_, err := io.WriteString(w, "hello")
		return err
	}},
	"large with length": {"GET", large, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", strconv.Itoa(large))
		for range large / 1024 {
			if _, err := w.Write(make([]byte, 1024)); err != nil {
				return err
			}
		}
		return nil
	}},
	"large with length, flushed": {"GET", large, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", strconv.Itoa(large))
		_, err := w.Write(make([]byte, large))
		return errors.Join(err, http.NewResponseController(w).Flush())
	}},
	"copied with length": {"GET", large, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", strconv.Itoa(large))
		_, err := io.Copy(w, io.LimitReader(zeros{}, large))
		return err
	}},
	"file": {"GET", large, func(w http.ResponseWriter, r *http.Request) error {
		http.ServeFile(w, r, filepath.Join(r.Context().Value(dirKey{}).(string), "file.bin")) //nolint:forcetypeassert // a test
		return nil
	}},
	"chunked": {"GET", large, func(w http.ResponseWriter, _ *http.Request) error {
		_, err := w.Write(make([]byte, large))
		return err
	}},
	"streamed": {"GET", 30, func(w http.ResponseWriter, _ *http.Request) error {
		for range 3 {
			if _, err := io.WriteString(w, "0123456789"); err != nil {
				return err
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return err
			}
		}
		return nil
	}},
	"too long": {"GET", 5, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "hello")
		if _, err := io.WriteString(w, "\n"); !errors.Is(err, http.ErrContentLength) {
			return fmt.Errorf("a byte too many: %w", err)
		}
		return nil
	}},
	"copied, too long": {"GET", 5, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", "5")
		if _, err := io.Copy(w, io.LimitReader(zeros{}, 6)); !errors.Is(err, http.ErrContentLength) {
			return fmt.Errorf("a byte too many: %w", err)
		}
		return nil
	}},
	"flushed, no content": {"GET", 0, func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusNoContent)
		return http.NewResponseController(w).Flush()
	}},
	"flushed, empty": {"GET", 0, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", "0")
		return http.NewResponseController(w).Flush()
	}},
	"flushed head": {"HEAD", 0, func(w http.ResponseWriter, _ *http.Request) error {
		return http.NewResponseController(w).Flush()
	}},
	"nothing written": {"GET", 0, func(http.ResponseWriter, *http.Request) error { return nil }},
	"no content": {"GET", 0, func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}},
	"head": {"HEAD", 0, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", "5")
		_, err := io.WriteString(w, "hello")
		return err
	}},
	"head, large body written": {"HEAD", 0, func(w http.ResponseWriter, _ *http.Request) error {
		_, err := w.Write(make([]byte, large))
		return err
	}},
	"head, large body copied": {"HEAD", 0, func(w http.ResponseWriter, _ *http.Request) error {
		_, err := io.Copy(w, io.LimitReader(zeros{}, large))
		return err
	}},
	"asks to end with the connection": {"GET", large, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Transfer-Encoding", "identity")
		_, err := w.Write(make([]byte, large))
		return err
	}},
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

type dirKey struct{}

// TestNoResponseEndsBeforeItsRecord stops the log: the client must get no end
// of a response of any form, and all of it when the log goes on.
func TestNoResponseEndsBeforeItsRecord(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file.bin"), make([]byte, large), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
		for name, form := range forms {
			t.Run(proto+" "+name, func(t *testing.T) {
				rec := &recorder{entered: make(chan struct{}), release: make(chan struct{}), withhold: true}
				handler := chain(newHandler(rec, false), handlerFunc(func(w http.ResponseWriter, r *http.Request) error {
					return form.serve(w, r.WithContext(context.WithValue(r.Context(), dirKey{}, dir)))
				}))
				client, url := start(t, proto, handler)
				ended := make(chan int, 1)
				go fetch(t, client, url, form.method, proto, ended)
				<-rec.entered
				select {
				case n := <-ended:
					t.Fatalf("the client has the whole response (%d bytes), but the record is not written", n)
				case <-time.After(30 * time.Millisecond): // long enough for what is in flight on loopback
				}
				close(rec.release)
				if n := <-ended; n != form.size {
					t.Errorf("%d bytes, want %d", n, form.size)
				}
				if ev := rec.only(t); ev.Bytes != int64(form.size) || ev.End != audit.EndComplete {
					t.Errorf("recorded %d bytes, %s", ev.Bytes, ev.End)
				}
			})
		}
	}
}

// start serves a handler over one protocol.
func start(t *testing.T, proto string, h caddyhttp.Handler) (*http.Client, string) {
	t.Helper()
	srv := serve(t, proto == "HTTP/2.0", h, nil)
	if proto != "HTTP/3.0" {
		return srv.Client(), srv.URL
	}
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h3 := &http3.Server{Handler: server(h, nil), TLSConfig: http3.ConfigureTLSConfig(srv.TLS)}
	go func() { _ = h3.Serve(conn) }() // ends with Close
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com"}}
	t.Cleanup(func() {
		_ = transport.Close()
		_ = h3.Close()
		_ = conn.Close()
	})
	return &http.Client{Transport: transport}, "https://" + conn.LocalAddr().String()
}

// fetch reads a response to its end and sends the size of its body.
func fetch(t *testing.T, client *http.Client, url, method, proto string, ended chan<- int) {
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Error(err)
		ended <- -1
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Error(err)
		ended <- -1
		return
	}
	defer resp.Body.Close()
	if resp.Proto != proto {
		t.Errorf("spoke %s", resp.Proto)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		t.Error(err)
	}
	ended <- int(n)
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

func get(t *testing.T, srv *httptest.Server) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b)}, err
}

func TestRecordSaysWhatWasSent(t *testing.T) {
	failing := handlerFunc(func(http.ResponseWriter, *http.Request) error {
		return caddyhttp.Error(http.StatusTeapot, errors.New("short and stout"))
	})
	for name, c := range map[string]struct {
		inner      handlerFunc
		errorInner handlerFunc
		covered    bool
		status     int
		bytes      int64
		end        audit.End
	}{
		"written":               {inner: func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(201); return nil }, status: 201, end: audit.EndComplete},
		"implicit":              {inner: func(http.ResponseWriter, *http.Request) error { return nil }, status: 200, end: audit.EndComplete},
		"error, no error chain": {inner: failing, status: 418, end: audit.EndComplete},
		"error, covered": {inner: failing, covered: true, status: 451, bytes: 4, end: audit.EndComplete, errorInner: func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusUnavailableForLegalReasons)
			_, err := io.WriteString(w, "page")
			return err
		}},
		"plain error, covered": {inner: func(http.ResponseWriter, *http.Request) error { return errors.New("oops") }, covered: true, status: 500, end: audit.EndComplete, errorInner: func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusInternalServerError)
			return nil
		}},
		"error route fails too": {inner: failing, covered: true, status: 418, end: audit.EndComplete, errorInner: func(http.ResponseWriter, *http.Request) error { return errors.New("again") }},
		"early hints":           {inner: func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(103); w.WriteHeader(404); return nil }, status: 404, end: audit.EndComplete},
	} {
		t.Run(name, func(t *testing.T) {
			rec := &recorder{withhold: true}
			h := newHandler(rec, c.covered)
			var errorChain caddyhttp.Handler
			if c.errorInner != nil {
				errorChain = chain(newHandler(rec, true), c.errorInner)
			}
			srv := serve(t, true, chain(h, c.inner), errorChain)
			got, err := get(t, srv)
			if err != nil {
				t.Fatal(err)
			}
			ev := rec.only(t)
			if got.status != c.status || ev.Status != c.status || ev.Bytes != c.bytes || ev.End != c.end {
				t.Errorf("recorded %d, %d bytes, %s", ev.Status, ev.Bytes, ev.End)
			}
			if id := got.header["X-Request-Id"]; len(id) != 1 || id[0] != ev.ID.String() {
				t.Errorf("request id %q, recorded %s", id, ev.ID)
			}
		})
	}
}

func TestInnerHandlerJoinsTheOpenRecord(t *testing.T) {
	rec := &recorder{withhold: true}
	inner := chain(newHandler(rec, false), handlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		audit.FromContext(r.Context()).SetHeaders("strict", nil)
		_, err := io.WriteString(w, "x")
		return err
	}))
	srv := serve(t, true, chain(newHandler(rec, true), inner), chain(newHandler(rec, true), inner))
	if _, err := get(t, srv); err != nil {
		t.Fatal(err)
	}
	if ev := rec.only(t); ev.Profile != "strict" {
		t.Errorf("the annotation is lost: %+v", ev)
	}
}

// TestByHandIsOneRecord has the handler in a site and in its error route, on a
// server without the wrapper.
func TestByHandIsOneRecord(t *testing.T) {
	rec := &recorder{}
	failing := handlerFunc(func(http.ResponseWriter, *http.Request) error {
		return caddyhttp.Error(http.StatusForbidden, errors.New("no"))
	})
	page := handlerFunc(func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(http.StatusGone); return nil })
	srv := serve(t, true, chain(newHandler(rec, false), failing), chain(newHandler(rec, false), page))
	if _, err := get(t, srv); err != nil {
		t.Fatal(err)
	}
	if ev := rec.only(t); ev.Status != http.StatusForbidden {
		t.Errorf("recorded %d", ev.Status)
	}
}

// TestErrorSurvivesALostRecord is for the mode async, in which nothing is
// withheld: an error of a handler stays one.
func TestErrorSurvivesALostRecord(t *testing.T) {
	rec := &recorder{fails: errors.New("disk full")}
	srv := serve(t, true, chain(newHandler(rec, false), handlerFunc(func(http.ResponseWriter, *http.Request) error {
		return caddyhttp.Error(http.StatusUnauthorized, errors.New("who are you"))
	})), nil)
	if got, err := get(t, srv); err != nil || got.status != http.StatusUnauthorized {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestUpstreamsRequestIDIsReplaced(t *testing.T) {
	rec := &recorder{}
	srv := serve(t, true, chain(newHandler(rec, false), handlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if r.Header.Get("X-Request-Id") == "" {
			t.Error("the upstream gets no request id")
		}
		w.Header()["X-Request-Id"] = []string{"theirs", "too"}
		return nil
	})), nil)
	got, err := get(t, srv)
	if err != nil {
		t.Fatal(err)
	}
	if id := got.header["X-Request-Id"]; len(id) != 1 || id[0] != rec.only(t).ID.String() {
		t.Errorf("%q", id)
	}
}

func TestBrokenResponsesAreRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		inner handlerFunc
		end   audit.End
	}{
		"panic":  {func(http.ResponseWriter, *http.Request) error { panic("a bug") }, audit.EndPanicked},
		"abort":  {func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }, audit.EndDropped},
		"goexit": {func(http.ResponseWriter, *http.Request) error { runtime.Goexit(); return nil }, audit.EndPanicked},
		"too short": {func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Length", "9")
			_, err := io.WriteString(w, "x")
			return err
		}, audit.EndTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			rec := &recorder{withhold: true}
			srv := serve(t, false, chain(newHandler(rec, true), c.inner), nil)
			if _, err := get(t, srv); err == nil {
				t.Error("the client took the response for whole")
			}
			srv.Close() // waits for the handler
			if ev := rec.only(t); ev.End != c.end {
				t.Errorf("recorded as %s", ev.End)
			}
		})
	}
}

// TestConnectionIsNotGivenBeforeItsRecord takes connections over, as for a
// WebSocket: by hand and after a 101.
func TestConnectionIsNotGivenBeforeItsRecord(t *testing.T) {
	for _, announced := range []bool{false, true} {
		for _, fails := range []error{nil, errors.New("disk full")} {
			rec := &recorder{withhold: true, ahead: fails}
			const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
			recorded := make(chan struct{}) // the server does not wait for connections that were taken over
			inner := chain(newHandler(rec, true), handlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
				if announced {
					w.Header().Set("Connection", "Upgrade")
					w.Header().Set("Upgrade", "x")
					w.WriteHeader(http.StatusSwitchingProtocols)
				}
				conn, brw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return caddyhttp.Error(http.StatusServiceUnavailable, err)
				}
				if n := len(rec.openings); n != 1 {
					t.Errorf("the connection was given with %d records of its opening", n)
				}
				if !announced {
					_, _ = brw.WriteString(switched)
					_ = brw.Flush()
				}
				return conn.Close()
			}))
			srv := serve(t, false, handlerFunc(func(w http.ResponseWriter, r *http.Request) error {
				defer close(recorded)
				return inner.ServeHTTP(w, r)
			}), chain(newHandler(rec, true), handlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
				w.WriteHeader(http.StatusServiceUnavailable)
				return nil
			})))
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "x")
			status := 0
			if resp, err := srv.Client().Do(req); err == nil {
				status = resp.StatusCode
				_ = resp.Body.Close()
			}
			<-recorded
			srv.Close()
			if (fails == nil) != (status == http.StatusSwitchingProtocols) {
				t.Errorf("announced %t, log %v: status %d", announced, fails, status)
			}
			ev := rec.only(t)
			if fails == nil && (ev.End != audit.EndHijacked || ev.ID != rec.openings[0].ID || rec.openings[0].Status != http.StatusSwitchingProtocols) {
				t.Errorf("%+v", ev)
			}
		}
	}
}

func TestNothingIsServedBeforeItsIntent(t *testing.T) {
	rec := &recorder{withhold: true, ahead: errors.New("disk full")}
	called := false
	srv := serve(t, true, chain(newHandler(rec, true), handlerFunc(func(http.ResponseWriter, *http.Request) error {
		called = true
		return nil
	})), nil)
	got, err := get(t, srv)
	if err != nil || got.status != http.StatusServiceUnavailable || called {
		t.Errorf("%+v %v, served: %t", got, err, called)
	}
	if ev := rec.only(t); ev.Status != http.StatusServiceUnavailable {
		t.Errorf("%+v", ev)
	}
}

func TestNoLogNoService(t *testing.T) {
	rec := &recorder{refuses: errors.New("disk on fire"), withhold: true}
	called := false
	srv := serve(t, true, chain(newHandler(rec, true), handlerFunc(func(http.ResponseWriter, *http.Request) error {
		called = true
		return nil
	})), nil)
	got, err := get(t, srv)
	if err != nil || got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%+v %v", got, err)
	}
	if called || strings.Contains(got.body, "fire") {
		t.Error("the handlers ran, or the cause was shown to the client")
	}
}

func TestResponseWithoutRecordIsNotCompleted(t *testing.T) {
	for name, form := range forms {
		if name == "file" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			rec := &recorder{fails: errors.New("disk full"), withhold: true}
			srv := serve(t, false, chain(newHandler(rec, false), handlerFunc(form.serve)), nil)
			req, err := http.NewRequestWithContext(t.Context(), form.method, srv.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := srv.Client().Do(req)
			if err != nil {
				return // broken off: as it must be
			}
			defer resp.Body.Close()
			if _, err := io.ReadAll(resp.Body); err == nil && resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("the client got a whole response: %s", resp.Status)
			}
		})
	}
}

func TestTraceIDs(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for header, want := range map[string]string{
		"00-" + id + "-00f067aa0ba902b7-01":                      id,
		"00-" + strings.ToUpper(id) + "-00f067aa0ba902b7-01":     "",
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01": "",
		"00-" + id: "", "": "", "00-" + id + "_00f067aa0ba902b7-01": "",
	} {
		if got := traceID(header); got != want {
			t.Errorf("%q gives %q, want %q", header, got, want)
		}
	}
}
