package soc2_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// site is a Caddy running in this process. Caddy's configuration is
// process-global: no two tests may run one at a time, and no other package of
// this module may use caddy.Load in its tests.
type site struct {
	t           *testing.T
	data        string
	https, http int
	client      *http.Client
	stock       bool // without the listener wrapper
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, data: t.TempDir(), https: freePort(t), http: freePort(t)}
	s.client = &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2: true, DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		_ = caddy.Stop()
		if _, err := os.Stat(s.dir()); err == nil {
			s.closed() // the directory is removed next
		}
	})
	return s
}

// freePort returns a port below those that the system gives to outgoing
// connections, so that none of them takes it before Caddy does.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = ln.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// load runs a Caddyfile. GLOBAL stands for the options that every test needs,
// ROOT for a directory of the test, DATA for that of soc2 in it.
func (s *site) load(caddyfile string) error {
	s.t.Helper()
	return s.loadEdited(caddyfile, func(config string) string { return config })
}

// loadEdited runs a Caddyfile whose JSON is edited before.
func (s *site) loadEdited(caddyfile string, edit func(config string) string) error {
	s.t.Helper()
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(s.filled(caddyfile)), nil)
	if err != nil {
		return err
	}
	if err := caddy.Load([]byte(withCertificate(s.t, edit(string(out)))), true); err != nil {
		return err
	}
	s.ready()
	return nil
}

// filled is a Caddyfile with what the words in it stand for.
func (s *site) filled(caddyfile string) string {
	global := fmt.Sprintf(`
	admin off
	persist_config off
	skip_install_trust
	local_certs
	storage file_system %s/caddy
	http_port %d
	default_bind 127.0.0.1
`, s.data, s.http)
	if !s.stock {
		global += `
	servers {
		listener_wrappers {
			soc2
			tls
		}
	}
`
	}
	return strings.NewReplacer("GLOBAL", global, "DATA", filepath.Join(s.data, "soc2"), "ROOT", s.data, "SITE", fmt.Sprintf("https://localhost:%d", s.https)).Replace(caddyfile)
}

// ready returns when the certificate, which Caddy issues in the background, is
// there.
func (s *site) ready() {
	s.t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var err error
	for range 6000 {
		var conn net.Conn
		conn, err = (&tls.Dialer{Config: config}).DialContext(s.t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", s.https))
		if err == nil {
			_ = conn.Close()
			return
		}
		<-tick.C
	}
	s.t.Fatal(err)
}

// answer is a response whose body was read to its end.
type answer struct {
	status int
	header http.Header
}

func (s *site) get(url string, edit ...func(*http.Request)) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range edit {
		f(req)
	}
	resp, err := s.client.Do(req)
	for try := 0; err != nil && try < 5; try++ { // after a reload, a connection may meet the old listener
		resp, err = s.client.Do(req)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header}
}

func (s *site) url(path string) string { return fmt.Sprintf("https://localhost:%d%s", s.https, path) }

func (s *site) dir() string { return filepath.Join(s.data, "soc2", "log") }

