package headers

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func newRequest() (*httptest.ResponseRecorder, *http.Request) {
	return httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "http://example.com/", nil)
}

// upstream makes a handler that answers as a proxied application does: its
// fields are added to those that are there.
func upstream(status int, h http.Header) handlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) error {
		for name, values := range h {
			for _, v := range values {
				w.Header().Add(name, v)
			}
		}
		w.WriteHeader(status)
		return nil
	}
}

// exchange is one upstream response and what becomes of it.
type exchange struct {
	name    string
	profile string
	sent    http.Header // by the upstream
	want    http.Header // of the fields that matter
	mended  []string

	plain   bool // no TLS
	status  int  // default 200
	request http.Header
	user    string
}

func (x exchange) run(t *testing.T) {
	t.Helper()
	h := provisioned(t, Handler{Profile: x.profile})
	status := x.status
	if status == 0 {
		status = http.StatusOK
	}
	s := &server{primary: chain(upstream(status, x.sent), login(x.user), h)}
	res, event := roundTrip(s, !x.plain, x.request)
	for name, want := range x.want {
		if got := res.Header[name]; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !slices.Equal(event.Mended, x.mended) {
		t.Errorf("mended %q, want %q", event.Mended, x.mended)
	}
}

func runAll(t *testing.T, exchanges []exchange) {
	t.Helper()
	for _, x := range exchanges {
		t.Run(x.profile+" "+x.name, x.run)
	}
}

// login annotates the record as the access handler does.
func login(user string) caddyhttp.MiddlewareHandler {
	return middleware(func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		if user != "" {
			eventOf(r).User = user
		}
		return next.ServeHTTP(w, r)
	})
}

func one(name, value string) http.Header { return http.Header{name: {value}} }

func TestStrongerValuesStay(t *testing.T) {
	const (
		sts = "Strict-Transport-Security"
		xfo = "X-Frame-Options"
		ref = "Referrer-Policy"
		cop = "Cross-Origin-Opener-Policy"
	)
	preload := "max-age=63072000; includeSubDomains; preload"
	runAll(t, []exchange{
		{name: "hsts for longer", profile: Baseline, sent: one(sts, preload), want: one(sts, preload)},
		{name: "hsts in quotes", profile: Baseline, sent: one(sts, `Max-Age="31536000"`), want: one(sts, `Max-Age="31536000"`)},
		{name: "hsts too short", profile: Baseline, sent: one(sts, "max-age=600"), want: one(sts, oneYear), mended: []string{"hsts"}},
		{name: "hsts without hosts below", profile: Strict, sent: one(sts, "max-age=99999999"), want: one(sts, twoYears), mended: []string{"hsts"}},
		{name: "hsts broken", profile: Strict, sent: one(sts, "max-age=x"), want: one(sts, twoYears), mended: []string{"hsts"}},
		{name: "hsts within a quoted string", profile: Strict, sent: one(sts, `x="; max-age=63072000; includeSubDomains; y="`), want: one(sts, twoYears), mended: []string{"hsts"}},
		{name: "hsts with a directive twice", profile: Strict, sent: one(sts, "max-age=63072000; includeSubDomains; includeSubDomains"), want: one(sts, twoYears), mended: []string{"hsts"}},
		{name: "hsts with a value for hosts below", profile: Strict, sent: one(sts, "max-age=63072000; includeSubDomains=1"), want: one(sts, twoYears), mended: []string{"hsts"}},
		{name: "hsts with a sign", profile: Strict, sent: one(sts, "max-age=+63072000; includeSubDomains"), want: one(sts, twoYears), mended: []string{"hsts"}},
		{name: "hsts with half a quote", profile: Strict, sent: one(sts, `max-age="63072000; includeSubDomains`), want: one(sts, twoYears), mended: []string{"hsts"}},
		{name: "hsts with a comma", profile: Strict, sent: one(sts, "max-age=63072000; includeSubDomains, max-age=0"), want: one(sts, twoYears), mended: []string{"hsts"}},
		{name: "hsts with something new", profile: Baseline, sent: one(sts, "max-age=63072000; later=1; ;"), want: one(sts, "max-age=63072000; later=1; ;")},
		{name: "hsts twice", profile: Strict, sent: http.Header{sts: {preload, preload}}, want: one(sts, preload), mended: []string{"hsts"}},
		{name: "hsts over plaintext", profile: Strict, plain: true, sent: one(sts, "max-age=1"), want: one(sts, "max-age=1")},
		{name: "frames denied", profile: Baseline, sent: one(xfo, "deny"), want: one(xfo, "deny")},
		{name: "frames from here", profile: Strict, sent: one(xfo, "SAMEORIGIN"), want: one(xfo, "DENY"), mended: []string{"frame-options"}},
		{name: "frames as we say", profile: Strict, sent: one(xfo, "DENY"), want: one(xfo, "DENY")},
		{name: "frames twice", profile: Baseline, sent: http.Header{xfo: {"DENY", "DENY"}}, want: one(xfo, "DENY"), mended: []string{"frame-options"}},
		{name: "referrer kept back", profile: Baseline, sent: one(ref, "unsafe-url, no-referrer"), want: one(ref, "unsafe-url, no-referrer")},
		{name: "referrer given away", profile: Baseline, sent: one(ref, "no-referrer, unsafe-url"), want: one(ref, "strict-origin-when-cross-origin"), mended: []string{"referrer-policy"}},
		{name: "opener blank", profile: Baseline, sent: one(cop, " "), want: one(cop, "same-origin-allow-popups"), mended: []string{"coop"}},
		{name: "opener chosen", profile: Baseline, sent: one(cop, "unsafe-none"), want: one(cop, "unsafe-none")},
		{name: "opener weaker", profile: Strict, sent: one(cop, "unsafe-none"), want: one(cop, "same-origin"), mended: []string{"coop"}},
	})
}

