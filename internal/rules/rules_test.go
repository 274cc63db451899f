package rules

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// guarded is a public site with one part for administrators.
func guarded(t testing.TB, tolerate ...string) *Engine {
	t.Helper()
	e, err := New(&Policy{Tolerate: tolerate, Rules: []*Rule{
		{Name: "no-admin", Effect: Deny, Paths: []string{"/admin/*"}},
		{Name: "public", Anonymous: true, Paths: []string{"/*"}},
	}}, []string{UserSource}, genTime)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func ask(e *Engine, target string) Decision {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return Decision{Reason: "unparsable"}
	}
	return e.Decide(&Request{Methods: []string{"GET"}, Path: u.Path, RawPath: u.RawPath, Now: genTime})
}

var disguises = []string{
	"/admin", "/admin/", "/admin/x", "/ADMIN", "/Admin/X", "//admin", "///admin//x", "/./admin", "/x/../admin", "/x/..//admin",
	"/%61dmin", "/%41DMIN", "/admin%2fx", "/admin%2Fx", "/x%2f..%2fadmin", "/%2e/admin", "/x/%2e%2e/admin", "/x/.%2E/admin",
	"/%2561dmin", "/%252fadmin", "/x/%252e%252e/admin", "/%25%36%31dmin", "/%u0061dmin", "/admin;x=1", "/admin;/x", "/;/admin", "/x/..;/admin", "/;x=y/admin",
	"//example.com/admin", "///example.com/admin", "//example.com//admin/x", "//a@b:80/admin", "/\\example.com/admin", "/\\admin", "/x\\..\\admin", "/%5cadmin", "/x%5c..%5cadmin", "/admin%5cx", "/admin.", "/admin./x", "/admin%20", "/admin%20/x", "/admin...", "/admin%00", "/admin%0a",
	"/admin%3fx", "/admin%23x", "/admin%c0%af", "/%c0%ae%c0%ae/admin", "/%ff/admin", "/\uff41dmin", "/%ef%bd%81dmin", "/admin%ef%bc%8fx", "/adm\u0131n/../admin",
	"/x/%e2%80%a5/admin", "/admin%09", "/%20/../admin", "/admin/%2e", "/admin/..%2fadmin",
}

// TestNoDisguiseOfAPathPasses tries each with the default and with everything
// tolerated.
func TestNoDisguiseOfAPathPasses(t *testing.T) {
	every := []string{"encoded_slash", "backslash", "semicolon", "percent", "delimiter"}
	for _, e := range []*Engine{guarded(t), guarded(t, every...)} {
		for _, target := range disguises {
			if d := ask(e, target); d.Allow {
				t.Errorf("%q, tolerating %v: %+v", target, e.policy.Tolerate, d)
			}
		}
	}
}

// TestPathsThatOnlyLookOddPass tells what the care costs.
func TestPathsThatOnlyLookOddPass(t *testing.T) {
	e := guarded(t)
	for _, target := range []string{
		"/", "/x", "/x/", "/X/Y", "/administrator", "/x/admin", "/x//y", "/E.T.", "/a%20b", "/100%25", "/caf%C3%A9", "/a,b:c@d=e+f&g'(h)!*~$", "/.well-known/x",
		"/x..y", "/..x", "/...", "/%E2%84%AA", "/a-b_c.d", "/%61",
	} {
		if d := ask(e, target); !d.Allow {
			t.Errorf("%q: %+v", target, d)
		}
	}
	tolerant := guarded(t, "encoded_slash", "semicolon", "percent", "backslash", "delimiter")
	for _, target := range []string{"/x%2fy", "/x;y=1/z", "/a%252fb", "/a%5cb", "/a%3fb", "/x%2fadmin", "/x;admin"} {
		if d := ask(tolerant, target); !d.Allow {
			t.Errorf("tolerated %q: %+v", target, d)
		}
		if d := ask(e, target); d.Allow {
			t.Errorf("%q is allowed though not tolerated", target)
		}
	}
}

