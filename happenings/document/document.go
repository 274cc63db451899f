// Package document writes the HTTP servers of a configuration as the JSON that
// Caddy's configuration has for them, also when they are provisioned already:
// Caddy drops the JSON of a module once it has loaded it.
//
// What is written of a provisioned server is what rules about TLS look at: its
// listeners, connection policies, and its routes with their handlers. It is not
// meant to be loaded again.
package document

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// Of returns the configuration of the HTTP app, as {"apps":{"http":…}}: from
// raw, the app's JSON, or, where that is gone, from the app as it was
// provisioned. With neither there are no servers.
func Of(raw json.RawMessage, app *caddyhttp.App) ([]byte, error) {
	var http any
	switch {
	case len(raw) > 0:
		http = raw
	case app != nil:
		o, err := provisioned(app)
		if err != nil {
			return nil, fmt.Errorf("writing the HTTP servers as JSON: %w", err)
		}
		http = o
	}
	return json.Marshal(map[string]any{"apps": map[string]any{"http": http}})
}

func provisioned(app *caddyhttp.App) (map[string]any, error) {
	o, err := plain(app)
	if err != nil {
		return nil, err
	}
	servers, _ := o["servers"].(map[string]any)
	for name, srv := range app.Servers {
		s, ok := servers[name].(map[string]any)
		if !ok || srv == nil {
			continue
		}
		if s["routes"], err = routes(srv.Routes, 0); err != nil {
			return nil, err
		}
		if srv.Errors != nil {
			list, err := routes(srv.Errors.Routes, 0)
			if err != nil {
				return nil, err
			}
			s["errors"] = map[string]any{"routes": list}
		}
		named := map[string]any{}
		for key, route := range srv.NamedRoutes {
			if route == nil {
				continue
			}
			list, err := routes(caddyhttp.RouteList{*route}, 0)
			if err != nil {
				return nil, err
			}
			named[key] = list[0]
		}
		s["named_routes"] = named
		policies, _ := s["tls_connection_policies"].([]any)
		for i, p := range srv.TLSConnPolicies {
			if q, ok := policies[i].(map[string]any); ok {
				policy(q, p)
			}
		}
	}
	return o, nil
}

// plain is a value as JSON has it.
func plain(v any) (map[string]any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var o map[string]any
	return o, json.Unmarshal(b, &o)
}

// policy puts back what a connection policy has loaded: by what it matches, and
// whom it trusts.
func policy(to map[string]any, p *caddytls.ConnectionPolicy) {
	if match := matchers(p); len(match) > 0 {
		to["match"] = match
	}
	c, ok := to["client_authentication"].(map[string]any)
	if ok && p.TLSConfig != nil && p.TLSConfig.ClientCAs != nil {
		c["ca"] = map[string]any{"provider": "loaded"}
	}
}

// matchers reads the matchers of a policy, which are in a field that is not
// exported. One that is of another kind than a list of server names is only
// named.
func matchers(p *caddytls.ConnectionPolicy) map[string]any {
	match := map[string]any{}
	field := reflect.ValueOf(p).Elem().FieldByName("matchers")
	if !field.IsValid() || field.Kind() != reflect.Slice {
		return match
	}
	for i := range field.Len() {
		m := field.Index(i)
		for m.Kind() == reflect.Interface || m.Kind() == reflect.Pointer {
			m = m.Elem()
		}
		if m.Type() != reflect.TypeFor[caddytls.MatchServerName]() {
			match[m.Type().Name()] = map[string]any{}
			continue
		}
		names := make([]any, m.Len())
		for j := range names {
			names[j] = m.Index(j).String()
		}
		match["sni"] = names
	}
	return match
}

// maxDepth is how deep handlers are nested at most. Caddy itself sets no bound.
const maxDepth = 64

func routes(list caddyhttp.RouteList, depth int) ([]any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("handlers are nested more than %d deep", maxDepth)
	}
	out := make([]any, 0, len(list))
	for _, route := range list {
		r := map[string]any{"terminal": route.Terminal}
		var sets []any
		for _, set := range route.MatcherSets {
			m := map[string]any{}
			for _, matcher := range set {
				m[nameOf(matcher)] = matched(matcher)
			}
			sets = append(sets, m)
		}
		if len(sets) > 0 {
			r["match"] = sets
		}
		handle := make([]any, 0, len(route.Handlers)+len(route.HandlersRaw))
		for _, raw := range route.HandlersRaw { // not provisioned yet
			handle = append(handle, raw)
		}
		for _, h := range route.Handlers {
			o, err := handler(h, depth)
			if err != nil {
				return nil, err
			}
			handle = append(handle, o)
		}
		r["handle"] = handle
		out = append(out, r)
	}
	return out, nil
}

// matched is what a matcher matches, where rules ask for that.
func matched(matcher any) any {
	switch m := matcher.(type) {
	case caddyhttp.MatchHost, *caddyhttp.MatchHost, caddyhttp.MatchProtocol, *caddyhttp.MatchProtocol:
		return m
	}
	return map[string]any{}
}

// handler writes a handler with the handlers in it: in Caddy's subroute,
// reverse_proxy and intercept, and in those of others that are made like them.
func handler(h caddyhttp.MiddlewareHandler, depth int) (map[string]any, error) {
	o, err := plain(h)
	if err != nil || o == nil { // one that cannot be written as an object
		o = map[string]any{}
	}
	o["handler"] = nameOf(h)
	v := reflect.ValueOf(h)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return o, nil
	}
	for f, value := range v.Fields() {
		if !f.IsExported() {
			continue
		}
		var list caddyhttp.RouteList
		switch in := value.Interface().(type) {
		case caddyhttp.RouteList:
			list = in
		case []caddyhttp.ResponseHandler:
			for _, r := range in {
				list = append(list, r.Routes...)
			}
		default:
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if o[name], err = routes(list, depth+1); err != nil {
			return nil, err
		}
	}
	if p, ok := h.(*reverseproxy.Handler); ok {
		return o, proxy(o, p)
	}
	return o, nil
}

// proxy puts back what a reverse proxy has loaded.
func proxy(to map[string]any, p *reverseproxy.Handler) (err error) {
	if p.Transport != nil {
		if to["transport"], err = plain(p.Transport); err != nil {
			return err
		}
	}
	if p.DynamicUpstreams != nil {
		to["dynamic_upstreams"] = map[string]any{"source": nameOf(p.DynamicUpstreams)}
	}
	return nil
}

// nameOf is the name that a module has in the configuration: the last part of
// its id.
func nameOf(v any) string {
	if m, ok := v.(caddy.Module); ok {
		return m.CaddyModule().ID.Name()
	}
	return fmt.Sprintf("%T", v)
}
