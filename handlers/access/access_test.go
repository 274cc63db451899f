package access

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
	"github.com/caddyserver/certmagic"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// parse reads a Caddyfile block, through JSON as the adapter does.
func parse(t testing.TB, block string) (*Handler, error) {
	t.Helper()
	var h Handler
	if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("soc2_access {\n" + block + "\n}")); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(&h)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	var loaded Handler
	if err := d.Decode(&loaded); err != nil {
		t.Fatal(err)
	}
	return &loaded, nil
}

// site is what a handler protects.
type site struct {
	t       testing.TB
	handler *Handler
	seen    *http.Request // by the upstream; nil if it was not reached
	event   audit.Event
	now     time.Time
}

func newSite(t testing.TB, block string) *site {
	t.Helper()
	h, err := parse(t, block)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Compile(time.Now()); err != nil {
		t.Fatal(err)
	}
	published.add(h)
	t.Cleanup(func() { _ = h.Cleanup() })
	s := &site{t: t, handler: h, now: time.Now()}
	h.now = func() time.Time { return s.now }
	if h.Identity != nil && h.Identity.Assertion != nil {
		h.Identity.Assertion.ring = &ring{storage: &certmagic.FileStorage{Path: t.TempDir()}, name: "default"}
	}
	return s
}

// user is what authentication found out.
type user map[string]string

func (s *site) do(method, target string, u user, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for _, f := range edit {
		f(r)
	}
	w := httptest.NewRecorder()
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, w, &caddyhttp.Server{})
	for name, v := range u {
		repl.Set("http.auth.user."+name, v)
	}
	s.event, s.seen = audit.Event{}, nil
	r = r.WithContext(audit.NewContext(r.Context(), &s.event))
	err := s.handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		s.seen = r
		_, err := io.WriteString(w, "ok")
		return err
	}))
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		w.WriteHeader(he.StatusCode)
	} else if err != nil {
		s.t.Fatal(err)
	}
	return w
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

var alice = user{"id": "alice", "roles": "staff, admin", "method": "oidc", "mfa": "true", "issued_at": "1795000000", "claim.dept": "it", "plain": "x"}

