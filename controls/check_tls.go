package controls

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// functions make the checks, by id.
var functions map[string]func(*eval)

func init() { // not a literal: checks look at the catalogue, which looks here
	functions = map[string]func(*eval){
		"TLS-001": tlsFloor, "TLS-002": tlsVersions, "TLS-003": tlsLists, "TLS-004": tlsSecrets,
		"TLS-005": certificatesLeft, "TLS-006": certificatesFailing, "TLS-007": certificatesRevoked, "TLS-008": certificatesPolicy, "TLS-009": tlsClients,
		"HTT-001": redirects, "HTT-002": plaintext,
		"HDR-001": func(e *eval) { e.sighted(SeenNoHSTS, e.server().Traffic.Encrypted, "HTTPS responses") },
		"HDR-002": func(e *eval) { e.sighted(SeenWeakPage, e.server().Traffic.Pages, "pages") },
		"HDR-003": func(e *eval) { e.sighted(SeenLeak, e.server().Traffic.Requests, "responses") },
		"HDR-004": func(e *eval) { e.sighted(SeenCORS, e.server().Traffic.Origins, "responses that name an origin") },
		"ADM-001": adminClosed, "ADM-002": adminFallback, "ADM-003": adminRemote, "ADM-004": adminCallers,
		"CHG-001": changeActors, "CHG-002": changeSources, "CHG-003": changeTickets, "CHG-004": changeRisks,
		"CHG-005": changeGuard, "CHG-006": changeRejects, "CHG-007": build, "CHG-008": dockerfiles,
		"AUD-001": auditCoverage, "AUD-002": auditSkips, "AUD-003": auditMissing, "AUD-004": auditVerified,
		"AUD-005": auditAnchored, "AUD-006": auditSecond, "AUD-007": auditSecrets, "AUD-008": auditRoom,
		"RET-001": retentionLong, "RET-002": retentionShort, "BKP-001": replica, "BKP-002": drill("restore"),
		"ACC-001": protectedRoutes,
		"ACC-002": func(e *eval) {
			e.sighted(SeenStranger, e.server().Traffic.Protected, "requests for protected paths")
		},
		"ACC-003": principals, "ACC-004": trustedProxies, "ACC-005": credentials, "EVD-001": evidenceClosed,
		"RLM-001": rateLimits, "RLM-002": rateLimiterWorks, "RLM-003": requestBounds,
		"UPS-001": healthChecks, "UPS-002": availability, "UPS-003": upstreamTLS, "UPS-004": upstreamCount,
		"CCH-001": cached,
		"ENV-001": privileges, "ENV-002": fileModes, "ENV-003": clock, "ENV-004": leftovers,
		"ALT-001": drill("alert"), "ALT-002": triaged,
	}
}

// rank orders TLS versions by Caddy's names.
func rank(version string) int {
	switch version {
	case "tls1.0":
		return 10
	case "tls1.1":
		return 11
	case "tls1.3":
		return 13
	}
	return 12 // also what is not said
}

// eachPolicy calls fn for the connection policies of all servers with TLS. A
// server without any has one that says nothing.
func (e *eval) eachPolicy(fn func(s *server, policy object, pointer string)) {
	v := e.config()
	for i := range v.servers {
		s := &v.servers[i]
		if !s.speaksTLS(v) {
			continue
		}
		if len(s.policies) == 0 {
			e.examined++
			fn(s, nil, s.pointer)
		}
		for j, p := range s.policies {
			e.examined++
			fn(s, p, fmt.Sprintf("%s/tls_connection_policies/%d", s.pointer, j))
		}
	}
}

// enforced is the version that the soc2 app gives policies which say none. It is
// 0 if it gives none.
func (v *view) enforced() int {
	option := member(v.soc2, "tls")
	switch min := text(option, "min"); {
	case text(option, "mode") == "report" || min == "":
		return 0
	default:
		return rank("tls" + min)
	}
}

func tlsFloor(e *eval) {
	floor := e.text("floor")
	enforced := e.config().enforced()
	e.eachPolicy(func(_ *server, p object, pointer string) {
		lowest := text(p, "protocol_min")
		least := rank(lowest)
		if lowest == "" {
			least = max(least, enforced)
		}
		if least < rank(floor) {
			if lowest == "" {
				lowest = "tls1.2, the default"
			}
			e.bad(pointer, "accepts %s, and the floor is %s", lowest, floor)
		}
	})
	e.conclude("TLS connection policies")
}

func tlsVersions(e *eval) {
	floor := e.settings.value("TLS-001", "floor")[0]
	name := SeenTLSOld
	if rank(floor) > 12 {
		for _, s := range e.server().Traffic.Sightings[SeenTLSOld] {
			if e.within(s.Time) {
				e.add(Evidence{What: fmt.Sprintf("%d × %s", s.Count, s.What), Time: s.Time})
			}
		}
		name = SeenTLS12
	}
	e.sighted(name, e.server().Traffic.Encrypted, "requests over TLS")
}

func tlsLists(e *eval) {
	ciphers, curves := e.texts("ciphers"), e.texts("curves")
	e.eachPolicy(func(_ *server, p object, pointer string) {
		for _, name := range texts(p["cipher_suites"]) {
			if !slices.Contains(ciphers, name) {
				e.bad(pointer+"/cipher_suites", "has %s, which is not on the list", name)
			}
		}
		for _, name := range texts(p["curves"]) {
			if !slices.Contains(curves, name) {
				e.bad(pointer+"/curves", "has %s, which is not on the list", name)
			}
		}
	})
	e.conclude("TLS connection policies")
}

func tlsSecrets(e *eval) {
	e.eachPolicy(func(_ *server, p object, pointer string) {
		if p["insecure_secrets_log"] != nil {
			e.bad(pointer+"/insecure_secrets_log", "writes the secrets of TLS sessions to a file")
		}
	})
	e.conclude("TLS connection policies")
}

