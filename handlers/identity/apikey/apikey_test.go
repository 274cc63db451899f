package apikey

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/reload"
)

var now = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

func newSource(t *testing.T, change func(*Key)) (*Source, string) {
	t.Helper()
	key, hash, err := New("robot-1")
	if err != nil {
		t.Fatal(err)
	}
	k := &Key{ID: "robot-1", Hash: hash, Roles: []string{"reader"}, NotBefore: now, Expires: now.Add(time.Hour)}
	if change != nil {
		change(k)
	}
	data, err := json.Marshal([]*Key{k})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), key) {
		t.Fatal("the key is stored")
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := reload.Open(path, time.Now, nil, Parse)
	if err != nil {
		t.Fatal(err)
	}
	return &Source{Header: "X-Api-Key", Keys: file, Now: func() time.Time { return now.Add(time.Minute) }}, key
}

func request(method, target, key string) *http.Request {
	r := httptest.NewRequest(method, "https://app.example"+target, nil)
	r.Header.Set("X-Api-Key", key)
	vars := map[string]any{caddyhttp.ClientIPVarKey: "10.1.2.3"}
	return r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
}

func TestAKeyIsAPrincipal(t *testing.T) {
	s, key := newSource(t, nil)
	user, refusal := s.Authenticate(nil, request("GET", "/", key))
	if refusal != nil || user.ID != "robot-1" || user.Metadata["roles"] != "reader" || user.Metadata["method"] != "api_key" {
		t.Fatal(user, refusal)
	}
	if user, refusal := s.Authenticate(nil, httptest.NewRequest("GET", "/", nil)); user != nil || refusal != nil {
		t.Error("no key is a key")
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Key)
		alter  func(string) string
		method string
		path   string
		why    principal.Reason
	}{
		"wrong secret": {alter: func(k string) string {
			return k[:len(k)-2] + map[bool]string{true: "BA", false: "AA"}[k[len(k)-2] == 'A']
		}, why: Unknown},
		"unknown id":     {alter: func(k string) string { return strings.Replace(k, "robot-1", "robot-2", 1) }, why: Unknown},
		"no prefix":      {alter: func(k string) string { return k[1:] }, why: Malformed},
		"longer":         {alter: func(k string) string { return k + "A" }, why: Malformed},
		"line break":     {alter: func(k string) string { return k + "\n" }, why: Malformed},
		"empty":          {alter: func(string) string { return "" }, why: Malformed},
		"expired":        {change: func(k *Key) { k.Expires = now }, why: Expired},
		"not yet":        {change: func(k *Key) { k.NotBefore = now.Add(time.Hour) }, why: NotYet},
		"other network":  {change: func(k *Key) { k.Networks = []string{"10.2.0.0/16"} }, why: Network},
		"other method":   {change: func(k *Key) { k.Scopes = []string{"GET,HEAD /"} }, method: "POST", why: Scope},
		"other path":     {change: func(k *Key) { k.Scopes = []string{"* /reports/*"} }, path: "/admin", why: Scope},
		"like the path":  {change: func(k *Key) { k.Scopes = []string{"* /reports/*"} }, path: "/reportsx", why: Scope},
		"dots":           {change: func(k *Key) { k.Scopes = []string{"* /reports/*"} }, path: "/reports/../admin", why: Scope},
		"escaped dots":   {change: func(k *Key) { k.Scopes = []string{"* /reports/*"} }, path: "/reports/%2e%2e/admin", why: Scope},
		"escaped slash":  {change: func(k *Key) { k.Scopes = []string{"* /reports/*"} }, path: "/reports/..%2fadmin", why: Scope},
		"backslash":      {change: func(k *Key) { k.Scopes = []string{"* /reports/*"} }, path: "/reports/..%5cadmin", why: Scope},
		"escaped twice":  {change: func(k *Key) { k.Scopes = []string{"* /reports/*"} }, path: "/reports/%252e%252e/admin", why: Scope},
		"wide dots":      {change: func(k *Key) { k.Scopes = []string{"* /reports/*"} }, path: "/reports/%ef%bc%8e%ef%bc%8e/admin", why: Scope},
		"delimiter":      {change: func(k *Key) { k.Scopes = []string{"* /reports/x/*"} }, path: "/reports/x%3f", why: Scope},
		"override":       {change: func(k *Key) { k.Scopes = []string{"POST /"} }, method: "POST", path: "/?_method=DELETE", why: Scope},
		"double slash":   {change: func(k *Key) { k.Scopes = []string{"* /reports/*"} }, path: "/reports//x", why: Scope},
		"path parameter": {change: func(k *Key) { k.Scopes = []string{"* /reports/*"} }, path: "/reports/..;/admin", why: Scope},
	} {
		t.Run(name, func(t *testing.T) {
			s, key := newSource(t, c.change)
			if c.alter != nil {
				key = c.alter(key)
			}
			if c.method == "" {
				c.method = "GET"
			}
			if c.path == "" {
				c.path = "/"
			}
			user, refusal := s.Authenticate(nil, request(c.method, c.path, key))
			if user != nil || refusal == nil || refusal.Reason != c.why {
				t.Errorf("%v %v, want %s", user, refusal, c.why)
			}
		})
	}
}