// TestIdentityIsWhatAuthenticationFound holds each placeholder, and that nothing
// of nobody is believed.
func TestIdentityIsWhatAuthenticationFound(t *testing.T) {
	s := newSite(t, `
		source groups {http.request.header.Remote-Groups}
		assign ops alice
		rule all {
			role user:staff
			role groups:g
			claim dept it
			claim plain
			require mfa
			require auth_method oidc mtls
			require max_token_age 1h
			cel "\"ops\" in roles"
		}
		identity {
			header X-User user
			header X-Roles roles
			header X-Method method
			header X-MFA mfa
			header X-Issued issued_at
			header X-Dept claim:dept
			header X-None claim:none
			strip X-Internal
		}`)
	s.now = time.Unix(1795000000, 0).Add(time.Minute)
	w := s.do("GET", "/", alice, header("X-User", "root"), header("X-Internal", "1"), header("x_internal", "1"), header("X-None", "spoofed"), header("Remote-Groups", "h"))
	if w.Code != 200 {
		t.Fatalf("%d: %+v", w.Code, s.event.Access)
	}
	got := s.seen.Header
	for name, want := range map[string]string{
		"X-User": "alice", "X-Roles": "staff,admin,h,ops", "X-Method": "oidc", "X-Mfa": "true", "X-Issued": "1795000000", "X-Dept": "it", "X-None": "", "X-Internal": "", "X_internal": "",
	} {
		if v := strings.Join(got.Values(name), "|"); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	if s.event.User != "alice" || s.event.AuthMethod != "oidc" || s.event.AccessPolicy == "" || s.event.Access != (audit.Decision{Outcome: "allow", Rule: "all", Reason: "rule"}) {
		t.Errorf("%+v", s.event.Access)
	}
	nobody := maps.Clone(alice)
	nobody["id"] = ""
	if w := s.do("GET", "/", nobody); w.Code != 401 || w.Header().Get("WWW-Authenticate") != "Bearer" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for change, reason := range map[string]string{"mfa=false": "mfa_required", "mfa=": "mfa_required", "method=password": "auth_method_required", "issued_at=": "token_age_unknown", "issued_at=1794000000": "token_too_old", "issued_at=2030-01-01T00:00:00Z": "token_too_old"} {
		name, value, _ := strings.Cut(change, "=")
		u := maps.Clone(alice)
		u[name] = value
		if w := s.do("GET", "/", u); w.Code != 401 || s.event.Access.Reason != reason || s.event.Access.Rule != "all" || !strings.Contains(w.Header().Get("WWW-Authenticate"), "insufficient_user_authentication") {
			t.Errorf("%s: %d %+v", change, w.Code, s.event.Access)
		}
	}
	u := maps.Clone(alice)
	u["claim.dept"] = "hr"
	if w := s.do("GET", "/", u); w.Code != 403 || s.event.Access.Reason != "no_rule" {
		t.Errorf("%d %+v", w.Code, s.event.Access)
	}
	u = maps.Clone(alice)
	u["id"] = "alice\r\nX-Admin: 1"
	if w := s.do("GET", "/", u); w.Code != 403 || s.seen != nil {
		t.Errorf("a principal with a line break: %d %+v", w.Code, s.event.Access)
	}
}

// TestConnectionCannotRemoveTheIdentity holds what a proxy would otherwise do as
// a client says.
func TestConnectionCannotRemoveTheIdentity(t *testing.T) {
	s := newSite(t, "rule all {\n}\nidentity {\nheader X-User user\n}")
	s.do("GET", "/", alice, header("Connection", "keep-alive, X-User,x_user , Upgrade"), header("Connection", "X-User"))
	if got := s.seen.Header["Connection"]; strings.Join(got, "|") != "keep-alive, Upgrade|" {
		t.Errorf("%q", got)
	}
}

// TestShadowServesAndRecords also in what a rule in shadow would do.
func TestShadowServesAndRecords(t *testing.T) {
	s := newSite(t, "mode shadow\nrule admin {\nrole boss\n}")
	if w := s.do("GET", "/", alice); w.Code != 200 || s.seen == nil || s.event.Access != (audit.Decision{Outcome: "shadow_deny", Reason: "no_rule"}) {
		t.Errorf("%d %+v", w.Code, s.event.Access)
	}
}

// TestAssertionIsVerifiedByTheServedKeys goes through rotation, too.
func TestAssertionIsVerifiedByTheServedKeys(t *testing.T) {
	s := newSite(t, `
		rule all {
		}
		identity {
			assertion {
				audience shop
				issuer edge
				ttl 30s
				claim dept
			}
		}`)
	ring := s.handler.Identity.Assertion.ring
	keys := &JWKS{Key: "default", ring: ring, now: func() time.Time { return s.now }}
	ids := map[string]bool{}
	begin := s.now
	for day := range 70 {
		s.now = begin.Add(time.Duration(day) * 24 * time.Hour)
		before := serveKeys(t, keys)
		s.do("GET", "/", alice, header("X-Soc2-Assertion", "spoofed"))
		list := s.seen.Header.Values("X-Soc2-Assertion")
		if len(list) != 1 {
			t.Fatalf("%q", list)
		}
		token, err := jwt.ParseSigned(list[0], []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		var c jwt.Claims
		var more struct {
			Roles []string `json:"roles"`
			Dept  string   `json:"dept"`
			MFA   bool     `json:"mfa"`
			How   string   `json:"auth_method"`
		}
		if err := token.Claims(before, &c, &more); err != nil {
			t.Fatalf("day %d: the keys that were served before do not verify: %v", day, err)
		}
		if err := c.ValidateWithLeeway(jwt.Expected{Issuer: "edge", Subject: "alice", AnyAudience: jwt.Audience{"shop"}, Time: s.now}, 0); err != nil {
			t.Fatal(err)
		}
		if err := c.ValidateWithLeeway(jwt.Expected{Time: s.now.Add(31 * time.Second)}, 0); err == nil {
			t.Fatal("it does not expire")
		}
		if strings.Join(more.Roles, ",") != "staff,admin" || more.Dept != "it" || !more.MFA || more.How != "oidc" {
			t.Fatalf("%+v", more)
		}
		ids[token.Headers[0].KeyID] = true
		if n := len(before.Keys); n < 1 || n > 3 {
			t.Fatalf("%d keys are served", n)
		}
	}
	if len(ids) != 3 {
		t.Errorf("%d keys signed in 70 days", len(ids))
	}
	if w := s.do("GET", "/", nil); w.Code != 401 {
		t.Error(w.Code)
	}
}

// serveKeys fetches the keys as an upstream does.
func serveKeys(t *testing.T, j *JWKS) (set jose.JSONWebKeySet) {
	t.Helper()
	w := httptest.NewRecorder()
	if err := j.ServeHTTP(w, httptest.NewRequest("GET", "/jwks", nil), nil); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(w.Body.String(), `"d"`) {
		t.Fatal("a private key is served")
	}
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// TestInstancesShareTheirKeys starts several at once on one storage.
func TestInstancesShareTheirKeys(t *testing.T) {
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	now := time.Now()
	ids := make(chan string, 4)
	for range cap(ids) {
		go func() {
			key, err := (&ring{storage: storage, name: "k"}).signing(context.Background(), now)
			if err != nil {
				t.Error(err)
			}
			ids <- key.KeyID
		}()
	}
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first {
			t.Errorf("%s and %s", id, first)
		}
	}
}

// failing is a storage that can be made to fail.
type failing struct {
	certmagic.Storage
	err error
}

func (f *failing) Load(ctx context.Context, name string) ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	return f.Storage.Load(ctx, name)
}

// TestKeysOutliveAStorageThatFails as long as they are valid.
func TestKeysOutliveAStorageThatFails(t *testing.T) {
	f := &failing{Storage: &certmagic.FileStorage{Path: t.TempDir()}}
	g := &ring{storage: f, name: "k"}
	now := time.Now()
	if _, err := g.signing(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	f.err = errors.New("gone")
	if _, err := g.signing(t.Context(), now.Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if _, err := g.signing(t.Context(), now.Add(keyLife)); err == nil {
		t.Error("a key signs although it is too old")
	}
	if _, err := (&ring{storage: f, name: "other"}).signing(t.Context(), now); err == nil {
		t.Error("a key came from nowhere")
	}
	f.err = nil
	if err := f.Store(t.Context(), g.file(), []byte(`[{"jwk":null}]`)); err != nil {
		t.Fatal(err)
	}
	if _, err := (&ring{storage: f, name: "k"}).signing(t.Context(), now); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
}

// hanging is a storage that answers when it is let.
type hanging struct {
	certmagic.Storage
	asked, let chan struct{}
}

func (h *hanging) Load(ctx context.Context, name string) ([]byte, error) {
	h.asked <- struct{}{}
	<-h.let
	return h.Storage.Load(ctx, name)
}

// TestOneRequestWaitsForASlowStorage and all others are signed with the keys that
// were read.
func TestOneRequestWaitsForASlowStorage(t *testing.T) {
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	g := &ring{storage: storage, name: "k"}
	now := time.Now()
	if _, err := g.signing(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	h := &hanging{storage, make(chan struct{}), make(chan struct{})}
	g.storage = h
	now = now.Add(time.Hour)
	done := make(chan error)
	go func() {
		_, err := g.signing(t.Context(), now)
		done <- err
	}()
	<-h.asked
	for range 3 {
		if _, err := g.signing(t.Context(), now); err != nil {
			t.Error(err)
		}
	}
	close(h.let)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// book is a log under the test's control.
type book struct {
	records []audit.Body
	err     error
}

func (b *book) Hold() bool { return true }
func (b *book) Release()   {}
func (b *book) Write(r audit.Body, wait bool) error {
	if !wait {
		return errors.New("it is not waited for")
	}
	if b.err == nil {
		b.records = append(b.records, r)
	}
	return b.err
}
func (b *book) Log() *audit.Log { return nil }

func call(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	if err := serveAdmin(w, httptest.NewRequest(method, path, strings.NewReader(body))); err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &v) // a list is looked at by nobody
	return w.Code, v
}

// TestBreakGlassLetsOneInForAWhile and only with a record.
func TestBreakGlassLetsOneInForAWhile(t *testing.T) {
	b := &book{}
	ledger.Set(b)
	s := newSite(t, `
		name shop
		rule admin {
			role boss
		}
		rule never {
			deny
			path /vault
		}
		break_glass {
			principal oncall alice
			max_ttl 30m
		}`)
	const path = "/soc2/v1/access/break-glass"
	if w := s.do("GET", "/", alice); w.Code != 403 {
		t.Fatal(w.Code)
	}
	for body, want := range map[string]int{
		`{"by":"bob","reason":"r","policy":"shop","principal":"mallory","for":"10m"}`:     403,
		`{"by":"bob","reason":"r","policy":"other","principal":"alice","for":"10m"}`:      403,
		`{"by":"bob","reason":"r","policy":"shop","principal":"alice","for":"31m"}`:       400,
		`{"by":"bob","reason":"r","policy":"shop","principal":"alice"}`:                   400,
		`{"by":"bob","policy":"shop","principal":"alice","for":"10m"}`:                    400,
		`{"reason":"r","policy":"shop","principal":"alice","for":"10m"}`:                  400,
		`{"by":"bob","reason":"r","policy":"shop","principal":"alice","for":"10m","x":1}`: 400,
		`{"by":"bob","reason":"r","policy":"shop","principal":"alice","for":"10m"} {}`:    400,
		`[]`: 400,
	} {
		if code, v := call(t, "POST", path, body); code != want {
			t.Errorf("%s: %d %v", body, code, v)
		}
	}
	const order = `{"by":"bob","reason":"site is down","ticket":"INC-7","policy":"shop","principal":"alice","for":"10m"}`
	b.err = errors.New("disk full")
	if code, _ := call(t, "POST", path, order); code != 503 {
		t.Error(code)
	}
	if w := s.do("GET", "/", alice); w.Code != 403 {
		t.Fatal("it is open without a record")
	}
	b.err = nil
	code, v := call(t, "POST", path, order)
	if code != 200 || len(b.records) != 1 {
		t.Fatal(code, v)
	}
	id, _ := v["grant"].(string)
	s.now = time.Now()
	for _, path := range []string{"/", "/vault"} {
		if w := s.do("GET", path, alice); w.Code != 200 || s.event.Access.Outcome != "break_glass" || s.event.Access.Reason != id {
			t.Errorf("%d %+v", w.Code, s.event.Access)
		}
	}
	for what, w := range map[string]*httptest.ResponseRecorder{
		"somebody else": s.do("GET", "/", user{"id": "oncall"}), "nobody": s.do("GET", "/", nil), "an odd path": s.do("GET", "/a%2fb", alice),
	} {
		if w.Code == 200 {
			t.Errorf("%s is let in", what)
		}
	}
	s.now = time.Now().Add(11 * time.Minute)
	if w := s.do("GET", "/", alice); w.Code != 403 {
		t.Error("it does not end")
	}
	s.now = time.Now()
	if code, _ := call(t, "POST", path+"/close", `{"by":"bob","reason":"over","grant":"bg-0"}`); code != 404 {
		t.Error(code)
	}
	if code, v := call(t, "POST", path+"/close", `{"by":"bob","reason":"over","grant":"`+id+`"}`); code != 200 || v["used"] != 2.0 {
		t.Error(code, v)
	}
	if w := s.do("GET", "/", alice); w.Code != 403 {
		t.Error("it is not closed")
	}
	r, _ := b.records[1].(*audit.BreakGlass)
	if r == nil || r.Action != "close" || r.Used != 2 || r.Actor.Claim != "bob" || r.Principal != "alice" {
		t.Errorf("%+v", r)
	}
	for path, want := range map[string]int{"/soc2/v1/access": 200, "/soc2/v1/access/break-glass": 200, "/soc2/v1/access/x": 404} {
		if code, _ := call(t, "GET", path, ""); code != want {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, _ := call(t, "PUT", path, ""); code != 405 {
		t.Error(code)
	}
}

// TestBreakGlassIsAsShortAsEachPolicyOfTheNameSays holds that of two sites whose
// policies share a name neither is open for longer than it allows.
func TestBreakGlassIsAsShortAsEachPolicyOfTheNameSays(t *testing.T) {
	ledger.Set(&book{})
	for _, ttl := range []string{"15m", "24h"} {
		newSite(t, "name twice\nrule admin {\nrole boss\n}\nbreak_glass {\nprincipal alice\nmax_ttl "+ttl+"\n}")
	}
	const path = "/soc2/v1/access/break-glass"
	if code, v := call(t, "POST", path, `{"by":"bob","reason":"r","policy":"twice","principal":"alice","for":"16m"}`); code != 400 {
		t.Error(code, v)
	}
}

// TestBadOptionsAreNamed holds errors of the Caddyfile and of provisioning.
func TestBadOptionsAreNamed(t *testing.T) {
	const rule = "rule r {\n}\n"
	for block, want := range map[string]string{
		"":                                       "refuses everything",
		"default allow":                          "it is deny",
		"rool x":                                 "no option",
		"rule r {\nfoo\n}":                       "rule r has no option",
		"rule {\n}":                              "takes a name",
		"rule r {\nallow\ndeny\n}":               "says allow and deny",
		"rule r {\nrole\n}":                      "at least one argument",
		"rule r {\ntime monday\n}":               "not a day",
		"rule r {\nuntil soon\n}":                "2027-01-31",
		"rule r {\nrequire max_token_age x\n}":   "not a duration",
		"rule r {\nrequire blood\n}":             "require takes",
		"rule r {\nrole ldap:x\n}":               "no source of roles \"ldap\"",
		"rule a {\n}\nrule b {\ndeny\nrole x\n}": "rule b can never decide: rule a",
		rule + "mode loud":                       "choose enforce or shadow",
		rule + "user_from alice":                 "placeholder",
		rule + "source user {x}":                 "user is taken",
		rule + "source g groups":                 "placeholder",
		rule + "assign admin":                    "assign is written",
		rule + "assign user:a b":                 "without a source",
		rule + "tolerate dots":                   "choose among",
		rule + "challenge \"a\x01\"":             "cannot be sent",
		rule + "break_glass {\n}":                "name the principals",
		rule + "break_glass {\nprincipal a\nmax_ttl 25h\n}":                              "at most 24h",
		rule + "identity {\nheader X-A b\n}":                                             "choose user, roles",
		rule + "identity {\nheader Host user\n}":                                         "no name of a field",
		rule + "identity {\nheader X-A user\nheader x_a roles\n}":                        "same field",
		rule + "identity {\nheader X-Soc2-Assertion user\nassertion {\naudience a\n}\n}": "same field",
		rule + "identity {\nstrip X-A\n}\nidentity {\nstrip X-B\n}":                      "given twice",
		rule + "break_glass {\nprincipal a\n}\nbreak_glass {\nprincipal b\n}":            "given twice",
		"rule r {\ncel mfa\ncel mfa\n}":                                                  "given twice",
		"rule r {\nuntil 2100-01-01\nuntil 2100-01-02\n}":                                "given twice",
		rule + "identity {\nassertion\n}":                                                "needs an audience",
		rule + "identity {\nassertion {\naudience a\nttl 2h\n}\n}":                       "between 1s and 1h",
		rule + "identity {\nassertion {\naudience a\nclaim sub\n}\n}":                    "set by itself",
		rule + "identity {\nassertion {\naudience a\nkey ../x\n}\n}":                     "letters, digits",
		"rule r {\nnetwork private_ranges 10.0.0.300\n}":                                 "neither an address",
		"rule r {\ncel principal\n}":                                                     "must be true or false",
	} {
		h, err := parse(t, block)
		if err == nil {
			_, err = h.Compile(time.Now())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want %q, got %v", block, want, err)
		}
	}
}

// FuzzCaddyfile holds that whatever is accepted survives the way through JSON.
func FuzzCaddyfile(f *testing.F) {
	f.Add("rule r {\nrole a\npath /x/*\ntime mon-fri 08:00-18:00 UTC\ncel `mfa && principal == \"x\"`\n}")
	f.Add("mode shadow\nrule r {\nanonymous\n}\nidentity {\nheader X-A user\n}")
	f.Fuzz(func(t *testing.T, block string) {
		var h Handler
		if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("soc2_access {\n" + block + "\n}")); err != nil {
			return
		}
		raw, err := json.Marshal(&h)
		if err != nil {
			return // times that JSON cannot hold
		}
		var again Handler
		if err := json.Unmarshal(raw, &again); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		_, err1 := h.Compile(time.Unix(1795000000, 0))
		_, err2 := again.Compile(time.Unix(1795000000, 0))
		if (err1 == nil) != (err2 == nil) || err1 == nil && h.hash != again.hash {
			t.Fatalf("%v, %v", err1, err2)
		}
	})
}

func BenchmarkHandler(b *testing.B) {
	s := newSite(b, "rule all {\nrole admin\npath /api/*\n}\nidentity {\nheader X-User user\n}")
	s.handler.now = time.Now
	r := httptest.NewRequest("GET", "/api/things/7", nil)
	w := httptest.NewRecorder()
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, w, &caddyhttp.Server{})
	for name, v := range alice {
		repl.Set("http.auth.user."+name, v)
	}
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(204); return nil })
	b.ReportAllocs()
	for b.Loop() {
		if err := s.handler.ServeHTTP(w, r, next); err != nil {
			b.Fatal(err)
		}
	}
}
