package soc2_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"golang.org/x/crypto/bcrypt"
)

// protected is an upstream that must see only what the rules allow.
type protected struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
}

func newProtected(t *testing.T) *protected {
	t.Helper()
	p := &protected{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		p.mu.Lock()
		p.seen = append(p.seen, r)
		p.mu.Unlock()
		_, _ = io.WriteString(w, "secret")
	}))
	t.Cleanup(p.Close)
	return p
}

// take returns the requests since it was last called.
func (p *protected) take() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.seen
	p.seen = nil
	return list
}

const guardedSite = `
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
	}
}
SITE {
	soc2_access {
		rule admin {
			role admin
			path /admin/*
		}
		rule no_admin {
			deny
			path /admin/*
		}
		rule public {
			anonymous
			method GET POST
			path /*
		}
		identity {
			header X-User user
			header X-Roles roles
		}
	}
	reverse_proxy UPSTREAM
}`

// send sends bytes on a new connection, and returns the status of the answer, or
// 0 if there is none.
func (s *site) send(request string) int {
	s.t.Helper()
	status, _ := s.ask(request)
	return status
}

// ask is send, and also reports whether a handler answered.
func (s *site) ask(request string) (status int, handled bool) {
	s.t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"}}
	conn, err := (&tls.Dialer{Config: config}).DialContext(s.t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", s.https))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, false
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, false
	}
	_ = resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("X-Request-Id") != ""
}

// TestUpstreamBelievesOnlyTheProxy sends what would change who asks for what, to
// a path that is public.
func TestUpstreamBelievesOnlyTheProxy(t *testing.T) {
	up := newProtected(t)
	s := newSite(t)
	if err := s.load(strings.ReplaceAll(guardedSite, "UPSTREAM", up.Listener.Addr().String())); err != nil {
		t.Fatal(err)
	}
	host := fmt.Sprintf("localhost:%d", s.https)
	for _, fields := range []string{
		"X-User: root", "x-user: root", "X_User: root", "X.User: root", "X-Roles: admin", "X_ROLES: admin", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X_Original_URL: /admin", "X_HTTP_METHOD_OVERRIDE: DELETE",
		"Connection: X-User\r\nX-User: root", "X-User: a\r\nX-User: b",
		"Trailer: X-User\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-User: root",
	} {
		status := s.send("POST /public HTTP/1.1\r\nHost: " + host + "\r\n" + fields + "\r\n\r\n")
		seen := up.take()
		if status != 200 || len(seen) != 1 {
			t.Fatalf("%q: %d, %d requests", fields, status, len(seen))
		}
		for name, values := range seen[0].Header {
			if slices.ContainsFunc([]string{"user", "roles", "original", "rewrite", "override"}, func(w string) bool {
				return strings.Contains(strings.ToLower(name), w) && !strings.Contains(name, "User-Agent")
			}) {
				t.Errorf("%q: the upstream got %s: %q", fields, name, values)
			}
		}
		if v := seen[0].Trailer.Get("X-User"); v != "" {
			t.Errorf("%q: the upstream got the trailer %q", fields, v)
		}
	}
}

// TestEachDecisionIsInTheRecord also shows what is answered where no route is.
func TestEachDecisionIsInTheRecord(t *testing.T) {
	s := newSite(t)
	if err := s.load(`
	{
		GLOBAL
		soc2 {
			instance test
			data_dir DATA
		}
	}
	SITE {
		soc2_access {
			rule try {
				deny
				shadow
				path /public/old
			}
			rule public {
				anonymous
				path /public/* /nothing
			}
			rule closed {
				deny
				path /closed
			}
		}
		handle /public/* {
			respond "ok"
		}
		handle /hidden {
			respond "hidden"
		}
	}`); err != nil {
		t.Fatal(err)
	}
	before := figures(t)
	for _, c := range []struct {
		path                           string
		status                         int
		outcome, rule, reason, shadows string
	}{
		{"/public/x", 200, "allow", "public", "rule", ""},
		{"/public/old", 200, "allow", "public", "rule", "try"},
		{"/hidden", 401, "deny", "", "not_authenticated", ""},
		{"/unknown", 401, "deny", "", "not_authenticated", ""},
		{"/closed", 403, "deny", "closed", "rule", ""},
		{"/nothing", 404, "deny", "public", "no_route", ""},
		{"/public/a%2fx", 400, "deny", "", "path_encoded_slash", ""},
	} {
		a := s.get(s.url(c.path))
		if a.status != c.status {
			t.Errorf("%s: %d, want %d", c.path, a.status, c.status)
		}
		got := s.requests()[a.header.Get("X-Request-Id")].Access
		if got.Outcome != c.outcome || got.Rule != c.rule || got.Reason != c.reason || got.Shadow != c.shadows || len(got.Policy) != 32 {
			t.Errorf("%s: %+v", c.path, got)
		}
	}
	grew(t, before, map[string]float64{
		"access_decisions_total outcome=allow policy=default rule=public":    3,
		"access_decisions_total outcome=no_route policy=default rule=public": 1,
		"access_decisions_total outcome=shadow_deny policy=default rule=try": 1,
		"access_decisions_total outcome=deny policy=default rule=try":        0,
		"access_decisions_total outcome=deny policy=default rule=closed":     1,
		"access_decisions_total outcome=deny policy=default rule=":           3,
		"access_break_glass_open": 0,
	})
}

