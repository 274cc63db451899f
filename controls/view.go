package controls

import (
	"encoding/json"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
	"github.com/caddy-soc2/caddy-soc2/internal/spelling"
)

// object is a JSON object.
type object = map[string]any

// view is a configuration, taken apart.
type view struct {
	root    object
	admin   object
	apps    object
	soc2    object // nil: the app is not configured
	servers []server
	proxies []handler // reverse_proxy
	twice   []string  // members that are there in several spellings
}

// spelled are the members that checks look at. Caddy takes them in any case.
var spelled = spelling.Of(
	"access_control", "accounts", "active", "admin", "allow_0rtt", "allow_unauthenticated", "anonymous", "apps", "audit", "automatic_https",
	"automate", "automation", "ca", "certificates", "changes", "checks", "cipher_suites", "client_authentication", "config", "curves", "dial", "disable", "disable_redirects", "disabled",
	"dynamic_upstreams", "effect", "enforce_origin", "errors", "except_ports", "group", "handle", "handle_response", "headers", "health_checks", "http_port", "identifiers", "identity",
	"insecure_secrets_log", "insecure_skip_verify", "issuers", "key_type", "level", "listen", "listener_wrappers", "load", "logging", "logs", "match", "max_header_bytes",
	"max_size", "methods", "method", "min", "mode", "name", "named_routes", "on_demand", "optional", "pass_thru", "path", "paths", "permissions", "policies", "policy", "port", "protocol_min",
	"protocols", "providers", "ranges", "rate_limits", "read_header_timeout", "remote", "retain", "rewrite", "routes", "rules", "servers", "shadow",
	"should_log_credentials", "skip_hosts", "skip_unmapped_hosts", "sni", "source", "sources", "status_code", "strict_sni_host", "subjects", "terminal", "tls",
	"tls_connection_policies", "transport", "trusted_ca_certs", "trusted_ca_certs_pem_files", "trusted_leaf_certs", "trusted_proxies", "trusted_proxies_strict", "upstreams", "uri", "username", "verifiers", "zones",
)

// server is an HTTP server of a configuration.
type server struct {
	name     string
	pointer  string
	raw      object
	listen   []string
	policies []object
	covered  bool      // it has the listener wrapper soc2
	handlers []handler // all that are anywhere in it
	hosts    []string  // that its routes match
}

// handler is an HTTP handler of a configuration.
type handler struct {
	name    string
	pointer string
	raw     object
	server  string
}

const serversPointer = "/apps/http/servers"

// look takes a configuration apart. It returns nil for one that is not known.
func look(config any) *view {
	canonical, twice := spelled.Canonical(config)
	root, ok := canonical.(object)
	if !ok {
		return nil
	}
	v := &view{twice: twice, root: root, admin: member(root, "admin"), apps: member(root, "apps")}
	if _, ok := v.apps["soc2"]; ok {
		v.soc2 = member(v.apps, "soc2")
		if v.soc2 == nil {
			v.soc2 = object{}
		}
	}
	servers := member(v.apps, "http", "servers")
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		raw, _ := servers[name].(object)
		s := server{
			name: name, pointer: jsonpatch.Pointer(serversPointer, name), raw: raw,
			listen: texts(raw["listen"]), policies: objects(raw["tls_connection_policies"]),
		}
		for _, w := range objects(raw["listener_wrappers"]) {
			s.covered = s.covered || text(w, "wrapper") == "soc2"
		}
		for _, part := range []string{"routes", "errors", "named_routes"} {
			s.walk(raw[part], s.pointer+"/"+part, 0)
		}
		slices.Sort(s.hosts)
		s.hosts = slices.Compact(s.hosts)
		for _, h := range s.handlers {
			if h.name == "reverse_proxy" {
				v.proxies = append(v.proxies, h)
			}
		}
		v.servers = append(v.servers, s)
	}
	return v
}

// maxDepth bounds how deep handlers are looked for in handlers.
const maxDepth = 200

func (s *server) walk(v any, pointer string, depth int) {
	if depth > maxDepth {
		return
	}
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			s.walk(item, pointer+"/"+strconv.Itoa(i), depth+1)
		}
	case object:
		if name := text(v, "handler"); name != "" {
			s.handlers = append(s.handlers, handler{name, pointer, v, s.name})
		}
		for _, set := range objects(v["match"]) {
			s.hosts = append(s.hosts, texts(set["host"])...)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			s.walk(v[name], jsonpatch.Pointer(pointer, name), depth+1)
		}
	}
}

// all returns the handlers of all servers that have one of the names.
func (v *view) all(names ...string) (list []handler) {
	for i := range v.servers {
		list = append(list, v.servers[i].have(names...)...)
	}
	return list
}

func (s *server) have(names ...string) (list []handler) {
	for _, h := range s.handlers {
		if slices.Contains(names, h.name) {
			list = append(list, h)
		}
	}
	return list
}

