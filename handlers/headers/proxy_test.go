package headers

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"slices"
	"testing"
)

// spoiledApp is an upstream that leaks and weakens in every way it can.
func spoiledApp(w http.ResponseWriter, r *http.Request) {
	spoilWith(w.Header().Set)
	switch r.URL.Path {
	case "/early":
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	case "/announced":
		w.Header().Set("Trailer", "X-Generator, Digest")
		defer w.Header().Set("X-Generator", "WordPress")
		defer w.Header().Set("Digest", "announced")
	case "/unannounced":
		defer w.Header().Set(http.TrailerPrefix+"X-Generator", "WordPress")
		defer w.Header().Set(http.TrailerPrefix+"Digest", "unannounced")
	}
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "page")
	_ = http.NewResponseController(w).Flush()
}

// proxied starts a site that proxies to spoiledApp.
func proxied(t *testing.T, proto string) *httptest.Server {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(spoiledApp))
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	s := &server{primary: chain(func(w http.ResponseWriter, r *http.Request) error {
		proxy.ServeHTTP(w, r)
		return nil
	}, provisioned(t, Handler{}), provisioned(t, Handler{Profile: Strict}))}
	return start(t, s, proto)
}

func TestProxiedResponsesAreEnforced(t *testing.T) {
	for _, proto := range []string{"h1", "h2", "h3"} {
		for _, path := range []string{"/", "/early", "/announced", "/unannounced"} {
			t.Run(proto+" "+path, func(t *testing.T) {
				srv := proxied(t, proto)
				header, trailer, early := exchangeWith(t, srv, path)
				checkHeader(t, header, Strict)
				if got := header["Content-Security-Policy"]; !slices.Equal(got, []string{strictCSP}) {
					t.Errorf("Content-Security-Policy %q", got)
				}
				if path == "/early" {
					checkEarly(t, row{name: "early hints first"}, early, Strict)
				}
				if got := trailer.Get("X-Generator"); got != "" {
					t.Errorf("trailer X-Generator: %q", got)
				}
				if got := trailer.Get("Digest"); (got != "") != (path == "/announced" || path == "/unannounced") {
					t.Errorf("trailer Digest: %q", got)
				}
			})
		}
	}
}

func exchangeWith(t *testing.T, srv *httptest.Server, path string) (header, trailer http.Header, early []textproto.MIMEHeader) {
	t.Helper()
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			early = append(early, h)
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res.Header, res.Trailer, early
}
