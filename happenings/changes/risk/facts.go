package risk

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/spelling"
)

// facts are what the rules compare.
type facts struct {
	soc2           map[string]any // nil: the app is not configured
	admin          admin
	servers        map[string]server
	upstreams      map[string]bool // by address: whether the connection is encrypted
	unverified     map[string]int  // transports that do not verify, by the address of the upstream
	skips          int             // things that keep requests out of Caddy's access log
	tlsSecrets     int
	httpsOff       int
	credentialLogs int
}

// server is what the rules compare of an HTTP server.
type server struct {
	listens     []string
	covered     bool      // has the listener wrapper soc2
	audits      int       // soc2_audit handlers
	access      int       // authenticators and access rules
	guards      []float64 // for each of them, behind how many matchers it stands; sorted
	clientCerts int       // connection policies that demand certificates, by how much
	tlsFloor    int       // lowest TLS version: 12, 13
	limits      int       // rate limits
	headers     int       // soc2_headers handlers
	strict      int       // those with a strict profile
	sets        map[string]int
	sizes       []float64          // of request bodies, in bytes; sorted
	bounds      map[string]float64 // other sizes in bytes and times in ns; 0 is none
	trusts      []string           // ranges of proxies
	trustStrict bool
}

// spelled are the members that the rules compare. Caddy takes them in any case.
var spelled = spelling.Of(
	"access_control", "admin", "apps", "audit", "automatic_https", "changes", "checks", "client_auth", "client_authentication", "config", "data_dir", "dial", "dir",
	"disable", "disable_certificates", "disable_redirects", "disabled", "dynamic_upstreams", "enforce_origin", "errors", "fips", "handle", "idle_timeout",
	"insecure_secrets_log", "insecure_skip_verify", "listen", "listener_wrappers", "load", "logging", "logs", "match", "max_events", "max_header_bytes", "max_size", "methods",
	"min", "mode", "named_routes", "on_failure", "optional", "origins", "paths", "permissions", "profile", "protocol_min", "providers", "public_keys", "ranges", "rate_limits",
	"read_header_timeout", "read_timeout", "remote", "request", "response", "retain", "routes", "rules", "servers", "shadow", "should_log_credentials", "skip",
	"skip_certificates", "skip_hosts", "skip_unmapped_hosts", "source", "sources", "suites", "timestamp", "tls", "tls_connection_policies", "transport", "trusted_proxies",
	"trusted_proxies_strict", "upstream", "upstreams", "window", "witnesses", "write_timeout", "zones",
)

func gather(config any, fallback string) facts {
	config, _ = spelled.Canonical(config)
	f := facts{servers: map[string]server{}, upstreams: map[string]bool{}, unverified: map[string]int{}}
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
	s := server{listens: texts(srv["listen"]), tlsFloor: 13, sets: map[string]int{}, bounds: map[string]float64{}}
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
	https := object(srv, "automatic_https")
	for _, off := range []string{"disable", "disable_redirects", "disable_certificates"} {
		if flag(https, off) {
			f.httpsOff++
		}
	}
	f.httpsOff += len(texts(https["skip"])) + len(texts(https["skip_certificates"]))
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
	f.walk(&s, srv["routes"], 0, 0)
	f.walk(&s, object(srv, "errors")["routes"], 0, 0)
	f.walk(&s, srv["named_routes"], 0, 0)
	slices.Sort(s.guards)
	slices.Sort(s.sizes)
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

// walk looks at all handlers below a value, which stands behind some matchers.
func (f *facts) walk(s *server, v any, matchers, depth int) {
	if depth > maxDepth {
		return
	}
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			f.walk(s, item, matchers, depth+1)
		}
	case map[string]any:
		if len(objects(v["match"])) > 0 && v["handle"] != nil {
			matchers++
		}
		if name := text(v, "handler"); name != "" {
			f.handler(s, name, v, matchers)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			f.walk(s, v[name], matchers, depth+1)
		}
	}
}

func (f *facts) handler(s *server, name string, h map[string]any, matchers int) {
	switch name {
	case "soc2_audit":
		s.audits++
	case "authentication":
		if !flag(object(object(h, "providers"), "soc2"), "optional") {
			s.access += max(1, len(object(h, "providers")))
			s.guards = append(s.guards, float64(matchers))
		}
	case "soc2_auth":
		if !flag(h, "optional") {
			s.access++
			s.guards = append(s.guards, float64(matchers))
		}
	case "soc2_access":
		if text(h, "mode") != "shadow" {
			s.access += 1 + len(objects(h["rules"]))
			s.guards = append(s.guards, float64(matchers))
		}
	case "soc2_headers":
		s.headers++
		if p := text(h, "profile"); p == "strict" || p == "api" {
			s.strict++
		}
	case "headers":
		s.headerOps(object(h, "response"))
	case "soc2_rate_limit", "rate_limit":
		s.rateLimit(h)
	case "request_body":
		s.limits++
		if n := number(h["max_size"]); n > 0 {
			s.sizes = append(s.sizes, n)
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

// rateLimit counts the zones of a limiter, and what those with names let through
// in a second.
func (s *server) rateLimit(h map[string]any) {
	named := object(h, "rate_limits")
	s.limits += 1 + len(named)
	for _, zone := range objects(h["zones"]) {
		if !flag(zone, "shadow") { // such a zone refuses nothing
			s.limits++
		}
	}
	for name := range named {
		zone := object(named, name)
		if events, window := number(zone["max_events"]), duration(zone["window"]).Seconds(); events > 0 && window > 0 {
			s.bounds["rate of "+name] = events / window
		}
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
	blind := flag(tls, "insecure_skip_verify")
	add := func(dial string) {
		if blind {
			f.unverified[dial]++
		}
		if dial != "" {
			was, seen := f.upstreams[dial]
			f.upstreams[dial] = secure && (was || !seen)
		}
	}
	for _, u := range objects(h["upstreams"]) {
		add(text(u, "dial"))
	}
	if dynamic := object(h, "dynamic_upstreams"); dynamic != nil {
		f.dynamic(dynamic, add)
	} else if len(objects(h["upstreams"])) == 0 {
		add("")
	}
}

// dynamic adds the names that upstreams are looked up under.
func (f *facts) dynamic(source map[string]any, add func(dial string)) {
	add(text(source, "name"))
	for _, inner := range objects(source["sources"]) { // of "multi"
		f.dynamic(inner, add)
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
