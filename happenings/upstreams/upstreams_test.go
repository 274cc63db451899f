package upstreams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// proxyTo is a provisioned reverse proxy without health checks.
func proxyTo(dials ...string) *reverseproxy.Handler {
	h := &reverseproxy.Handler{}
	for _, d := range dials {
		h.Upstreams = append(h.Upstreams, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: d})
	}
	return h
}

func withCheck(uri string, h *reverseproxy.Handler) *reverseproxy.Handler {
	h.HealthChecks = &reverseproxy.HealthChecks{Active: &reverseproxy.ActiveHealthChecks{
		URI: uri, Interval: caddy.Duration(10 * time.Second), Timeout: caddy.Duration(5 * time.Second), Fails: 3,
	}}
	return h
}

func route(list ...caddyhttp.MiddlewareHandler) caddyhttp.Route {
	return caddyhttp.Route{Handlers: list}
}

func TestProxiesAreFoundWhereverTheyAreNested(t *testing.T) {
	outer := proxyTo("a:1")
	outer.HandleResponse = []caddyhttp.ResponseHandler{{Routes: caddyhttp.RouteList{route(proxyTo("b:1"))}}}
	named := route(proxyTo("g:1"))
	srv := &caddyhttp.Server{
		Routes: caddyhttp.RouteList{
			route(&caddyhttp.Subroute{
				Routes: caddyhttp.RouteList{route(&caddyhttp.Subroute{Routes: caddyhttp.RouteList{route(outer)}})},
				Errors: &caddyhttp.HTTPErrorConfig{Routes: caddyhttp.RouteList{route(proxyTo("c:1"))}},
			}),
			route(intercept.Intercept{HandleResponse: []caddyhttp.ResponseHandler{{Routes: caddyhttp.RouteList{route(proxyTo("d:1"))}}}}),
			route(&caddyhttp.Subroute{}, caddyhttp.StaticResponse{}, (*caddyhttp.Subroute)(nil), outer),
		},
		Errors:      &caddyhttp.HTTPErrorConfig{Routes: caddyhttp.RouteList{route(proxyTo("e:1"))}},
		NamedRoutes: map[string]*caddyhttp.Route{"x": &named, "y": nil},
	}
	var got []string
	for _, p := range proxiesOf("srv0", srv) {
		got = append(got, p.handler.Upstreams[0].Dial)
	}
	if fmt.Sprint(got) != "[a:1 b:1 c:1 d:1 g:1 e:1]" {
		t.Error(got)
	}
}

