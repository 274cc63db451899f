package changes

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	seen "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
	"github.com/caddy-soc2/caddy-soc2/internal/redact"
)

// caddySource is the directory of Caddy's source.
func caddySource(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("GOMODCACHE")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Skip("the module cache is needed: ", err)
		}
		dir = filepath.Join(home, "go", "pkg", "mod")
	}
	list, _ := filepath.Glob(filepath.Join(dir, "github.com", "caddyserver", "caddy", "v2@v2.11.9"))
	if len(list) == 0 {
		if os.Getenv("SOC2_REQUIRE_ALL") != "" {
			t.Fatal("Caddy's source is needed, because SOC2_REQUIRE_ALL is set")
		}
		t.Skip("Caddy's source is needed in the module cache")
	}
	return list[0]
}

func TestLinesOfTheTapAreInCaddysSource(t *testing.T) {
	dir := caddySource(t)
	var source []byte
	for _, name := range []string{"admin.go", "caddy.go", "sigtrap_posix.go", "cmd/main.go"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, b...)
	}
	for l := range said {
		if !bytes.Contains(source, []byte(`("`+l.message+`"`)) {
			t.Errorf("Caddy does not log %q", l.message)
		}
		if l.logger != "" && !bytes.Contains(source, []byte(`Named("`+l.logger+`")`)) {
			t.Errorf("Caddy has no logger %q", l.logger)
		}
	}
	for _, cause := range []string{`"configuration error: %w"`, `"configuration start error: %w"`, `"validation complete"`, `"stopping apps"`} {
		if !bytes.Contains(source, []byte(cause)) {
			t.Errorf("Caddy does not end a configuration with %s", cause)
		}
	}
}

func TestHeadersOfCallersAreBoundedAndPlain(t *testing.T) {
	for _, c := range []struct{ value, want string }{
		{"CHG-42", "CHG-42"},
		{"  spaced  ", "spaced"},
		{"a\x00b\r\nc\x7f", "abc"},
		{"right\u202eleft", "rightleft"},
		{"a\u0085b\u2028c\u200fd\u200be\ufefff", "abcdef"},
		{"bad\xffutf8", "badutf8"},
		{strings.Repeat("x", 500), strings.Repeat("x", maxTicket)},
		{strings.Repeat("ä", 500), strings.Repeat("ä", maxTicket/2)},
		{"x" + strings.Repeat("€", 500), "x" + strings.Repeat("€", (maxTicket-1)/3)},
	} {
		h := http.Header{headerTicket: {c.value, "second"}}
		if got := asserted(h, headerTicket, maxTicket); got != c.want {
			t.Errorf("%q became %q, want %q", c.value, got, c.want)
		}
	}
	if got := asserted(http.Header{"X-Change-Ticket": {"CHG-1"}}, headerTicket, maxTicket); got != "CHG-1" {
		t.Errorf("X-Change-Ticket gave %q", got)
	}
}

func TestActorIsVerifiedByItsCertificateAndNotByItsHeader(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/load", nil)
	r.Header.Set(headerActor, "CN=root")
	if a := actorOf(r); a.Known != knownAsserted || a.Name != "" || a.Claim != "CN=root" || a.How != "tcp" {
		t.Errorf("%+v", a)
	}
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "unverified"}}}}
	if a := actorOf(r); a.Known != knownAsserted {
		t.Errorf("a certificate that was not verified: %+v", a)
	}
	cert := &x509.Certificate{Raw: []byte("x"), Subject: pkix.Name{CommonName: "deployer"}}
	r.TLS.VerifiedChains = [][]*x509.Certificate{{cert}}
	if a := actorOf(r); a.Known != knownVerified || a.How != "mtls" || a.Name != "CN=deployer" || len(a.ClientCert) != 64 || a.Claim != "CN=root" {
		t.Errorf("%+v", a)
	}
	if a := actorOf(httptest.NewRequest(http.MethodGet, "/", nil)); a.Known != knownNone {
		t.Errorf("%+v", a)
	}
}

