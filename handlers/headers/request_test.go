package headers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// asked is a request and what reaches the handlers inside.
type asked struct {
	name, profile, lines string
	request              func(r *http.Request)
	trusted, unrecorded  bool

	status           int                 // default 200
	want             map[string][]string // fields inside
	mended, reported []string
	refused          string
}

func (x asked) run(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "https://example.com/a?b", strings.NewReader("body"))
	r.RequestURI = "/a?b"
	x.request(r)
	event := &audit.Event{}
	rec := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), rec, &caddyhttp.Server{})
	caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, x.trusted)
	if !x.unrecorded {
		r = r.WithContext(audit.NewContext(r.Context(), event))
	}
	var inside http.Header
	err := chain(func(_ http.ResponseWriter, r *http.Request) error {
		inside = r.Header.Clone()
		_, err := io.ReadAll(r.Body)
		return err
	}, site(t, x.profile, x.lines))(rec, r)
	status := 200
	if err != nil {
		status = errorStatus(err)
	}
	if want := max(x.status, 200); status != want {
		t.Errorf("status %d (%v), want %d", status, err, want)
	}
	for name, want := range x.want {
		if got := inside[name]; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !slices.Equal(event.Mended, x.mended) || !slices.Equal(event.Reported, x.reported) || event.Refused != x.refused {
		t.Errorf("mended %q, reported %q, refused %q", event.Mended, event.Reported, event.Refused)
	}
	if rec.Result().Header.Get("X-Content-Type-Options") != "nosniff" && !slices.Contains(x.reported, "nosniff") && rec.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Error("the response is not enforced")
	}
}

func with(pairs ...string) func(r *http.Request) {
	return func(r *http.Request) {
		for i := 0; i < len(pairs); i += 2 {
			r.Header.Add(pairs[i], pairs[i+1])
		}
	}
}

