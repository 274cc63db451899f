package headers

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// teapot fails like a handler whose error an error route answers.
func teapot(http.ResponseWriter, *http.Request) error {
	return caddyhttp.Error(http.StatusTeapot, errors.New("no coffee"))
}

// jsonError is an error route that describes the error.
func jsonError(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusTeapot)
	_, err := io.WriteString(w, "{}")
	return err
}

func TestInnermostConfiguredInstanceDecides(t *testing.T) {
	covering := provisioned(t, Handler{}) // as injected for the whole server
	baseline := provisioned(t, Handler{Profile: Baseline})
	strict := provisioned(t, Handler{Profile: Strict})
	api := provisioned(t, Handler{Profile: API})
	policy := provisioned(t, Handler{CSP: "script-src 'none'"})
	type hs = []caddyhttp.MiddlewareHandler
	tests := []struct {
		name     string
		nested   hs
		profile  string
		csp      string
		inFrames string
	}{
		{"covering only", hs{covering}, Baseline, plainBaselineCSP, "SAMEORIGIN"},
		{"site inside", hs{covering, strict}, Strict, plainStrictCSP, "DENY"},
		{"site alone", hs{strict}, Strict, plainStrictCSP, "DENY"},
		{"route inside site", hs{covering, strict, api}, API, apiCSP, "DENY"},
		{"weaker inside", hs{covering, strict, baseline}, Baseline, plainBaselineCSP, "SAMEORIGIN"},
		{"bare inside", hs{strict, covering}, Strict, plainStrictCSP, "DENY"},
		{"only a policy inside", hs{covering, policy}, Baseline, "script-src 'none'", "SAMEORIGIN"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &server{primary: chain(respond("text/html", "page"), test.nested...)}
			res, event := roundTrip(s, false, nil)
			if got := res.Header["Content-Security-Policy"]; !slices.Equal(got, []string{test.csp}) {
				t.Errorf("Content-Security-Policy %q, want %q", got, test.csp)
			}
			if got := res.Header["X-Frame-Options"]; !slices.Equal(got, []string{test.inFrames}) {
				t.Errorf("X-Frame-Options %q, want %q", got, test.inFrames)
			}
			if event.Profile != test.profile || len(event.Mended) != 0 {
				t.Errorf("record: %s, mended %q; want %s and nothing", event.Profile, event.Mended, test.profile)
			}
		})
	}
}

func TestOnlyTheOutermostInstanceWraps(t *testing.T) {
	var outer, inner http.ResponseWriter
	note := func(w *http.ResponseWriter) caddyhttp.MiddlewareHandler {
		return middleware(func(rw http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
			*w = rw
			return next.ServeHTTP(rw, r)
		})
	}
	h := provisioned(t, Handler{Profile: Strict})
	s := &server{primary: chain(respond("text/html", "page"), h, note(&outer), h, note(&inner))}
	roundTrip(s, false, nil)
	if outer != inner {
		t.Errorf("the instance inside wrapped %T again, as %T", outer, inner)
	}
}

// middleware makes a function a handler.
type middleware func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error

func (f middleware) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return f(w, r, next)
}

func TestErrorRouteKeepsThePolicyOfTheSite(t *testing.T) {
	covering := provisioned(t, Handler{})
	strict := provisioned(t, Handler{Profile: Strict})
	api := provisioned(t, Handler{Profile: API})
	failing := chain(teapot, covering, strict)
	tests := []struct {
		name    string
		errors  handlerFunc
		profile string
		csp     string
	}{
		{"none", nil, Strict, plainStrictCSP},
		{"bare", jsonError, Strict, plainStrictCSP},               // what the error left is sent
		{"covered", chain(jsonError, covering), Strict, inertCSP}, // JSON is no document
		{"covered, of its own", chain(jsonError, covering, api), API, apiCSP},
		{"of its own", chain(jsonError, api), API, apiCSP},
		{"covered and silent", chain(func(http.ResponseWriter, *http.Request) error { return nil }, covering), Strict, plainStrictCSP},
		{"failing", chain(teapot, covering), Strict, plainStrictCSP},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			res, event := roundTrip(&server{primary: failing, errors: test.errors}, false, nil)
			if got := res.Header["Content-Security-Policy"]; !slices.Equal(got, []string{test.csp}) {
				t.Errorf("Content-Security-Policy %q, want %q", got, test.csp)
			}
			if got := res.Header["X-Frame-Options"]; !slices.Equal(got, []string{"DENY"}) {
				t.Errorf("X-Frame-Options %q", got)
			}
			if event.Profile != test.profile || len(event.Mended) != 0 {
				t.Errorf("record: %s, mended %q; want %s and nothing", event.Profile, event.Mended, test.profile)
			}
		})
	}
}

