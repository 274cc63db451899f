package headers

import (
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// site makes a handler from lines of a Caddyfile block.
func site(t testing.TB, profile, lines string) *Handler {
	t.Helper()
	h := Handler{}
	if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("soc2_headers " + profile + " {\n" + lines + "\n}")); err != nil {
		t.Fatal(err)
	}
	return provisioned(t, h)
}

// sited is what becomes of a response under lines of a Caddyfile block.
type sited struct {
	name, profile, lines string
	status               int
	request, sent, want  http.Header
	mended, reported     []string
	wrong                []audit.Header
}

func (x sited) run(t *testing.T) {
	status := x.status
	if status == 0 {
		status = 200
	}
	s := &server{primary: chain(upstream(status, x.sent), site(t, x.profile, x.lines))}
	res, event := roundTrip(s, true, x.request)
	for name, want := range x.want {
		if got := res.Header[name]; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !slices.Equal(event.Mended, x.mended) || !slices.Equal(event.Reported, x.reported) {
		t.Errorf("mended %q, reported %q; want %q, %q", event.Mended, event.Reported, x.mended, x.reported)
	}
	if x.wrong != nil && !slices.Equal(event.Wrong, x.wrong) {
		t.Errorf("wrong %q, want %q", event.Wrong, x.wrong)
	}
}

func runSites(t *testing.T, list []sited) {
	t.Helper()
	for _, x := range list {
		t.Run(x.name, x.run)
	}
}

func TestRulesOfTheSite(t *testing.T) {
	html, json := "text/html", "application/json"
	typed := func(contentType string, more ...string) http.Header {
		h := one("Content-Type", contentType)
		for i := 0; i < len(more); i += 2 {
			h.Add(more[i], more[i+1])
		}
		return h
	}
	runSites(t, []sited{
		{name: "set where missing", lines: "set X-A 1", sent: typed(html), want: one("X-A", "1")},
		{name: "set over another", lines: "set X-A 1", sent: typed(html, "X-A", "2"), want: one("X-A", "1"), mended: []string{"x-a"}, wrong: []audit.Header{{Name: "X-A"}}},
		{name: "set over two", lines: "set X-A 1", sent: typed(html, "X-A", "1", "X-A", "1"), want: one("X-A", "1"), mended: []string{"x-a"}},
		{name: "default where missing", lines: "default X-A 1", sent: typed(html), want: one("X-A", "1")},
		{name: "default keeps", lines: "default X-A 1", sent: typed(html, "X-A", "2"), want: one("X-A", "2")},
		{name: "remove", lines: "remove X-A", sent: typed(html, "X-A", "secret"), want: http.Header{"X-A": nil}, mended: []string{"x-a"}, wrong: []audit.Header{{Name: "X-A"}}},
		{name: "remove what the profile sends", profile: Strict, lines: "remove Cross-Origin-Embedder-Policy", sent: typed(html), want: http.Header{"Cross-Origin-Embedder-Policy": nil}},
		{name: "set what the profile sends", profile: Strict, lines: "set X-Frame-Options SAMEORIGIN", sent: typed(html), want: one("X-Frame-Options", "SAMEORIGIN")},
		{
			name: "set what the profile sends over a weaker one", profile: Strict, lines: "set X-Frame-Options SAMEORIGIN", sent: typed(html, "X-Frame-Options", "ALLOWALL"),
			want: one("X-Frame-Options", "SAMEORIGIN"), mended: []string{"frame-options"}, wrong: []audit.Header{{Name: "X-Frame-Options", Value: "ALLOWALL"}},
		},
		{name: "by type", lines: "set X-A 1 {\ntypes document\n}", sent: typed(html), want: one("X-A", "1")},
		{name: "by another type", lines: "set X-A 1 {\ntypes document\n}", sent: typed(json), want: http.Header{"X-A": nil}},
		{name: "by media type", lines: "set X-A 1 {\ntypes application/json\n}", sent: typed("Application/JSON; charset=utf-8"), want: one("X-A", "1")},
		{name: "by kind", lines: "set X-A 1 {\ntypes image/*\n}", sent: typed("image/png"), want: one("X-A", "1")},
		{name: "by static", lines: "set X-A 1 {\ntypes static\n}", sent: typed("text/css"), want: one("X-A", "1")},
		{name: "by status", lines: "set X-A 1 {\nstatus 4xx\n}", status: 404, sent: typed(html), want: one("X-A", "1")},
		{name: "by another status", lines: "set X-A 1 {\nstatus 4xx 200\n}", status: 302, sent: typed(html), want: http.Header{"X-A": nil}},
		{name: "by another method", lines: "set X-A 1 {\nmethods POST\n}", sent: typed(html), want: http.Header{"X-A": nil}},
		{name: "the route says what is stored", profile: Strict, lines: "set Cache-Control max-age=60", sent: typed(html), want: one("Cache-Control", "max-age=60")},
		{name: "the route lets it be stored", profile: Strict, lines: "no_store never", sent: typed(html, "Cache-Control", "max-age=60"), want: one("Cache-Control", "max-age=60")},
		{name: "reports", lines: "reports_to /r", sent: typed(html), want: http.Header{
			"Reporting-Endpoints":     {`soc2="/r"`},
			"Content-Security-Policy": {baselineCSP + "; report-uri /r; report-to soc2"},
			"Content-Security-Policy-Report-Only": {
				strings.TrimSuffix(strictCSP, upgrade) + "; report-uri /r; report-to soc2",
			},
		}},
	})
}

func TestTypeOfTheSiteDecidesWhatADocumentIs(t *testing.T) {
	h := site(t, Baseline, "set Content-Type text/html {\ntypes other\n}\nset X-Page 1 {\ntypes document\n}")
	res, _ := roundTrip(&server{primary: chain(respond("text/plain", "x"), h)}, true, nil)
	for name, want := range map[string]string{"Content-Type": "text/html", "Content-Security-Policy": baselineCSP, "X-Page": "1"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestRemovedFieldsLeaveNeitherEarlyNorLate(t *testing.T) {
	srv := start(t, &server{primary: chain(func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("X-Internal", "early")
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, err := io.WriteString(w, "x")
		_ = http.NewResponseController(w).Flush() // so that there can be trailers
		w.Header().Set(http.TrailerPrefix+"X-Internal", "late")
		w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
		return err
	}, site(t, Baseline, "remove X-Internal"))}, "h1")
	final, trailer, early := exchangeAll(t, srv)
	for _, h := range append(early, final, trailer) {
		if h.Get("X-Internal") != "" {
			t.Errorf("%v", h)
		}
	}
	if len(early) != 1 || early[0].Get("Link") == "" || trailer.Get("X-Sum") != "1" {
		t.Errorf("early %v, trailer %v", early, trailer)
	}
}

func TestBounds(t *testing.T) {
	const sts, pol, cc = "Strict-Transport-Security", "Content-Security-Policy", "Cache-Control"
	runSites(t, []sited{
		{
			name: "too short", lines: "bound " + sts + " min max-age 63072000\nbound " + sts + " require includeSubDomains",
			sent: one(sts, "max-age=40000000"), want: one(sts, "max-age=63072000; includeSubDomains"),
			mended: []string{"hsts"}, wrong: []audit.Header{{Name: sts, Value: "max-age=40000000"}},
		},
		{
			name: "unsafe source", lines: "bound " + pol + " forbid 'unsafe-inline' 'unsafe-eval'",
			sent: one(pol, "script-src 'self' 'UNSAFE-inline'; style-src 'unsafe-inline'"),
			want: one(pol, "script-src 'self'; style-src 'none'"), mended: []string{"csp"},
		},
		{
			name: "unsafe directive in a second policy", lines: "bound " + pol + " forbid sandbox\nbound " + pol + " require object-src",
			sent: http.Header{pol: {"object-src 'none'", "sandbox allow-scripts"}},
			want: http.Header{pol: {"object-src 'none'", "object-src 'none'"}}, mended: []string{"csp"},
		},
		{name: "too long", lines: "bound " + cc + " max max-age 60", sent: one(cc, "public, max-age=600"), want: one(cc, "public, max-age=60"), mended: []string{"cache-control"}},
		{name: "no number", lines: "bound " + cc + " max max-age 60", sent: one(cc, "max-age=x"), want: one(cc, "max-age=0"), mended: []string{"cache-control"}},
		{name: "within", lines: "bound " + cc + " max max-age 60", sent: one(cc, "max-age=6"), want: one(cc, "max-age=6")},
		{name: "of the profile", lines: "bound " + sts + " max max-age 600", want: one(sts, "max-age=600")},
		{name: "of the profile, reported", lines: "bound " + sts + " max max-age 600\nreport hsts", sent: one(sts, oneYear), want: one(sts, oneYear), reported: []string{"hsts"}},
		{name: "missing", lines: "bound X-A one_of a b", want: http.Header{"X-A": nil}},
		{name: "one of", lines: "bound X-A one_of a b", sent: one("X-A", "c"), want: one("X-A", "a"), mended: []string{"x-a"}, wrong: []audit.Header{{Name: "X-A"}}},
		{name: "length", lines: "bound X-A max_length 3", sent: one("X-A", "1234"), want: http.Header{"X-A": nil}, mended: []string{"x-a"}},
		{name: "reported", lines: "bound X-A max_length 3\nreport x-a", sent: one("X-A", "1234"), want: one("X-A", "1234"), reported: []string{"x-a"}},
	})
}

func TestPolicyWithANonceIsMadeWithinItsBounds(t *testing.T) {
	h := site(t, Baseline, "bound Content-Security-Policy forbid 'unsafe-inline' https:\nnonces")
	res, event := roundTrip(&server{primary: chain(respond("text/html", "x"), h)}, true, nil)
	want := regexp.MustCompile(`; script-src 'nonce-[A-Za-z0-9+/]{22}' 'strict-dynamic'; worker-src`)
	if got := res.Header.Get("Content-Security-Policy"); !want.MatchString(got) || len(event.Mended) > 0 {
		t.Errorf("%q, mended %q", got, event.Mended)
	}
}

func TestReportModeChangesNothing(t *testing.T) {
	sent := http.Header{
		"Content-Type": {"text/html"}, "X-Frame-Options": {"ALLOWALL"}, "Server": {"Apache"}, "Set-Cookie": {"id=secret"},
		"Access-Control-Allow-Origin": {"null"}, "Cache-Control": {"public"},
	}
	want := http.Header{
		"X-Frame-Options": {"ALLOWALL"}, "Server": {"Apache"}, "Set-Cookie": {"id=secret"}, "Strict-Transport-Security": nil,
		"Access-Control-Allow-Origin": {"null"}, "Cache-Control": {"public"}, "Content-Security-Policy": nil,
	}
	reported := []string{
		"cache-control", "coep", "coop", "cors:origin", "corp", "cross-domain-policies", "csp", "dns-prefetch", "frame-options", "hsts", "nosniff",
		"permissions-policy", "referrer-policy", "server", "set-cookie:httponly", "set-cookie:samesite", "set-cookie:secure",
	}
	slices.Sort(reported)
	runSites(t, []sited{
		{name: "all", profile: Strict, lines: "report all", sent: sent, want: want, reported: reported},
		{name: "one", profile: Strict, lines: "report coep", sent: one("Content-Type", "text/html"), want: http.Header{"Cross-Origin-Embedder-Policy": nil}, reported: []string{"coep"}},
		{
			name: "all but one", profile: Strict, lines: "report all\nenforce frame-options", sent: sent,
			want: one("X-Frame-Options", "DENY"), mended: []string{"frame-options"},
			reported: slices.DeleteFunc(slices.Clone(reported), func(s string) bool { return s == "frame-options" }),
		},
	})
}

func TestRecordSaysWhatWasWrongButNoSecrets(t *testing.T) {
	sited{
		profile: Strict, lines: "remove X-Token",
		sent: http.Header{
			"Content-Type": {"text/html"}, "Server": {"Apache/2.4.1 " + strings.Repeat("x", 200)}, "Set-Cookie": {"id=secret; Secure; SameSite=Lax"},
			"X-Token": {"secret"}, "Referrer-Policy": {"unsafe-url"},
		},
		mended: []string{"referrer-policy", "server", "set-cookie:httponly", "x-token"},
		wrong: []audit.Header{
			{Name: "Server", Value: ("Apache/2.4.1 " + strings.Repeat("x", 200))[:80]},
			{Name: "Referrer-Policy", Value: "unsafe-url"},
			{Name: "X-Token"},
			{Name: "Set-Cookie", Value: "id"},
		},
	}.run(t)
}

func TestCORSGuard(t *testing.T) {
	const evil, own = "https://evil.example", "https://example.com"
	grant := func(origin, credentials string) http.Header {
		h := one("Content-Type", "application/json")
		h.Set(allowOrigin, origin)
		if credentials != "" {
			h.Set(allowCredentials, credentials)
		}
		return h
	}
	none := http.Header{allowOrigin: nil, allowCredentials: nil}
	from := func(origin string) http.Header { return one("Origin", origin) }
	list := "cors https://app.example {\ncredentials\n}"
	origin, credentials := []string{"cors:origin"}, []string{"cors:credentials"}
	runSites(t, []sited{
		{name: "reflected", profile: Strict, request: from(evil), sent: grant(evil, "true"), want: none, mended: origin},
		{name: "reflected, baseline", request: from(evil), sent: grant(evil, "true"), want: grant(evil, "true"), reported: origin},
		{name: "reflected, api", profile: API, request: from(evil), sent: grant(evil, "true"), want: one(allowOrigin, evil)},
		{name: "own origin", profile: Strict, request: from(own), sent: grant(own, "true"), want: grant(own, "true")},
		{name: "null", profile: API, request: from("null"), sent: grant("null", ""), want: none, mended: origin},
		{name: "all with credentials", profile: API, request: from(evil), sent: grant("*", "true"), want: http.Header{allowOrigin: {"*"}, allowCredentials: nil}, mended: credentials},
		{name: "all", profile: Strict, request: from(evil), sent: grant("*", ""), want: one(allowOrigin, "*")},
		{name: "on the list", lines: list, request: from("https://app.example"), sent: grant("https://app.example", "true"), want: one(allowCredentials, "true")},
		{name: "off the list", lines: list, request: from(evil), sent: grant(evil, ""), want: none, mended: origin},
		{name: "star off the list", lines: list, request: from(evil), sent: grant("*", ""), want: none, mended: origin},
		{name: "no credentials", lines: "cors https://app.example", request: from("https://app.example"), sent: grant("https://app.example", "true"), want: http.Header{allowOrigin: {"https://app.example"}, allowCredentials: nil}, mended: credentials},
		{name: "reflected with spaces", profile: Strict, request: from(evil), sent: grant(" "+evil+" ", " true"), want: none, mended: origin},
		{name: "null with spaces", profile: API, request: from("null"), sent: grant(" null", ""), want: none, mended: origin},
		{name: "all with spaces", profile: API, request: from(evil), sent: grant("* ", " true"), want: http.Header{allowOrigin: {"* "}, allowCredentials: nil}, mended: credentials},
		{name: "all with credentials twice", profile: API, request: from(evil), sent: http.Header{allowOrigin: {"*"}, allowCredentials: {"", "true"}}, want: http.Header{allowOrigin: {"*"}, allowCredentials: nil}, mended: credentials},
		{name: "twice", profile: API, sent: http.Header{allowOrigin: {evil, own}}, want: none, mended: origin},
	})
}

func TestUnsafeValuesAreNotPassedOn(t *testing.T) {
	runSites(t, []sited{
		{name: "control character", sent: http.Header{"X-A": {"a\x00b", "fine"}}, want: one("X-A", "fine"), mended: []string{"values:unsafe"}},
		{name: "line break", sent: one("X-A", "a\r\nX-B: c"), want: http.Header{"X-A": nil}, mended: []string{"values:unsafe"}},
		{name: "absurd size", sent: one("X-A", strings.Repeat("a", maxValueLength+1)), want: http.Header{"X-A": nil}, mended: []string{"values:unsafe"}},
		{name: "type twice", sent: http.Header{"Content-Type": {"text/plain", "text/html"}}, want: one("Content-Type", "text/plain"), mended: []string{"values:duplicate"}},
		{name: "cookie with a line break", sent: one("Set-Cookie", "a=b\nSet-Cookie: c=d"), want: http.Header{"Set-Cookie": nil}, mended: []string{"values:unsafe"}},
	})
}

func TestCookieOptions(t *testing.T) {
	runSites(t, []sited{
		{
			name: "readable", profile: Strict, lines: "cookies {\nreadable lang\nsame_site Strict\n}",
			sent:   http.Header{"Set-Cookie": {"lang=en; Secure", "id=1; Secure; HttpOnly; SameSite=Lax"}},
			want:   http.Header{"Set-Cookie": {"lang=en; Secure; SameSite=Strict", "id=1; Secure; HttpOnly; SameSite=Lax"}},
			mended: []string{"set-cookie:samesite"},
		},
		{
			name: "an api with cookies", profile: API, lines: "cookies {\nhttp_only on\n}", sent: one("Set-Cookie", "id=1"),
			want: one("Set-Cookie", "id=1; Secure; SameSite=Lax; HttpOnly"), mended: []string{"set-cookie:httponly", "set-cookie:samesite", "set-cookie:secure"},
		},
	})
}

func TestPolicyIsMerged(t *testing.T) {
	tests := []struct{ name, profile, lines, want, reportOnly string }{
		{"add", Strict, "csp {\n+script-src https://cdn.example\n}", strings.Replace(strictCSP, "script-src 'self'", "script-src 'self' https://cdn.example", 1), ""},
		{"add to the fallback", Strict, "csp replace {\ndefault-src 'self'\n+img-src data:\n}", "default-src 'self'; img-src 'self' data:", ""},
		{"add to the nearest fallback", Strict, "csp replace {\ndefault-src https:\nscript-src 'none'\n+script-src-elem https://a.example\n}", "default-src https:; script-src 'none'; script-src-elem https://a.example", ""},
		{"add to the second fallback", Strict, "csp replace {\ndefault-src https:\nchild-src 'self'\n+frame-src https://a.example\n}", "default-src https:; child-src 'self'; frame-src 'self' https://a.example", ""},
		{"add to none", Strict, "csp {\n+object-src https://x.example\n}", strings.Replace(strictCSP, "object-src 'none'", "object-src https://x.example", 1), ""},
		{"set", Strict, "csp {\nimg-src *\n}", strings.Replace(strictCSP, "img-src 'self'", "img-src *", 1), ""},
		{"remove", Baseline, "csp {\n-upgrade-insecure-requests\n}", plainBaselineCSP, ""},
		{"try out", Strict, "csp report_only {\n+script-src https://cdn.example\n}", strictCSP, strings.Replace(plainStrictCSP, "script-src 'self'", "script-src 'self' https://cdn.example", 1)},
		{"try out from scratch", Baseline, "csp replace report_only {\nscript-src 'self'\n}", baselineCSP, "script-src 'self'"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &server{primary: chain(respond("text/html", "x"), site(t, test.profile, test.lines))}
			res, _ := roundTrip(s, true, nil)
			if got := res.Header.Get("Content-Security-Policy"); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			if got := res.Header.Get("Content-Security-Policy-Report-Only"); got != test.reportOnly {
				t.Errorf("report only %q, want %q", got, test.reportOnly)
			}
		})
	}
}

// What an instance outside says holds inside, unless something there says
// otherwise.
func TestInstancesInsideOverrideFieldByField(t *testing.T) {
	outer := site(t, Strict, "set X-A outer\nset X-B outer\ncsp {\n+img-src data:\n}\nbound X-C max_length 3")
	inner := site(t, API, "set X-B inner")
	lines := site(t, "", "csp {\n+img-src blob:\n}\nremove X-A")
	tests := []struct {
		name             string
		nested           []caddyhttp.MiddlewareHandler
		profile, a, b, c string
		csp              string
	}{
		{"outer", []caddyhttp.MiddlewareHandler{outer}, Strict, "outer", "outer", "", strings.Replace(strictCSP, "img-src 'self'", "img-src 'self' data:", 1)},
		{"a profile inside", []caddyhttp.MiddlewareHandler{outer, inner}, API, "outer", "inner", "", apiCSP},
		{"no profile inside", []caddyhttp.MiddlewareHandler{outer, lines}, Strict, "", "outer", "", strings.Replace(strictCSP, "img-src 'self'", "img-src 'self' data: blob:", 1)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &server{primary: chain(upstream(200, http.Header{"Content-Type": {"text/html"}, "X-C": {"long"}}), test.nested...)}
			for range 2 { // the second time from what was derived
				res, event := roundTrip(s, true, nil)
				h := res.Header
				if event.Profile != test.profile || h.Get("X-A") != test.a || h.Get("X-B") != test.b || h.Get("X-C") != test.c || h.Get("Content-Security-Policy") != test.csp {
					t.Errorf("%s: %v", event.Profile, h)
				}
			}
		})
	}
}

