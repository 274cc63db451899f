package oidc

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwt"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/session"
)

var now = time.Unix(1_800_000_000, 0)

// newSource makes a source of one provider and client; its keys are those of all.
func newSource(t *testing.T, change func(*Source)) *Source {
	t.Helper()
	keys, err := session.ParseKeys([]byte("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	if err != nil {
		t.Fatal(err)
	}
	ended, err := session.OpenEnded("")
	if err != nil {
		t.Fatal(err)
	}
	s := &Source{
		Issuer: "https://idp.example", ClientID: "app", Seals: keys, Ended: ended, Paths: DefaultPaths,
		Limits: session.Limits{Idle: time.Minute, Absolute: time.Hour}, Now: func() time.Time { return now },
	}
	if change != nil {
		change(s)
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	return s
}

// cookie is a session as its source seals it, under the name that another reads.
func (s *Source) cookie(t *testing.T, reader *Source) *http.Request {
	t.Helper()
	sealed, err := s.sessions.SealSession(&session.Session{ID: "1", User: "alice", Subject: "alice", Begun: now.Unix(), Seen: now.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
	r.AddCookie(&http.Cookie{Name: reader.sessionCookie(), Value: sealed})
	return r
}

// TestASessionIsOneWhereTheSameIsAskedOfIt holds that a login at a site that asks
// for little is none at a site of the same provider and keys that asks for more.
func TestASessionIsOneWhereTheSameIsAskedOfIt(t *testing.T) {
	lax := newSource(t, nil)
	if user, refusal := newSource(t, nil).Authenticate(httptest.NewRecorder(), lax.cookie(t, lax)); refusal != nil || user.ID != "alice" {
		t.Fatal(user, refusal)
	}
	for name, change := range map[string]func(*Source){
		"require": func(s *Source) { s.Require = map[string][]string{"amr": {"mfa"}} },
		"user":    func(s *Source) { s.Names.User = "email" },
		"roles":   func(s *Source) { s.Names = jwt.Names{Roles: "groups"} },
		"client":  func(s *Source) { s.ClientID = "other" },
	} {
		strict := newSource(t, change)
		if user, refusal := strict.Authenticate(httptest.NewRecorder(), lax.cookie(t, strict)); user != nil || refusal == nil || refusal.Reason != session.Forged {
			t.Errorf("%s: %v %v", name, user, refusal)
		}
	}
}

func TestNoAddressLeadsElsewhere(t *testing.T) {
	for _, path := range []string{
		"", "x", "//evil.example", `/\evil.example`, `\/evil.example`, "/\tx", "/\n//evil.example", "https://evil.example", "javascript:alert(1)", "/%zz", "/x y", "/é",
	} {
		if local(path) {
			t.Errorf("%q is taken for a path of the site", path)
		}
	}
	for _, path := range []string{"/", "/a?b=//c", "/a/../b", "/.//x"} {
		if !local(path) {
			t.Errorf("%q is refused", path)
		}
	}
}

func FuzzSingle(f *testing.F) {
	f.Add("code=a&state=b")
	f.Add("state=a&state=b")
	f.Add("a=%zz;b=1")
	f.Fuzz(func(t *testing.T, query string) {
		m, ok := single(query)
		if !ok {
			return
		}
		all, err := url.ParseQuery(query)
		if err != nil || len(all) != len(m) {
			t.Fatalf("%v, %v", all, err)
		}
		for name, list := range all {
			if len(list) != 1 || m[name] != list[0] {
				t.Fatalf("%q: %q and %q", name, list, m[name])
			}
		}
	})
}
