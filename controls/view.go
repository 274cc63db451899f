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
}

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
	root, ok := config.(object)
	if !ok {
		return nil
	}
	v := &view{root: root, admin: member(root, "admin"), apps: member(root, "apps")}
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
// and whether it demands one that verifies.
func clientCerts(policy object) (asks, demands bool) {
	c := member(policy, "client_authentication")
	switch text(c, "mode") {
	case "require_and_verify":
		return true, true
	case "":
		return len(c) > 0, len(c) > 0 // the default with a trust pool
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
	port := "80"
	if n := number(v.apps, "http", "http_port"); n > 0 {
		port = strconv.Itoa(int(n))
	}
	for _, address := range s.listen {
		if _, p, err := net.SplitHostPort(address[strings.LastIndexByte(address, '/')+1:]); err != nil || p != port {
			return false
		}
	}
	return len(s.listen) > 0
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
