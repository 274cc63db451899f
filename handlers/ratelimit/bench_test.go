package ratelimit

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func BenchmarkServe(b *testing.B) {
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	for name, limit := range map[string]string{"admitted": "1000000/1s", "refused": "1/1h"} {
		b.Run(name, func(b *testing.B) {
			h := ready(b, "zone bench_"+name+" {\n limit "+limit+"\n}")
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = alice
			w := &discard{header: make(http.Header, 16)}
			r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
			b.ReportAllocs()
			for b.Loop() {
				_ = h.ServeHTTP(w, r, next)
			}
		})
	}
}