func TestUpstreamsAreToldApartByHowTheyAreWatched(t *testing.T) {
	secret := withCheck("/health?token=hunter2", proxyTo("app:80"))
	list := []proxy{
		{"srv0", proxyTo("app:80", "{http.request.host}:80", "tcp/db:5432", "app:80-82")},
		{"srv0", proxyTo("app:80")},
		{"srv0", secret},
		{"srv1", withCheck("/", proxyTo("app:80", "unix//run/app.sock"))},
	}
	watches, dynamic, left := watchesOf(list)
	var got []string
	for _, w := range watches {
		got = append(got, fmt.Sprintf("%s %s %d %q %d %s", w.id.server, w.id.address, w.id.handler, w.check, len(w.members), w.settle))
	}
	want := []string{
		`srv0 app:80 0 "" 2 0s`, `srv0 db:5432 0 "" 1 0s`, `srv0 app:80 2 "GET /health" 1 25s`,
		`srv1 app:80 0 "GET /" 1 25s`, `srv1 /run/app.sock 0 "GET /" 1 25s`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || !dynamic["srv0"] || dynamic["srv1"] || left != 0 {
		t.Errorf("%q, dynamic %v, left %d", got, dynamic, left)
	}
	if strings.Contains(fmt.Sprint(got), "hunter2") {
		t.Error("a secret of a health check is kept")
	}
}

func TestWatchedUpstreamsAreBounded(t *testing.T) {
	var dials []string
	for i := range maxUpstreams + 5 {
		dials = append(dials, fmt.Sprintf("10.0.%d.%d:80", i/256, i%256))
	}
	if watches, _, left := watchesOf([]proxy{{"s", proxyTo(dials...)}}); len(watches) != maxUpstreams || left != 5 {
		t.Errorf("%d are watched, %d left out", len(watches), left)
	}
}

// book is a log that keeps what it is given.
type book struct {
	mu   sync.Mutex
	log  *audit.Log
	list []audit.UpstreamChange
}

func (b *book) Hold() bool      { return true }
func (b *book) Release()        {}
func (b *book) Log() *audit.Log { return b.log }

func (b *book) Write(r audit.Body, _ bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := r.(*audit.UpstreamChange)
	if !ok {
		return errors.New("no upstream")
	}
	b.list = append(b.list, *c)
	return nil
}

func (b *book) take() (kinds []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.list {
		kinds = append(kinds, string(c.Kind)+" "+c.Address)
	}
	b.list = nil
	return kinds
}

// configure begins to run a configuration with these proxies.
func configure(w *watcher, b *book, list ...proxy) *Monitor {
	m := New(caddy.Context{}, Options{})
	_ = m.options.SetDefaults()
	m.watcher, m.book, m.proxies = w, func() ledger.Book { return b }, func() []proxy { return list }
	m.Start()
	e, _ := caddy.NewEvent(caddy.Context{}, eventStarted, nil)
	_ = m.Handle(context.Background(), e)
	return m
}

func TestReloadKeepsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w watcher
		b := &book{log: new(audit.Log)}
		first := configure(&w, b, proxy{"s", withCheck("/", proxyTo("a:1"))}, proxy{"s", proxyTo("b:1")})
		time.Sleep(time.Minute)
		if got := fmt.Sprint(b.take()); got != "[upstream.unknown a:1 upstream.unknown b:1 upstream.up a:1]" {
			t.Error(got)
		}
		if list, _ := w.figures(); len(list) != 2 || list[0].State != stateUp || list[0].Address != "a:1" || list[1].State != stateUnknown {
			t.Errorf("%+v", list)
		}
		var last *Monitor
		for range 20 {
			last = configure(&w, b, proxy{"s", withCheck("/", proxyTo("a:1"))}, proxy{"s", proxyTo("c:1")})
			first.Stop()
			first = last
			time.Sleep(10 * time.Second)
		}
		if got := fmt.Sprint(b.take()); got != "[upstream.unknown c:1 upstream.gone b:1]" {
			t.Error(got)
		}
		last.Stop()
		if got := fmt.Sprint(b.take()); got != "[upstream.unknown a:1]" {
			t.Error("the app is gone:", got)
		}
	})
}

func TestWithdrawnConfigurationGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w watcher
		b := &book{log: new(audit.Log)}
		first := configure(&w, b, proxy{"s", withCheck("/", proxyTo("a:1"))})
		time.Sleep(time.Minute)
		configure(&w, b, proxy{"s", withCheck("/", proxyTo("a:1"))}).Stop()
		b.take()
		time.Sleep(time.Minute)
		if got := fmt.Sprint(b.take()); got != "[upstream.unknown a:1 upstream.up a:1]" {
			t.Error(got)
		}
		first.Stop()
	})
}

func TestConfigurationThatNeverRanIsNotWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w watcher
		b := &book{log: new(audit.Log)}
		m := New(caddy.Context{}, Options{})
		_ = m.options.SetDefaults()
		m.watcher, m.book = &w, func() ledger.Book { return b }
		m.Start()
		time.Sleep(time.Minute)
		m.Stop()
		if got := b.take(); len(got) != 0 {
			t.Error(got)
		}
		New(caddy.Context{}, Options{}).Stop() // it was not even started
	})
}

func TestEventsOfAnythingDoNotHoldUp(t *testing.T) {
	m := New(caddy.Context{}, Options{})
	for range 10 * maxEvents {
		e, _ := caddy.NewEvent(caddy.Context{}, eventUnhealthy, map[string]any{"host": make(chan int)})
		if err := m.Handle(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}