func TestTapSeesWhatOutputsLeaveOut(t *testing.T) {
	out, lines := seen.New(zapcore.ErrorLevel)
	r := newRecorder()
	l := zap.New(&tap{Core: out, record: r})
	l.Named("admin").Info("admin endpoint started", zap.String("address", "127.0.0.1:1"))
	l.Named("admin").With(zap.String("address", "127.0.0.1:2")).Debug("admin endpoint started")
	l.Named("other").Info("admin endpoint started", zap.String("address", "127.0.0.1:3"))
	l.Named("other").Error("an error")
	if got := fmt.Sprint(r.opened.all()); got != "[127.0.0.1:1 127.0.0.1:2]" {
		t.Errorf("seen: %s", got)
	}
	if lines.Len() != 1 || lines.All()[0].Message != "an error" {
		t.Errorf("put out: %v", lines.All())
	}
}

func TestHandlerOfAnotherShapeIsAnErrorAndNothingWorse(t *testing.T) {
	for _, h := range []http.Handler{nil, http.NotFoundHandler(), http.NewServeMux(), otherShape{mux: "x"}, sameShape{}, &sameShape{mux: http.NewServeMux()}} {
		if mux, err := muxOf(&http.Server{Handler: h}); err == nil {
			t.Errorf("%T gave %v", h, mux)
		}
	}
	want := http.NewServeMux()
	if mux, err := muxOf(&http.Server{Handler: sameShape{mux: want}}); err != nil || mux != want {
		t.Errorf("%v, %v", mux, err)
	}
	if _, err := muxOf(nil); err == nil {
		t.Error("no server gave a router")
	}
	g := gate{newRecorder()}
	w := httptest.NewRecorder()
	if err := g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/config/", nil)); err != nil || w.Code != http.StatusNotImplemented {
		t.Errorf("%v, status %d", err, w.Code)
	}
}

// sameShape has its router where Caddy's handler has it, otherShape something
// else.
type (
	sameShape  struct{ mux *http.ServeMux }
	otherShape struct{ mux string }
)

func (h sameShape) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

func (h otherShape) ServeHTTP(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(h.mux)) }

func TestGatesFitBesidePatternsOfOthers(t *testing.T) {
	list := gatePatterns()
	for _, want := range []string{"GET /config/", "PATCH /config/", "DELETE /id/", "POST /stop"} {
		if !strings.Contains(" "+strings.Join(list, ",")+",", want+",") {
			t.Errorf("no gate %s in %v", want, list)
		}
	}
	mux := http.NewServeMux() // panics if two do not fit
	for _, p := range append(list, stockPatterns...) {
		mux.Handle(p, http.NotFoundHandler())
	}
}

