package policy_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/policy"
)

// redacted applies a policy that records header fields.
func redacted(t testing.TB, r policy.Redact, ev audit.Event, request, response http.Header) audit.Event {
	t.Helper()
	p, _ := compile(t, policy.Config{Rules: []policy.Rule{{Name: "h", Level: "headers"}}, Redact: r})
	if !p.WantsHeaders() {
		t.Fatal("header fields are not asked for")
	}
	p.Apply(&ev, request, response)
	return ev
}

func TestCredentialsAreNeverRecorded(t *testing.T) {
	const secret = "5ecret"
	for name, c := range map[string]struct{ value, want string }{
		"Authorization":          {"Basic " + secret, "*"},
		"Proxy-Authorization":    {"Bearer " + secret, "*"},
		"authorization":          {secret, "*"},
		"Cookie":                 {"a=" + secret + ";  b=" + secret + "; " + secret, "a=*; b=*; *"},
		"Set-Cookie":             {"sid=" + secret + "; Path=/; HttpOnly; X=" + secret, "sid=*; Path=/; HttpOnly; *"},
		"X-Api-Key":              {secret, "*"},
		"Apikey":                 {secret, "*"},
		"X-Auth-Token":           {secret, "*"},
		"X-CSRF-Token":           {secret, "*"},
		"X-Session-Id":           {secret, "*"},
		"X-Amz-Security-Token":   {secret, "*"},
		"Sec-Websocket-Protocol": {secret, "*"},
		"Www-Authenticate":       {"Negotiate " + secret, "*"},
		"X-Custom":               {"bearer " + secret, "*"},
		"Referer":                {"https://example.com/x?token=" + secret + "#" + secret, "https://example.com/x?token=*#*"},
		"Location":               {"/x?" + secret, "/x?*"},
		"Content-Location":       {"https://u:" + secret + "@example.com/", "*"},
		"Refresh":                {"0; url=/x?a=" + secret, "*"},
		"Link":                   {"</x?a=" + secret + ">; rel=next", "*"},
	} {
		h := http.Header{name: {c.value, c.value}}
		ev := redacted(t, policy.Redact{}, request(), h, h)
		want := []audit.Header{{Name: name, Value: c.want}, {Name: name, Value: c.want}}
		if !slices.Equal(ev.RequestHeaders, want) || !slices.Equal(ev.ResponseHeaders, want) {
			t.Errorf("%s: %v", name, ev.RequestHeaders)
		}
		lowered := strings.ToLower(name)
		if !slices.Equal(ev.Redacted, []string{"request.headers." + lowered, "response.headers." + lowered}) {
			t.Errorf("%s: redacted is %v", name, ev.Redacted)
		}
	}
}

func TestOtherHeadersAreRecordedInOrder(t *testing.T) {
	h := http.Header{"Accept": {"b", "a"}, "Referer": {"https://example.com/x"}, "X-B": {"2"}, "X-A": {"1"}, "Link": {"</style.css>; rel=preload"}}
	ev := redacted(t, policy.Redact{}, request(), h, nil)
	want := []audit.Header{{Name: "Accept", Value: "b"}, {Name: "Accept", Value: "a"}, {Name: "Link", Value: "</style.css>; rel=preload"}, {Name: "Referer", Value: "https://example.com/x"}, {Name: "X-A", Value: "1"}, {Name: "X-B", Value: "2"}}
	if !slices.Equal(ev.RequestHeaders, want) || ev.ResponseHeaders != nil || ev.Redacted != nil {
		t.Errorf("%v %v", ev.RequestHeaders, ev.Redacted)
	}
}

func TestHeadersAreOnlyForTheirLevel(t *testing.T) {
	p, _ := compile(t, policy.Config{})
	ev := request()
	if p.WantsHeaders() || p.Apply(&ev, http.Header{"A": {"1"}}, nil) != policy.Metadata || ev.RequestHeaders != nil || ev.Rule != "" {
		t.Errorf("%+v", ev)
	}
}

func TestConfiguredNamesAreHidden(t *testing.T) {
	ev := redacted(t, policy.Redact{Headers: []string{"x-customer-*"}, Cookies: []string{"SECRET*"}}, request(),
		http.Header{"X-Customer-Name": {"alice"}, "Cookie": {"secret-of-alice=1; lang=2"}}, http.Header{"Set-Cookie": {"secretx=1; Path=/a"}})
	if got := ev.RequestHeaders; got[0].Value != "*=*; lang=*" || got[1].Value != "*" {
		t.Errorf("%v", got)
	}
	if got := ev.ResponseHeaders; got[0].Value != "*=*; Path=/a" {
		t.Errorf("%v", got)
	}
}

func TestQueryRules(t *testing.T) {
	r := policy.Redact{ShowQuery: []string{"page", "id", "both"}, HideQuery: []string{"reset-*", "both"}}
	for raw, want := range map[string]string{
		"page=2&q=alice":      "page=2&q=*",
		"page":                "*",
		"Page=2":              "Page=*",
		"page=1;token=5ecret": "page=*",
		"page=1%3Btoken=x":    "page=*",
		"reset-alice=1":       "*=*",
		"%72eset-alice=1":     "*=*",
		"RESET-alice=1&id=":   "*=*&id=",
		"%zz=1":               "*=*",
		"both=1":              "*=*",
		"a=1&&b=2&":           "a=*&&b=*&",
		"page=1&page=2=3":     "page=1&page=2=3",
	} {
		ev := request()
		ev.Query = raw
		ev = redacted(t, r, ev, nil, nil)
		if ev.Query != want || !slices.Equal(ev.Redacted, []string{policy.QueryMember}) {
			t.Errorf("%s: %s, redacted %v", raw, ev.Query, ev.Redacted)
		}
	}
	ev := request()
	ev = redacted(t, policy.Redact{}, ev, nil, nil)
	if ev.Query != "a=1" || ev.Redacted != nil {
		t.Errorf("a query that nobody spoke of was touched: %q %v", ev.Query, ev.Redacted)
	}
	if got := policy.HideQuery("a=1&b=2&xyz"); got != "a=*&b=*&*" {
		t.Error(got)
	}
}