func TestContentSecurityPolicyOfTheUpstream(t *testing.T) {
	const name = "Content-Security-Policy"
	theirs := []string{"script-src 'nonce-1'", "img-src 'self'"}
	runAll(t, []exchange{
		{name: "stays", profile: Baseline, sent: http.Header{name: theirs}, want: http.Header{name: theirs}},
		{name: "is replaced", profile: Strict, sent: http.Header{name: theirs}, want: one(name, strictCSP), mended: []string{"csp"}},
		{name: "is replaced", profile: API, sent: http.Header{name: theirs}, want: one(name, apiCSP), mended: []string{"csp"}},
		{
			name: "is not added to a stored page", profile: Baseline, status: 304,
			want: http.Header{name: nil, "Content-Security-Policy-Report-Only": nil, "X-Content-Type-Options": {"nosniff"}},
		},
		{name: "is replaced in a stored page", profile: Strict, status: 304, sent: http.Header{name: theirs}, want: one(name, strictCSP), mended: []string{"csp"}},
	})
}

func TestSiteGivesThePolicy(t *testing.T) {
	const policy = "default-src 'self' https://cdn.example"
	for profile, onJSON := range map[string][]string{Baseline: nil, Strict: {inertCSP}, API: {policy}} {
		h := provisioned(t, Handler{Profile: profile, CSP: "default-src 'self'\n\t https://cdn.example\n"})
		for contentType, want := range map[string][]string{"text/html": {policy}, "application/json": onJSON} {
			sent := http.Header{"Content-Type": {contentType}}
			if want != nil {
				sent.Set("Content-Security-Policy", "default-src *")
			}
			res, _ := roundTrip(&server{primary: chain(upstream(200, sent), h)}, true, nil)
			if got := res.Header["Content-Security-Policy"]; !slices.Equal(got, want) {
				t.Errorf("%s, %s: %q, want %q", profile, contentType, got, want)
			}
			if got := res.Header["Content-Security-Policy-Report-Only"]; got != nil {
				t.Errorf("%s: reports on %q beside the site's policy", profile, got)
			}
		}
	}
}

func TestCacheControl(t *testing.T) {
	const name = "Cache-Control"
	with := func(contentType, value string) http.Header {
		h := one("Content-Type", contentType)
		if value != "" {
			h.Set(name, value)
		}
		return h
	}
	cookie := func(h http.Header) http.Header {
		h.Set("Set-Cookie", "a=b; Secure; SameSite=Lax; HttpOnly")
		return h
	}
	auth := one("Authorization", "Bearer x")
	weak := []string{"cache-control"}
	runAll(t, []exchange{
		{name: "anonymous", profile: Baseline, sent: with("text/html", "max-age=60"), want: one(name, "max-age=60")},
		{name: "anonymous, nothing said", profile: Baseline, sent: with("text/html", ""), want: http.Header{name: nil}},
		{name: "credentials", profile: Baseline, request: auth, sent: with("text/html", ""), want: one(name, noStore)},
		{name: "user", profile: Baseline, user: "ann", sent: with("text/html", "private"), want: one(name, noStore), mended: weak},
		{name: "cookie", profile: Baseline, sent: cookie(with("text/html", "max-age=60")), want: one(name, noStore), mended: weak},
		{name: "cookie, public", profile: Baseline, sent: cookie(with("text/html", "Public, max-age=60")), want: one(name, "Public, max-age=60")},
		{
			name: "user, for caches of others", profile: Baseline, user: "ann", mended: weak,
			sent: http.Header{"Content-Type": {"text/html"}, name: {"no-store"}, "Cdn-Cache-Control": {"max-age=60"}, "Surrogate-Control": {"max-age=60"}},
			want: http.Header{name: {noStore}, "Cdn-Cache-Control": nil, "Surrogate-Control": nil},
		},
		{
			name: "anonymous, for caches of others", profile: Baseline,
			sent: http.Header{"Content-Type": {"text/html"}, "Cdn-Cache-Control": {"max-age=60"}}, want: one("Cdn-Cache-Control", "max-age=60"),
		},
		{name: "user, static", profile: Baseline, user: "ann", sent: with("text/css", "max-age=60"), want: one(name, "max-age=60")},
		{name: "dynamic", profile: Strict, sent: with("text/html", "public, max-age=60"), want: one(name, noStore), mended: weak},
		{name: "forbidden already", profile: Strict, sent: with("text/html", "no-cache, no-store"), want: one(name, "no-cache, no-store")},
		{name: "static", profile: Strict, sent: with("font/woff2", "max-age=60"), want: one(name, "max-age=60")},
		{name: "static, nothing said", profile: Strict, sent: with("font/woff2", ""), want: one(name, noStore)},
		{name: "not modified", profile: Strict, status: 304, sent: one(name, "max-age=60"), want: one(name, "max-age=60")},
		{name: "static", profile: API, sent: with("image/png", "max-age=60"), want: one(name, noStore), mended: weak},
	})
}

