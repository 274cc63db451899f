package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

// reference decides by the text of the rules alone, one after the other, as
// their documentation says.
type reference struct {
	policy  *Policy
	sources []string
}

type verdict struct {
	allow  bool
	rule   string
	reason Reason
	shadow string
}

func (ref reference) decide(q *Request) verdict {
	var shadow string
	for _, r := range ref.policy.Rules {
		if !ref.matches(r, q) {
			continue
		}
		v := verdict{rule: r.Name, reason: ByRule, allow: r.Effect != Deny}
		if r.Effect != Deny && r.Require != nil {
			v.reason = ref.requirement(r.Require, q)
			v.allow = v.reason == ByRule
		}
		if r.Shadow {
			if shadow == "" {
				shadow = fmt.Sprint(r.Name, v.allow)
			}
			continue
		}
		v.shadow = shadow
		return v
	}
	if q.Principal == "" {
		return verdict{reason: NotAuthenticated, shadow: shadow}
	}
	return verdict{reason: NoRule, shadow: shadow}
}

func (ref reference) requirement(need *Require, q *Request) Reason {
	if need.MFA && !q.MFA {
		return MFARequired
	}
	if need.MaxTokenAge > 0 && q.IssuedAt.IsZero() {
		return TokenAgeUnknown
	}
	if need.MaxTokenAge > 0 && q.Now.Sub(q.IssuedAt) > need.MaxTokenAge {
		return TokenTooOld
	}
	if len(need.Methods) > 0 && !in(q.AuthMethod, need.Methods) {
		return MethodRequired
	}
	return ByRule
}

func in(s string, list []string) bool {
	return slices.Contains(list, s)
}

func (ref reference) matches(r *Rule, q *Request) bool {
	if q.Principal == "" && r.Effect != Deny && !r.Anonymous {
		return false
	}
	if len(r.Roles) > 0 && !ref.hasOne(r.Roles, q) {
		return false
	}
	if len(r.Principals) > 0 {
		found := false
		for _, p := range r.Principals {
			found = found || q.Principal == p || strings.HasPrefix(p, "*") && q.Principal != "" && strings.HasSuffix(q.Principal, p[1:])
		}
		if !found {
			return false
		}
	}
	for _, c := range r.Claims {
		if v, _ := q.Claims.Claim(c.Name); v == "" || len(c.Values) > 0 && !in(v, c.Values) {
			return false
		}
	}
	if len(r.Networks) > 0 {
		found := false
		for _, n := range r.Networks {
			found = found || netip.MustParsePrefix(n).Contains(q.Client)
		}
		if !found {
			return false
		}
	}
	if len(r.Methods) > 0 && !in(q.Methods[0], r.Methods) && (q.Methods[0] != "HEAD" || !in("GET", r.Methods)) {
		return false
	}
	if len(r.Hosts) > 0 && !in(strings.ToLower(q.Host), r.Hosts) {
		return false
	}
	if len(r.Paths) > 0 && !anyPath(r.Paths, strings.ToLower(path.Clean(q.Path))) {
		return false
	}
	if !r.Until.IsZero() && !q.Now.Before(r.Until) {
		return false
	}
	switch r.CEL { // the generator knows three
	case "":
	case `mfa`:
		return q.MFA
	case `claims["dept"] == "it"`:
		v, ok := q.Claims.Claim("dept")
		if !ok {
			return r.Effect == Deny // it fails
		}
		return v == "it"
	case `path.startsWith("/a")`:
		return strings.HasPrefix(strings.ToLower(path.Clean(q.Path)), "/a")
	default:
		panic(r.CEL)
	}
	return true
}

func (ref reference) hasOne(roles []string, q *Request) bool {
	if q.Principal == "" {
		return false
	}
	for _, role := range roles {
		for i, list := range q.Roles {
			for v := range strings.SplitSeq(list, ",") {
				if v == role || ref.sources[i]+":"+v == role {
					return true
				}
			}
		}
		for assigned, names := range ref.policy.Assign {
			if in(q.Principal, names) && (assigned == role || "user:"+assigned == role) {
				return true
			}
		}
	}
	return false
}