func TestPathSegments(t *testing.T) {
	r := policy.Redact{PathSegments: []string{"/reset/{*}", "/users/{*}/orders/{*}", "/files/*/{**}"}}
	for path, want := range map[string]string{
		"/reset/abc":             "/reset/*",
		"/reset/abc/":            "/reset/*/",
		"/reset/abc/next":        "/reset/*/next",
		"/reset":                 "/reset",
		"/reset/":                "/reset/",
		"/RESET/abc":             "/RESET/*",
		"/%72eset/abc":           "/%72eset/*",
		"//reset//abc":           "//reset//*",
		"/reset;x=1/abc;y=2":     "/reset;x=1/*",
		"/reset%2Fabc":           "/reset%2F*",
		"/reset%5cabc":           "/reset%5c*",
		`\reset\abc`:             `\reset\*`,
		"/x/../reset/abc":        "/x/../reset/*",
		"/./reset/./abc":         "/./reset/./*",
		"/x/%2e%2e/reset/abc":    "/x/%2e%2e/reset/*",
		"/reset/abc/../..":       "/reset/*/../..",
		"/users/alice/orders/7":  "/users/*/orders/*",
		"/users/alice/profile":   "/users/alice/profile",
		"/files/a":               "/files/a",
		"/files/a/b/c/d":         "/files/a/*/*/*",
		"/preset/abc":            "/preset/abc",
		"/users/alice/orders/7?": "/users/*/orders/*",
		"*":                      "*",
		"":                       "",
	} {
		ev := request()
		ev.Path = path
		ev = redacted(t, r, ev, nil, nil)
		if ev.Path != want || slices.Contains(ev.Redacted, "request.path") != (path != want) {
			t.Errorf("%s: %s, redacted %v", path, ev.Path, ev.Redacted)
		}
	}
	ev := redacted(t, r, request(), http.Header{"Referer": {"https://example.com/reset/abc?x=1"}}, http.Header{"Location": {"/reset/abc"}, "Set-Cookie": {"a=b; Path=/reset/abc"}})
	if ev.RequestHeaders[0].Value != "https://example.com/reset/*?x=*" || ev.ResponseHeaders[0].Value != "/reset/*" || ev.ResponseHeaders[1].Value != "a=*; Path=/reset/*" {
		t.Errorf("in header fields: %v %v", ev.RequestHeaders, ev.ResponseHeaders)
	}
}

func TestPatterns(t *testing.T) {
	r := policy.Redact{Patterns: []policy.Pattern{{Regexp: `[a-z]+@[a-z.]+`}, {Regexp: `\d{4}`, In: []string{"agent"}}}}
	ev := request()
	ev.Path, ev.Agent = "/u/bob@example.com/1234", "x 1234 bob@example.com"
	ev = redacted(t, r, ev, http.Header{"From": {"bob@example.com"}}, nil)
	if ev.Path != "/u/*/1234" || ev.Agent != "x * *" || ev.RequestHeaders[0].Value != "*" {
		t.Errorf("%q %q %v", ev.Path, ev.Agent, ev.RequestHeaders)
	}
	if !slices.Equal(ev.Redacted, []string{"request.path", "request.agent", "request.headers.from"}) {
		t.Errorf("%v", ev.Redacted)
	}
	ev = request()
	ev.Path, ev.Agent = "/u/bob%40example.com", strings.Repeat("x", 20<<10)
	ev = redacted(t, r, ev, nil, nil)
	if ev.Path != "*" || ev.Agent != "*" {
		t.Errorf("escaped: %q; too long to search: %d bytes", ev.Path, len(ev.Agent))
	}
}

// FuzzRedactionHides puts a secret where redaction must hide it, with any text
// around it.
func FuzzRedactionHides(f *testing.F) {
	f.Add("a=1&", "b", "/x/", ";")
	f.Add("%zz&&", "%", "/..//", "=")
	r := policy.Redact{ShowQuery: []string{"page"}, HideQuery: []string{"h*"}, PathSegments: []string{"/reset/{*}", "/x/{**}"}, Patterns: []policy.Pattern{{Regexp: "S3CR3T"}}}
	p, _ := compile(f, policy.Config{Rules: []policy.Rule{{Name: "h", Level: "headers"}}, Redact: r})
	f.Fuzz(func(t *testing.T, before, key, path, after string) {
		const secret = "S3CR3T"
		ev := request()
		if strings.ContainsAny(key, "&=;") || key == "page" || strings.HasSuffix(before, "page=") {
			return
		}
		ev.Query = before + "&" + key + "=" + secret + "&" + after
		ev.Path = path + "/" + secret
		ev.Agent = after + secret + before
		p.Apply(&ev, http.Header{"Cookie": {"a=" + secret + after}, "Authorization": {before + secret}, "Referer": {path + "?q=" + secret}, "X": {after + secret}}, nil)
		all := ev.Query + " " + ev.Path + " " + ev.Agent
		for _, h := range ev.RequestHeaders {
			all += " " + h.Value
		}
		if strings.Contains(all, secret) {
			t.Errorf("%q", all)
		}
	})
}