func TestCookies(t *testing.T) {
	const name = "Set-Cookie"
	runAll(t, []exchange{
		{
			name: "complete", profile: Strict,
			sent: one(name, "a=b; path=/; secure; httponly; samesite=Strict"),
			want: one(name, "a=b; path=/; secure; httponly; samesite=Strict"),
		},
		{
			name: "bare", profile: Baseline, sent: one(name, "a=b"), want: one(name, "a=b; Secure; SameSite=Lax"),
			mended: []string{"set-cookie:samesite", "set-cookie:secure"},
		},
		{
			name: "bare over plaintext", profile: Baseline, plain: true, sent: one(name, "a=b"),
			want: one(name, "a=b; SameSite=Lax"), mended: []string{"set-cookie:samesite"},
		},
		{
			name: "bare", profile: Strict, sent: one(name, "a=b"), want: one(name, "a=b; Secure; SameSite=Lax; HttpOnly"),
			mended: []string{"set-cookie:httponly", "set-cookie:samesite", "set-cookie:secure"},
		},
		{
			name: "for scripts", profile: Strict, sent: one(name, "XSRF-TOKEN=1; Secure; SameSite=None"),
			want: one(name, "XSRF-TOKEN=1; Secure; SameSite=None"),
		},
		{
			name: "one of three", profile: Baseline,
			sent:   http.Header{name: {"a=1; Secure; SameSite=Lax", "b=2; Secure", "c=3; Secure; SameSite=Lax"}},
			want:   http.Header{name: {"a=1; Secure; SameSite=Lax", "b=2; Secure; SameSite=Lax", "c=3; Secure; SameSite=Lax"}},
			mended: []string{"set-cookie:samesite"},
		},
		{
			name: "prefix kept", profile: Strict, sent: one(name, "__Host-a=1; Path=/; Secure; HttpOnly; SameSite=Lax"),
			want: one(name, "__Host-a=1; Path=/; Secure; HttpOnly; SameSite=Lax"),
		},
		{
			name: "prefix broken", profile: Strict,
			sent:   one(name, "__host-a=1; Path=/; Domain=example.com; Secure; HttpOnly; SameSite=Lax"),
			want:   http.Header{name: nil},
			mended: []string{"set-cookie:prefix"},
		},
		{
			name: "prefix over plaintext", profile: Strict, plain: true,
			sent:   http.Header{name: {"__Secure-a=1; HttpOnly; SameSite=Lax", "b=1; HttpOnly; SameSite=Lax"}},
			want:   one(name, "b=1; HttpOnly; SameSite=Lax"),
			mended: []string{"set-cookie:prefix"},
		},
		{
			name: "unknown value", profile: Baseline, sent: one(name, "a=b; Secure; SameSite=Off"),
			want: one(name, "a=b; Secure; SameSite=Off; SameSite=Lax"), mended: []string{"set-cookie:samesite"},
		},
		{
			name: "attribute twice", profile: Strict, sent: one(name, "a=b; Secure; HttpOnly; SameSite=Strict; SameSite"),
			want: one(name, "a=b; Secure; HttpOnly; SameSite=Strict; SameSite; SameSite=Lax"), mended: []string{"set-cookie:samesite"},
		},
		{name: "counted", profile: API, sent: one(name, "a=b"), want: one(name, "a=b"), mended: []string{"set-cookie"}},
	})
}

