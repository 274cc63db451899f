package controls

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
	"github.com/caddy-soc2/caddy-soc2/internal/redact"
)

func protectedRoutes(e *eval) {
	v := e.config()
	for i := range v.servers {
		s := &v.servers[i]
		for _, pattern := range e.texts("paths") {
			t := trip{e: e, server: s, pattern: strings.ToLower(pattern)}
			certs := s.demandsCerts(v)
			t.follow(s.raw["routes"], s.pointer+"/routes", certs, 0)
			t.refused = true
			t.follow(member(s.raw, "errors")["routes"], s.pointer+"/errors/routes", certs, 0)
			if t.served {
				e.examined++
			}
		}
	}
	e.conclude("protected paths that are served")
}

// demandsCerts reports whether no connection to a server comes without a
// verified client certificate. On the HTTP port there is no TLS.
func (s *server) demandsCerts(v *view) bool {
	return len(s.policies) > 0 && !slices.ContainsFunc(s.policies, func(p object) bool { _, demands := clientCerts(p); return !demands }) &&
		!slices.ContainsFunc(s.listen, v.hasHTTPPort)
}

// trip follows requests for the paths of a pattern through the routes of a
// server. What matchers other than path say cannot be known, nor which of the
// paths it is: where that decides, requests are followed both ways.
type trip struct {
	e       *eval
	server  *server
	pattern string
	refused bool // in the error routes, where those come that were refused
	served  bool // it came to a handler that serves it
}

// follow follows the requests through routes. known is whether an authenticator
// was passed for sure. It returns that, and whether the requests surely end in
// the routes.
func (t *trip) follow(routes any, pointer string, known bool, depth int) (bool, bool) {
	taken := map[string]bool{}
	if depth > maxDepth {
		return known, false
	}
	for i, r := range objects(routes) {
		match, sure := t.matches(r["match"])
		if group := text(r, "group"); !match || group != "" && taken[group] {
			continue
		} else if group != "" && sure {
			taken[group] = true
		}
		after, ends := t.handlers(r["handle"], pointer+"/"+strconv.Itoa(i)+"/handle", known, depth)
		if !sure {
			continue
		}
		known = after
		if ends || flag(r, "terminal") {
			return known, true
		}
	}
	return known, false
}

func (t *trip) handlers(list any, pointer string, known bool, depth int) (bool, bool) {
	for i, h := range objects(list) {
		t.e.step()
		where := pointer + "/" + strconv.Itoa(i)
		switch name := text(h, "handler"); name {
		case "authentication", "soc2_auth", "soc2_access":
			known = known || t.refusesStrangers(h)
		case "rewrite":
			known = known || t.refused && text(h, "uri") != "" // it is another path, that of an error page
		case "subroute":
			var ends bool
			if known, ends = t.follow(h["routes"], where+"/routes", known, depth+1); ends {
				return known, true
			}
		case "invoke":
			target := text(h, "name")
			named := []any{member(t.server.raw, "named_routes")[target]}
			var ends bool
			if known, ends = t.follow(named, jsonpatch.Pointer(t.server.pointer+"/named_routes", target), known, depth+1); ends {
				return known, true
			}
		case "reverse_proxy", "file_server", "php":
			if asksFirst(h) {
				known = true
				continue
			}
			t.serves(where, name, known)
			if !flag(h, "pass_thru") {
				return known, true
			}
		case "static_response", "error":
			return known, true
		}
	}
	return known, false
}

func (t *trip) serves(where, handler string, known bool) {
	t.served = t.served || !t.refused
	switch {
	case known:
	case t.refused:
		t.e.bad(where, "serves %s with %s to who was refused: error routes keep the path unless they rewrite it", t.pattern, handler)
	default:
		t.e.bad(where, "serves %s with %s before any authenticator", t.pattern, handler)
	}
}

// refusesStrangers reports whether a handler lets no request without a principal
// go on to the paths.
func (t *trip) refusesStrangers(h object) bool {
	switch text(h, "handler") {
	case "authentication":
		return !flag(h, "providers", "soc2", "optional")
	case "soc2_auth":
		return !flag(h, "optional")
	}
	return text(h, "mode") != "shadow" && !slices.ContainsFunc(objects(h["rules"]), func(r object) bool {
		paths := texts(r["paths"])
		return flag(r, "anonymous") && !flag(r, "shadow") && text(r, "effect") != "deny" &&
			(len(paths) == 0 || slices.ContainsFunc(paths, func(p string) bool { return overlap(p, t.pattern) || overlap(strings.TrimSuffix(p, "/*"), t.pattern) }))
	})
}

// asksFirst reports whether a reverse_proxy is a forward_auth: it sends a GET
// of its own, and goes on after a success.
func asksFirst(h object) bool {
	if text(h, "rewrite", "method") != "GET" {
		return false
	}
	for _, r := range objects(h["handle_response"]) {
		codes, _ := member(r, "match")["status_code"].([]any)
		for _, c := range codes {
			if n, ok := c.(interface{ String() string }); ok && n.String() == "2" {
				return true
			}
		}
	}
	return false
}

// matches reports whether some of the requests may match sets of matchers, and
// whether all of them do for sure.
func (t *trip) matches(sets any) (may, sure bool) {
	list := objects(sets)
	if len(list) == 0 {
		return true, true
	}
	for _, set := range list {
		setMay, setSure := true, true
		for name, m := range set {
			if name != "path" {
				setSure = false
				continue
			}
			patterns := texts(m)
			setMay = setMay && slices.ContainsFunc(patterns, func(p string) bool { return overlap(p, t.pattern) })
			setSure = setSure && pathMatches(patterns, sample(t.pattern))
		}
		may, sure = may || setMay, sure || setMay && setSure
	}
	return may, sure
}