// TestEachOddityHasItsReason holds the reasons of records.
func TestEachOddityHasItsReason(t *testing.T) {
	e := guarded(t)
	for target, want := range map[string]Reason{
		"/a/../b": PathDots, "/a%2fb": PathEncodedSlash, "/a%5cb": PathBackslash, "/a%252fb": PathPercent, "/a;b": PathSemicolon,
		"/a%3fb": PathDelimiter, "/a%00": PathControl, "/a%ff": PathInvalid, "http:x": PathForm,
	} {
		if d := ask(e, target); d.Reason != want || d.Allow {
			t.Errorf("%q: %+v, want %s", target, d, want)
		}
	}
	if d := e.Decide(&Request{Methods: []string{"OPTIONS"}, Path: "*"}); d.Reason != PathForm {
		t.Errorf("*: %+v", d)
	}
}

// TestOfSeveralMethodsTheRefusedOneCounts is what keeps overrides out.
func TestOfSeveralMethodsTheRefusedOneCounts(t *testing.T) {
	e, err := New(&Policy{Rules: []*Rule{{Name: "read", Anonymous: true, Methods: []string{"GET", "POST"}}}}, []string{UserSource}, genTime)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		methods []string
		allow   bool
	}{{[]string{"POST"}, true}, {[]string{"HEAD"}, true}, {[]string{"POST", "DELETE"}, false}, {[]string{"DELETE", "POST"}, false}, {[]string{"get"}, false}, {[]string{"POST", "GET"}, true}} {
		if d := e.Decide(&Request{Methods: c.methods, Path: "/"}); d.Allow != c.allow {
			t.Errorf("%v: %+v", c.methods, d)
		}
	}
}

// TestBadRulesAreNamed holds what is told about them.
func TestBadRulesAreNamed(t *testing.T) {
	day := genTime
	for want, r := range map[string]Rule{
		"no source of roles":                  {Roles: []string{"ldap:x"}},
		"effect":                              {Effect: "permit"},
		"can never match a request without":   {Anonymous: true, Roles: []string{"x"}},
		"for requests without a principal":    {Effect: Deny, Anonymous: true},
		"must begin with /":                   {Paths: []string{"admin"}},
		"without // and dot segments":         {Paths: []string{"/a/../b"}},
		"decoded text":                        {Paths: []string{"/a%20b"}},
		"neither an address":                  {Networks: []string{"10.0.0.0/33"}},
		"bits beyond":                         {Networks: []string{"10.0.0.1/8"}},
		"in capitals":                         {Methods: []string{"get"}},
		"without a port":                      {Hosts: []string{"a:443"}},
		"begins at":                           {From: day, Until: day},
		"time of day":                         {Times: []Window{{Begin: "8", End: "18:00"}}},
		"ends when it begins":                 {Times: []Window{{Begin: "08:00", End: "08:00"}}},
		"not a day":                           {Times: []Window{{Days: []string{"monday"}}}},
		"name of a time zone":                 {Times: []Window{{Zone: "Mars/Olympus"}}},
		"two values":                          {Claims: []Claim{{"a", []string{"1"}}, {"a", []string{"2"}}}},
		"always false":                        {CEL: `1 > 2 && principal == "x"`},
		"undeclared reference":                {CEL: `user == "x"`},
		"must be true or false":               {CEL: `principal`},
		"require is for rules that allow":     {Effect: Deny, Require: &Require{MFA: true}},
		"never has what it requires":          {Anonymous: true, Require: &Require{MFA: true}},
		"max_token_age":                       {Require: &Require{MaxTokenAge: -1}},
		"no comma":                            {Roles: []string{"a,b"}},
		"an empty claim counts as none":       {Claims: []Claim{{"a", []string{""}}}},
		"principal: a name is empty":          {Principals: []string{""}},
		"goes with no other but one at the e": {Paths: []string{"*a*b"}},
	} {
		r.Name = "odd"
		_, err := New(&Policy{Rules: []*Rule{&r}}, []string{UserSource, "idp"}, genTime)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "rule odd: ") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// TestARequestOfManyMethodsCostsLittle holds that who names thousands of methods
// gets no decision on each.
func TestARequestOfManyMethodsCostsLittle(t *testing.T) {
	e, err := New(&Policy{Rules: []*Rule{{Name: "all", Anonymous: true}}}, []string{UserSource}, genTime)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{MaxMethods - 1, MaxMethods, 5000} {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: "/"}, Header: http.Header{}}
		var list []string
		for i := range n {
			list = append(list, fmt.Sprint("m", i))
		}
		r.Header.Set("X-Http-Method-Override", strings.Join(list, ","))
		r.URL.RawQuery = "_method=" + strings.Join(list, "&_method=")
		q := &Request{Methods: MethodsOf(r), Path: "/"}
		if len(q.Methods) > MaxMethods+1 {
			t.Errorf("%d methods are looked at", len(q.Methods))
		}
		if d := e.Decide(q); d.Allow != (n < MaxMethods) || !d.Allow && d.Reason != MethodForm {
			t.Errorf("%d methods: %+v", n+1, d)
		}
	}
}