func TestAScopeCoversItsPaths(t *testing.T) {
	s, key := newSource(t, func(k *Key) { k.Scopes, k.Networks = []string{"GET /reports/*", "* /x"}, []string{"10.1.0.0/16"} })
	for _, path := range []string{"/reports", "/reports/", "/reports/a/b", "/reports/a%20b", "/x"} {
		if _, refusal := s.Authenticate(nil, request("GET", path, key)); refusal != nil {
			t.Error(path, refusal)
		}
	}
}

// watchman locks everybody out.
type watchman struct{ failed int }

func (g *watchman) Locked(*http.Request) time.Duration { return time.Minute }
func (g *watchman) Failed(*http.Request)               { g.failed++ }

// TestNobodyLocksOutWhoHasAKey holds that guesses from the same network, which
// never find a key, keep no program out that has one.
func TestNobodyLocksOutWhoHasAKey(t *testing.T) {
	s, key := newSource(t, nil)
	g := &watchman{}
	s.Guard = g
	if user, refusal := s.Authenticate(nil, request("GET", "/", key)); user == nil {
		t.Error("a key is refused because of others:", refusal)
	}
	wrong := strings.Replace(key, "robot-1", "robot-2", 1)
	for _, key := range []string{wrong, "x", ""} {
		if _, refusal := s.Authenticate(nil, request("GET", "/", key)); refusal == nil || refusal.Reason != principal.LockedOut || refusal.Retry != time.Minute {
			t.Error(key, refusal)
		}
	}
	if g.failed != 0 {
		t.Error("who is locked out is counted", g.failed, "times")
	}
}

func TestAnOverrideIsJudgedToo(t *testing.T) {
	s, key := newSource(t, func(k *Key) { k.Scopes = []string{"GET,POST /x"} })
	for method, want := range map[string]principal.Reason{"DELETE": Scope, "POST": ""} {
		r := request("POST", "/x", key)
		r.Header.Set("X-Http-Method-Override", method)
		_, refusal := s.Authenticate(nil, r)
		if want == "" && refusal != nil || want != "" && (refusal == nil || refusal.Reason != want) {
			t.Error(method, refusal)
		}
	}
}

func TestListsThatCannotBe(t *testing.T) {
	_, hash, _ := New("a")
	for name, text := range map[string]string{
		"no list":       `{}`,
		"null":          `[null]`,
		"no id":         `[{"hash":"` + hash + `","expires":"2027-01-01T00:00:00Z"}]`,
		"no expiry":     `[{"id":"a","hash":"` + hash + `"}]`,
		"plain key":     `[{"id":"a","hash":"soc2k_a_x","expires":"2027-01-01T00:00:00Z"}]`,
		"short hash":    `[{"id":"a","hash":"sha256:00","expires":"2027-01-01T00:00:00Z"}]`,
		"long hash":     `[{"id":"a","hash":"` + hash + `00","expires":"2027-01-01T00:00:00Z"}]`,
		"unknown":       `[{"id":"a","hash":"` + hash + `","expires":"2027-01-01T00:00:00Z","role":"x"}]`,
		"twice":         `[{"id":"a","hash":"` + hash + `","expires":"2027-01-01T00:00:00Z"},{"id":"a","hash":"` + hash + `","expires":"2027-01-01T00:00:00Z"}]`,
		"odd scope":     `[{"id":"a","hash":"` + hash + `","expires":"2027-01-01T00:00:00Z","scopes":["GET reports"]}]`,
		"role with two": `[{"id":"a","hash":"` + hash + `","expires":"2027-01-01T00:00:00Z","roles":["a,b"]}]`,
		"network":       `[{"id":"a","hash":"` + hash + `","expires":"2027-01-01T00:00:00Z","networks":["10.0.0.1"]}]`,
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzKey(f *testing.F) {
	key, _, _ := New("robot-1")
	f.Add(key)
	f.Add("soc2k__")
	f.Fuzz(func(t *testing.T, text string) {
		if id, ok := split(text); ok && (!validID(id) || !strings.HasPrefix(text, prefix+id+"_")) {
			t.Fatalf("%q has the id %q", text, id)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`[{"id":"a","hash":"sha256:00","expires":"2027-01-01T00:00:00Z","scopes":["GET /"]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := Parse(data)
		for id, key := range keys {
			if err != nil || key.Expires.IsZero() || key.ID != id {
				t.Fatal(id)
			}
		}
	})
}
