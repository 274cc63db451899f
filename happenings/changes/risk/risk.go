// Package risk tells what a change of Caddy's configuration weakens.
//
// A flag is a fact about two documents, not a verdict: "the change lowered the
// lowest TLS version" and not "the change was wrong". Each looks at the JSON
// configuration, so what a module does in its code alone is not seen; handlers
// are found by their names wherever they stand in routes.
package risk

import "slices"

// Flag says what a change weakens.
type Flag string

// The flags, in the order in which records have them.
const (
	// AuditRemoved: the app soc2 is gone, and with it the log.
	AuditRemoved Flag = "audit_removed"
	// AuditBypassed: a server lost the listener wrapper or audit handlers, has
	// been added without coverage beside servers that have it, or something
	// skips the log (log_skip, skip_hosts).
	AuditBypassed Flag = "audit_bypassed"
	// AuditWeakened: records may be lost that were kept before (mode,
	// on_failure, retain), fewer witnesses see them, or the log moved.
	AuditWeakened Flag = "audit_weakened"
	// AccessControlRemoved: fewer authenticators, rules or client certificates,
	// or they stand behind more matchers.
	AccessControlRemoved Flag = "access_control_removed"
	// TLSFloorLowered: a lower TLS version is accepted than before, or the option
	// tls of soc2 asks for less, or is gone.
	TLSFloorLowered Flag = "tls_floor_lowered"
	// TLSSecretsLogged: the keys of TLS sessions are written to a file.
	TLSSecretsLogged Flag = "tls_secrets_logged" //nolint:gosec // the name of a flag
	// HTTPSDisabled: automatic HTTPS or its redirects were switched off, or are
	// skipped for more hosts.
	HTTPSDisabled Flag = "https_disabled"
	// AdminOpened: the admin endpoint can be reached from more places, or asks
	// for less, or a loader of configurations is new.
	AdminOpened Flag = "admin_opened"
	// ChangeGuardRemoved: changes was load_only.
	ChangeGuardRemoved Flag = "change_guard_removed"
	// UpstreamVerificationOff: certificates of upstreams are not verified any
	// more, or the connection to them is not encrypted any more.
	UpstreamVerificationOff Flag = "upstream_verification_off"
	// UpstreamExternalNew: requests go to a host outside that had none before, or
	// to one that the client chooses.
	UpstreamExternalNew Flag = "upstream_external_new"
	// LimitsLoosened: rate limits, sizes or timeouts are gone or larger.
	LimitsLoosened Flag = "limits_loosened"
	// HeadersWeakened: security headers are no longer set, or by a weaker
	// profile.
	HeadersWeakened Flag = "headers_weakened"
	// TrustWidened: more proxies may say who the client is.
	TrustWidened Flag = "trust_widened"
	// CredentialsLogged: Caddy's logs show credentials.
	CredentialsLogged Flag = "credentials_logged"
)

// rules are all flags with what finds them.
var rules = []struct {
	flag Flag
	hits func(before, after facts) bool
}{
	{AuditRemoved, auditRemoved},
	{AuditBypassed, auditBypassed},
	{AuditWeakened, auditWeakened},
	{AccessControlRemoved, accessRemoved},
	{TLSFloorLowered, tlsLowered},
	{TLSSecretsLogged, func(b, a facts) bool { return a.tlsSecrets > b.tlsSecrets }},
	{HTTPSDisabled, func(b, a facts) bool { return a.httpsOff > b.httpsOff }},
	{AdminOpened, adminOpened},
	{ChangeGuardRemoved, guardRemoved},
	{UpstreamVerificationOff, verificationOff},
	{UpstreamExternalNew, externalNew},
	{LimitsLoosened, limitsLoosened},
	{HeadersWeakened, headersWeakened},
	{TrustWidened, trustWidened},
	{CredentialsLogged, func(b, a facts) bool { return a.credentialLogs > b.credentialLogs }},
}

// Flags are all flags that there are.
func Flags() (list []Flag) {
	for _, r := range rules {
		list = append(list, r.flag)
	}
	return list
}

// Of returns what a change from one configuration to another weakens. A
// configuration is a JSON document; nil is the empty one. fallback is the admin
// endpoint's address when the configuration says none.
func Of(before, after any, fallback string) []string {
	b, a := gather(before, fallback), gather(after, fallback)
	var list []string
	for _, r := range rules {
		if r.hits(b, a) {
			list = append(list, string(r.flag))
		}
	}
	return list
}

func auditRemoved(b, a facts) bool { return b.soc2 != nil && a.soc2 == nil }

func auditBypassed(b, a facts) bool {
	if b.soc2 == nil {
		return false
	}
	if a.skips > b.skips {
		return true
	}
	list, fresh := pairs(b, a)
	for _, p := range list {
		if !p.is.covered && (p.was.covered || p.was.audits > p.is.audits) {
			return true
		}
	}
	anyCovered := false
	for _, s := range b.servers {
		anyCovered = anyCovered || s.covered
	}
	return anyCovered && slices.ContainsFunc(fresh, func(s server) bool { return !s.covered && s.audits == 0 })
}

