package tlsfloor

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// server is what the rules look at of an HTTP server.
type server struct {
	name      string
	pointer   string
	policies  []policy
	implied   bool // the policy is the one that automatic HTTPS will add
	plain     bool // a listener has no TLS
	onHTTP    bool // of those one is on the HTTP port
	redirects bool // automatic HTTPS redirects from the HTTP port to it
	covered   bool // has the listener wrapper soc2, and so security headers
	fronting  bool // the Host of a request may be another than the one of the handshake
	routes    []any
	hosts     []string // that the routes match
	proxies   []proxy
}

// policy is a connection policy.
type policy struct {
	index    int
	pointer  string
	min, max string
	suites   []string
	groups   []string
	unsaid   unsaid
	sni      []string // that it matches; nil: all
	partly   bool     // it matches by something else beside
	secrets  bool
	mode     string // of client authentication; empty: none
	pool     bool
}

// unsaid is what a policy leaves to defaults.
type unsaid struct{ min, suites, groups bool }

// The defaults of Caddy's ports.
const (
	httpPort  = 80
	httpsPort = 443
)

// read returns the servers of a configuration, by name.
func read(doc map[string]any) (list []server) {
	app := object(object(doc, "apps"), "http")
	ports := [2]int{number(app, "http_port", httpPort), number(app, "https_port", httpsPort)}
	servers := object(app, "servers")
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		list = append(list, readServer(name, object(servers, name), ports))
	}
	return list
}

func readServer(name string, o map[string]any, ports [2]int) server {
	s := server{name: name, pointer: "/apps/http/servers/" + escape(name)}
	s.routes, _ = o["routes"].([]any)
	s.hosts = hostsOf(s.routes)
	for _, w := range objects(o["listener_wrappers"]) {
		s.covered = s.covered || text(w, "wrapper") == "soc2"
	}
	if strict, given := o["strict_sni_host"].(bool); given && !strict {
		s.fronting = true
	}
	for i, p := range objects(o["tls_connection_policies"]) {
		if !flag(p, "drop") { // nothing is negotiated by it
			s.policies = append(s.policies, readPolicy(i, p, s.pointer))
		}
	}
	s.automatic(o, ports)
	s.walk(s.routes, s.pointer+"/routes", 0)
	s.walk(object(o, "errors")["routes"], s.pointer+"/errors/routes", 0)
	s.walk(o["named_routes"], s.pointer+"/named_routes", 0)
	return s
}

// automatic does what automatic HTTPS will do before the server runs (caddyhttp,
// autohttps.go, phase 1), and finds out which listeners have TLS.
func (s *server) automatic(o map[string]any, ports [2]int) {
	auto := object(o, "automatic_https")
	var listens []int
	for _, v := range texts(o["listen"]) {
		listens = append(listens, portOf(v))
	}
	other := func(port int) bool { return slices.ContainsFunc(listens, func(p int) bool { return p != port }) }
	if !flag(auto, "disable") && other(ports[0]) {
		_, given := o["tls_connection_policies"].([]any)
		skip := texts(auto["skip"])
		named := slices.ContainsFunc(s.hosts, func(h string) bool { return !slices.Contains(skip, h) })
		if !given && (named || !other(ports[1])) {
			s.policies, s.implied = []policy{readPolicy(0, nil, s.pointer)}, true
		}
		s.redirects = len(s.policies) > 0 && !flag(auto, "disable_redirects")
	}
	for _, port := range listens {
		if len(s.policies) == 0 || port == ports[0] {
			s.plain = true
			s.onHTTP = s.onHTTP || port == ports[0]
		}
	}
}