// requests returns the request records of the log, by id.
func (s *site) requests() map[string]requestRecord {
	s.t.Helper()
	all := map[string]requestRecord{}
	_, err := records.Dir{FS: os.DirFS(s.dir())}.Scan(0, func(_ int64, b []byte) error {
		var r requestRecord
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		if r.Kind != string(audit.KindRequest) {
			return nil
		}
		if _, twice := all[r.ID]; twice {
			return fmt.Errorf("request %s is recorded twice", r.ID)
		}
		all[r.ID] = r
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

type requestRecord struct {
	Kind     string
	ID       string
	Server   string
	Request  struct{ Host, Path, Proto string }
	Headers  struct{ Profile string }
	Auth     struct{ User, Method string }
	Access   struct{ Outcome, Rule, Reason, Policy, Shadow string }
	Response struct {
		Status int
		Bytes  int64
		End    string
		Error  string
	}
}

// verify stops Caddy and verifies the log.
func (s *site) verify() {
	s.t.Helper()
	if err := caddy.Stop(); err != nil {
		s.t.Fatal(err)
	}
	s.closed() // the record of the last change is on its way
	key, err := audit.LoadKey(filepath.Join(s.data, "soc2", "keys", "log.key"))
	if err != nil {
		s.t.Fatal(err)
	}
	v, err := key.Verifier()
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := verify.Dir(os.DirFS(s.dir()), []note.Verifier{v}, verify.Options{})
	if err != nil || !r.OK() || r.Signed != r.Records {
		s.t.Fatalf("the log does not verify: %+v, %v", r, err)
	}
}

// TestEveryResponseIsCovered asks for responses that come out of different
// places of Caddy and holds each against its one record.
func TestEveryResponseIsCovered(t *testing.T) {
	s := newSite(t)
	err := s.load(`
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
	}
}
SITE {
	soc2_audit
	handle /strict {
		soc2_headers strict
		respond "strict"
	}
	handle /error {
		error 404
	}
	handle /own-error-page {
		error "no" 403
	}
	handle /plain {
		respond "plain"
	}
	handle /include {
		root * DATA/..
		templates {
			mime text/plain
		}
		respond "a{{httpInclude \"/plain\"}}b"
	}
	handle /dead {
		reverse_proxy 127.0.0.1:1
	}
	handle /dead-error-page {
		error "no" 402
	}
	handle_errors 402 {
		reverse_proxy 127.0.0.1:1
	}
	handle_errors 405 {
		respond "the site's page" 418
	}
	handle_errors 403 {
		respond "sorry" 410
	}
}
`)
	if err != nil {
		t.Fatal(err)
	}
	plain := fmt.Sprintf("http://localhost:%d/x", s.http)
	for _, c := range []struct {
		name, url, profile string
		status             int
		bytes              int64
		edit               func(*http.Request)
	}{
		{name: "site", url: s.url("/plain"), status: 200, bytes: 5},
		{name: "site with its own profile", url: s.url("/strict"), status: 200, bytes: 6, profile: "strict"},
		{name: "error without a page", url: s.url("/error"), status: 404},
		{name: "error with a page of another status", url: s.url("/own-error-page"), status: 410, bytes: 5},
		{name: "no route", url: s.url("/none"), status: 200},
		{name: "page with a part that the server asks itself for", url: s.url("/include"), status: 200, bytes: 7},
		{name: "dead upstream", url: s.url("/dead"), status: 502},
		{name: "error page of a dead upstream", url: s.url("/dead-error-page"), status: 402},
		{name: "unknown host", url: s.url("/"), status: 200, edit: func(r *http.Request) { r.Host = "other.example" }},
		{name: "bad host", url: s.url("/"), status: 400, edit: func(r *http.Request) { r.Host = "..." }},
		{name: "long method", url: s.url("/plain"), status: 418, bytes: 15, edit: func(r *http.Request) { r.Method = strings.Repeat("X", 40) }},
		{name: "redirect to HTTPS", url: plain, status: 308},
		{name: "error on the HTTP port", url: plain, status: 405, edit: func(r *http.Request) { r.Method = strings.Repeat("X", 40) }},
		{name: "redirect of an unknown host", url: plain, status: 308, edit: func(r *http.Request) { r.Host = "other.example" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			edits := []func(*http.Request){}
			if c.edit != nil {
				edits = append(edits, c.edit)
			}
			got := s.get(c.url, edits...)
			checkRecord(t, s, got, c.status, c.bytes, c.profile)
		})
	}
	if n := len(s.requests()); n != 14 {
		t.Errorf("%d records for 14 requests", n)
	}
	s.verify()
}

// TestRedirectsAreCoveredWhateverTheProtocols has two sites, one of which
// chooses its protocols.
func TestRedirectsAreCoveredWhateverTheProtocols(t *testing.T) {
	for range 5 { // Caddy provisions servers in random order
		s := newSite(t)
		err := s.load(fmt.Sprintf(`
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
	}
}
SITE {
	bind 127.0.0.1 {
		protocols h1 h2
	}
	respond "x"
}
https://localhost:%d {
	respond "y"
}
`, freePort(t)))
		if err != nil {
			t.Fatal(err)
		}
		got := s.get(fmt.Sprintf("http://localhost:%d/x", s.http))
		checkRecord(t, s, got, http.StatusPermanentRedirect, 0, "")
		checkRecord(t, s, s.get(s.url("/")), http.StatusOK, 1, "")
		s.verify()
	}
}

// TestRequestsOutliveTheirConfiguration removes soc2 from the configuration
// while a request is running: its record is still kept, and then the log is
// closed.
func TestRequestsOutliveTheirConfiguration(t *testing.T) {
	s := newSite(t)
	arrived, answer := make(chan struct{}), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-answer
		_, _ = io.WriteString(w, "late")
	}))
	defer upstream.Close()
	dead := strings.TrimPrefix(upstream.URL, "http://")
	if err := s.load(fmt.Sprintf(minimal, "test", "", "x", "handle /late {\n reverse_proxy "+dead+"\n}")); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/late"), nil)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := s.client.Do(req)
		if err != nil {
			return // Caddy closes connections of a configuration that is gone
		}
		_ = resp.Body.Close()
	}()
	select {
	case <-arrived:
	case <-ended:
		t.Fatal("the request did not reach the upstream")
	}
	if err := caddy.Load([]byte(`{"admin":{"disabled":true,"config":{"persist":false}}}`), true); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Open(audit.Config{Dir: s.dir(), Key: key(t, s)}); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("the log was closed under a running request: %v", err)
	}
	close(answer)
	<-ended
	s.closed()
	if n := len(s.requests()); n != 1 {
		t.Errorf("%d records", n)
	}
	s.verify()
}