func auditWeakened(b, a facts) bool {
	if b.soc2 == nil || a.soc2 == nil {
		return false
	}
	was, is := object(b.soc2, "audit"), object(a.soc2, "audit")
	rank := map[string]int{"async": 0, "": 1, "durable": 1, "strict": 2}
	if rank[text(is, "mode")] < rank[text(was, "mode")] {
		return true
	}
	if text(was, "on_failure") != "count" && text(is, "on_failure") == "count" {
		return true
	}
	for _, name := range []string{"dir", "key"} {
		if text(was, name) != text(is, name) {
			return true
		}
	}
	if text(b.soc2, "data_dir") != text(a.soc2, "data_dir") {
		return true
	}
	if len(objects(is["witnesses"])) < len(objects(was["witnesses"])) || was["timestamp"] != nil && is["timestamp"] == nil {
		return true
	}
	keep, kept := duration(is["retain"]), duration(was["retain"])
	return keep > 0 && (kept == 0 || keep < kept) // no retain is for good
}

func accessRemoved(b, a facts) bool {
	return anyPair(b, a, func(was, is server) bool {
		return is.access < was.access || is.clientCerts < was.clientCerts || exceeds(is.guards, was.guards)
	})
}

func tlsLowered(b, a facts) bool {
	return floorLowered(b, a) || anyPair(b, a, func(was, is server) bool { return is.tlsFloor < was.tlsFloor })
}

// floorLowered compares the option tls.
func floorLowered(b, a facts) bool {
	was, is := object(b.soc2, "tls"), object(a.soc2, "tls")
	if was == nil || a.soc2 == nil { // for the latter there is a flag
		return false
	}
	more := func(name string) bool { // is allowed than before; nothing is the default, which is all
		allowed, before := texts(is[name]), texts(was[name])
		return len(before) > 0 && (len(allowed) == 0 || slices.ContainsFunc(allowed, func(v string) bool { return !slices.Contains(before, v) }))
	}
	fewer := slices.ContainsFunc(texts(was["client_auth"]), func(v string) bool { return !slices.Contains(texts(is["client_auth"]), v) })
	return is == nil || text(was, "min") == "1.3" && text(is, "min") != "1.3" || text(was, "mode") != "report" && text(is, "mode") == "report" ||
		more("suites") || more("groups") || fewer || was["upstream"] != nil && is["upstream"] == nil || text(was, "fips") != "" && text(is, "fips") == ""
}

func guardRemoved(b, a facts) bool {
	return text(b.soc2, "changes") == "load_only" && a.soc2 != nil && text(a.soc2, "changes") != "load_only"
}

func verificationOff(b, a facts) bool {
	for dial, n := range a.unverified {
		if n > b.unverified[dial] {
			return true
		}
	}
	for dial, secure := range b.upstreams {
		if now, ok := a.upstreams[dial]; ok && secure && !now {
			return true
		}
	}
	return false
}

func externalNew(b, a facts) bool {
	known := map[string]bool{}
	for dial := range b.upstreams {
		known[hostOf(dial)] = true
	}
	for dial := range a.upstreams {
		if host := hostOf(dial); !known[host] && external(host) {
			return true
		}
	}
	return false
}

func limitsLoosened(b, a facts) bool {
	return anyPair(b, a, func(was, is server) bool {
		if is.limits < was.limits || exceeds(is.sizes, was.sizes) {
			return true
		}
		for limit, v := range was.bounds {
			if now := is.bounds[limit]; v > 0 && (now <= 0 || now > v) {
				return true
			}
		}
		return false
	})
}

func headersWeakened(b, a facts) bool {
	rank := map[string]int{"baseline": 0, "": 0, "api": 1, "strict": 1}
	if b.soc2 != nil && a.soc2 != nil && rank[text(a.soc2, "profile")] < rank[text(b.soc2, "profile")] {
		return true
	}
	return anyPair(b, a, func(was, is server) bool {
		for header, n := range was.sets {
			if is.sets[header] < n {
				return true
			}
		}
		return is.headers < was.headers && !is.covered || is.strict < was.strict
	})
}

func trustWidened(b, a facts) bool {
	list, fresh := pairs(b, a)
	for _, p := range list {
		if p.was.trustStrict && !p.is.trustStrict && len(p.is.trusts) > 0 {
			return true
		}
		if slices.ContainsFunc(p.is.trusts, func(r string) bool { return !slices.Contains(p.was.trusts, r) }) {
			return true
		}
	}
	return slices.ContainsFunc(fresh, func(s server) bool { return slices.ContainsFunc(s.trusts, wholeInternet) })
}

func wholeInternet(r string) bool { return r == "0.0.0.0/0" || r == "::/0" }
