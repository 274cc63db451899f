package tlsfloor

import (
	"slices"
	"strings"
)

// plaintext finds the hosts of a server with HTTP Strict Transport Security that
// can be reached without TLS, and are not redirected from there (RFC 6797,
// section 7.2). A listener that has no route for a host answers it with
// nothing, which is in order.
func plaintext(servers []server, s *server) (list []Finding) {
	if len(s.policies) == 0 {
		return nil
	}
	for _, host := range s.strictHosts() {
		for i := range servers {
			if p := &servers[i]; p.plain {
				if at, reached := p.reached(host, s); reached {
					list = append(list, Finding{
						Kind: HSTS, Server: p.name, Policy: -1, Pointer: at,
						Have: "without TLS " + nameOf(host) + " is answered, and not redirected", Want: "a redirect to https, as server " + s.name + " has Strict-Transport-Security for it",
						Remedy: "redirect there (redir https://{host}{uri} permanent), or leave the site to automatic HTTPS",
					})
				}
			}
		}
	}
	return list
}

// openly finds the hosts for which client certificates are asked and that can be
// reached without TLS, where nobody has one.
func (r *Rules) openly(servers []server) (list []Finding) {
	for i := range servers {
		p := &servers[i]
		if !p.plain {
			continue
		}
		seen := map[string]bool{}
		for _, asked := range r.ClientAuth {
			for _, host := range p.under(asked) {
				at, reached := p.reached(host, fronted(servers, host))
				if !reached || seen[at] {
					continue
				}
				seen[at] = true
				list = append(list, Finding{
					Kind: ClientAuth, Server: p.name, Policy: -1, Pointer: at,
					Have: "without TLS " + nameOf(host) + " is answered", Want: requireAndVerify + " for " + asked,
					Remedy: "redirect there (redir https://{host}{uri} permanent), or serve it with TLS alone",
				})
			}
		}
	}
	return list
}

// under are the names by which a server may be asked for a host, which may have a
// star; the empty one is any other.
func (s *server) under(host string) (names []string) {
	for _, h := range s.hosts {
		if host == "*" || matches(host, h) {
			names = append(names, h)
		}
	}
	switch {
	case host == "*":
		names = append(names, "")
	case !slices.Contains(names, host):
		names = append(names, host)
	}
	return names
}

// fronted is the server with TLS that has a host, and an empty one if none has.
func fronted(servers []server, host string) *server {
	for i := range servers {
		if s := &servers[i]; len(s.policies) > 0 && (host == "" || s.serves(host)) {
			return s
		}
	}
	return new(server)
}

func nameOf(host string) string {
	if host == "" {
		return "every host"
	}
	return host
}

// strictHosts are the hosts whose responses have the header over TLS; the empty
// name is all others. With the listener wrapper soc2 all have it.
func (s *server) strictHosts() (list []string) {
	for _, route := range objects(s.routes) {
		if !s.covered && !setsHSTS(route["handle"], 0) {
			continue
		}
		hosts := hostsOfRoute(route)
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for _, h := range hosts {
			if !slices.Contains(list, h) {
				list = append(list, h)
			}
		}
	}
	return list
}

// setsHSTS reports whether a handler below a value sets the header.
func setsHSTS(v any, depth int) bool {
	if depth > maxDepth {
		return false
	}
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return setsHSTS(item, depth+1) })
	case map[string]any:
		switch text(v, "handler") {
		case "soc2_headers":
			return true
		case "headers":
			response := object(v, "response")
			return hasHSTS(object(response, "set")) || hasHSTS(object(response, "add"))
		}
		for _, item := range v {
			if setsHSTS(item, depth+1) {
				return true
			}
		}
	}
	return false
}

func hasHSTS(fields map[string]any) bool {
	for name := range fields {
		if strings.EqualFold(strings.TrimLeft(name, ">?+"), "Strict-Transport-Security") {
			return true
		}
	}
	return false
}

// reached reports whether a host of the server strict, or all others if it is
// empty, is answered by this one without TLS, and not redirected; and where.
func (s *server) reached(host string, strict *server) (pointer string, reached bool) {
	for i, route := range objects(s.routes) {
		hosts := hostsOfRoute(route)
		switch {
		case len(hosts) == 0 && strict.redirects && s.onHTTP:
			return "", false // automatic HTTPS puts its redirects before such a route
		case len(hosts) > 0 && (host == "" || !anyMatches(hosts, host)):
			continue
		}
		if answer := answers(route["handle"], 0); answer == answered {
			return s.pointer + "/routes/" + itoa(i), true
		} else if answer == redirected && whole(route) {
			return "", false
		}
	}
	return "", false
}

// whole reports whether a route is for all requests of its hosts.
func whole(route map[string]any) bool {
	sets := objects(route["match"])
	if len(sets) == 0 {
		return true
	}
	return slices.ContainsFunc(sets, func(set map[string]any) bool {
		for name, v := range set {
			if name == "protocol" && v == "http" {
				continue
			}
			if name != "host" {
				return false
			}
		}
		return true
	})
}

// What a handler does with a request.
const (
	passed     = iota
	redirected // to https
	answered
)

// decorators are handlers that leave the answer to others.
var decorators = []string{
	"headers", "vars", "map", "encode", "rewrite", "tracing", "log_append", "request_body", "authentication", "copy_response_headers",
	"soc2_audit", "soc2_headers", "soc2_access", "soc2_rate_limit", "acme_server",
}

// answers tells what the handlers of a route do. One that answers some requests
// and redirects others answers; one that this function does not know answers.
func answers(v any, depth int) int {
	if depth > maxDepth {
		return answered
	}
	result := passed
	for _, h := range objects(v) {
		switch name := text(h, "handler"); {
		case name == "subroute":
			for _, route := range objects(h["routes"]) {
				result = max(result, answers(route["handle"], depth+1))
				if result == redirected && whole(route) {
					break
				}
			}
		case name == "static_response" && toHTTPS(h), name == "static_response" && flag(h, "abort"):
			result = max(result, redirected)
		case name == "error", slices.Contains(decorators, name):
		default:
			return answered
		}
		if result == answered {
			return answered
		}
		if result == redirected {
			return redirected
		}
	}
	return result
}

func toHTTPS(response map[string]any) bool {
	for name, v := range object(response, "headers") {
		if strings.EqualFold(name, "Location") {
			return slices.ContainsFunc(texts(v), func(to string) bool { return strings.HasPrefix(strings.ToLower(to), "https://") })
		}
	}
	return false
}
