package record

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// proxyOf makes a reverse proxy of its configuration.
func proxyOf(t *testing.T, config string) *reverseproxy.Handler {
	t.Helper()
	ctx, err := caddy.ProvisionContext(new(caddy.Config))
	if err != nil {
		t.Fatal(err)
	}
	ctx = ctx.WithValue(caddyhttp.ServerCtxKey, new(caddyhttp.Server))
	p := new(reverseproxy.Handler)
	if err := json.Unmarshal([]byte(config), p); err != nil {
		t.Fatal(err)
	}
	if err := p.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Cleanup() })
	return p
}

// upstreamThat starts an upstream and returns its address.
func upstreamThat(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// deadAddress is one where nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(nil)
	srv.Close()
	return strings.TrimPrefix(srv.URL, "http://")
}

// TestUpstreamsStatusIsThatOfTheUpstreamInTheRecord: what another upstream
// answered before is not what the last one did.
func TestUpstreamsStatusIsThatOfTheUpstreamInTheRecord(t *testing.T) {
	answers := func(status int) string {
		return upstreamThat(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	}
	arrived := make(chan struct{}, 1)
	hangs := upstreamThat(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	allowing, refusing, failing, dead := answers(200), answers(401), answers(502), deadAddress(t)
	auth := func(address string) string {
		return `{"upstreams":[{"dial":"` + address + `"}],"handle_response":[{"match":{"status_code":[2]},"routes":[{}]}]}`
	}
	proxy := func(address string) string { return `{"upstreams":[{"dial":"` + address + `"}]}` }
	again := `{"load_balancing":{"retries":1,"selection_policy":{"policy":"round_robin"},"retry_match":[{"expression":"{http.reverse_proxy.status_code} == 502"}]},"upstreams":[{"dial":"`
	for name, c := range map[string]struct {
		chain   []string
		patient bool
		address string
		status  int
	}{
		"one":                        {[]string{proxy(failing)}, true, failing, 502},
		"one that is dead":           {[]string{proxy(dead)}, true, dead, 0},
		"authenticated":              {[]string{auth(allowing), proxy(failing)}, true, failing, 502},
		"refused":                    {[]string{auth(refusing), proxy(allowing)}, true, refusing, 401},
		"authenticated, then dead":   {[]string{auth(allowing), proxy(dead)}, true, dead, 0},
		"authenticated, then silent": {[]string{auth(allowing), proxy(hangs)}, false, hangs, 0},
		"tried again, then dead":     {[]string{again + dead + `"},{"dial":"` + failing + `"}]}`}, true, dead, 0},
		"tried again in vain":        {[]string{again + failing + `"}]}`}, true, failing, 502},
	} {
		for _, covered := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				var rec recorder
				h := newHandler(&rec, covered)
				inner := caddyhttp.Handler(handlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
				for _, config := range slices.Backward(c.chain) {
					p, next := proxyOf(t, config), inner
					inner = handlerFunc(func(w http.ResponseWriter, r *http.Request) error { return p.ServeHTTP(w, r, next) })
				}
				errorChain := chain(h, handlerFunc(func(w http.ResponseWriter, r *http.Request) error {
					err, _ := r.Context().Value(caddyhttp.ErrorCtxKey).(error)
					w.WriteHeader(errorStatus(err))
					return nil
				}))
				ctx, leave := context.WithCancel(context.WithValue(t.Context(), http.LocalAddrContextKey, new(net.TCPAddr)))
				defer leave()
				if !c.patient {
					go func() { <-arrived; leave() }()
				}
				r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/", nil)
				server(chain(h, inner), errorChain).ServeHTTP(httptest.NewRecorder(), r)
				ev := rec.only(t)
				if ev.Upstream.Address != c.address || ev.Upstream.Status != c.status || c.status == 0 && ev.Upstream.Latency != 0 {
					t.Errorf("covered %v: upstream %+v, want %s with status %d (response %d, error %q)", covered, ev.Upstream, c.address, c.status, ev.Status, ev.Error)
				}
			})
		}
	}
}