// stop stops Caddy, and removes the certificate that it stored. If Caddy finds one
// when it starts again, it announces it while its app tls is still being written
// to (caddytls.TLS.Start and onEvent), which the race detector does not forgive.
func (s *site) stop() {
	s.t.Helper()
	if err := errors.Join(caddy.Stop(), os.RemoveAll(filepath.Join(s.data, "caddy", "certificates"))); err != nil {
		s.t.Fatal(err)
	}
}

// closed returns when the log is free for another writer.
func (s *site) closed() {
	s.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 6000 {
		lock, err := durable.LockDir(s.dir())
		if err == nil {
			_ = lock.Unlock()
			return
		}
		<-tick.C
	}
	s.t.Fatal("the log is still open")
}

func checkRecord(t *testing.T, s *site, got answer, status int, bytes int64, profile string) {
	t.Helper()
	if profile == "" {
		profile = "baseline"
	}
	ids := got.header["X-Request-Id"]
	if len(ids) != 1 {
		t.Fatalf("request ids %q", ids)
	}
	r, ok := s.requests()[ids[0]]
	if !ok {
		t.Fatal("the response is not recorded")
	}
	if got.status != status || r.Response.Status != status || r.Response.Bytes != bytes || r.Response.End != "complete" {
		t.Errorf("sent %d, recorded %+v", got.status, r.Response)
	}
	if r.Headers.Profile != profile || got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Server") != "" {
		t.Errorf("profile %q; sent %v", r.Headers.Profile, got.header)
	}
}

const minimal = `
{
	GLOBAL
	soc2 {
		instance %s
		data_dir DATA
		%s
	}
}
SITE {
	respond "%s"
	%s
}
`

func TestReloadKeepsOneLog(t *testing.T) {
	s := newSite(t)
	for i := range 5 {
		if err := s.load(fmt.Sprintf(minimal, fmt.Sprint("test", i), "", fmt.Sprint(i), "")); err != nil {
			t.Fatal(err)
		}
		s.get(s.url("/"))
		for name, bad := range map[string]string{
			"unknown matcher": fmt.Sprintf(minimal, "bad", "", "x", "respond /y {http.nonsense} {\n close\n}\n  reverse_proxy {\n to 127.0.0.1:1\n transport nonsense\n}"),
			"bad interval":    fmt.Sprintf(minimal, "bad", "audit {\n checkpoint every 1ns\n}", "x", ""),
			"another key":     fmt.Sprintf(minimal, "bad", "audit {\n key DATA/other.key\n}", "x", ""),
		} {
			if err := s.load(bad); err == nil {
				t.Fatalf("%s: it was loaded", name)
			}
		}
		if got := s.get(s.url("/")); got.status != http.StatusOK {
			t.Fatalf("after rejected reloads: %d", got.status)
		}
	}
	if n := len(s.requests()); n < 10 {
		t.Errorf("%d records for 10 requests", n)
	}
	s.verify()
	kinds := map[audit.Kind]int{}
	_, err := records.Dir{FS: os.DirFS(s.dir())}.Scan(0, func(_ int64, b []byte) error {
		h, err := audit.ParseHeader(b)
		kinds[h.Kind]++
		return err
	})
	if err != nil || kinds[audit.KindOpen] != 1 || kinds[audit.KindClose] != 1 {
		t.Errorf("%v, %v", kinds, err)
	}
}

