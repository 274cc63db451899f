package controls

import (
	"encoding/base64"
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
			t := trip{e: e, server: s, path: sample(pattern)}
			t.follow(s.raw["routes"], s.pointer+"/routes", demandsCerts(s), 0)
			if t.served {
				e.examined++
			}
		}
	}
	e.conclude("protected paths that are served")
}

// demandsCerts reports whether no connection to a server comes without a
// verified client certificate.
func demandsCerts(s *server) bool {
	return len(s.policies) > 0 && !slices.ContainsFunc(s.policies, func(p object) bool { _, demands := clientCerts(p); return !demands })
}

// sample is a path that a pattern matches.
func sample(pattern string) string { return strings.ReplaceAll(pattern, "*", "x") }

// trip follows a request for a path through the routes of a server. What
// matchers other than path say cannot be known: where they stand, the request
// is followed both ways.
type trip struct {
	e      *eval
	server *server
	path   string
	served bool // it came to a handler that serves it
}

// follow follows the request through routes. known is whether an authenticator
// was passed for sure. It returns that, and whether the request surely ends in
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
		where := pointer + "/" + strconv.Itoa(i)
		switch name := text(h, "handler"); name {
		case "authentication", "soc2_access":
			known = true
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
			t.served = true
			if !known {
				t.e.bad(where, "serves %s with %s before any authenticator", t.path, name)
			}
			if !flag(h, "pass_thru") {
				return known, true
			}
		case "static_response", "error":
			return known, true
		}
	}
	return known, false
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

// matches reports whether a request may match sets of matchers, and whether it
// does for sure.
func (t *trip) matches(sets any) (may, sure bool) {
	list := objects(sets)
	if len(list) == 0 {
		return true, true
	}
	for _, set := range list {
		setMay, setSure := true, true
		for name, m := range set {
			if name == "path" {
				setMay = setMay && pathMatches(texts(m), t.path)
			} else {
				setSure = false
			}
		}
		may, sure = may || setMay, sure || setMay && setSure
	}
	return may, sure
}

// pathMatches reports whether one of Caddy's patterns of paths matches.
func pathMatches(patterns []string, path string) bool {
	path = strings.ToLower(path)
	return slices.ContainsFunc(patterns, func(p string) bool {
		p = strings.ToLower(p)
		head, star := strings.CutSuffix(p, "*")
		tail, front := strings.CutPrefix(p, "*")
		switch {
		case p == "*":
			return true
		case star && front:
			return strings.Contains(path, strings.TrimSuffix(tail, "*"))
		case star && !strings.Contains(head, "*"):
			return strings.HasPrefix(path, head)
		case front && !strings.Contains(tail, "*"):
			return strings.HasSuffix(path, tail)
		case strings.Contains(p, "*"):
			first, last, _ := strings.Cut(p, "*")
			return strings.HasPrefix(path, first) && strings.HasSuffix(path, last[strings.LastIndexByte(last, '*')+1:])
		}
		return path == p
	})
}

func principals(e *eval) {
	t := &e.server().Traffic
	for _, entry := range e.texts("removed") {
		name, date, ok := strings.Cut(entry, "@")
		for i := strings.LastIndexByte(entry, '@'); ok && i > len(name); { // names may have one
			name, date = entry[:i], entry[i+1:]
			break
		}
		when, err := time.Parse(time.DateOnly, date)
		if err != nil {
			e.end(Unknown, "the threshold removed has %q, and is written NAME@2026-01-31", entry)
		}
		e.examined++
		if seen, ok := t.Accounts[name]; ok && seen.After(when) && e.within(seen) {
			e.add(Evidence{Where: name, What: "made requests after it was removed on " + date, Time: seen})
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
			if err != nil || p.Addr().IsPrivate() || p.Addr().IsLoopback() {
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
var harmless = []string{"/apps/soc2/", "/admin/remote/", "/trusted_ca_certs", "/trusted_leaf_certs", "/ca/", "/client_authentication/", "/root_ca_pem"}

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
		if raw == clean || raw == "true" || raw == "false" || hashed(raw) || slices.ContainsFunc(harmless, func(p string) bool { return strings.Contains(pointer+"/", p) }) {
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