func TestHistoryForgetsTheOldestAndKeepsTheLast(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "changes")
	h, err := openHistory(dir)
	if err != nil {
		t.Fatal(err)
	}
	var first, last string
	for i := range 30 {
		text := fmt.Appendf(nil, `{"i":%d}`, i)
		last = hashOf(text)
		if i == 0 {
			first = last
		}
		if err := h.put(last, text); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-100) * time.Minute)
		if err := os.Chtimes(filepath.Join(dir, last+versionSuffix), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxVersions { // of others, younger
		name := fmt.Sprintf("%064x%s", i+1, versionSuffix)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.prune(last); err != nil {
		t.Fatal(err)
	}
	if _, err := h.get(first); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the oldest: %v", err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != maxVersions+1 { // and the file last
		t.Errorf("%d files", len(entries))
	}
	if v := h.last(); v.hash != last || !v.known {
		t.Errorf("last: %+v", v)
	}
	name := filepath.Join(dir, last+versionSuffix)
	if err := os.WriteFile(name, []byte(`{"i":99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.get(last); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a version that was altered: %v", err)
	}
	if v := h.last(); v.hash != last || v.known {
		t.Errorf("of a version that was altered the hash alone is known: %+v", v)
	}
	for _, hash := range []string{"", "../last", strings.Repeat("g", 64), strings.Repeat("A", 64)} {
		if _, err := h.get(hash); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", hash, err)
		}
	}
}

func TestKeyIsMadeOnceAndForItsOwnerAlone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys", "changes")
	key, err := loadKey(name)
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadKey(name)
	if err != nil || !bytes.Equal(key, again) || len(key) != keyBytes {
		t.Errorf("%v, %v, %v", key, again, err)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loadKey(name); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.WriteFile(name, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(name, 0o600)
	if _, err := loadKey(name); err == nil {
		t.Error("a key that is none")
	}
}

func TestHashDoesNotDependOnWhatWasSeenBefore(t *testing.T) {
	key := redact.Key("k")
	doc, err := jsonpatch.Parse([]byte(`{"a":"canary-value","b":1}`))
	if err != nil {
		t.Fatal(err)
	}
	fresh, _ := newVersion(doc, key)
	used := key.NewSecrets()
	used.Document(map[string]any{"password": "canary-value"})
	text, err := jsonpatch.Canonical(used.Document(doc))
	if err != nil {
		t.Fatal(err)
	}
	if fresh.hash != hashOf(text) {
		t.Error("the hash of a configuration depends on the one before")
	}
}

func TestEndpointIsFoundInAConfiguration(t *testing.T) {
	for _, c := range []struct{ config, network, address, host string }{
		{`{}`, "tcp", "localhost:2019", "localhost:2019"},
		{`{"admin":{"listen":":2020"}}`, "tcp", "127.0.0.1:2020", ":2020"},
		{`{"admin":{"listen":"0.0.0.0:2020","origins":["https://a.example","b"]}}`, "tcp", "127.0.0.1:2020", "a.example"},
		{`{"admin":{"listen":"unix//run/a.sock|0200"}}`, "unix", "/run/a.sock", "127.0.0.1"},
		{`{"admin":{"listen":"soc2unix//run/a.sock|0600","origins":["127.0.0.1"]}}`, "unix", "/run/a.sock", "127.0.0.1"},
		{`{"admin":{"disabled":true}}`, "", "", ""},
		{`{"admin":{"listen":"fd/3"}}`, "", "", ""},
	} {
		doc, err := jsonpatch.Parse([]byte(c.config))
		if err != nil {
			t.Fatal(err)
		}
		network, address, host, err := endpointOf(doc, "localhost:2019")
		if network != c.network || address != c.address || host != c.host || (err != nil) != (c.network == "") {
			t.Errorf("%s: %s %s %s %v", c.config, network, address, host, err)
		}
	}
}

// TestEndpointThatAsksForAnOriginIsReached starts Caddy's own admin endpoint in
// the ways in which it asks for one, and in which it does not. It lets the call
// through to where this package's module would answer.
func TestEndpointThatAsksForAnOriginIsReached(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	for _, admin := range []string{
		`{"listen":"ADDRESS"}`,
		`{"listen":"ADDRESS","enforce_origin":true}`,
		`{"listen":"ADDRESS","enforce_origin":true,"origins":["admin.example"]}`,
		`{"listen":"ADDRESS","enforce_origin":true,"origins":["https://admin.example:8443"]}`,
		`{"listen":"unix/` + socket + `"}`,
		`{"listen":"unix/` + socket + `","enforce_origin":true,"origins":["localhost"]}`,
	} {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
		text := `{"admin":` + strings.Replace(strings.TrimSuffix(admin, "}"), "ADDRESS", ln.Addr().String(), 1) + `,"config":{"persist":false}}}`
		if err := caddy.Load([]byte(text), true); err != nil {
			t.Fatal(err)
		}
		var config any
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
		if err := new(stockHandlers).reach(config, ""); err == nil || !strings.HasSuffix(err.Error(), "status 404") {
			t.Errorf("%s: %v", admin, err)
		}
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestSocketsAreComparedAsAddresses(t *testing.T) {
	for _, c := range []struct {
		configured string
		open       where
		want       bool
	}{
		{"localhost:2019", where{host: "127.0.0.1", port: 2019}, true},
		{"localhost:2019", where{host: "::1", port: 2019}, true},
		{"localhost:2019", where{host: "0.0.0.0", port: 2019}, false},
		{":2019", where{host: "::", port: 2019}, true},
		{"127.0.0.1:2019", where{host: "127.0.0.1", port: 2020}, false},
		{"unix//run/a|0200", where{unix: true, path: "/run/a"}, true},
		{"soc2unix//run/a", where{unix: true, path: "/run/b"}, false},
		{"localhost:2019", where{unix: true, path: "localhost:2019"}, false},
	} {
		if got := parseWhere(c.configured).covers(c.open); got != c.want {
			t.Errorf("%s covers %s: %v", c.configured, c.open, got)
		}
	}
	if !parseWhere("localhost:1").same(parseWhere("127.0.0.1:1")) || parseWhere("localhost:1").same(parseWhere(":1")) {
		t.Error("same addresses")
	}
}

func TestSecretsOfAPartAreToldByItsPlace(t *testing.T) {
	r := httptest.NewRequest(http.MethodPut, "/config/apps/x/password", strings.NewReader(`"canary"`))
	s := receive(r, false)
	if b := new(bytes.Buffer); true {
		if _, err := b.ReadFrom(r.Body); err != nil || b.String() != `"canary"` || s.bytes != 8 || len(s.digest()) != 64 {
			t.Errorf("%q, %v, %d", b, err, s.bytes)
		}
	}
	secrets := redact.Key("k").NewSecrets()
	s.learn(secrets)
	if got := secrets.Scrub("bad canary"); strings.Contains(got, "canary") {
		t.Error(got)
	}
	broken := receive(httptest.NewRequest(http.MethodPut, "/config/apps/x/password", &failing{}), false)
	if broken.bytes != 1 {
		t.Errorf("%d bytes", broken.bytes)
	}
}

// failing is a body that breaks off.
type failing struct{ sent bool }

func (f *failing) Read(b []byte) (int, error) {
	if f.sent {
		return 0, errors.New("broken off")
	}
	f.sent = true
	return copy(b, "x"), nil
}

func TestOutcomeIsReadFromTheCauseOfTheContext(t *testing.T) {
	for _, c := range []struct{ cause, outcome, reason string }{
		{"configuration error: bad", rejected, "configuration error: bad"},
		{"configuration start error: bad", rejected, "configuration start error: bad"},
		{"stopping apps", applied, ""},
		{"validation complete", "", ""},
	} {
		ctx, cancel := caddy.NewContextWithCause(caddy.Context{Context: t.Context()})
		a := &attempt{load: &load{ctx: ctx}}
		if got, _ := a.outcome(result{}); got != applied {
			t.Errorf("running: %s", got)
		}
		cancel(errors.New(c.cause))
		if got, reason := a.outcome(result{}); got != c.outcome || reason != c.reason {
			t.Errorf("%s: %s, %s", c.cause, got, reason)
		}
	}
}

func TestCountsAreByFixedNames(t *testing.T) {
	before := Count()
	process.counters.change(&audit.ConfigChange{Outcome: applied, Source: sourceAdmin, Actor: audit.Actor{Known: knownNone}})
	process.calls.write(&audit.AdminCall{Outcome: outcomeDenied})
	after := Count()
	labels := ChangeLabels{applied, sourceAdmin, knownNone}
	if after.Changes[labels] != before.Changes[labels]+1 || after.Calls[outcomeDenied] != before.Calls[outcomeDenied]+1 {
		t.Errorf("%+v after %+v", after, before)
	}
}

// TestHandlerThatPanicsLeavesRecords: of the call and, if it was to change the
// configuration, of that. Nothing stays locked.
func TestHandlerThatPanicsLeavesRecords(t *testing.T) {
	r := newRecorder()
	r.key = redact.Key("k")
	for n, call := range []*http.Request{
		httptest.NewRequest(http.MethodGet, "/reverse_proxy/upstreams", nil),
		httptest.NewRequest(http.MethodPost, "/load", strings.NewReader(`{}`)),
		httptest.NewRequest(http.MethodPatch, "/config/apps", strings.NewReader(`{}`)),
	} {
		func() {
			defer func() {
				if cause := recover(); cause != "a bug" {
					t.Errorf("%v became of the panic", cause)
				}
			}()
			gate{r}.serve(httptest.NewRecorder(), call, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") }))
		}()
		if got := r.counters.calls[outcomeError]; got != int64(n+1) {
			t.Errorf("%d calls are recorded, want %d", got, n+1)
		}
	}
	if got := r.counters.changes[ChangeLabels{unclear, sourceAdmin, knownNone}]; got != 2 {
		t.Errorf("%d changes are recorded, want 2: %v", got, r.counters.changes)
	}
	if len(r.attempts) > 0 {
		t.Errorf("under way: %v", r.attempts)
	}
}

// TestRestartWithTheSameConfigurationIsNoRisk: the configuration before it is
// read from the history, which has tokens for what looks like a secret.
func TestRestartWithTheSameConfigurationIsNoRisk(t *testing.T) {
	config, err := jsonpatch.Parse([]byte(`{"apps":{"soc2":{"audit":{"key":"/srv/signing"}},"http":{"servers":{"s":{"routes":[
		{"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"a8fK2mQ9xZ7pL4vB1nR6t.example.com:80"}]}]}]}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	h, err := openHistory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ran, text := newVersion(config, redact.Key("k"))
	if err := h.put(ran.hash, text); err != nil {
		t.Fatal(err)
	}
	now, text := newVersion(config, redact.Key("k"))
	var c audit.ConfigChange
	compare(&c, h.last(), now, text)
	if len(c.Risks) > 0 || c.After != ran.hash {
		t.Errorf("%+v", c)
	}
}

// shelf is a log that keeps what it is given.
type shelf struct {
	mu   sync.Mutex
	list []audit.Body
}

func (*shelf) Hold() bool      { return true }
func (*shelf) Release()        {}
func (*shelf) Log() *audit.Log { return nil }

func (s *shelf) Write(r audit.Body, _ bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, r)
	return nil
}

// TestPathsOfCallsShowNoSecrets: a part of the configuration may be called after
// one.
func TestPathsOfCallsShowNoSecrets(t *testing.T) {
	book, before := new(shelf), ledger.Current()
	ledger.Set(book)
	defer ledger.Set(before)
	r := newRecorder()
	r.key = redact.Key("k")
	config, err := jsonpatch.Parse([]byte(`{"apps":{"x":{"api_keys":{"canary-1":"alice"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	r.version, _ = newVersion(config, r.key)
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		call := httptest.NewRequest(method, "/config/apps/x/api_keys/canary-1", nil)
		gate{r}.serve(httptest.NewRecorder(), call, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	}
	if len(book.list) != 3 {
		t.Fatalf("%d records, want two calls and a change", len(book.list))
	}
	for _, body := range book.list {
		if text := string(body.AppendBody(nil, "")); strings.Contains(text, "canary") || !strings.Contains(text, "/config/apps/x/api_keys/[secret ") {
			t.Errorf("%T: %s", body, text)
		}
	}
}

// TestChangeByTheHandlerOfAModuleHasItsCaller: a module may have an endpoint of
// its own that loads a configuration.
func TestChangeByTheHandlerOfAModuleHasItsCaller(t *testing.T) {
	book, before := new(shelf), ledger.Current()
	ledger.Set(book)
	defer ledger.Set(before)
	r := newRecorder()
	r.key, r.loads = redact.Key("k"), 1
	call := httptest.NewRequest(http.MethodPost, "/module/rollback", nil)
	call.Header.Set(headerActor, "alice")
	call.Header.Set(headerTicket, "CHG-7")
	gate{r}.serve(httptest.NewRecorder(), call, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		base, gone := context.WithCancel(t.Context())
		ctx, cancel := caddy.NewContext(caddy.Context{Context: base})
		defer cancel()
		r.begin(ctx, false)
		gone()
	}))
	r.settled()
	book.mu.Lock()
	defer book.mu.Unlock()
	for _, body := range book.list {
		if c, ok := body.(*audit.ConfigChange); ok {
			if c.Source != sourcePlugin || c.Actor.Claim != "alice" || c.Ticket != "CHG-7" || c.Path != "/module/rollback" {
				t.Errorf("%+v", c)
			}
			return
		}
	}
	t.Errorf("no change among %d records", len(book.list))
}