// TestValidateNamesWhatIsWrongWithRulesAndSecrets holds what "caddy validate"
// says, which provisions and does not start.
func TestValidateNamesWhatIsWrongWithRulesAndSecrets(t *testing.T) {
	s := newSite(t)
	const good = "soc2_access {\nrule staff {\nrole staff\n}\n}\n"
	for site, want := range map[string][]string{
		good: nil,
		"soc2_access {\nrule ghost {\nanonymous\nrole staff\n}\n}\n":                                            {"rule ghost", "can never match"},
		"soc2_access {\nrule all {\nanonymous\n}\nrule closed {\ndeny\npath /closed\n}\n}\n":                    {"closed", "all"},
		"soc2_access {\nrule ldap {\nrole ldap:staff\n}\n}\n":                                                   {"rule ldap", `no source of roles "ldap"`},
		"soc2_access {\nrule broken {\ncel \"principal ==\"\n}\n}\n":                                            {"rule broken"},
		"soc2_auth {\npassword {env.SOC2_TEST_UNSET}\n}\n" + good:                                               {"password: file", "SOC2_TEST_UNSET is not set"},
		"soc2_auth {\noidc https://idp.example {\nclient_id a\nsession_keys {file.ROOT/missing}\n}\n}\n" + good: {"session_keys", "no such file"},
	} {
		out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(s.filled("{\nGLOBAL\nsoc2 {\ninstance test\ndata_dir DATA\n}\n}\nSITE {\n"+site+"respond ok\n}\n")), nil)
		if err != nil {
			t.Fatal(err)
		}
		var config *caddy.Config
		if err := json.Unmarshal(out, &config); err != nil {
			t.Fatal(err)
		}
		err = caddy.Validate(config)
		if (err == nil) != (want == nil) {
			t.Errorf("%q: %v, want %q", site, err, want)
		}
		for _, part := range want {
			if err != nil && !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %v, want %q", site, err, part)
			}
		}
	}
}

// TestRulesFollowAuthentication has the directive written before the
// authentication, which it comes after all the same.
func TestRulesFollowAuthentication(t *testing.T) {
	up := newProtected(t)
	s := newSite(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.load(`
	{
		GLOBAL
		soc2 {
			instance test
			data_dir DATA
		}
	}
	SITE {
		reverse_proxy ` + up.Listener.Addr().String() + `
		soc2_access {
			assign admin alice
			rule admin {
				role admin
				path /admin/*
			}
			identity {
				header X-User user
				assertion {
					audience app
				}
			}
		}
		basic_auth {
			alice ` + string(hash) + `
			bob ` + string(hash) + `
		}
		handle /jwks {
			soc2_jwks
		}
	}`); err != nil {
		t.Fatal(err)
	}
	for who, want := range map[string]int{"alice": 200, "bob": 403} {
		a := s.get(s.url("/admin/x"), func(r *http.Request) { r.SetBasicAuth(who, "secret"); r.Header.Set("X-User", "root") })
		seen := up.take()
		if a.status != want || (len(seen) == 1) != (want == 200) {
			t.Fatalf("%s: %d, %d requests", who, a.status, len(seen))
		}
		if want == 200 && (seen[0].Header.Get("X-User") != who || strings.Count(seen[0].Header.Get("X-Soc2-Assertion"), ".") != 2) {
			t.Errorf("%v", seen[0].Header)
		}
		if r := s.requests()[a.header.Get("X-Request-Id")]; r.Auth.User != who {
			t.Errorf("%+v", r)
		}
	}
	if a := s.get(s.url("/admin/x")); a.status != 401 || len(up.take()) > 0 {
		t.Error(a.status)
	}
}