func TestErrorRouteDropsWhatTheErrorDependedOn(t *testing.T) {
	covering := provisioned(t, Handler{})
	s := &server{primary: chain(teapot, covering), errors: chain(jsonError, covering)}
	res, _ := roundTrip(s, true, http.Header{"Authorization": {"Basic x"}})
	for _, name := range []string{"Content-Security-Policy", "Permissions-Policy", "Cross-Origin-Opener-Policy"} {
		if got := res.Header[name]; got != nil {
			t.Errorf("%s %q on JSON", name, got)
		}
	}
	if got := res.Header["Cache-Control"]; !slices.Equal(got, []string{"no-store"}) {
		t.Errorf("Cache-Control %q, want no-store", got)
	}
	if res.StatusCode != http.StatusTeapot || res.Header.Get("X-Frame-Options") != "SAMEORIGIN" {
		t.Errorf("%d, %v", res.StatusCode, res.Header)
	}
}

func TestResponseIsMendedOnce(t *testing.T) {
	covering := provisioned(t, Handler{})
	spoiled := func(next handlerFunc) handlerFunc {
		return func(w http.ResponseWriter, r *http.Request) error {
			spoil["add"](w.Header())
			return next(w, r)
		}
	}
	want := []string{
		"cross-domain-policies", "frame-options", "hsts", "nosniff", "referrer-policy", "server", "x-powered-by",
	}
	t.Run("both chains", func(t *testing.T) {
		s := &server{primary: chain(spoiled(teapot), covering), errors: chain(spoiled(jsonError), covering)}
		res, event := roundTrip(s, true, nil)
		checkHeader(t, res.Header, Baseline)
		if !slices.Equal(event.Mended, want) {
			t.Errorf("mended %q, want %q", event.Mended, want)
		}
	})
	t.Run("error after the response left", func(t *testing.T) {
		late := func(w http.ResponseWriter, r *http.Request) error {
			return errors.Join(respond("text/html", "half")(w, r), errors.New("broken"))
		}
		s := &server{primary: chain(spoiled(late), covering), errors: chain(func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("X-Generator", "too late")
			w.WriteHeader(http.StatusTeapot)
			return nil
		}, covering)}
		res, event := roundTrip(s, true, nil)
		checkHeader(t, res.Header, Baseline)
		if res.StatusCode != 200 || !slices.Equal(event.Mended, want) {
			t.Errorf("status %d, mended %q; want 200 and %q", res.StatusCode, event.Mended, want)
		}
	})
}

// A handler inside may edit values where they are, as Caddy's header handler
// does for a replacement.
func TestEditedValuesStayInTheirRequest(t *testing.T) {
	h := provisioned(t, Handler{Profile: Strict})
	edit := func(w http.ResponseWriter, r *http.Request) error {
		for _, values := range w.Header() {
			for i := range values {
				values[i] = "edited"
			}
		}
		err := respond("text/html", "page")(w, r)
		for _, values := range w.Header() {
			for i := range values {
				values[i] = "edited again"
			}
		}
		return err
	}
	for range 2 {
		res, _ := roundTrip(&server{primary: chain(edit, h)}, true, nil)
		checkHeader(t, res.Header, Strict)
	}
}

func TestWorksWithoutRecordAndVariables(t *testing.T) {
	h := provisioned(t, Handler{})
	w, r := newRequest()
	if err := chain(respond("text/html", "page"), h, h)(w, r); err != nil {
		t.Fatal(err)
	}
	if got := w.Header()["X-Frame-Options"]; !slices.Equal(got, []string{"SAMEORIGIN"}) {
		t.Errorf("X-Frame-Options %q", got)
	}
}