// TestMapsOfARequestHaveNoListOfKeys holds that no expression goes through a map
// that it can only ask, and so takes for empty.
func TestMapsOfARequestHaveNoListOfKeys(t *testing.T) {
	for _, text := range []string{
		`headers.all(h, h != "x-debug")`, `query.exists(k, k == "x")`, `claims.map(k, k).size() == 0`, `!claims.exists_one(k, k == "banned")`,
		`[1].all(i, headers.all(h, h == "x"))`, `(mfa ? claims : query).all(k, k == "x")`, `roles.filter(r, claims.all(k, k == r)).size() == 0`,
	} {
		_, err := New(&Policy{Rules: []*Rule{{Name: "odd", CEL: text}}}, []string{UserSource}, genTime)
		if err == nil || !strings.Contains(err.Error(), "no list of keys") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{`roles.exists(r, r == "x")`, `"x" in headers`, `{"a": 1}.all(k, k == principal)`, `has(claims.dept)`} {
		if _, err := New(&Policy{Rules: []*Rule{{Name: "even", CEL: text}}}, []string{UserSource}, genTime); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestRulesThatDoNothingAreFound tells errors from warnings.
func TestRulesThatDoNothingAreFound(t *testing.T) {
	all := Rule{Name: "first"}
	for name, c := range map[string]struct {
		first, second Rule
		found, grave  bool
	}{
		"deny after allow":        {all, Rule{Effect: Deny, Roles: []string{"x"}}, true, true},
		"deny of anybody":         {all, Rule{Effect: Deny}, false, false},
		"allow after deny":        {Rule{Effect: Deny, Paths: []string{"/a/*"}}, Rule{Paths: []string{"/a/b", "/a/c/*"}}, true, true},
		"the same again":          {Rule{Methods: []string{"GET"}}, Rule{Methods: []string{"HEAD"}}, true, false},
		"narrower path first":     {Rule{Paths: []string{"/a/b"}}, Rule{Paths: []string{"/a/*"}}, false, false},
		"another role":            {Rule{Roles: []string{"x"}}, Rule{Roles: []string{"x", "y"}}, false, false},
		"narrower network second": {Rule{Networks: []string{"10.0.0.0/8"}}, Rule{Networks: []string{"10.1.0.0/16"}}, true, false},
		"shadow first":            {Rule{Shadow: true}, Rule{}, false, false},
		"expression first":        {Rule{CEL: "mfa"}, Rule{}, false, false},
		"ended":                   {Rule{Paths: []string{"/a"}}, Rule{Until: genTime}, true, false},
		"glob":                    {Rule{Paths: []string{"/a/*"}}, Rule{Paths: []string{"/a/*/c"}}, true, false},
		"glob before":             {Rule{Paths: []string{"/a/x/*"}}, Rule{Paths: []string{"/a/*/c"}}, false, false},
		"host":                    {Rule{Hosts: []string{"*.example.com"}}, Rule{Hosts: []string{"a.example.com"}}, true, false},
	} {
		c.first.Name, c.second.Name = "first", "second"
		e, err := New(&Policy{Rules: []*Rule{&c.first, &c.second}}, []string{UserSource}, genTime)
		if err != nil {
			t.Fatal(name, err)
		}
		list := e.Findings()
		if (len(list) == 1) != c.found || c.found && (list[0].Error != c.grave || list[0].Rule != "second") {
			t.Errorf("%s: %+v", name, list)
		}
	}
}

// TestWindowsOfTheWeek holds borders, nights and time zones.
func TestWindowsOfTheWeek(t *testing.T) {
	office := Window{Days: []string{"mon-fri"}, Begin: "08:00", End: "18:00", Zone: "Europe/Berlin"}
	night := Window{Days: []string{"fri"}, Begin: "22:00", End: "06:00"}
	for _, c := range []struct {
		window Window
		at     string
		holds  bool
	}{
		{office, "2026-11-20T06:59:59Z", false},
		{office, "2026-11-20T07:00:00Z", true},
		{office, "2026-11-20T16:59:59Z", true},
		{office, "2026-11-20T17:00:00Z", false},
		{office, "2026-11-21T10:00:00Z", false},
		{office, "2026-07-01T06:00:00Z", true},
		{night, "2026-11-20T21:59:00Z", false},
		{night, "2026-11-20T22:00:00Z", true},
		{night, "2026-11-21T05:59:00Z", true},
		{night, "2026-11-21T06:00:00Z", false},
		{night, "2026-11-20T05:00:00Z", false},
		{Window{Days: []string{"sat-mon"}}, "2026-11-22T00:00:00Z", true},
		{Window{Days: []string{"sat-mon"}}, "2026-11-24T00:00:00Z", false},
		{Window{Begin: "00:00", End: "24:00"}, "2026-11-24T23:59:59Z", true},
	} {
		w, err := parseWindow(c.window)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if w.holds(at) != c.holds {
			t.Errorf("%+v at %s: %v", c.window, c.at, !c.holds)
		}
	}
}

// TestHostsAreComparedAsNames holds the forms of Host.
func TestHostsAreComparedAsNames(t *testing.T) {
	for host, want := range map[string]string{
		"Example.COM:443": "example.com", "example.com.": "example.com", "example.com.:80": "example.com", "[2001:DB8::1]:443": "2001:db8::1",
		"[2001:db8::1]": "2001:db8::1", "2001:db8::1": "2001:db8::1", "": "", ":80": "",
	} {
		if got := canonicalHost(host); got != want {
			t.Errorf("%q: %q", host, got)
		}
	}
}

// TestExpressionsSeeTheRequest holds each variable.
func TestExpressionsSeeTheRequest(t *testing.T) {
	q := &Request{
		Principal: "alice", AuthMethod: "oidc", Roles: []string{"staff, ops", "x"}, Claims: bag{"dept": "it"}, MFA: true, IssuedAt: genTime.Add(-time.Hour),
		Client: netip.MustParseAddr("192.0.2.1"), Methods: []string{"GET"}, Host: "Example.com:443", Path: "/A/b", Query: "id=7&id=8",
		Header: map[string][]string{"X-Team": {"a", "b"}}, Now: genTime,
	}
	for expr, want := range map[string]bool{
		`principal == "alice" && auth_method == "oidc" && method == "GET" && path == "/a/b" && host == "example.com"`: true,
		`"staff" in roles && "ops" in roles && "x" in roles && "assigned" in roles && !("y" in roles)`:                true,
		`roles.exists(r, r.startsWith("st"))`: true,
		`claims.dept == "it" && claims["dept"] == "it" && "dept" in claims && has(claims.dept) && !has(claims.other)`: true,
		`claims.other == "x"`: false, // fails
		`headers["x-team"] == "a,b" && !("cookie" in headers)`:                        true,
		`query["id"] == "7" && client_ip == "192.0.2.1" && mfa`:                       true,
		`now - issued_at == duration("1h") && now.getDayOfWeek("Europe/Berlin") == 6`: true,
		`size(claims) > 0`: false, // fails
	} {
		e, err := New(&Policy{Assign: map[string][]string{"assigned": {"alice"}}, Rules: []*Rule{{Name: "r", CEL: expr}}}, []string{UserSource, "idp"}, genTime)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if d := e.Decide(q); d.Allow != want {
			t.Errorf("%s: %+v", expr, d)
		}
	}
}

// FuzzPath holds that no spelling of a path that decodes or cleans to a guarded
// one is allowed, and that readings are of one form.
func FuzzPath(f *testing.F) {
	for _, s := range disguises {
		f.Add(s)
	}
	strict, tolerant := guarded(f), guarded(f, "encoded_slash", "backslash", "semicolon", "percent", "delimiter")
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		for _, e := range []*Engine{strict, tolerant} {
			list, reason := readings(nil, u.Path, u.RawPath, e.tolerate)
			if (len(list) == 0) == (reason == "") || len(list) > maxReadings+1 {
				t.Fatalf("%q: %d readings, %q", target, len(list), reason)
			}
			for _, p := range list {
				if p == "" || p[0] != '/' || strings.Contains(p, "//") || hasDots(p) || !utf8.ValidString(p) || p != fold(p) || len(p) > 1 && strings.HasSuffix(p, "/") {
					t.Fatalf("%q is read as %q", target, p)
				}
			}
			clean := strings.ToLower(path.Clean(u.Path))
			if d := ask(e, target); d.Allow && (clean == "/admin" || strings.HasPrefix(clean, "/admin/")) {
				t.Fatalf("%q: %+v", target, d)
			}
		}
	})
}

// FuzzPattern holds that a pattern that is accepted covers itself, and what it
// covers it matches.
func FuzzPattern(f *testing.F) {
	f.Add("/a/*", "/a/b")
	f.Add("/a/*/c", "/a/b/c")
	f.Add("*.php", "/a.php")
	f.Fuzz(func(t *testing.T, a, b string) {
		p, err := parsePattern(a)
		if err != nil {
			return
		}
		if !p.covers(&p) {
			t.Fatalf("%q does not cover itself", a)
		}
		q, err := parsePattern(b)
		if err != nil || !p.covers(&q) {
			return
		}
		for _, s := range []string{strings.ReplaceAll(q.text, "*", "x"), strings.ReplaceAll(q.text, "*", "y") + "/z", "/x" + q.text} {
			if list, reason := readings(nil, s, "", 0); reason == "" && len(list) == 1 && q.match(list[0]) && !p.match(list[0]) {
				t.Fatalf("%q covers %q, but matches not %q", a, b, list[0])
			}
		}
	})
}

// hundred is a policy of a hundred rules with a role and a path each.
func hundred(b testing.TB, cel string) *Engine {
	b.Helper()
	p := &Policy{}
	for i := range 100 {
		r := &Rule{Name: fmt.Sprint("r", i), Roles: []string{fmt.Sprint("role", i), "common"}, Paths: []string{fmt.Sprintf("/api/v%d/things/*", i), fmt.Sprintf("/app%d/*", i)}}
		if i == 99 {
			r.CEL = cel
		}
		p.Rules = append(p.Rules, r)
	}
	e, err := New(p, []string{UserSource}, genTime)
	if err != nil {
		b.Fatal(err)
	}
	return e
}

func last() *Request {
	return &Request{
		Principal: "alice@example.com", Roles: []string{"everyone,common,role7,staff"}, Methods: []string{"GET"}, Host: "example.com", Claims: bag{"dept": "it"},
		Path: "/api/v99/things/12345", Now: genTime, Client: netip.MustParseAddr("192.0.2.1"), IssuedAt: genTime.Add(-time.Minute), AuthMethod: "oidc",
	}
}

// TestDecidingAllocatesNothing holds it for a hundred plain rules.
func TestDecidingAllocatesNothing(t *testing.T) {
	e, q := hundred(t, ""), last()
	if n := testing.AllocsPerRun(1000, func() {
		if !e.Decide(q).Allow {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	q.Path = "/none"
	if n := testing.AllocsPerRun(1000, func() { e.Decide(q) }); n != 0 {
		t.Errorf("%v allocations for a refusal", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	for name, cel := range map[string]string{"plain": "", "cel": `claims.dept == "it" && "staff" in roles && now - issued_at < duration("12h")`} {
		b.Run(name, func(b *testing.B) {
			e, q := hundred(b, cel), last()
			b.ReportAllocs()
			for b.Loop() {
				if d := e.Decide(q); !d.Allow {
					b.Fatal(d)
				}
			}
		})
	}
	b.Run("worst", func(b *testing.B) { // the sets leave all hundred rules
		p := &Policy{}
		for i := range 100 {
			p.Rules = append(p.Rules, &Rule{Name: fmt.Sprint("r", i), Roles: []string{"common"}, Paths: []string{fmt.Sprintf("/api/v1/things/%d*", 1000+i)}})
		}
		e, err := New(p, []string{UserSource}, genTime)
		if err != nil {
			b.Fatal(err)
		}
		q := last()
		q.Path = "/api/v1/things/1099"
		b.ReportAllocs()
		for b.Loop() {
			if d := e.Decide(q); !d.Allow {
				b.Fatal(d)
			}
		}
	})
}

// FuzzPolicy reads policies as a configuration has them. What is compiled decides,
// twice the same, and never lets in nobody by a rule that is not for anonymous
// requests.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"rules":[{"name":"a","roles":["staff"],"paths":["/a/*"],"methods":["GET"],"require":{"mfa":true}}],"assign":{"staff":["alice"]}}`), "/a/b", "alice")
	f.Add([]byte(`{"rules":[{"name":"a","anonymous":true,"hosts":["*.example.com"],"networks":["10.0.0.0/8"],"times":[{"days":["mon"],"begin":"08:00","end":"18:00"}]}]}`), "/", "")
	f.Add([]byte(`{"rules":[{"name":"a","effect":"deny","cel":"path.startsWith('/x')"},{"name":"b","shadow":true,"claims":[{"name":"dept","values":["it"]}]}],"tolerate":["semicolon"]}`), "/x;y", "bob")
	f.Fuzz(func(t *testing.T, data []byte, path, who string) {
		p := new(Policy)
		if json.Unmarshal(data, p) != nil || len(p.Rules) > 20 {
			return
		}
		e, err := New(p, []string{UserSource}, genTime)
		if err != nil {
			return
		}
		q := last()
		q.Path, q.Principal = path, who
		if who == "" {
			q.Roles, q.Claims = nil, nil
		}
		d := e.Decide(q)
		if again := e.Decide(q); again.Allow != d.Allow || again.Rule != d.Rule || again.Reason != d.Reason {
			t.Fatalf("%+v, then %+v", d, again)
		}
		if d.Allow && d.Rule == "" {
			t.Fatalf("allowed by no rule: %+v", d)
		}
		for _, r := range p.Rules {
			if d.Allow && who == "" && r.Name == d.Rule && !r.Anonymous {
				t.Fatalf("rule %s lets in nobody", r.Name)
			}
		}
	})
}
