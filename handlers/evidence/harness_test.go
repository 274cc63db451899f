package evidence

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/jobs"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// bench is a real log as the app would own it.
type bench struct {
	t    *testing.T
	cfg  audit.Config
	log  *audit.Log
	disk *disk
	known

	limits []Limit
	desk   *jobs.Desk
}

func (b *bench) Limits() []Limit { return b.limits }
func (b *bench) Log() *audit.Log { return b.log }
func (*bench) Instance() string  { return "edge-1" }
func (*bench) Profile() string   { return "strict" }

var _ Source = (*bench)(nil)

func newBench(t *testing.T) *bench {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, disk: &disk{}}
	b.cfg = audit.Config{
		Dir: filepath.Join(t.TempDir(), "log"), Key: key, Instance: "edge-1",
		CheckpointEvery: time.Hour,   // sign says when
		Deadline:        time.Minute, // a test writes 80 MB, on whatever disk
		FS:              b.disk,
	}
	b.open()
	t.Cleanup(func() {
		if b.desk != nil {
			b.desk.Close()
		}
		_ = b.log.Close()
	})
	return b
}

// Packs implements PackMaker.
func (b *bench) Packs() *jobs.Desk {
	if b.desk != nil {
		return b.desk
	}
	var err error
	b.desk, err = jobs.Open(jobs.Options{
		Dir: filepath.Join(b.t.TempDir(), "packs"), Report: func(err error) { b.t.Error(err) },
		Record: func(body audit.Body) error {
			_, err := b.log.Append(context.Background(), body.AppendBody(nil, "edge-1"))
			return err
		},
		Log: func(context.Context) (packer.Log, error) {
			v, err := b.cfg.Key.Verifier()
			return packer.Log{Dir: b.log.Records(), Signer: b.cfg.Key, Keys: []note.Verifier{v}}, err
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return b.desk
}

// packed makes a pack of the log and returns its id.
func (b *bench) packed() string {
	b.t.Helper()
	now := time.Now()
	j, err := b.Packs().Order(jobs.Order{From: now.Add(-time.Hour), To: now.Add(time.Hour)}, jobs.Actor{Name: "alice"})
	if err != nil {
		b.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); j.State != jobs.Done; <-time.After(time.Millisecond) {
		if j, err = b.desk.Job(j.ID); err != nil || j.State.Over() && j.State != jobs.Done || time.Now().After(deadline) {
			b.t.Fatalf("%+v %v", j, err)
		}
	}
	return j.ID
}

func (b *bench) open() {
	b.t.Helper()
	log, err := audit.Open(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.log = log
}

// sign brings all records under a checkpoint. Besides, it adds a record of
// closing and one of opening.
func (b *bench) sign() {
	b.t.Helper()
	if err := b.log.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.open()
}

// head brings all records under a checkpoint, and adds none: one of opening takes
// back what records of a later time said.
func (b *bench) head() {
	b.t.Helper()
	if err := b.log.Sign(b.t.Context(), b.log.Next()); err != nil {
		b.t.Fatal(err)
	}
}

// add appends the record of a request.
func (b *bench) add(path string) (seq int64, id string) {
	b.t.Helper()
	ev := audit.Event{
		Start: time.Now(), Method: "GET", Host: "example.com", Path: path, Proto: "HTTP/2.0",
		ClientIP: "192.0.2.7", Status: http.StatusTeapot, End: audit.EndComplete,
	}
	ev.ID = audit.NewID(ev.Start)
	seq, err := b.log.Append(context.Background(), ev.AppendBody(nil, "edge-1"))
	if err != nil {
		b.t.Fatal(err)
	}
	return seq, ev.ID.String()
}

var errDisk = errors.New("input/output error")

// disk is a file system whose files no longer sync when it is broken.
type disk struct {
	durable.OS
	broken atomic.Bool
}

func (d *disk) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := d.OS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &file{f, d}, nil
}

type file struct {
	durable.File
	disk *disk
}

func (f *file) Sync() error {
	if f.disk.broken.Load() {
		return errDisk
	}
	return f.File.Sync()
}

// fail makes the log fail.
func (b *bench) fail() {
	b.t.Helper()
	b.disk.broken.Store(true)
	if _, err := b.log.Append(context.Background(), []byte(`"time":"2026-01-01T00:00:00.000000000Z","kind":"request"`)); err == nil {
		b.t.Fatal("a record was appended to a broken disk")
	}
}

// handler is the handler as provisioned over the bench.
func (b *bench) handler(h Handler) *Handler {
	if h.Prefix == "" {
		h.Prefix = defaultPrefix
	}
	if h.Rate == 0 {
		h.Rate = maxRate // tests are faster than readers
	}
	h.use(b)
	return &h
}

// request is what a test asks for.
type request struct {
	method   string // default: GET
	path     string // as the client sends it
	stripped string // prefix that an outer handler strips
	user     string // whom an authenticator let pass
	roles    string // and its roles
	tls      *tls.ConnectionState
	header   http.Header
}

var errNext = errors.New("the next handler was called")

// do serves a request. The error is the handler's.
func do(h *Handler, req request) (*httptest.ResponseRecorder, error) {
	if req.method == "" {
		req.method = http.MethodGet
	}
	r := httptest.NewRequest(req.method, "https://example.com"+req.path, nil)
	r.TLS = req.tls
	maps.Copy(r.Header, req.header)
	w := httptest.NewRecorder()
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, w, &caddyhttp.Server{})
	if req.user != "" {
		repl.Set("http.auth.user.id", req.user)
		repl.Set("http.auth.user.roles", req.roles)
	}
	r.URL.Path = strings.TrimPrefix(r.URL.Path, req.stripped)
	err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return errNext }))
	return w, err
}

// get serves a request of somebody who is authenticated.
func get(t *testing.T, h *Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w, err := do(h, request{path: path, user: "auditor"})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	secured(t, w)
	return w
}

// secured checks what every response has.
func secured(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	policy := "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	if strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-") { // of the report
		policy = reportSecurity
	}
	for name, want := range map[string]string{
		"Cache-Control":           "no-store",
		"X-Content-Type-Options":  "nosniff",
		"Content-Security-Policy": policy,
	} {
		if got := w.Header().Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// decode reads a JSON body.
func decode(t *testing.T, w *httptest.ResponseRecorder, v any) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
}

// isProblem checks that a response is an error of the given status (RFC 9457).
func isProblem(t *testing.T, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q", got)
	}
	secured(t, w)
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	decode(t, w, &p)
	if p.Status != status || p.Title != http.StatusText(status) || p.Type != "about:blank" || p.Detail == "" {
		t.Errorf("problem is %+v", p)
	}
}

// verified is a connection whose client certificate was verified.
func verified() *tls.ConnectionState {
	return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}
}