func TestRequests(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	method := func(m string) func(r *http.Request) { return func(r *http.Request) { r.Method = m } }
	host := func(h string) func(r *http.Request) { return func(r *http.Request) { r.Host = h } }
	limits := "request {\nmax_url 20\nmax_headers 3\nmax_header 50\nmax_body 10\n}"
	tests := []asked{
		{name: "spoofed", request: with("X-Forwarded-For", "1.2.3.4", "X-Real-Ip", "1.2.3.4", "Forwarded", "for=x"), want: map[string][]string{"X-Forwarded-For": nil, "X-Real-Ip": nil, "Forwarded": nil}, mended: []string{forwardedRule}},
		{
			name: "spoofed in other words", request: with("Client-Ip", "1", "Fly-Client-Ip", "1", "Cf-Connecting-Ipv6", "1", "X-Azure-Clientip", "1", "X-Http-Host-Override", "1", "Wl-Proxy-Client-Ip", "1", "X-Appengine-User-Ip", "1", "X-Vercel-Forwarded-For", "1"),
			want: map[string][]string{"Client-Ip": nil, "Fly-Client-Ip": nil, "Cf-Connecting-Ipv6": nil, "X-Azure-Clientip": nil, "X-Http-Host-Override": nil, "Wl-Proxy-Client-Ip": nil, "X-Appengine-User-Ip": nil, "X-Vercel-Forwarded-For": nil}, mended: []string{forwardedRule},
		},
		{name: "identity", request: with("X-Remote-User", "root", "X-Ssl-Client-Verify", "SUCCESS"), want: map[string][]string{"X-Remote-User": nil, "X-Ssl-Client-Verify": nil}, mended: []string{identityRule}},
		{name: "from a trusted proxy", trusted: true, request: with("X-Forwarded-For", "1.2.3.4", "X-Remote-User", "ann"), want: map[string][]string{"X-Forwarded-For": {"1.2.3.4"}, "X-Remote-User": {"ann"}}},
		{name: "spoofed, reported", lines: "report " + forwardedRule, request: with("X-Forwarded-For", "1.2.3.4"), want: map[string][]string{"X-Forwarded-For": {"1.2.3.4"}}, reported: []string{forwardedRule}},
		{name: "credentials stay", request: with("Authorization", "Bearer x", "X-Auth-Token", "y", "Cookie", "z"), want: map[string][]string{"Authorization": {"Bearer x"}, "X-Auth-Token": {"y"}, "Cookie": {"z"}}},
		{name: "named by the site", lines: "request {\nremove X-Internal\n}", request: with("X-Internal", "1"), want: map[string][]string{"X-Internal": nil}, mended: []string{identityRule}},

		{name: "hop by hop", request: with("Connection", "close, X-Hop, X-Real-Ip, Authorization", "X-Hop", "1", "Authorization", "b", "Te", "gzip, trailers", "Keep-Alive", "5"), want: map[string][]string{"Connection": {"close"}, "X-Hop": nil, "Authorization": {"b"}, "Te": {"trailers"}, "Keep-Alive": nil}, mended: []string{hopRule}},
		{name: "HTTP/2 past us", request: with("Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "Http2-Settings", "x"), want: map[string][]string{"Connection": {"Upgrade"}, "Upgrade": nil, "Http2-Settings": nil}, mended: []string{hopRule}},
		{name: "WebSocket", request: with("Connection", "keep-alive, Upgrade", "Upgrade", "websocket"), want: map[string][]string{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"}}},
		{name: "gRPC", request: with("Te", "trailers"), want: map[string][]string{"Te": {"trailers"}}},

		{name: "trace", request: with("Traceparent", parent, "Tracestate", "a=b"), want: map[string][]string{"Traceparent": {parent}, "Tracestate": {"a=b"}}},
		{name: "no trace", request: with("Traceparent", "00-0", "Tracestate", "a=b"), want: map[string][]string{"Traceparent": nil, "Tracestate": nil}, mended: []string{traceRule}},
		{name: "two traces", request: with("Traceparent", parent, "Traceparent", parent), want: map[string][]string{"Traceparent": nil}, mended: []string{traceRule}},
		{name: "id", unrecorded: true, request: with("X-Request-Id", "abc-12345"), want: map[string][]string{"X-Request-Id": {"abc-12345"}}},
		{name: "no id", unrecorded: true, request: with("X-Request-Id", "<script>"), want: map[string][]string{"X-Request-Id": nil}},

		{name: "TRACE", request: method("TRACE"), status: 405, refused: methodRule},
		{name: "CONNECT", profile: Strict, request: method("CONNECT"), status: 405, refused: methodRule},
		{name: "CONNECT over HTTP/3", profile: Strict, request: func(r *http.Request) { r.Method, r.Proto, r.ProtoMajor = "CONNECT", "HTTP/3.0", 3 }, status: 405, refused: methodRule},
		{name: "CONNECT for a WebSocket over HTTP/3", profile: Strict, request: func(r *http.Request) { r.Method, r.Proto, r.ProtoMajor = "CONNECT", "websocket", 3 }},
		{name: "CONNECT for a WebSocket", profile: Strict, request: func(r *http.Request) { r.Method = "CONNECT"; r.Header[":protocol"] = []string{"websocket"} }},
		{name: "method", lines: "request {\nmethods GET\n}", request: method("POST"), status: 405, refused: methodRule},
		{name: "host", lines: "request {\nhosts example.com\n}", request: host("EXAMPLE.com.:443")},
		{name: "host beneath", lines: "request {\nhosts *.example.com\n}", request: host("a.example.com")},
		{name: "host above", lines: "request {\nhosts *.example.com\n}", request: host("example.com"), status: 421, refused: hostRule},
		{name: "other host", lines: "request {\nhosts example.com\n}", request: host("evil-example.com"), status: 421, refused: hostRule},
		{name: "other host, reported", lines: "request {\nhosts example.com\n}\nreport " + hostRule, request: host("evil.example"), reported: []string{hostRule}},
		{name: "host by its address", lines: "request {\nhosts [2001:db8::1] 192.0.2.1\n}", request: host("[2001:DB8::1]:8443")},
		{name: "host by its address, without port", lines: "request {\nhosts [2001:db8::1] 192.0.2.1\n}", request: host("[2001:db8::1]")},
		{name: "host beneath that is nothing", lines: "request {\nhosts *.example.com\n}", request: host(".example.com"), status: 421, refused: hostRule},
		{name: "required", lines: "request {\nrequire X-Api\n}", request: with("X-Api", "1")},
		{name: "required and missing", lines: "request {\nrequire X-Api\n}", request: with(), status: 400, refused: requireRule},

		{name: "small", lines: limits, request: with("X-A", "1")},
		{name: "long target", lines: limits, request: func(r *http.Request) { r.RequestURI = "/" + strings.Repeat("a", 20) }, status: 414, refused: sizeRule},
		{name: "many fields", lines: limits, request: with("A", "1", "B", "1", "C", "1", "C", "2"), status: 431, refused: sizeRule},
		{name: "long field", lines: limits, request: with("A", strings.Repeat("a", 50)), status: 431, refused: sizeRule},
		{name: "long body", lines: limits, request: func(r *http.Request) { r.ContentLength = 11 }, status: 413, refused: sizeRule},
		{name: "long body of unknown length", lines: limits, request: func(r *http.Request) {
			r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader("eleven byte"))
		}, status: 413, refused: sizeRule},
		{name: "short body of unknown length", lines: limits, request: func(r *http.Request) {
			r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader("ten bytes."))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, test.run)
	}
}

func TestLongBodyIsRefusedWhateverTheHandlersMakeOfIt(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "https://example.com/", strings.NewReader("eleven byte"))
	r.ContentLength = -1
	event := &audit.Event{}
	rec := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), rec, &caddyhttp.Server{})
	r = r.WithContext(audit.NewContext(r.Context(), event))
	err := chain(func(_ http.ResponseWriter, r *http.Request) error {
		_, err := io.ReadAll(r.Body)
		return caddyhttp.Error(http.StatusBadGateway, fmt.Errorf("connection broken: %w", err))
	}, site(t, Baseline, "request {\nmax_body 10\n}"))(rec, r)
	if errorStatus(err) != http.StatusRequestEntityTooLarge || event.Refused != sizeRule {
		t.Errorf("%v, refused %q", err, event.Refused)
	}
}

