package upstreams

import (
	"maps"
	"reflect"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// proxy is a reverse proxy handler of a server.
type proxy struct {
	server  string
	handler *reverseproxy.Handler
}

// walker finds the reverse proxies of a server, whatever they are nested in.
type walker struct {
	server string
	seen   map[*reverseproxy.Handler]bool
	depth  int
	found  []proxy
}

// maxDepth is how deep handlers are nested at most. Caddy itself sets no bound.
const maxDepth = 64

// proxiesOf returns the reverse proxies of a server in the order in which the
// configuration has them.
func proxiesOf(name string, srv *caddyhttp.Server) []proxy {
	w := walker{server: name, seen: map[*reverseproxy.Handler]bool{}}
	w.routes(srv.Routes)
	for _, key := range slices.Sorted(maps.Keys(srv.NamedRoutes)) {
		if named := srv.NamedRoutes[key]; named != nil {
			w.routes(caddyhttp.RouteList{*named})
		}
	}
	if srv.Errors != nil {
		w.routes(srv.Errors.Routes)
	}
	return w.found
}

func (w *walker) routes(list caddyhttp.RouteList) {
	if w.depth++; w.depth <= maxDepth {
		for _, route := range list {
			for _, h := range route.Handlers {
				w.handler(h)
			}
		}
	}
	w.depth--
}

func (w *walker) handler(h caddyhttp.MiddlewareHandler) {
	if p, ok := h.(*reverseproxy.Handler); ok && p != nil && !w.seen[p] {
		w.seen[p] = true
		w.found = append(w.found, proxy{w.server, p})
	}
	v := reflect.ValueOf(h)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() == reflect.Struct {
		w.fields(v)
	}
}

// fields looks into the fields of a handler that have routes or handlers:
// Caddy's subroute, reverse_proxy and intercept, and those of other projects
// that are made like them.
func (w *walker) fields(v reflect.Value) {
	for f, value := range v.Fields() {
		if !f.IsExported() {
			continue
		}
		switch in := value.Interface().(type) {
		case caddyhttp.RouteList:
			w.routes(in)
		case []caddyhttp.ResponseHandler:
			for _, r := range in {
				w.routes(r.Routes)
			}
		case *caddyhttp.HTTPErrorConfig:
			if in != nil {
				w.routes(in.Routes)
			}
		case caddyhttp.MiddlewareHandler:
			if w.depth++; w.depth <= maxDepth && !reflect.ValueOf(in).IsZero() {
				w.handler(in)
			}
			w.depth--
		}
	}
}
