package upstreams

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// watch is an upstream of the configuration, with all handlers that watch it in
// the same way.
type watch struct {
	id      id
	check   string
	active  bool
	settle  time.Duration // after which the active check has had its say
	members []member
}

// member is an upstream as one handler has it.
type member struct {
	upstream *reverseproxy.Upstream
	maxFails int64 // of the passive health check; 0: there is none
	breaker  bool  // a circuit breaker is consulted
}

// watchesOf returns the upstreams of handlers, and the servers that also proxy
// to others which the configuration does not name.
func watchesOf(list []proxy) (watches []*watch, dynamic map[string]bool, left int) {
	dynamic = map[string]bool{}
	specs := map[endpoint][]string{} // how an endpoint is watched, in order
	byID := map[id]*watch{}
	for _, p := range list {
		if p.handler.DynamicUpstreams != nil {
			dynamic[p.server] = true
		}
		for _, u := range p.handler.Upstreams {
			if u == nil || u.Host == nil {
				continue
			}
			address, ok := addressOf(u.Dial)
			if !ok {
				dynamic[p.server] = true
				continue
			}
			ep, spec := endpoint{p.server, address}, specOf(p.handler)
			n := indexOf(specs, ep, spec)
			k := id{endpoint: ep}
			if n > 0 {
				k.handler = n + 1
			}
			w := byID[k]
			if w == nil {
				if len(watches) == maxUpstreams {
					left++
					continue
				}
				w = newWatch(k, p.handler)
				byID[k] = w
				watches = append(watches, w)
			}
			w.members = append(w.members, memberOf(p.handler, u))
		}
	}
	return watches, dynamic, left
}

// indexOf returns which of the ways to watch an endpoint a spec is.
func indexOf(specs map[endpoint][]string, ep endpoint, spec string) int {
	for i, s := range specs[ep] {
		if s == spec {
			return i
		}
	}
	specs[ep] = append(specs[ep], spec)
	return len(specs[ep]) - 1
}

// addressOf returns the address as the record of a request has it. With a
// placeholder it is known only when there is a request.
func addressOf(dial string) (string, bool) {
	if strings.Contains(dial, "{") {
		if dial = caddy.NewReplacer().ReplaceKnown(dial, ""); strings.Contains(dial, "{") {
			return "", false
		}
	}
	addr, err := caddy.ParseNetworkAddress(dial)
	if err != nil || addr.PortRangeSize() != 1 {
		return "", false
	}
	return addr.JoinHostPort(0), true
}

// activeOf returns the active health check of a handler, or nil.
func activeOf(h *reverseproxy.Handler) *reverseproxy.ActiveHealthChecks {
	if h.HealthChecks == nil || h.HealthChecks.Active == nil || !h.HealthChecks.Active.IsEnabled() {
		return nil
	}
	return h.HealthChecks.Active
}

// specOf tells apart how handlers watch their upstreams. It stays in memory:
// the header fields of a health check may have secrets.
func specOf(h *reverseproxy.Handler) string {
	var spec string
	if a := activeOf(h); a != nil {
		spec = fmt.Sprintf("%q %q %d %v %q %q %v %v %v %d %d %d %d %q", uriOf(a), a.Upstream, a.Port, a.Headers, a.Method, a.Body,
			a.FollowRedirects, a.Interval, a.Timeout, a.Passes, a.Fails, a.MaxSize, a.ExpectStatus, a.ExpectBody)
	}
	if h.HealthChecks != nil && h.HealthChecks.Passive != nil {
		p := h.HealthChecks.Passive
		spec += fmt.Sprintf(" passive %v %d %d %v %v", p.FailDuration, p.MaxFails, p.UnhealthyRequestCount, p.UnhealthyStatus, p.UnhealthyLatency)
	}
	return spec
}

func newWatch(k id, h *reverseproxy.Handler) *watch {
	w := &watch{id: k}
	a := activeOf(h)
	if a == nil {
		return w
	}
	// The first check runs when the handler is provisioned, the others on the
	// interval, and each takes as long as its timeout at most.
	w.active = true
	w.settle = time.Duration(max(0, a.Fails-1))*time.Duration(a.Interval) + time.Duration(a.Timeout)
	w.check = checkOf(a)
	return w
}

// uriOf is what an active health check asks for.
func uriOf(a *reverseproxy.ActiveHealthChecks) string {
	if a.URI != "" {
		return a.URI
	}
	//lint:ignore SA1019 the deprecated option still works
	return a.Path //nolint:staticcheck // as above
}

// checkOf describes an active health check.
func checkOf(a *reverseproxy.ActiveHealthChecks) string {
	method := a.Method
	if method == "" {
		method = http.MethodGet
	}
	uri, _, _ := strings.Cut(uriOf(a), "?") // a query may have secrets
	if uri == "" {
		uri = "/"
	}
	switch {
	case a.Upstream != "":
		return method + " " + uri + " at " + a.Upstream
	case a.Port != 0:
		return fmt.Sprintf("%s %s at port %d", method, uri, a.Port)
	}
	return method + " " + uri
}

func memberOf(h *reverseproxy.Handler, u *reverseproxy.Upstream) member {
	m := member{upstream: u, breaker: h.CB != nil}
	if h.HealthChecks != nil && h.HealthChecks.Passive != nil {
		m.maxFails = int64(h.HealthChecks.Passive.MaxFails)
	}
	return m
}

// observe looks at an upstream. Where handlers differ, the worse counts.
func (w *watch) observe(began time.Time) observation {
	o := observation{id: w.id, check: w.check, active: w.active, settled: began.Add(w.settle), healthy: true}
	for _, m := range w.members {
		fails := int64(m.upstream.Fails())
		o.fails = max(o.fails, fails)
		o.requests = max(o.requests, int64(m.upstream.NumRequests()))
		if m.upstream.Healthy() {
			continue
		}
		o.healthy = false
		switch {
		case m.maxFails > 0 && fails >= m.maxFails:
			o.cause = causePassive
		case w.active:
			o.cause = causeActive
		default:
			o.cause = causeSample
		}
	}
	return o
}