func principals(e *eval) {
	t := &e.server().Traffic
	for _, entry := range e.texts(thresholdRemoved) {
		name, when, err := removal(entry)
		if err != nil {
			e.end(Unknown, "the threshold removed: %s", err)
		}
		e.examined++
		if seen, ok := t.Accounts[name]; ok && seen.After(when) && e.within(seen) {
			e.add(Evidence{Where: name, What: "made requests after it was removed on " + when.Format(time.DateOnly), Time: seen})
		}
	}
	idle := e.duration("idle")
	for _, name := range accounts(e.config()) {
		e.examined++
		seen, ok := t.Accounts[name]
		switch {
		case !ok && e.s.Time.Sub(t.Since) > idle && !t.Full:
			e.warn(name, "has an account and made no request since %s", t.Since.UTC().Format(time.RFC3339))
		case ok && e.s.Time.Sub(seen) > idle:
			e.warn(name, "has an account and made no request since %s", seen.UTC().Format(time.RFC3339))
		}
	}
	e.examined = max(e.examined, len(t.Accounts))
	e.conclude("principals")
}

// removal reads the name of a principal, which may have an @, and the day on
// which it was removed.
func removal(entry string) (name string, when time.Time, err error) {
	i := strings.LastIndexByte(entry, '@')
	if i > 0 {
		when, err = time.Parse(time.DateOnly, entry[i+1:])
	}
	if i <= 0 || err != nil {
		return "", time.Time{}, fmt.Errorf("%q is not written NAME@2026-01-31", entry)
	}
	return entry[:i], when, nil
}

// accounts returns the users of basic authentication in a configuration.
func accounts(v *view) (list []string) {
	for _, h := range v.all("authentication") {
		for _, a := range objects(member(h.raw, "providers", "http_basic")["accounts"]) {
			if name := text(a, "username"); name != "" {
				list = append(list, name)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// ownNetworks are the private, loopback and link-local networks.
var ownNetworks = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("::1/128"),
}

// own reports whether all of a range is in one of the own networks: 10.0.0.0/0
// begins in one, and is everybody.
func own(p netip.Prefix) bool {
	return slices.ContainsFunc(ownNetworks, func(n netip.Prefix) bool { return p.Bits() >= n.Bits() && n.Contains(p.Addr()) })
}

func trustedProxies(e *eval) {
	v := e.config()
	for i := range v.servers {
		s := &v.servers[i]
		e.examined++
		trusted := member(s.raw, "trusted_proxies")
		if trusted == nil {
			continue
		}
		for _, r := range texts(trusted["ranges"]) {
			p, err := netip.ParsePrefix(r)
			if err != nil || own(p) {
				continue // one address, or a network of one's own
			}
			least := e.number("v4_bits")
			if p.Addr().Is6() {
				least = e.number("v6_bits")
			}
			if float64(p.Bits()) < least {
				e.bad(s.pointer+"/trusted_proxies", "trusts %s, which is wider than /%.0f", r, least)
			}
		}
		if number(s.raw, "trusted_proxies_strict") == 0 {
			e.bad(s.pointer+"/trusted_proxies_strict", "is off: clients choose the first address of X-Forwarded-For")
		}
	}
	e.conclude("servers")
}

// credentialKey makes the tokens of credentials here, which nobody sees.
var credentialKey = redact.Key("controls")

// harmless are places whose values look like secrets, and are none: public keys,
// hashes and certificates.
var harmless = []string{"/admin/remote/", "/trusted_ca_certs", "/trusted_leaf_certs", "/tls/ca/", "/client_authentication/", "/root_ca_pem"}

// isHarmless reports whether a place is one of them. The name of a server is
// not: it is for anybody to choose.
func isHarmless(pointer string) bool {
	if strings.HasPrefix(pointer, "/apps/soc2/") {
		return true
	}
	if rest, ok := strings.CutPrefix(pointer, serversPointer+"/"); ok {
		_, pointer, _ = strings.Cut(rest, "/")
		pointer = "/" + pointer
	}
	return slices.ContainsFunc(harmless, func(p string) bool { return strings.Contains(pointer+"/", p) })
}

func credentials(e *eval) {
	root := any(e.config().root)
	e.compare("", root, credentialKey.NewSecrets().Document(root))
	e.conclude("values")
}

// compare notes the values that are not the same in the configuration and in
// the one without secrets.
func (e *eval) compare(pointer string, raw, clean any) {
	switch raw := raw.(type) {
	case object:
		other, _ := clean.(object)
		for _, name := range slices.Sorted(maps.Keys(raw)) {
			e.compare(jsonpatch.Pointer(pointer, name), raw[name], other[name])
		}
	case []any:
		other, _ := clean.([]any)
		for i, item := range raw {
			var c any
			if i < len(other) {
				c = other[i]
			}
			e.compare(pointer+"/"+strconv.Itoa(i), item, c)
		}
	case string:
		e.examined++
		if raw == clean || raw == "true" || raw == "false" || hashed(raw) || isHarmless(pointer) {
			return
		}
		e.bad(pointer, "holds a credential in plain text")
	}
}

// hashed reports whether a password is hashed with bcrypt or argon2.
func hashed(s string) bool {
	if b, err := base64.StdEncoding.DecodeString(s); err == nil {
		s = string(b)
	}
	return strings.HasPrefix(s, "$2") && len(s) == 60 || strings.HasPrefix(s, "$argon2")
}

func evidenceClosed(e *eval) {
	for _, h := range e.config().all("soc2_evidence") {
		e.examined++
		if flag(h.raw, "allow_unauthenticated") {
			e.bad(h.pointer, "has allow_unauthenticated")
		}
	}
	e.conclude("handlers that serve the evidence")
}