// TestRemovedForwardingFieldsAreRemembered has a handler inside ask whether a
// request claims to come from elsewhere, which it can no longer see.
func TestRemovedForwardingFieldsAreRemembered(t *testing.T) {
	for name, want := range map[string]any{"X-Forwarded-For": true, "Forwarded": true, "X-Real-Ip": true, "X-Remote-User": nil, "Accept": nil} {
		h := provisioned(t, Handler{})
		roundTrip(&server{primary: chain(func(_ http.ResponseWriter, r *http.Request) error {
			if got := caddyhttp.GetVar(r.Context(), ForwardedVar); got != want {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
			return nil
		}, h)}, true, one(name, "192.0.2.1"))
	}
}

func TestTraceAndIDAreGenerated(t *testing.T) {
	h := site(t, Strict, "request {\ntrace generate\nrequest_id generate\n}")
	var inside http.Header
	s := chain(func(_ http.ResponseWriter, r *http.Request) error {
		inside = maps.Clone(r.Header)
		return nil
	}, h)
	rec := httptest.NewRecorder()
	r := caddyhttp.PrepareRequest(get(), caddy.NewReplacer(), rec, &caddyhttp.Server{})
	if err := s(rec, r); err != nil {
		t.Fatal(err)
	}
	if parent := inside.Get("Traceparent"); !isTraceparent(parent) {
		t.Errorf("traceparent %q", parent)
	}
	if id := inside.Get("X-Request-Id"); !isRequestID(id) || rec.Header().Get("X-Request-Id") != id {
		t.Errorf("id %q, sent %q", id, rec.Header().Get("X-Request-Id"))
	}
	event := &audit.Event{}
	r = caddyhttp.PrepareRequest(get(), caddy.NewReplacer(), rec, &caddyhttp.Server{})
	if err := s(rec, r.WithContext(audit.NewContext(r.Context(), event))); err != nil {
		t.Fatal(err)
	}
	if parent := inside.Get("Traceparent"); event.Trace == "" || !strings.Contains(parent, event.Trace) {
		t.Errorf("record has trace %q, upstream %q", event.Trace, parent)
	}
}

func TestErrorRouteIsNotJudgedAgain(t *testing.T) {
	h := site(t, Strict, "request {\nmethods POST\n}")
	s := &server{primary: chain(respond("text/html", "x"), h), errors: chain(jsonError, h)}
	if res, event := roundTrip(s, true, nil); res.StatusCode != http.StatusTeapot || event.Refused != methodRule || res.Header.Get("Allow") != "POST" {
		t.Errorf("%d, refused %q, %v", res.StatusCode, event.Refused, res.Header)
	}
}

// FuzzRequest looks for a panic, and for fields that must not get inside.
func FuzzRequest(f *testing.F) {
	f.Add("close, x-real-ip", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "h2c")
	h := provisioned(f, Handler{Profile: Strict})
	f.Fuzz(func(t *testing.T, connection, parent, upgrade string) {
		r := get()
		r.Header = http.Header{"Connection": {connection}, "Traceparent": {parent}, "Upgrade": {upgrade}, "X-Real-Ip": {"1"}, "Authorization": {"a"}}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{}))
		err := h.ServeHTTP(httptest.NewRecorder(), r, handlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			if r.Header.Get("X-Real-Ip") != "" || r.Header.Get("Authorization") == "" || r.Header.Get("Traceparent") != "" && !isTraceparent(parent) || hasDirective(r.Header["Upgrade"], "h2c") {
				t.Errorf("%q", r.Header)
			}
			for _, line := range r.Header["Connection"] {
				if !usual(line) {
					t.Errorf("Connection %q", line)
				}
			}
			return nil
		}))
		if err != nil {
			t.Error(errors.Unwrap(err))
		}
	})
}