func anyPath(list []string, p string) bool {
	for _, pattern := range list {
		pattern = strings.ToLower(pattern)
		switch {
		case pattern == "/*":
			return true
		case strings.Contains(strings.TrimSuffix(pattern, "/*"), "/*/"):
			want, got := strings.Split(strings.TrimSuffix(pattern, "/*"), "/"), strings.Split(p, "/")
			if len(got) < len(want) || len(got) > len(want) && !strings.HasSuffix(pattern, "/*") {
				continue
			}
			same := true
			for i := range want {
				same = same && (want[i] == "*" && got[i] != "" || want[i] == got[i])
			}
			if same {
				return true
			}
		case strings.HasSuffix(pattern, "/*"):
			if p == strings.TrimSuffix(pattern, "/*") || strings.HasPrefix(p, strings.TrimSuffix(pattern, "*")) {
				return true
			}
		case strings.HasSuffix(pattern, "*"):
			if strings.HasPrefix(p, strings.TrimSuffix(pattern, "*")) {
				return true
			}
		case strings.HasPrefix(pattern, "*"):
			if strings.HasSuffix(p, pattern[1:]) {
				return true
			}
		case p == pattern:
			return true
		}
	}
	return false
}

// bag is what is known of a principal.
type bag map[string]string

func (b bag) Claim(name string) (string, bool) { v, ok := b[name]; return v, ok }

type generator struct{ *rand.Rand }

func (g generator) some(from []string, chance int) (list []string) {
	if g.IntN(100) >= chance {
		return nil
	}
	for range 1 + g.IntN(2) {
		if s := from[g.IntN(len(from))]; !in(s, list) {
			list = append(list, s)
		}
	}
	return list
}

func (g generator) one(from []string) string { return from[g.IntN(len(from))] }

var (
	genSources    = []string{"user", "idp"}
	genRoles      = []string{"admin", "staff", "idp:staff", "user:ops", "ops", "dev"}
	genHeld       = []string{"admin", "staff", "ops", "dev", "other", "administrator"}
	genPrincipals = []string{"alice", "bob", "*@example.com", "carol@example.com"}
	genPaths      = []string{"/*", "/a", "/a/*", "/A/B/*", "/a*", "*.php", "/b", "/b/*/c", "/b/*/c/*", "/a/b/c"}
	genMethods    = []string{"GET", "HEAD", "POST", "DELETE"}
	genHosts      = []string{"example.com", "admin.example.com"}
	genNetworks   = []string{"192.0.2.0/24", "192.0.2.128/25", "2001:db8::/32"}
	genTime       = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
)

func (g generator) policy() *Policy {
	p := &Policy{Assign: map[string][]string{"ops": {"alice"}, "dev": {"bob", "carol@example.com"}}}
	for i := range 1 + g.IntN(90) {
		r := &Rule{
			Name: fmt.Sprintf("r%d", i), Roles: g.some(genRoles, 40), Principals: g.some(genPrincipals, 20), Paths: g.some(genPaths, 70),
			Methods: g.some(genMethods, 40), Hosts: g.some(genHosts, 20), Networks: g.some(genNetworks, 20), Shadow: g.IntN(8) == 0,
		}
		if g.IntN(3) == 0 {
			r.Effect = Deny
		}
		if g.IntN(8) == 0 {
			r.Claims = []Claim{{"dept", g.some([]string{"it", "hr"}, 70)}}
		}
		if g.IntN(10) == 0 {
			r.CEL = g.one([]string{`mfa`, `claims["dept"] == "it"`, `path.startsWith("/a")`})
		}
		if g.IntN(10) == 0 {
			r.Until = genTime.Add(time.Duration(g.IntN(3)-1) * time.Hour)
		}
		if r.Effect != Deny && len(r.Roles)+len(r.Principals)+len(r.Claims) == 0 {
			r.Anonymous = g.IntN(2) == 0
		}
		if r.Effect != Deny && !r.Anonymous && g.IntN(4) == 0 {
			r.Require = &Require{MFA: g.IntN(2) == 0, Methods: g.some([]string{"oidc", "mtls"}, 50)}
			if g.IntN(2) == 0 {
				r.Require.MaxTokenAge = time.Hour
			}
		}
		p.Rules = append(p.Rules, r)
	}
	return p
}

