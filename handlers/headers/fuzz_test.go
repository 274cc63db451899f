package headers

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// FuzzHeaderValues has an upstream send anything in a field, beside fields that
// are wrong, and holds what leaves to what the profile strict is about: required
// fields once, forbidden ones not at all, nothing that cannot be sent, and no
// more to find.
func FuzzHeaderValues(f *testing.F) {
	f.Add("X-Frame-Options", "ALLOWALL", "text/html")
	f.Add("content-security-policy", "default-src *; script-src 'nonce-x', img-src *", "")
	f.Add("Trailer:Server", "Apache", "text/css")
	f.Add("Trailer", "server, digest", "*/*")
	f.Add("Set-Cookie", "__Host-a=b; Domain=x; \x01", "application/pdf")
	f.Add("Strict-Transport-Security", "max-age=\"9\"; max-age=8", "text/html; charset")
	f.Add("Access-Control-Allow-Origin", "null", "image/svg+xml")
	f.Add("Location", "/\r\nServer: x", "multipart/x-mixed-replace")
	f.Add("CACHE-CONTROL", "private=\"no-store\"", "font/woff2")
	handler := provisioned(f, Handler{Profile: Strict})
	f.Fuzz(func(t *testing.T, name, value, contentType string) {
		send := func(w http.ResponseWriter, _ *http.Request) error {
			h := w.Header()
			h["Content-Type"] = []string{contentType}
			h["Server"] = []string{"Apache"}
			h[name] = append(h[name], value, value+"2")
			w.WriteHeader(200)
			return nil
		}
		res, _ := roundTrip(&server{primary: chain(send, handler)}, true, nil)
		checkHeader(t, res.Header, Strict)
		for key, values := range res.Header {
			if _, leak := allLeaks[canonical(strings.TrimPrefix(key, http.TrailerPrefix))]; leak {
				t.Errorf("%q left", key)
			}
			if !passable(values) {
				t.Errorf("%q: %q left", key, values)
			}
			if single[canonical(key)] && len(values) > 1 && canonical(key) == key {
				t.Errorf("%q: %d values left", key, len(values))
			}
		}
		for _, j := range Examine(Strict, Observed{TLS: true, Status: 200, Header: res.Header}) {
			if j.State != OK && !slices.Contains([]string{valuesRule}, j.Rule) {
				t.Errorf("after enforcement: %+v", j)
			}
		}
	})
}

// FuzzExamine has a server send anything to the command that examines it, which
// must not fail, and must not show the value of a cookie.
func FuzzExamine(f *testing.F) {
	f.Add("Content-Security-Policy", "script-src 'self', ;;default-src")
	f.Add("Permissions-Policy", "camera=(self \"https://a.example\"), =, usb")
	f.Add("Set-Cookie", "sid=hush")
	f.Fuzz(func(t *testing.T, name, value string) {
		for _, profile := range []string{Baseline, Strict, API} {
			for _, j := range Examine(profile, Observed{Host: name, Origin: value, TLS: true, Status: 200, Header: http.Header{name: {value}}}) {
				if j.State != OK && j.Advice == "" {
					t.Errorf("no advice: %+v", j)
				}
			}
		}
	})
}

// FuzzComparePolicies checks that what a policy allows is found whatever stands
// around it, and that a policy allows no more than itself.
func FuzzComparePolicies(f *testing.F) {
	f.Add("img-src *", "default-src 'self'")
	f.Add("script-src 'nonce-a' 'strict-dynamic'", "")
	f.Add(";,; x", strictCSP)
	f.Fuzz(func(t *testing.T, sent, wanted string) {
		if found := comparePolicies([]string{wanted}, wanted); found != nil && !strings.Contains(wanted, ",") {
			t.Fatalf("%q allows more than itself: %q", wanted, found)
		}
		found := comparePolicies([]string{sent}, wanted)
		if again := comparePolicies([]string{sent, sent}, wanted); !slices.Equal(found, again) {
			t.Fatalf("once %q, twice %q", found, again)
		}
	})
}