// TestRejectedConfigurationsNameTheRemedy tries configurations that cannot
// run. Each error is one line that names the field or path and what to do.
func TestRejectedConfigurationsNameTheRemedy(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(s.data, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(s.data, "open.key")
	if err := os.WriteFile(open, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ options, want string }{
		"profile":          {"profile paranoid", "choose baseline, strict or api"},
		"mode":             {"audit {\n mode sometimes\n}", "choose durable, async or strict"},
		"directory":        {"audit {\n dir " + file + "/log\n}", "set data_dir or audit dir"},
		"open key file":    {"audit {\n key " + open + "\n}", "chmod 600"},
		"interval":         {"audit {\n checkpoint every 1ms\n}", "at least 100ms"},
		"instance as name": {"instance \"a b\"", "no spaces"},
		"time stamps":      {"audit {\n timestamp nonsense\n}", "http:// or https://"},
		"rule":             {"audit {\n rule static none\n}", "needs one"},
		"pseudonym":        {"audit {\n pseudonymize bogus\n}", "must be client.ip"},
		"period":           {"audit {\n pseudonymize {\n period year\n}\n}", "day, week, month or quarter"},
		"recipient":        {"audit {\n encrypt bogus\n}", "age1"},
		"sealed member":    {"audit {\n encrypt age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p {\n members request.body\n}\n}", "must be one of"},
		"no checkpoints":   {"audit {\n checkpoint every 0s\n}", "at least 100ms"},
		"no queue":         {"audit {\n queue 0\n}", "leave queue out for the default"},
		"small queue":      {"audit {\n queue 1KiB\n}", "audit queue 1024 (queue_bytes): it must be at least 1048576 bytes"},
		"no deadline":      {"audit {\n deadline 0\n}", "leave deadline out for the default"},
		"no retention":     {"audit {\n retain 0s\n}", "leave retain out for the default"},
		"no scrubbing":     {"audit {\n scrub every 0s\n}", "at least 1m0s"},
		"much scrubbing":   {"audit {\n scrub every 1s\n}", "audit scrub every 1s (scrub_interval): it must be at least 1m0s"},
		"slow scrubbing":   {"audit {\n scrub every 24h 1B\n}", "at least 256KiB"},
		"no witnessing":    {"audit {\n witness_interval 0\n}", "leave witness_interval out for the default"},
		"no stamping":      {"audit {\n timestamp http://tsa.example {\n interval 0s\n}\n}", "leave interval out for the default"},
		"no roots":         {"audit {\n timestamp http://tsa.example {\n roots /nonexistent\n}\n}", "name a file with the authority's root certificates (PEM), or leave roots out"},
		"witnessed log":    {"witness_server {\n log bogus\n}", "NAME+HASH+KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.load(fmt.Sprintf(minimal, "test", c.options, "x", ""))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
		})
	}
	for _, name := range []string{"log", "witness", "keys/witness.key", "keys/pseudonyms", "keys/personal"} {
		if _, err := os.Stat(filepath.Join(s.data, "soc2", name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a rejected configuration made %s: %v", name, err)
		}
	}
}

func TestServiceWithoutTheAppIsRefused(t *testing.T) {
	s := newSite(t)
	err := s.load("{\n GLOBAL\n}\nSITE {\n respond x\n}\n")
	if err == nil || !strings.Contains(err.Error(), "global options") {
		t.Errorf("%v", err)
	}
}

// TestLogClosesWhenSoc2IsRemoved loads a configuration without soc2: the log is
// closed in order and free for another writer.
func TestLogClosesWhenSoc2IsRemoved(t *testing.T) {
	s := newSite(t)
	if err := s.load(fmt.Sprintf(minimal, "test", "", "x", "")); err != nil {
		t.Fatal(err)
	}
	s.get(s.url("/"))
	if err := caddy.Load([]byte(`{"admin":{"disabled":true,"config":{"persist":false}}}`), true); err != nil {
		t.Fatal(err)
	}
	s.closed() // with the record that says so
	log, err := audit.Open(audit.Config{Dir: s.dir(), Key: key(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(context.Background(), []byte(`"time":"2026-01-01T00:00:00Z","kind":"test"`)); err != nil {
		t.Error(err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	s.verify()
}

func key(t *testing.T, s *site) *audit.Key {
	t.Helper()
	k, err := audit.LoadKey(filepath.Join(s.data, "soc2", "keys", "log.key"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}
