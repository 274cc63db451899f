package response_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/internal/response"
)

// trace is what the hooks saw of one request.
type trace struct {
	commits, informs []int
	status           int
	hijacked         bool
}

// serve runs handler behind a Writer that marks each header it sees leaving.
func serve(t *testing.T, handler http.HandlerFunc, http2 bool) (*httptest.Server, <-chan trace) {
	t.Helper()
	traces := make(chan trace, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var tr trace
		w := &response.Writer{ResponseWriter: rw}
		w.OnCommit = func(status int) {
			tr.commits = append(tr.commits, status)
			w.Header().Set("Marked", "final")
		}
		w.OnInform = func(status int) {
			tr.informs = append(tr.informs, status)
			w.Header().Set("Marked", "early")
		}
		handler(w, r)
		if !w.Committed() {
			w.Commit(http.StatusOK)
		}
		tr.status, tr.hijacked = w.Status(), w.Hijacked()
		traces <- tr
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.EnableHTTP2 = http2
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv, traces
}

func TestCommitRunsOnceBeforeTheHeaderLeaves(t *testing.T) {
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", 100_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name    string
		handler http.HandlerFunc
		status  int
		body    int
		informs []int
	}{
		{"explicit", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, 404, 0, nil},
		{"write", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "body") }, 200, 4, nil},
		{"empty write", func(w http.ResponseWriter, _ *http.Request) { w.Write(nil) }, 200, 0, nil},
		{"nothing", func(http.ResponseWriter, *http.Request) {}, 200, 0, nil},
		{"copy of a file", func(w http.ResponseWriter, _ *http.Request) { copyFile(w, file) }, 200, 100_000, nil},
		{"header, then copy", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(203)
			copyFile(w, file)
		}, 203, 100_000, nil},
		{"flush before write", func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "body")
		}, 200, 4, nil},
		{"controller flush", func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			w.WriteHeader(500)
		}, 200, 0, nil},
		{"early hints", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(201)
		}, 201, 0, []int{103}},
		{"early hints, then nothing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103) }, 200, 0, []int{103}},
		{"header twice", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(202)
			w.WriteHeader(500)
		}, 202, 0, nil},
		{"informational after final", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(202)
			w.WriteHeader(103)
		}, 202, 0, nil},
	}
	for _, row := range rows {
		for _, proto := range []string{"h1", "h2"} {
			t.Run(row.name+" "+proto, func(t *testing.T) {
				srv, traces := serve(t, row.handler, proto == "h2")
				status, header, body := get(t, srv)
				tr := <-traces
				if !slices.Equal(tr.commits, []int{row.status}) || tr.status != row.status {
					t.Errorf("commits = %v, Status = %d, want one commit of %d", tr.commits, tr.status, row.status)
				}
				if !slices.Equal(tr.informs, row.informs) {
					t.Errorf("informs = %v, want %v", tr.informs, row.informs)
				}
				if status != row.status || len(body) != row.body {
					t.Errorf("client saw %d with %d bytes, want %d with %d", status, len(body), row.status, row.body)
				}
				if got := header.Values("Marked"); !slices.Equal(got, []string{"final"}) {
					t.Errorf("Marked = %q, want final", got)
				}
			})
		}
	}
}

func copyFile(w io.Writer, name string) {
	f, err := os.Open(name)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := io.Copy(w, f); err != nil {
		panic(err)
	}
}

// get requests the root of srv.
func get(t *testing.T, srv *httptest.Server) (status int, header http.Header, body []byte) {
	t.Helper()
	res, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, body
}

func TestInformCanChangeAnEarlyHeader(t *testing.T) {
	srv, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	}, false)
	var early textproto.MIMEHeader
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			early = h
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if early.Get("Marked") != "early" || early.Get("Link") == "" {
		t.Errorf("early header = %v, want it marked", early)
	}
}

func TestSwitchingProtocolsIsFinal(t *testing.T) {
	srv, traces := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		echoLine(t, brw)
	}, false)
	req, err := http.NewRequest(http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Marked") != "final" {
		t.Fatalf("status %d, header %v, want a marked 101", res.StatusCode, res.Header)
	}
	if _, err := io.WriteString(res.Body.(io.Writer), "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("echo = %q, %v", line, err)
	}
	if tr := <-traces; !tr.hijacked || tr.status != 101 || len(tr.commits) != 1 {
		t.Errorf("trace = %+v, want one 101, hijacked", tr)
	}
}

func echoLine(t *testing.T, brw *bufio.ReadWriter) {
	t.Helper()
	line, err := brw.ReadString('\n')
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := brw.WriteString(line); err != nil {
		t.Error(err)
	}
	if err := brw.Flush(); err != nil {
		t.Error(err)
	}
}

