package risk

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// facts are what the rules compare.
type facts struct {
	soc2           map[string]any // nil: the app is not configured
	admin          admin
	servers        map[string]server
	upstreams      map[string]bool // by address: whether the connection is encrypted
	unverified     int             // transports that do not verify the upstream
	skips          int             // things that keep requests out of Caddy's access log
	tlsSecrets     int
	httpsOff       int
	credentialLogs int
}

// server is what the rules compare of an HTTP server.
type server struct {
	covered     bool // has the listener wrapper soc2
	audits      int  // soc2_audit handlers
	access      int  // authenticators and access rules
	clientCerts int  // connection policies that demand certificates, by how much
	tlsFloor    int  // lowest TLS version: 12, 13
	limits      int  // rate limits
	headers     int  // soc2_headers handlers
	strict      int  // those with a strict profile
	sets        map[string]int
	bounds      map[string]float64 // sizes in bytes and times in ns; 0 is none
	trusts      []string           // ranges of proxies
	trustStrict bool
}

func gather(config any, fallback string) facts {
	f := facts{servers: map[string]server{}, upstreams: map[string]bool{}}
	root, _ := config.(map[string]any)
	apps := object(root, "apps")
	f.soc2, _ = apps["soc2"].(map[string]any)
	if apps["soc2"] != nil && f.soc2 == nil {
		f.soc2 = map[string]any{}
	}
	f.admin = gatherAdmin(root["admin"], fallback)
	for name, v := range object(object(apps, "http"), "servers") {
		srv, _ := v.(map[string]any)
		f.servers[name] = f.server(srv)
	}
	for _, v := range object(object(root, "logging"), "logs") {
		if log, _ := v.(map[string]any); flag(log, "should_log_credentials") {
			f.credentialLogs++
		}
	}
	return f
}

func (f *facts) server(srv map[string]any) server {
	s := server{tlsFloor: 13, sets: map[string]int{}, bounds: map[string]float64{}}
	for _, w := range objects(srv["listener_wrappers"]) {
		s.covered = s.covered || text(w, "wrapper") == "soc2"
	}
	policies := objects(srv["tls_connection_policies"])
	if len(policies) == 0 {
		s.tlsFloor = 12 // Caddy's default
	}
	for _, p := range policies {
		if text(p, "protocol_min") != "tls1.3" {
			s.tlsFloor = 12
		}
		if p["insecure_secrets_log"] != nil {
			f.tlsSecrets++
		}
		s.clientCerts += certRank(p)
	}
	if flag(object(srv, "automatic_https"), "disable") || flag(object(srv, "automatic_https"), "disable_redirects") {
		f.httpsOff++
	}
	logs := object(srv, "logs")
	f.skips += len(texts(logs["skip_hosts"]))
	if flag(logs, "skip_unmapped_hosts") {
		f.skips++
	}
	if flag(logs, "should_log_credentials") {
		f.credentialLogs++
	}
	for _, name := range []string{"read_timeout", "read_header_timeout", "write_timeout", "idle_timeout"} {
		s.bounds[name] = float64(duration(srv[name]))
	}
	s.bounds["max_header_bytes"] = number(srv["max_header_bytes"])
	s.trusts = texts(object(srv, "trusted_proxies")["ranges"])
	if source := text(object(srv, "trusted_proxies"), "source"); source != "" && source != "static" {
		s.trusts = append(s.trusts, "source "+source)
	}
	s.trustStrict = number(srv["trusted_proxies_strict"]) > 0
	f.walk(&s, srv["routes"], 0)
	f.walk(&s, object(srv, "errors")["routes"], 0)
	f.walk(&s, srv["named_routes"], 0)
	return s
}

// certRank orders how much a connection policy asks for client certificates.
func certRank(policy map[string]any) int {
	c := object(policy, "client_authentication")
	switch text(c, "mode") {
	case "require_and_verify":
		return 4
	case "verify_if_given":
		return 3
	case "require":
		return 2
	case "request":
		return 1
	}
	if len(c) > 0 {
		return 4 // the default with a trust pool
	}
	return 0
}

// maxDepth bounds how deep handlers are looked for in handlers.
const maxDepth = 200

// walk looks at all handlers below a value.
func (f *facts) walk(s *server, v any, depth int) {
	if depth > maxDepth {
		return
	}
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			f.walk(s, item, depth+1)
		}
	case map[string]any:
		if name := text(v, "handler"); name != "" {
			f.handler(s, name, v)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			f.walk(s, v[name], depth+1)
		}
	}
}

func (f *facts) handler(s *server, name string, h map[string]any) {
	switch name {
	case "soc2_audit":
		s.audits++
	case "authentication":
		s.access += max(1, len(object(h, "providers")))
	case "soc2_access":
		s.access += 1 + len(objects(h["rules"]))
	case "soc2_headers":
		s.headers++
		if p := text(h, "profile"); p == "strict" || p == "api" {
			s.strict++
		}
	case "headers":
		s.headerOps(object(h, "response"))
	case "soc2_rate_limit", "rate_limit":
		zones, _ := h["zones"].([]any)
		s.limits += 1 + len(zones) + len(object(h, "rate_limits"))
	case "request_body":
		s.limits++
		if n := number(h["max_size"]); n > 0 {
			s.bounds["request_body"] = max(s.bounds["request_body"], n)
		}
	case "vars":
		if flag(h, "log_skip") || flag(h, "skip_log") {
			f.skips++
		}
	case "log_skip":
		f.skips++
	case "reverse_proxy":
		f.proxy(h)
	}
}

// securityHeaders are the response headers whose loss weakens a site.
var securityHeaders = []string{
	"strict-transport-security", "content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy",
	"permissions-policy", "cross-origin-opener-policy", "cross-origin-resource-policy", "cross-origin-embedder-policy",
}

func (s *server) headerOps(ops map[string]any) {
	for _, op := range []string{"set", "add"} {
		for header := range object(ops, op) {
			if header = strings.ToLower(header); slices.Contains(securityHeaders, header) {
				s.sets[header]++
			}
		}
	}
}

func (f *facts) proxy(h map[string]any) {
	tls, secure := object(h, "transport")["tls"].(map[string]any)
	if flag(tls, "insecure_skip_verify") {
		f.unverified++
	}
	for _, u := range objects(h["upstreams"]) {
		if dial := text(u, "dial"); dial != "" {
			was, seen := f.upstreams[dial]
			f.upstreams[dial] = secure && (was || !seen)
		}
	}
}

func object(o map[string]any, name string) map[string]any {
	v, _ := o[name].(map[string]any)
	return v
}

func objects(v any) (list []map[string]any) {
	items, _ := v.([]any)
	for _, item := range items {
		if o, ok := item.(map[string]any); ok {
			list = append(list, o)
		}
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

func number(v any) float64 {
	n, ok := v.(json.Number)
	if !ok {
		return 0
	}
	f, err := n.Float64()
	if err != nil {
		return 0
	}
	return f
}

// duration reads a duration of Caddy: nanoseconds, or a text like 10s.
func duration(v any) time.Duration {
	if s, ok := v.(string); ok {
		if days, found := strings.CutSuffix(s, "d"); found {
			if d, err := time.ParseDuration(days + "h"); err == nil {
				return 24 * d
			}
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0
		}
		return d
	}
	return time.Duration(number(v))
}