// clientCerts reports whether a connection policy asks for client certificates,
// and whether it demands one that verifies. It is Caddy's
// caddytls.ClientAuthentication, of which members without a value ask nothing.
func clientCerts(policy object) (asks, demands bool) {
	c := member(policy, "client_authentication")
	trusts := c["ca"] != nil || len(texts(c["trusted_ca_certs"])) > 0 || len(texts(c["trusted_ca_certs_pem_files"])) > 0 || len(texts(c["trusted_leaf_certs"])) > 0
	verifies := len(objects(c["verifiers"])) > 0
	switch text(c, "mode") {
	case "require_and_verify":
		return true, true
	case "":
		return trusts || verifies, trusts || verifies
	}
	return true, false
}

// speaksTLS reports whether a server gets TLS: by its policies, or by automatic
// HTTPS for its hosts.
func (s *server) speaksTLS(v *view) bool {
	if len(s.policies) > 0 {
		return true
	}
	return !flag(s.raw, "automatic_https", "disable") && len(s.hosts) > 0 && !s.onlyHTTP(v)
}

// onlyHTTP reports whether all of a server's addresses are on the HTTP port.
func (s *server) onlyHTTP(v *view) bool {
	for _, address := range s.listen {
		if first, last, ok := ports(address); !ok || first != last || first != v.httpPort() {
			return false
		}
	}
	return len(s.listen) > 0
}

// httpPort is the port on which Caddy speaks no TLS.
func (v *view) httpPort() int {
	if n := number(v.apps, "http", "http_port"); n > 0 {
		return int(n)
	}
	return 80
}

// hasHTTPPort reports whether the HTTP port is among the ports of an address, or
// may be.
func (v *view) hasHTTPPort(address string) bool {
	first, last, ok := ports(address)
	return !ok && !strings.HasPrefix(address, "unix") || ok && first <= v.httpPort() && v.httpPort() <= last
}

// ports are the first and the last port of an address.
func ports(address string) (first, last int, ok bool) {
	_, port, err := net.SplitHostPort(address[strings.LastIndexByte(address, '/')+1:])
	if err != nil {
		return 0, 0, false
	}
	low, high, found := strings.Cut(port, "-")
	if !found {
		high = low
	}
	first, err = strconv.Atoi(low)
	if err != nil {
		return 0, 0, false
	}
	last, err = strconv.Atoi(high)
	return first, last, err == nil
}

// external reports whether an upstream's address is outside of one's own
// networks: a public address, or a name that may have one.
func external(dial string) bool {
	host := dial
	if network, rest, found := strings.Cut(dial, "/"); found {
		if strings.HasPrefix(network, "unix") || network == "" {
			return false
		}
		host = rest
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(host)
	if host == "" || strings.Contains(host, "{") {
		return false // known only at the time of a request
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && !ip.IsUnspecified()
	}
	if !strings.Contains(host, ".") {
		return false // a name of the own machine or cluster
	}
	for _, own := range []string{".local", ".internal", ".lan", ".home.arpa", ".localhost", ".svc", ".cluster.local", ".intranet", ".corp"} {
		if strings.HasSuffix(host, own) {
			return false
		}
	}
	return true
}

// public reports whether a public authority would certify a name.
func public(host string) bool {
	if host == "" || strings.ContainsAny(host, "{ ") {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && !ip.IsUnspecified()
	}
	for _, suffix := range []string{".test", ".example", ".invalid"} {
		if strings.HasSuffix(host, suffix) {
			return false
		}
	}
	return external(host)
}

// JSON. Members that are absent, or of another type, are the zero value.

func member(o object, path ...string) object {
	for _, name := range path {
		o, _ = o[name].(object)
	}
	return o
}

func at(o object, path []string) any {
	return member(o, path[:len(path)-1]...)[path[len(path)-1]]
}

func text(o object, path ...string) string {
	s, _ := at(o, path).(string)
	return s
}

func flag(o object, path ...string) bool {
	b, _ := at(o, path).(bool)
	return b
}

func number(o object, path ...string) float64 {
	n, ok := at(o, path).(json.Number)
	if !ok {
		return 0
	}
	f, err := n.Float64()
	if err != nil {
		return 0
	}
	return f
}

// period reads a duration of Caddy: nanoseconds, or a text like 10s.
func period(o object, path ...string) time.Duration {
	if s := text(o, path...); s != "" {
		d, err := ParseDuration(s)
		if err != nil {
			return 0
		}
		return d
	}
	return time.Duration(number(o, path...))
}

func objects(v any) (list []object) {
	items, _ := v.([]any)
	for _, item := range items {
		o, _ := item.(object)
		list = append(list, o) // also what is none, to keep the places
	}
	return list
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