func TestRawHijackCommitsWithoutAStatusLine(t *testing.T) {
	srv, traces := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, brw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = brw.WriteString("HTTP/1.1 299 By Hand\r\nContent-Length: 0\r\n\r\n")
		_ = brw.Flush()
	}, false)
	status, header, _ := get(t, srv)
	if status != 299 || header.Get("Marked") != "" {
		t.Errorf("status %d, header %v, want what the handler wrote by hand", status, header)
	}
	if tr := <-traces; !tr.hijacked || tr.status != 101 || len(tr.commits) != 1 {
		t.Errorf("trace = %+v, want one commit, hijacked", tr)
	}
}

func TestFailedHijackLeavesTheResponseOpen(t *testing.T) {
	srv, traces := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Hijack over h2: %v, want ErrNotSupported", err)
		}
		w.WriteHeader(http.StatusUpgradeRequired)
	}, true)
	status, _, _ := get(t, srv)
	if tr := <-traces; tr.hijacked || status != 426 || !slices.Equal(tr.commits, []int{426}) {
		t.Errorf("status %d, trace = %+v, want a plain 426", status, tr)
	}
}

// bare supports nothing that is optional.
type bare struct {
	header http.Header
	status int
	body   strings.Builder
}

func (b *bare) Header() http.Header         { return b.header }
func (b *bare) WriteHeader(status int)      { b.status = status }
func (b *bare) Write(p []byte) (int, error) { return b.body.Write(p) }

func TestBareWriterSupportsNothingMore(t *testing.T) {
	inner := &bare{header: http.Header{}}
	w := &response.Writer{ResponseWriter: inner}
	if err := w.FlushError(); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("FlushError = %v, want ErrNotSupported", err)
	}
	if err := w.Push("/a", nil); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("Push = %v, want ErrNotSupported", err)
	}
	if w.Committed() {
		t.Error("a flush that is not supported committed the header")
	}
	n, err := io.Copy(w, strings.NewReader("body"))
	if n != 4 || err != nil || inner.body.String() != "body" || w.Status() != 200 {
		t.Errorf("copy = %d, %v, body %q, status %d", n, err, inner.body.String(), w.Status())
	}
	if w.Unwrap() != http.ResponseWriter(inner) {
		t.Error("Unwrap does not return the wrapped writer")
	}
}

// readerFrom tells what ReadFrom was given.
type readerFrom struct {
	bare
	src io.Reader
}

func (r *readerFrom) ReadFrom(src io.Reader) (int64, error) {
	r.src = src
	return 0, nil
}

// onlyReader hides the WriteTo of a source, which io.Copy would prefer.
type onlyReader struct{ io.Reader }

func TestReadFromHandsOverTheSourceAsItIs(t *testing.T) {
	inner := &readerFrom{bare: bare{header: http.Header{}}}
	src := &onlyReader{strings.NewReader("body")}
	if _, err := io.Copy(&response.Writer{ResponseWriter: inner}, src); err != nil {
		t.Fatal(err)
	}
	if inner.src != io.Reader(src) {
		t.Errorf("inner ReadFrom got %T, want the source itself", inner.src)
	}
}

// recorder ignores a flush before the header, as Caddy's recorder does.
type recorder struct{ bare }

func (r *recorder) FlushError() error { return nil }

func TestFlushWritesTheHeaderItCommits(t *testing.T) {
	inner := &recorder{bare{header: http.Header{}}}
	w := &response.Writer{ResponseWriter: inner}
	if err := w.FlushError(); err != nil {
		t.Fatal(err)
	}
	if inner.status != 200 || w.Status() != 200 {
		t.Errorf("inner status %d, Status %d, want 200 in both", inner.status, w.Status())
	}
}

// nop is a writer that costs nothing.
type nop struct{ header http.Header }

func (n nop) Header() http.Header                 { return n.header }
func (nop) WriteHeader(int)                       {}
func (nop) Write(p []byte) (int, error)           { return len(p), nil }
func (nop) ReadFrom(io.Reader) (n int64, e error) { return 0, nil }
func (nop) FlushError() error                     { return nil }

func TestCallsDoNotAllocate(t *testing.T) {
	w := &response.Writer{ResponseWriter: nop{http.Header{}}, OnCommit: func(int) {}}
	body, src := []byte("body"), strings.NewReader("")
	allocs := testing.AllocsPerRun(100, func() {
		w.WriteHeader(200)
		_, _ = w.Write(body)
		_, _ = w.ReadFrom(src)
		_ = w.FlushError()
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}
