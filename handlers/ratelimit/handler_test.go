package ratelimit

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

func TestRefusalTellsProgramsAndPeople(t *testing.T) {
	s := &site{t: t, handler: ready(t, `zone refusal { 
		limit 2/1m burst 2
	}`)}
	if n := s.admitted(2, "/", alice); n != 2 {
		t.Fatal(n)
	}
	w := s.do(http.MethodGet, "/", alice)
	if w.Code != http.StatusTooManyRequests || s.served != 2 {
		t.Fatal(w.Code, s.served)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/problem+json", "Retry-After": "30",
		"RateLimit-Policy": `"refusal";q=2;w=60`, "RateLimit": `"refusal";r=0;t=30`,
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
	}
	var body struct {
		Type     string
		Status   int
		Violated []string `json:"violated-policies"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Status != 429 || !slices.Equal(body.Violated, []string{"refusal"}) || !strings.HasSuffix(body.Type, "#quota-exceeded") {
		t.Errorf("%+v, %v", body, err)
	}
	if want := (audit.Decision{Outcome: "limited", Rule: "refusal", Reason: "quota"}); s.event.Limit != want {
		t.Errorf("%+v", s.event.Limit)
	}
	page := s.do(http.MethodGet, "/", alice, header("Accept", "text/html,*/*;q=0.8"))
	if page.Code != 429 || !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") || !strings.Contains(page.Body.String(), "<h1>") {
		t.Error(page.Code, page.Body)
	}
	if n := s.admitted(3, "/", bob); n != 2 {
		t.Errorf("another client: %d", n)
	}
	if s.event.Limit.Outcome != "limited" {
		t.Error(s.event.Limit)
	}
}

func TestHeadersOnAdmittedResponses(t *testing.T) {
	for _, c := range []struct {
		kind        string
		age         string
		name, value string
	}{
		{"draft always", "", "RateLimit", `"headers";r=9;t=6`},
		{"draft always", "0", "RateLimit", `"headers";r=9;t=6`},
		{"draft always", "17", "RateLimit", ""},
		{"legacy always", "", "X-RateLimit-Remaining", "9"},
		{"draft", "", "RateLimit", ""},
		{"off always", "", "RateLimit", ""},
	} {
		h, end, err := provision(t, "headers "+c.kind+"\nzone headers {\n limit 10/1m\n}")
		if err != nil {
			t.Fatal(err)
		}
		s := &site{t: t, handler: h, next: func(w http.ResponseWriter, _ *http.Request) error {
			if c.age != "" {
				w.Header().Set("Age", c.age)
				w.Header().Set("RateLimit", `"headers";r=1`) // as it was stored
			}
			_, err := io.WriteString(w, "ok")
			return err
		}}
		if got := s.do(http.MethodGet, "/", alice).Header().Get(c.name); got != c.value {
			t.Errorf("headers %s, Age %q: %s: %q, not %q", c.kind, c.age, c.name, got, c.value)
		}
		end()
	}
}

func TestAllMatchedZonesAreChargedOrNone(t *testing.T) {
	s := &site{t: t, handler: ready(t, `
		zone both_wide {
			limit 100/1h
		}
		zone both_login {
			match path /login
			limit 3/1h mode exact
		}`)}
	if n := s.admitted(50, "/login", alice); n != 3 {
		t.Fatalf("%d logins", n)
	}
	if n := s.admitted(200, "/", alice); n != 97 {
		t.Errorf("%d others: refused logins were charged", n)
	}
	w := s.do(http.MethodGet, "/login", alice)
	if !strings.Contains(w.Body.String(), `["both_wide","both_login"]`) {
		t.Error(w.Body)
	}
}

func TestConcurrencyIsReleasedAlsoAfterAPanic(t *testing.T) {
	s := &site{t: t, handler: ready(t, `zone under_way {
		concurrency 1
	}`)}
	inside := 0
	s.next = func(http.ResponseWriter, *http.Request) error {
		inner := &site{t: t, handler: s.handler}
		w := inner.do(http.MethodGet, "/", alice)
		if inside = w.Code; w.Header().Get("RateLimit-Policy") != `"under_way";q=1;qu="concurrent-requests"` || w.Header().Get("Retry-After") != "1" {
			t.Error(w.Header())
		}
		panic(http.ErrAbortHandler)
	}
	func() {
		defer func() { _ = recover() }()
		s.get("/", alice)
	}()
	if inside != http.StatusTooManyRequests {
		t.Error(inside)
	}
	s.next = nil
	if n := s.admitted(3, "/", alice); n != 3 {
		t.Errorf("%d after the panic", n)
	}
}

func TestSharedCapacityIs503(t *testing.T) {
	s := &site{t: t, handler: ready(t, `zone capacity {
		key global
		limit 2/1h
	}`)}
	s.admitted(2, "/", alice)
	w := s.do(http.MethodGet, "/", bob)
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "#temporary-reduced-capacity") || w.Header().Get("Retry-After") == "" {
		t.Error(w.Code, w.Body)
	}
}

func TestBanShutsOut(t *testing.T) {
	s := &site{t: t, handler: ready(t, `zone banned {
		limit 1/1s
		ban after 3 within 1m for 1h
	}`)}
	for range 3 {
		s.get("/", alice)
	}
	if w := s.do(http.MethodGet, "/", alice); w.Header().Get("Retry-After") != "3600" {
		t.Error("of the refusal that bans:", w.Header())
	}
	w := s.do(http.MethodGet, "/", alice)
	if !strings.Contains(w.Body.String(), "#abnormal-usage-detected") || w.Header().Get("Retry-After") != "3600" || s.event.Limit.Reason != "ban" {
		t.Error(w.Header(), w.Body, s.event.Limit)
	}
}

func TestShadowRefusesNothingAndIsAnnotated(t *testing.T) {
	s := &site{t: t, handler: ready(t, `headers draft always
	zone shadowed {
		limit 1/1h
		deny 192.0.2.2
		shadow
	}`)}
	if n := s.admitted(10, "/", alice); n != 10 {
		t.Fatal(n)
	}
	if want := (audit.Decision{Outcome: "shadow_limited", Rule: "shadowed", Reason: "quota"}); s.event.Limit != want {
		t.Errorf("%+v", s.event.Limit)
	}
	w := s.do(http.MethodGet, "/", bob)
	if w.Code != http.StatusOK || w.Header().Get("RateLimit") != "" {
		t.Error(w.Code, w.Header())
	}
}

func TestListsAndOverrides(t *testing.T) {
	s := &site{t: t, handler: ready(t, `zone lists {
		key header:X-Key
		limit 1/1h
		allow 10.0.0.0/8 key:friend
		deny 192.0.2.66 2001:db8:bad::/48 key:foe
		override partner 5/1h
	}`)}
	for _, c := range []struct {
		from, key string
		want      int
	}{
		{"10.1.2.3:1", "x", 10},
		{alice, "friend", 10},
		{"192.0.2.66:1", "y", 0},
		{"[2001:db8:bad::1]:1", "z", 0},
		{alice, "foe", 0},
		{alice, "partner", 5},
		{alice, "else", 1},
	} {
		if n := s.admitted(10, "/", c.from, header("X-Key", c.key)); n != c.want {
			t.Errorf("%s, key %s: %d, not %d", c.from, c.key, n, c.want)
		}
	}
	w := s.do(http.MethodGet, "/", alice, header("X-Key", "partner"))
	if got := w.Header().Get("RateLimit-Policy"); got != `"lists";q=5;w=3600` {
		t.Error(got)
	}
}

func TestWrongConfigurationsAreRefused(t *testing.T) {
	for name, block := range map[string]string{
		"principal before authentication":   "zone a {\n limit 1/s\n key principal\n}",
		"user id before authentication":     "zone a {\n limit 1/s\n key {http.auth.user.id}\n}",
		"body":                              "zone a {\n limit 1/s\n key {http.request.body}\n}",
		"uuid":                              "zone a {\n limit 1/s\n key {http.request.uuid}\n}",
		"file":                              "zone a {\n limit 1/s\n key {file./etc/passwd}\n}",
		"prefix of a name":                  "zone a {\n limit 1/s\n key {http.request.header.}\n}",
		"unclosed":                          "zone a {\n limit 1/s\n key \"{http.request.host\"\n}",
		"placeholder in a placeholder":      "zone a {\n limit 1/s\n key {http.request.header.{x}}\n}",
		"mistyped placeholder of TLS":       "zone a {\n limit 1/s\n key {http.request.tls.client.fingerprnt}\n}",
		"mistyped placeholder of addresses": "zone a {\n limit 1/s\n key {http.request.remote.hst}\n}",
		"mistyped placeholder of URIs":      "zone a {\n limit 1/s\n key {http.request.uri.pth}\n}",
		"field Host":                        "zone a {\n limit 1/s\n key header:host\n}",
		"name of a folder":                  "zone .. {\n limit 1/s\n}",
		"cost without limit":                "zone a {\n concurrency 5\n cost 2\n}",
		"cost over an override's burst":     "zone a {\n limit 5/s\n cost 5\n override 192.0.2.1 4/s\n}",
		"override of a network":             "zone a {\n limit 5/s\n override 192.0.2.0/24 9/s\n}",
		"key of too few parts":              "zone a {\n limit 5/s\n key client_ip host\n allow key:192.0.2.1\n}",
		"constant":                          "zone a {\n limit 1/s\n key client\n}",
		"name":                              "zone \"a b\" {\n limit 1/s\n}",
		"twice":                             "zone a {\n limit 1/s\n}\nzone a {\n limit 1/s\n}",
		"mode":                              "zone a {\n limit 1/s mode fast\n}",
		"cost over the burst":               "zone a {\n limit 5/s\n cost 6\n}",
		"override without limit":            "zone a {\n concurrency 5\n override x 5/s\n}",
		"override that cannot be":           "zone a {\n limit 5/s\n override x 0/s\n}",
		"address":                           "zone a {\n limit 5/s\n allow 10.0.0\n}",
		"prefix":                            "zone a {\n limit 5/s\n ipv6_prefix 129\n}",
		"capacity":                          "zone a {\n limit 5/s\n capacity 999999999\n}",
		"charge by two":                     "zone a {\n limit 5/s\n charge bytes header X\n}",
		"charge without limit":              "zone a {\n concurrency 5\n charge bytes\n}",
		"global with another part":          "zone a {\n limit 5/s\n key global client_ip\n}",
		"exact over 64 through an override": "zone a {\n limit 5/s mode exact\n override x 65/s\n}",
	} {
		if _, _, err := provision(t, block); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestZonesOfOneNameMustAgreeWithinAConfiguration(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	take := func(block string) error {
		h, err := parse(t, block)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Cleanup() })
		return h.Provision(ctx)
	}
	if err := errors.Join(take("zone agreed {\n limit 5/s\n}"), take("zone agreed {\n limit 5/s\n match path /x\n}")); err != nil {
		t.Error(err)
	}
	if err := take("zone agreed {\n limit 6/s\n}"); err == nil {
		t.Error("another limit was taken")
	}
}

func TestSpentStaysSpentOverAReload(t *testing.T) {
	old, end, err := provision(t, "zone reloaded {\n limit 10/1h\n}")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, handler: old}
	if n := s.admitted(20, "/", alice); n != 10 {
		t.Fatal(n)
	}
	// A configuration that is rejected changes nothing.
	rejected, endRejected, err := provision(t, "zone reloaded {\n limit 1000/1h\n}")
	if err != nil || rejected == nil {
		t.Fatal(err)
	}
	endRejected()
	if n := s.admitted(5, "/", alice); n != 0 {
		t.Fatalf("%d after a rejected configuration", n)
	}
	next := ready(t, "zone reloaded {\n limit 15/1h\n}")
	s2 := &site{t: t, handler: next}
	n := s2.admitted(20, "/", alice)
	end()
	if n += s2.admitted(20, "/", alice); n != 5 {
		t.Errorf("%d more, not 5", n)
	}
	if d := next.Zones[0].shared.info.Load().limit; d != "15/1h" {
		t.Error(d)
	}
}

func TestRefusalAllocatesOnlyHeaderValues(t *testing.T) {
	h := ready(t, "zone allocations {\n limit 1/1h\n}")
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = alice
	w := &discard{header: make(http.Header, 16)}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	_ = h.ServeHTTP(w, r, next)
	n := testing.AllocsPerRun(1000, func() { _ = h.ServeHTTP(w, r, next) })
	if n > 3 || w.status != http.StatusTooManyRequests { // the values' array, RateLimit, Retry-After
		t.Errorf("%v allocations, status %d", n, w.status)
	}
}

func TestAdmissionDoesNotAllocate(t *testing.T) {
	h := ready(t, "zone no_allocations {\n limit 1000000/1s\n}\nzone no_allocations2 {\n limit 1000000/1m\n}")
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = alice
	w := &discard{header: make(http.Header, 16)}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	if n := testing.AllocsPerRun(1000, func() { _ = h.ServeHTTP(w, r, next) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