func (g generator) request() *Request {
	q := &Request{
		Roles: []string{strings.Join(g.some(genHeld, 60), ","), strings.Join(g.some(genHeld, 40), ",")},
		MFA:   g.IntN(2) == 0, AuthMethod: g.one([]string{"oidc", "jwt"}), Claims: bag{"dept": g.one([]string{"", "it", "hr"})},
		Client: netip.MustParseAddr(g.one([]string{"192.0.2.1", "192.0.2.200", "2001:db8::1", "203.0.113.1"})),
		Host:   g.one([]string{"example.com", "Admin.Example.COM", "other.example"}), Methods: []string{g.one(append(genMethods, "PATCH"))},
		Path: g.one([]string{"/", "/a", "/a/", "/A/b", "/a//b/c", "/ab", "/x.php", "/b", "/b/x/c", "/b/x/y/c", "/b/x/c/d", "/a/b/c", "/none"}),
		Now:  genTime,
	}
	if g.IntN(5) > 0 {
		q.Principal = g.one([]string{"alice", "bob", "carol@example.com", "x@example.com"})
	} else {
		q.Roles, q.Claims = []string{"", ""}, bag{}
	}
	if g.IntN(3) > 0 {
		q.IssuedAt = genTime.Add(-time.Duration(g.IntN(120)) * time.Minute)
	}
	return q
}

// TestDecisionsEqualThoseOfTheReference generates policies and requests.
func TestDecisionsEqualThoseOfTheReference(t *testing.T) {
	reasons := map[Reason]int{}
	for seed := range uint64(400) {
		g := generator{rand.New(rand.NewPCG(seed, 1))}
		p := g.policy()
		e, err := New(p, genSources, genTime)
		if err != nil {
			t.Fatal(err)
		}
		ref := reference{p, genSources}
		for range 150 {
			q := g.request()
			want, d := ref.decide(q), e.Decide(q)
			got := verdict{allow: d.Allow, rule: d.Rule, reason: d.Reason}
			if d.Shadow != nil {
				got.shadow = fmt.Sprint(d.Shadow.Rule, d.Shadow.Allow)
			}
			// A rule that denies because its expression fails says so.
			if got.reason == ExpressionFailed && want.reason == ByRule {
				got.reason = ByRule
			}
			if got != want {
				t.Fatalf("seed %d: %+v\ngot %+v, want %+v", seed, q, got, want)
			}
			checkExplained(t, e, q, d)
			reasons[d.Reason]++
		}
		checkShadowed(t, g, p, e)
	}
	for _, r := range []Reason{ByRule, NoRule, NotAuthenticated, MFARequired, TokenTooOld, TokenAgeUnknown, MethodRequired, ExpressionFailed} {
		if reasons[r] == 0 {
			t.Errorf("no request was decided for the reason %s: the generator has become useless", r)
		}
	}
}

// checkExplained holds the explanation against the decision.
func checkExplained(t *testing.T, e *Engine, q *Request, d Decision) {
	t.Helper()
	_, list := e.Explain(q)
	if len(list) != 1 {
		t.Fatalf("%d readings of %q", len(list), q.Path)
	}
	var decided string
	for _, s := range list[0].Steps {
		if s.Matches && !s.Shadow {
			decided = s.Rule
		}
	}
	if decided != d.Rule {
		t.Fatalf("%+v: explained by rule %q, decided by %q", q, decided, d.Rule)
	}
}

// checkShadowed asks for requests that a rule decides that was found never to.
func checkShadowed(t *testing.T, g generator, p *Policy, e *Engine) {
	t.Helper()
	dead := map[string]bool{}
	for _, f := range e.Findings() {
		if strings.Contains(f.Text, "can never decide") {
			dead[f.Rule] = true
		}
	}
	for range 100 {
		q := g.request()
		d := e.Decide(q)
		if dead[d.Rule] || d.Shadow != nil && dead[d.Shadow.Rule] && d.Shadow.Rule != "" && !sameShadow(p, d) {
			t.Fatalf("rule %s was found never to decide, and decides %+v", d.Rule, q)
		}
	}
}

// sameShadow says that a shadow rule may still be the first of its kind behind a
// rule that is no shadow.
func sameShadow(p *Policy, d Decision) bool {
	return d.Shadow.Rule != d.Rule
}
