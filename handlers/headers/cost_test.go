package headers

import (
	"context"
	"crypto/tls"
	"io"
	"maps"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// sink is a response writer that costs nothing.
type sink struct{ header http.Header }

func (s sink) Header() http.Header               { return s.header }
func (s sink) Write(p []byte) (int, error)       { return len(p), nil }
func (s sink) WriteHeader(int)                   {}
func (s sink) ReadFrom(io.Reader) (int64, error) { return 0, nil }

// clean is what a well-behaved upstream adds.
var clean = http.Header{
	"Content-Type":     {"text/html; charset=utf-8"},
	"Content-Encoding": {"gzip"},
	"Date":             {"Sat, 21 Nov 2026 00:00:00 GMT"},
	"Etag":             {`"abc"`},
	"Last-Modified":    {"Sat, 21 Nov 2026 00:00:00 GMT"},
	"Vary":             {"Accept-Encoding"},
	"Via":              {"1.1 Caddy"},
	"Alt-Svc":          {`h3=":443"; ma=2592000`},
}

// exercise returns a function that serves one request.
func exercise(tb testing.TB, profile string) func() {
	h := provisioned(tb, Handler{Profile: profile})
	w := sink{http.Header{}}
	_, r := newRequest()
	r.TLS = &tls.ConnectionState{}
	r = r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
	vars := map[string]any{}
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
	var next handlerFunc = func(w http.ResponseWriter, _ *http.Request) error {
		maps.Copy(w.Header(), clean)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return func() {
		clear(w.header)
		clear(vars)
		if err := h.ServeHTTP(w, r, next); err != nil {
			tb.Fatal(err)
		}
	}
}

// One allocation holds the request's state and all values, two are the hooks.
func TestNothingToMendCostsThreeAllocations(t *testing.T) {
	for _, profile := range []string{Baseline, Strict, API} {
		if allocs := testing.AllocsPerRun(100, exercise(t, profile)); allocs > 3 {
			t.Errorf("%s: %v allocations", profile, allocs)
		}
	}
}

func BenchmarkServeHTTP(b *testing.B) {
	for _, profile := range []string{Baseline, Strict, API} {
		b.Run(profile, func(b *testing.B) {
			serve := exercise(b, profile)
			b.ReportAllocs()
			for b.Loop() {
				serve()
			}
		})
	}
}
