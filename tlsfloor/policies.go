package tlsfloor

import (
	"fmt"
	"slices"
	"strings"
)

// find makes a finding about a connection policy.
func (s *server) find(p *policy, kind Kind, have, want, remedy string) Finding {
	if s.implied {
		remedy += "; there is no policy yet, and this is the one that automatic HTTPS adds"
	}
	return Finding{Kind: kind, Server: s.name, Policy: p.index, Pointer: p.pointer, Have: have, Want: want, Remedy: remedy}
}

// policies holds the connection policies of a server against the floor.
func (r *Rules) policies(s *server) (list []Finding) {
	for i := range s.policies {
		p := r.filled(s, &s.policies[i])
		if f, below := r.version(s, p); below {
			list = append(list, f)
		}
		if extra := r.extraSuites(p); len(extra) > 0 {
			want := r.tls12Suites()
			list = append(list, s.find(p, Suites, strings.Join(extra, " "), "no more than "+strings.Join(want, " "),
				"in the site's tls write ciphers "+strings.Join(want, " ")+" (JSON: cipher_suites)"))
		}
		if left := r.leftOut(); len(left) > 0 && !s.covered && p.max != "tls1.2" {
			list = append(list, s.find(p, Suites, strings.Join(left, " "), "no suite of TLS 1.3 that the floor has not",
				"list the listener wrapper soc2 for the server: nobody can choose among the suites of TLS 1.3, and it refuses requests with the others"))
		}
		if extra := without(p.groups, r.groups()); len(extra) > 0 {
			want := slices.DeleteFunc(slices.Clone(r.groups()), inCaddyUnknown)
			list = append(list, s.find(p, Groups, strings.Join(extra, " "), "no more than "+strings.Join(want, " "),
				"in the site's tls write curves "+strings.Join(want, " ")+" (JSON: curves)"))
		}
		if (p.mode == requireAndVerify || p.mode == verifyIfGiven) && !p.pool {
			list = append(list, s.find(p, ClientPool, p.mode+" with the authorities of the system", "authorities of your own",
				"in the site's tls client_auth give a trust_pool (JSON: client_authentication, ca)"))
		}
		if p.secrets {
			list = append(list, s.find(p, SecretsLog, "insecure_secrets_log", "none",
				"remove insecure_secrets_log, with which whoever has the file reads all connections"))
		}
	}
	return list
}

// filled is a policy with what the floor fills in.
func (r *Rules) filled(s *server, p *policy) *policy {
	if !r.Fills || !s.covered {
		return p
	}
	q := *p
	if p.unsaid.min {
		q.min = "tls" + r.FillMin()
	}
	if p.unsaid.suites && len(r.Suites) > 0 {
		q.suites = r.tls12Suites()
	}
	if fill := r.FillGroups(); p.unsaid.groups && len(fill) > 0 {
		q.groups = fill
	}
	return &q
}

// FillMin is the lowest version for a connection policy that names none.
func (r *Rules) FillMin() string {
	if r.Min == "1.3" {
		return "1.3"
	}
	return "1.2"
}

// FillSuites are the cipher suites of TLS 1.2 for a connection policy that names
// none. There are none if Caddy's own are right.
func (r *Rules) FillSuites() []string {
	if len(r.Suites) == 0 {
		return nil
	}
	return r.tls12Suites()
}

// FillGroups are the groups of the key exchange for a connection policy that
// names none. There are none if Caddy's own are right, or if Caddy has no name
// for any group of the floor.
func (r *Rules) FillGroups() []string {
	return slices.DeleteFunc(slices.Clone(r.Groups), inCaddyUnknown)
}

func (r *Rules) version(s *server, p *policy) (Finding, bool) {
	want := r.FillMin()
	have := strings.TrimPrefix(p.min, "tls")
	remedy := fmt.Sprintf("in the site's tls write protocols tls%s (JSON: protocol_min)", want)
	switch {
	case want == "1.3" && p.max == "tls1.2":
		return s.find(p, Version, "TLS 1.2 at most", "TLS 1.3", remedy+", and no other protocol_max"), true
	case have == "1.3" || have == want:
		return Finding{}, false
	}
	return s.find(p, Version, "TLS "+have, "TLS "+want+" at least", remedy), true
}