func TestLeaks(t *testing.T) {
	runAll(t, []exchange{
		{name: "known", profile: Baseline, sent: one("X-Aspnet-Version", "4"), want: http.Header{"X-Aspnet-Version": nil}, mended: []string{"x-aspnet-version"}},
		{name: "proxy", profile: Baseline, sent: one("Via", "1.1 varnish, 1.1 Caddy"), want: http.Header{"Via": nil}},
		{name: "helmet", profile: Baseline, sent: one("X-Xss-Protection", "0"), want: http.Header{"X-Xss-Protection": nil}},
		{name: "read by scripts", profile: Baseline, sent: one("X-Nextjs-Redirect", "/a"), want: one("X-Nextjs-Redirect", "/a")},
		{name: "read by scripts", profile: Strict, sent: one("X-Nextjs-Redirect", "/a"), want: http.Header{"X-Nextjs-Redirect": nil}, mended: []string{"x-nextjs-redirect"}},
		{name: "announced", profile: Baseline, sent: one("Trailer", "X-Generator"), want: http.Header{"Trailer": nil}, mended: []string{"x-generator"}},
	})
	if n := len(allLeaks) - len(quietLeaks); n != 87 {
		t.Errorf("%d names, want the 87 of 2026-07-19", n)
	}
}

func TestOtherSpellingsAreFound(t *testing.T) {
	h := provisioned(t, Handler{Profile: Strict})
	odd := func(w http.ResponseWriter, r *http.Request) error {
		w.Header()["x-powered-by"] = []string{"PHP"}
		w.Header()["x-frame-options"] = []string{"ALLOWALL"}
		maps.Copy(w.Header(), map[string][]string{"ETag": {`"1"`}}) // common, but not canonical
		return respond("text/html", "page")(w, r)
	}
	res, event := roundTrip(&server{primary: chain(odd, h)}, true, nil)
	checkHeader(t, res.Header, Strict)
	for _, name := range []string{"x-powered-by", "x-frame-options"} {
		if got := res.Header[name]; got != nil {
			t.Errorf("%s: %q left", name, got)
		}
	}
	if !slices.Contains(slices.Collect(maps.Keys(res.Header)), "ETag") {
		t.Error("ETag was renamed or lost")
	}
	if want := []string{"frame-options", "x-powered-by"}; !slices.Equal(event.Mended, want) {
		t.Errorf("mended %q, want %q", event.Mended, want)
	}
}

func TestClassify(t *testing.T) {
	tests := []struct {
		types  []string
		scope  scope
		static bool
	}{
		{nil, document, false},
		{[]string{""}, document, false},
		{[]string{"garbage"}, document, false},
		{[]string{"text/plain", "text/html"}, document, false},
		{[]string{"Text/HTML; charset=utf-8"}, document, false},
		{[]string{"application/xhtml+xml"}, document, false},
		{[]string{"image/svg+xml"}, document, true},
		{[]string{"application/atom+xml"}, document, false},
		{[]string{"text/xml"}, document, false},
		{[]string{"application/pdf"}, document, false},
		{[]string{"application/unknown"}, document, false},
		{[]string{"text/javascript"}, script, true},
		{[]string{"application/javascript ; charset=utf-8"}, script, true},
		{[]string{"text/css"}, other, true},
		{[]string{"image/png"}, other, true},
		{[]string{"application/wasm"}, other, true},
		{[]string{"application/octet-stream"}, other, false},
		{[]string{"application/json"}, other, false},
		{[]string{"text/plain"}, other, false},
		// Of several types in one line browsers take the last that they know
		// (Fetch section 2.2.2).
		{[]string{"text/plain, text/html"}, document, false},
		{[]string{"image/png, text/html"}, document, false},
		{[]string{"text/css,"}, document, false},
		{[]string{"text/xsl"}, document, false}, // XML, to Chromium
	}
	for _, test := range tests {
		if c := classify(200, test.types); c.scope != test.scope || c.static != test.static || c.bare {
			t.Errorf("%q: %+v, want scope %d, static %t", test.types, c, test.scope, test.static)
		}
	}
}

// FuzzMendCookie checks that a mended cookie keeps what it was and has
// nothing more to mend.
func FuzzMendCookie(f *testing.F) {
	f.Add("a=b; Path=/; secure; SameSite=None")
	f.Add("__Host-a=b; Path=/; Domain=x")
	f.Add("=;;; SameSite")
	f.Fuzz(func(t *testing.T, line string) {
		e := newEnforcement(compile([]*Handler{{Profile: Strict, profile: Strict}}))
		e.secure = true
		mended := e.mendCookie(line)
		if mended == "" {
			return
		}
		if !strings.HasPrefix(mended, line) {
			t.Errorf("%q became %q", line, mended)
		}
		if again := e.mendCookie(mended); again != mended {
			t.Errorf("%q became %q, then %q", line, mended, again)
		}
	})
}