func readPolicy(i int, p map[string]any, server string) policy {
	q := policy{
		index: i, pointer: server + "/tls_connection_policies/" + strconv.Itoa(i),
		min: text(p, "protocol_min"), max: text(p, "protocol_max"),
		suites: texts(p["cipher_suites"]), groups: texts(p["curves"]), secrets: text(p, "insecure_secrets_log") != "",
	}
	q.unsaid = unsaid{q.min == "", len(q.suites) == 0, len(q.groups) == 0}
	if q.min == "" {
		q.min = "tls1.2"
	}
	if q.max == "" {
		q.max = "tls1.3"
	}
	if len(q.suites) == 0 {
		for _, id := range defaultSuites {
			q.suites = append(q.suites, suiteNames[id])
		}
	}
	if len(q.groups) == 0 {
		q.groups = defaultGroups
	}
	for name, m := range object(p, "match") {
		if list, ok := m.([]any); name == "sni" && ok {
			q.sni = append([]string{}, texts(list)...)
		} else {
			q.partly = true
		}
	}
	q.clientAuth(object(p, "client_authentication"))
	return q
}

// clientAuth reads how clients are authenticated, with Caddy's defaults
// (caddytls, ConfigureTLSConfig).
func (q *policy) clientAuth(c map[string]any) {
	some := func(name string) bool { return len(texts(c[name])) > 0 }
	q.pool = c["ca"] != nil || some("trusted_ca_certs") || some("trusted_ca_certs_pem_files")
	switch verifiers, _ := c["verifiers"].([]any); {
	case text(c, "mode") != "":
		q.mode = text(c, "mode")
	case q.pool || some("trusted_leaf_certs"):
		q.mode = requireAndVerify
	case len(verifiers) > 0:
		q.mode = "require"
	}
}

// The modes of client authentication that verify certificates.
const (
	requireAndVerify = "require_and_verify"
	verifyIfGiven    = "verify_if_given"
)

// hostsOf are the hosts that the routes of a server match at their top.
func hostsOf(routes []any) (list []string) {
	for _, route := range objects(routes) {
		for _, set := range objects(route["match"]) {
			for _, h := range texts(set["host"]) {
				if !slices.Contains(list, h) {
					list = append(list, h)
				}
			}
		}
	}
	return list
}

// hostsOfRoute are the hosts that a route is for; none if it is for all.
func hostsOfRoute(route map[string]any) (list []string) {
	for _, set := range objects(route["match"]) {
		hosts := texts(set["host"])
		if len(hosts) == 0 {
			return nil
		}
		list = append(list, hosts...)
	}
	return list
}

// matches reports whether a pattern, which is a name or has a star in the place
// of labels, is for a host.
func matches(pattern, host string) bool {
	if strings.EqualFold(pattern, host) {
		return true
	}
	if !strings.Contains(pattern, "*") {
		return false
	}
	p, h := strings.Split(pattern, "."), strings.Split(host, ".")
	return slices.EqualFunc(p, h, func(a, b string) bool { return a == "*" || strings.EqualFold(a, b) })
}

func anyMatches(patterns []string, host string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, host) })
}

// portOf is the first port of the address of a listener; 0 if it has none that
// can be told.
func portOf(address string) int {
	if network, rest, ok := strings.Cut(address, "/"); ok {
		if strings.HasPrefix(network, "unix") || strings.HasPrefix(network, "fd") {
			return 0
		}
		address = rest
	}
	port, _, _ := strings.Cut(address[strings.LastIndexByte(address, ':')+1:], "-")
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}

// escape writes a name as a part of a JSON pointer (RFC 6901, section 3).
func escape(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

func object(o map[string]any, name string) map[string]any {
	v, _ := o[name].(map[string]any)
	return v
}

// objects are the items of a list. One that is no object is an empty one, so
// that the others keep their indexes.
func objects(v any) (list []map[string]any) {
	items, _ := v.([]any)
	for _, item := range items {
		o, _ := item.(map[string]any)
		list = append(list, o)
	}
	return list
}

func text(o map[string]any, name string) string {
	v, _ := o[name].(string)
	return v
}

func texts(v any) (list []string) {
	items, _ := v.([]any)
	for _, item := range items {
		if s, ok := item.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

func flag(o map[string]any, name string) bool {
	v, _ := o[name].(bool)
	return v
}

func number(o map[string]any, name string, otherwise int) int {
	n, err := strconv.Atoi(fmt.Sprint(o[name]))
	if err != nil || n == 0 {
		return otherwise
	}
	return n
}