// tls12Suites are the names of the floor's suites of TLS 1.2.
func (r *Rules) tls12Suites() (list []string) {
	for _, id := range r.suites() {
		if !isTLS13(id) {
			list = append(list, suiteNames[id])
		}
	}
	return list
}

// leftOut are the suites of TLS 1.3 that the floor has not.
func (r *Rules) leftOut() (list []string) {
	for _, id := range tls13Suites {
		if !slices.Contains(r.suites(), id) {
			list = append(list, suiteNames[id])
		}
	}
	return list
}

// extraSuites are the suites of TLS 1.2 that a policy allows and the floor does
// not. A policy that allows TLS 1.3 alone uses none of TLS 1.2.
func (r *Rules) extraSuites(p *policy) (list []string) {
	if p.min == "tls1.3" || r.Min == "1.3" { // for the latter there is a finding about the version
		return nil
	}
	for _, name := range without(p.suites, r.tls12Suites()) {
		if id, ok := suiteByName[name]; !ok || !isTLS13(id) {
			list = append(list, name)
		}
	}
	return list
}

// inCaddyUnknown reports whether a connection policy cannot choose a group.
func inCaddyUnknown(name string) bool {
	return name == "secp256r1mlkem768" || name == "secp384r1mlkem1024"
}

func without(list, allowed []string) (extra []string) {
	for _, v := range list {
		if !slices.Contains(allowed, v) && !slices.Contains(extra, v) {
			extra = append(extra, v)
		}
	}
	return extra
}

// clientAuth finds the policies by which a host that asks for verified client
// certificates can be reached without one.
func (r *Rules) clientAuth(s *server) (list []Finding) {
	const remedy = "in the site's tls write client_auth { mode require_and_verify } with a trust_pool"
	asked, front := map[int]bool{}, false
	for _, host := range r.ClientAuth {
		served := s.policiesFor(host)
		for _, i := range served {
			p := &s.policies[i]
			if p.mode == requireAndVerify {
				front = front || s.fronting
				continue
			}
			if !asked[i] {
				asked[i] = true
				have := p.mode
				if have == "" {
					have = "no client authentication"
				}
				list = append(list, s.find(p, ClientAuth, have, requireAndVerify+" for "+host, remedy))
			}
		}
	}
	if front {
		list = append(list, Finding{
			Kind: ClientAuth, Server: s.name, Policy: -1, Pointer: s.pointer + "/strict_sni_host",
			Have: "strict_sni_host false", Want: "that a request is for the host of its handshake",
			Remedy: "remove strict_sni_host: with it a client without a certificate names another host in the handshake",
		})
	}
	return list
}

// policiesFor returns the indexes of the policies that may be used for a host,
// which may have a star in the place of its first label. Only the names that a
// server has for its hosts count: a policy without a name applies to any.
func (s *server) policiesFor(host string) (list []int) {
	if host == "*" {
		for i := range s.policies {
			list = append(list, i)
		}
		return list
	}
	if !s.serves(host) {
		return nil
	}
	for i := range s.policies {
		p := &s.policies[i]
		if p.sni != nil && !anyMatches(p.sni, host) && !slices.ContainsFunc(p.sni, func(n string) bool { return matches(host, n) }) {
			continue
		}
		list = append(list, i)
		if !p.partly && (p.sni == nil || anyMatches(p.sni, host)) {
			return list // the first that matches is used
		}
	}
	return list
}

// serves reports whether a server has a host, or one under a name with a star.
func (s *server) serves(host string) bool {
	has := func(names []string) bool {
		return anyMatches(names, host) || slices.ContainsFunc(names, func(n string) bool { return matches(host, n) })
	}
	return len(s.policies) > 0 && (has(s.hosts) || slices.ContainsFunc(s.policies, func(p policy) bool { return has(p.sni) }))
}

// unserved finds the hosts for which client certificates are asked and that no
// server with TLS has: a name that is written wrong protects nothing.
func (r *Rules) unserved(servers []server) (list []Finding) {
	for _, host := range r.ClientAuth {
		if host == "*" || slices.ContainsFunc(servers, func(s server) bool { return s.serves(host) }) {
			continue
		}
		list = append(list, Finding{
			Kind: ClientAuth, Policy: -1, Have: "no site " + host, Want: requireAndVerify + " for " + host,
			Remedy: "correct the name in client_auth, or remove it",
		})
	}
	return list
}