// FuzzCSP checks that a policy that is accepted can be sent and is read back
// the same.
func FuzzCSP(f *testing.F) {
	for _, s := range []string{baselineCSP, strictCSP, apiCSP, baselineNonceCSP, "script-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='", "sandbox allow-scripts"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseCSP(s)
		if err != nil {
			return
		}
		text := p.text(true)
		if !passable([]string{text}) && len(text) <= maxValueLength || strings.Contains(text, ",") {
			t.Fatalf("%q cannot be sent", text)
		}
		again, err := parseCSP(text)
		if err != nil || again.text(true) != text {
			t.Fatalf("%q became %q, %v", text, again.text(true), err)
		}
	})
}

// FuzzBound checks that what is brought into bounds is in them, and stays.
func FuzzBound(f *testing.F) {
	f.Add("Strict-Transport-Security", "max-age=5; includeSubDomains, max-age=x")
	f.Add("Content-Security-Policy", "script-src 'unsafe-inline'; ;,x;sandbox")
	f.Add("Vary", "a,,b;c=d")
	lo, hi := int64(10), int64(20)
	f.Fuzz(func(t *testing.T, field, value string) {
		b := Bound{Field: field, Require: []string{"object-src"}, Forbid: []string{"'unsafe-inline'", "x"}, Param: "max-age", Min: &lo, Max: &hi}
		if strings.EqualFold(field, fields[csp].name) {
			b.Param, b.Min, b.Max = "", nil, nil
		}
		if b.provision() != nil {
			return
		}
		fit := b.fit(value)
		if fit == "" && b.csp {
			return // no policy, nothing to bound
		}
		if !b.holds(fit) {
			t.Fatalf("%q became %q, which is out of bounds", value, fit)
		}
		if again := b.fit(fit); again != fit {
			t.Fatalf("%q became %q, then %q", value, fit, again)
		}
	})
}
