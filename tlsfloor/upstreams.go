package tlsfloor

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// proxy is a reverse proxy handler.
type proxy struct {
	pointer  string
	dials    []string // addresses of upstreams
	secure   bool     // TLS is spoken to them
	except   []string // ports to which it is not
	insecure bool     // certificates are not verified
	http3    bool     // and no other version
}

// maxDepth bounds how deep handlers are looked for in handlers.
const maxDepth = 200

// walk finds the reverse proxies below a value.
func (s *server) walk(v any, pointer string, depth int) {
	if depth > maxDepth {
		return
	}
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			s.walk(item, pointer+"/"+itoa(i), depth+1)
		}
	case map[string]any:
		if text(v, "handler") == "reverse_proxy" {
			s.proxies = append(s.proxies, readProxy(v, pointer))
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			s.walk(v[name], pointer+"/"+escape(name), depth+1)
		}
	}
}

func readProxy(h map[string]any, pointer string) proxy {
	p := proxy{pointer: pointer}
	transport := object(h, "transport")
	tls, secure := transport["tls"].(map[string]any)
	p.secure, p.insecure, p.except = secure, flag(tls, "insecure_skip_verify"), texts(tls["except_ports"])
	p.http3 = slices.Equal(texts(transport["versions"]), []string{"3"})
	for _, u := range objects(h["upstreams"]) {
		p.dials = append(p.dials, text(u, "dial"))
	}
	if source := object(h, "dynamic_upstreams"); source != nil {
		p.dials = append(p.dials, "{upstreams of "+text(source, "source")+"}")
	}
	return p
}

// check holds the reverse proxies of a server against the floor of upstreams.
// Each upstream has a finding of its own, because each may be excepted.
func (u *Upstream) check(s *server) (list []Finding) {
	for i := range s.proxies {
		p := &s.proxies[i]
		for _, dial := range p.dials {
			host, port, local := addressOf(dial)
			find := func(kind Kind, have, want, remedy string) {
				list = append(list, Finding{Kind: kind, Server: s.name, Policy: -1, Pointer: p.pointer, Have: have + " to " + dial, Want: want, Remedy: remedy})
			}
			switch {
			case !p.secure || slices.Contains(p.except, port):
				if !local && !excepted(u.Plaintext, host) {
					find(UpstreamPlain, "no TLS", "TLS", "write https:// before the upstream's address (JSON: transport, tls), or plaintext "+host+" in upstream of soc2 tls")
				}
				continue
			case p.insecure && !excepted(u.Unverified, host):
				find(UpstreamVerify, "insecure_skip_verify", "verified certificates", "trust the authority of the upstream (transport http { tls_trust_pool … }) in its place, or write unverified "+host+" in upstream of soc2 tls")
			}
			if u.Min == "1.3" && !p.http3 {
				find(UpstreamVersion, "TLS 1.2 at least", "TLS 1.3 at least", "Caddy's transport has no option for it but versions 3, for HTTP/3; otherwise set min 1.2 in upstream of soc2 tls")
			}
		}
	}
	return list
}

// excepted reports whether a host is in a list of hosts and networks.
func excepted(list []string, host string) bool {
	addr, err := netip.ParseAddr(host)
	return slices.ContainsFunc(list, func(v string) bool {
		if prefix, perr := netip.ParsePrefix(v); perr == nil {
			return err == nil && prefix.Contains(addr.Unmap())
		}
		return matches(v, host)
	})
}

// addressOf returns the host and the port of an upstream, and whether it is on
// this machine for certain.
func addressOf(dial string) (host, port string, local bool) {
	network, rest, ok := strings.Cut(dial, "/")
	switch {
	case ok && strings.HasPrefix(network, "unix"):
		return dial, "", true
	case ok && !strings.ContainsAny(network, ":{"):
		dial = rest
	}
	host, port, err := net.SplitHostPort(dial)
	if err != nil {
		host, port = dial, ""
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	addr, err := netip.ParseAddr(host)
	local = name == "localhost" || strings.HasSuffix(name, ".localhost") || err == nil && addr.Unmap().IsLoopback()
	return host, port, local
}

func itoa(n int) string { return strconv.Itoa(n) }