func certificatesLeft(e *eval) {
	list := e.server().Certificates
	if list == nil {
		e.end(Unknown, "the certificates were not looked at yet")
	}
	for _, c := range *list {
		e.examined++
		part := time.Duration(3)
		if c.Managed {
			part = 6
		}
		left := c.NotAfter.Sub(e.s.Time)
		least := min(e.duration("left"), c.NotAfter.Sub(c.NotBefore)/part)
		if left < least {
			e.bad(strings.Join(c.Names, " "), "ends %s, in %s, and %s have to be left", c.NotAfter.UTC().Format(time.RFC3339), left.Round(time.Second), least.Round(time.Second))
		} else {
			e.wake(c.NotAfter.Add(-least).Add(time.Second))
		}
	}
	e.conclude("certificates in use")
}

func certificatesFailing(e *eval) {
	e.eachName(func(name string, n Name) {
		if n.Failing.IsZero() {
			return
		}
		due := n.Failing.Add(e.duration("within"))
		if e.s.Time.Before(due) {
			e.wake(due)
			e.warn(name, "has no certificate since the try of %s", n.Failing.UTC().Format(time.RFC3339))
			return
		}
		e.add(Evidence{Where: name, What: "no certificate was obtained: " + n.Error, Time: n.Failing})
	})
	e.conclude("names")
}

func certificatesRevoked(e *eval) {
	e.eachName(func(name string, n Name) {
		if !n.Revoked.IsZero() {
			e.add(Evidence{Where: name, What: "has a certificate that was revoked", Time: n.Revoked})
		}
	})
	e.conclude("names")
}

func (e *eval) eachName(fn func(name string, n Name)) {
	e.history()
	names := e.server().Names
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if e.view != nil && !e.view.wants(name) {
			continue // its site is gone
		}
		e.examined++
		fn(name, names[name])
	}
	if list := e.server().Certificates; list != nil {
		e.examined = max(e.examined, len(*list))
	}
}

// wants reports whether the configuration asks for a certificate for a name, or
// may: on demand any name may come.
func (v *view) wants(name string) bool {
	if len(v.twice) > 0 {
		return true
	}
	automation := member(v.apps, "tls", "automation")
	for _, p := range objects(automation["policies"]) {
		if flag(p, "on_demand") || slices.Contains(texts(p["subjects"]), name) {
			return true
		}
	}
	if slices.Contains(texts(member(v.apps, "tls", "certificates")["automate"]), name) || member(v.admin, "identity") != nil && slices.Contains(texts(member(v.admin, "identity")["identifiers"]), name) {
		return true
	}
	return slices.ContainsFunc(v.servers, func(s server) bool {
		return slices.ContainsFunc(s.hosts, func(host string) bool { return strings.EqualFold(host, name) || strings.Contains(host, "{") })
	})
}

func certificatesPolicy(e *eval) {
	v := e.config()
	allowed := e.texts("key_types")
	policies := objects(member(v.apps, "tls", "automation")["policies"])
	for i, p := range policies {
		e.examined++
		pointer := fmt.Sprintf("/apps/tls/automation/policies/%d", i)
		if t := text(p, "key_type"); t != "" && !slices.Contains(allowed, t) {
			e.bad(pointer+"/key_type", "is %s, which is not on the list", t)
		}
		if !slices.ContainsFunc(objects(p["issuers"]), func(o object) bool { return text(o, "module") == "internal" }) {
			continue
		}
		subjects := texts(p["subjects"])
		if len(subjects) == 0 {
			subjects = v.unclaimed(policies)
		}
		for _, name := range subjects {
			if public(name) {
				e.bad(pointer, "gives %s, a public name, a certificate of the internal authority", name)
			}
		}
	}
	if e.s.Server != nil && e.s.Server.Certificates != nil {
		for _, c := range *e.s.Server.Certificates {
			e.examined++
			if !slices.Contains(allowed, shortKeyType(c.KeyType)) {
				e.bad(strings.Join(c.Names, " "), "has a key of the type %s, which is not on the list", c.KeyType)
			}
		}
	}
	e.conclude("policies and certificates")
}

// unclaimed returns the hosts of all servers that no policy names.
func (v *view) unclaimed(policies []object) (list []string) {
	var claimed []string
	for _, p := range policies {
		claimed = append(claimed, texts(p["subjects"])...)
	}
	for _, s := range v.servers {
		for _, host := range s.hosts {
			if !slices.Contains(claimed, host) {
				list = append(list, host)
			}
		}
	}
	return list
}

// shortKeyType is Caddy's name of a key type: p256 for ecdsa-p256.
func shortKeyType(s string) string {
	s = strings.TrimPrefix(strings.ToLower(s), "ecdsa-")
	return strings.ReplaceAll(s, "-", "")
}

func tlsClients(e *eval) {
	v := e.config()
	for i := range v.servers {
		s := &v.servers[i]
		for _, p := range s.policies {
			if asks, _ := clientCerts(p); !asks {
				continue
			}
			e.examined++
			if strict, ok := s.raw["strict_sni_host"].(bool); ok && !strict { // the default is on
				e.bad(s.pointer+"/strict_sni_host", "is off, and client certificates are asked for")
			}
			early, ok := s.raw["allow_0rtt"].(bool) // the default is on
			if protocols := texts(s.raw["protocols"]); len(protocols) > 0 && !slices.Contains(protocols, "h3") {
				early, ok = false, true // it is for HTTP/3 only
			}
			if !ok || early {
				e.bad(s.pointer+"/allow_0rtt", "is on: requests in early data can be replayed")
			}
			break
		}
	}
	e.conclude("servers that ask for client certificates")
}
