package ratelimit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
)

// The parts of keys that have names.
const (
	partClientIP  = "client_ip"
	partPrincipal = "principal"
	partHost      = "host"
	partMethod    = "method"
	partPath      = "path"
	partGlobal    = "global"
	partHeader    = "header:"
	partCookie    = "cookie:"
)

// userID is the placeholder that authenticators set, without braces.
const userID = "http.auth.user.id"

type partKind int

const (
	kindClientIP partKind = iota
	kindPrincipal
	kindHost
	kindMethod
	kindPath
	kindGlobal
	kindHeader
	kindCookie
	kindText
)

var namedParts = map[string]partKind{
	partClientIP: kindClientIP, partPrincipal: kindPrincipal, partHost: kindHost,
	partMethod: kindMethod, partPath: kindPath, partGlobal: kindGlobal,
}

// part is a part of a key.
type part struct {
	kind partKind
	name string // of the header field or the cookie; or text with placeholders
}

// keyTemplate makes keys of requests.
type keyTemplate struct {
	parts      []part
	bits4      int
	bits6      int
	principal  bool // a part is only known after authentication
	compounded bool
}

// maxParts is how many parts a key can have.
const maxParts = 8

func parseKey(list []string, bits4, bits6 int) (k keyTemplate, err error) {
	if bits4 == 0 {
		bits4 = 32
	}
	if bits6 == 0 {
		bits6 = 64
	}
	if bits4 < 8 || bits4 > 32 || bits6 < 16 || bits6 > 128 {
		return k, fmt.Errorf("prefixes of %d and %d bits: an IPv4 prefix has 8 to 32, an IPv6 prefix 16 to 128", bits4, bits6)
	}
	if len(list) > maxParts {
		return k, fmt.Errorf("a key has at most %d parts", maxParts)
	}
	k.bits4, k.bits6, k.compounded = bits4, bits6, len(list) > 1
	for _, s := range list {
		p, err := parsePart(s)
		if err != nil {
			return k, fmt.Errorf("key %q: %w", s, err)
		}
		k.parts = append(k.parts, p)
		k.principal = k.principal || p.kind == kindPrincipal || p.kind == kindText && strings.Contains(p.name, "{http.auth.")
	}
	if k.compounded && slices.Contains(k.parts, part{kind: kindGlobal}) {
		return k, errors.New("key global stands alone")
	}
	return k, nil
}

func parsePart(s string) (part, error) {
	if kind, ok := namedParts[s]; ok {
		return part{kind: kind}, nil
	}
	if name, ok := strings.CutPrefix(s, partHeader); ok {
		if !token(name) {
			return part{}, errors.New("that is no name of a header field")
		}
		if strings.EqualFold(name, "Host") {
			return part{}, errors.New("the field Host is what the part host is for")
		}
		return part{kindHeader, http.CanonicalHeaderKey(name)}, nil
	}
	if name, ok := strings.CutPrefix(s, partCookie); ok {
		if !token(name) {
			return part{}, errors.New("that is no name of a cookie")
		}
		return part{kindCookie, name}, nil
	}
	return part{kindText, s}, checkPlaceholders(s)
}

// token reports whether a string is a token (RFC 9110, section 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// placeholders that a key can have, to their first dot or to the end. Those of
// other modules are not known before they have run, and a mistyped one would
// give all clients one key.
var placeholders = []string{
	"http.auth.user.", "http.vars.", "http.regexp.",
	"http.request.cookie.", "http.request.header.", "http.request.host", "http.request.host.labels.",
	"http.request.hostport", "http.request.method", "http.request.port", "http.request.proto",
	"http.request.remote", "http.request.remote.", "http.request.local", "http.request.local.", "http.request.scheme",
	"http.request.tls.", "http.request.uri", "http.request.uri.", "http.request.orig_method", "http.request.orig_uri", "http.request.orig_uri.",
}

func checkPlaceholders(s string) error {
	rest, found := s, false
	for {
		_, after, ok := strings.Cut(rest, "{")
		if !ok {
			break
		}
		name, after, ok := strings.Cut(after, "}")
		if !ok {
			return errors.New("a { is never closed")
		}
		if err := checkPlaceholder(name); err != nil {
			return err
		}
		rest, found = after, true
	}
	if !found {
		return errors.New("it is not client_ip, principal, host, method, path, header:NAME, cookie:NAME or global, and has no placeholder")
	}
	return nil
}

func checkPlaceholder(name string) error {
	switch {
	case name == "http.request.body" || name == "http.request.uuid":
		return fmt.Errorf("the placeholder {%s} is different in each request, or reads its body", name)
	case strings.Contains(name, "{"):
		return fmt.Errorf("a placeholder within the placeholder {%s} is not replaced", name)
	case slices.ContainsFunc(placeholders, func(known string) bool {
		if strings.HasSuffix(known, ".") {
			return len(name) > len(known) && strings.HasPrefix(name, known)
		}
		return name == known
	}) && known(name):
		return nil
	}
	return fmt.Errorf("the placeholder {%s} is not known here: a key can have those of http.request, http.auth.user, http.vars and http.regexp; for one of another handler, put it in a variable (directive vars)", name)
}

// known reports whether Caddy has a value for a placeholder in a request that has
// all that a request can have.
func known(name string) bool {
	if strings.HasPrefix(name, "http.auth.") || strings.HasPrefix(name, "http.vars.") || strings.HasPrefix(name, "http.regexp.") {
		return true // set while a request is handled
	}
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	r := (&http.Request{
		Method: http.MethodGet, Proto: "HTTP/1.1", Host: "a.b.c.d.e.f.g.h:1", RemoteAddr: addr.String(), RequestURI: "/a?b=c",
		URL: &url.URL{Path: "/a", RawQuery: "b=c"}, Header: make(http.Header),
		TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}},
	}).WithContext(context.WithValue(context.Background(), http.LocalAddrContextKey, net.Addr(addr)))
	repl := caddy.NewEmptyReplacer()
	caddyhttp.PrepareRequest(r, repl, nil, &caddyhttp.Server{})
	_, ok := repl.Get(name)
	return ok
}

// global reports whether all requests have one key.
func (k *keyTemplate) global() bool { return k.parts[0].kind == kindGlobal }

// keyed is a request whose key is asked for.
type keyed struct {
	request *http.Request
	client  string // address, as it is known
	addr    netip.Addr
	parsed  int // 0: not tried, 1: addr is one, −1: client is no address
}

func (k *keyed) of(r *http.Request) { k.request = r }

// address finds the client's address and reports whether it is one. One behind
// a Unix socket has none.
func (k *keyed) address() bool {
	if k.parsed == 0 {
		k.client, _ = caddyhttp.GetVar(k.request.Context(), caddyhttp.ClientIPVarKey).(string)
		k.addr, k.parsed = parseAddr(k.client)
	}
	return k.parsed > 0
}

func parseAddr(s string) (netip.Addr, int) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, -1
	}
	return a.Unmap().WithZone(""), 1
}

// hash is the hash of the request's key. empty reports that nothing is known of
// the request that the key is made of.
func (k *keyTemplate) hash(h *limiter.Hasher, r *keyed) (sum uint64, empty bool) {
	if !k.compounded {
		return k.hashPart(h, &k.parts[0], r)
	}
	empty = true
	for i := range k.parts {
		part, none := k.hashPart(h, &k.parts[i], r)
		sum, empty = h.Join(sum, part), empty && none
	}
	return sum, empty
}

func (k *keyTemplate) hashPart(h *limiter.Hasher, p *part, r *keyed) (sum uint64, empty bool) {
	if p.kind == kindClientIP && r.address() {
		return k.hashAddr(h, r.addr), false
	}
	s := k.text(p, r)
	return h.String(s), s == "" && p.kind != kindGlobal
}

// hashAddr hashes the network of an address.
func (k *keyTemplate) hashAddr(h *limiter.Hasher, a netip.Addr) uint64 {
	p, err := a.Prefix(k.bits(a))
	if err != nil { // bits are never out of range
		return 0
	}
	b := p.Addr().As16()
	return h.Bytes(b[:])
}

func (k *keyTemplate) bits(a netip.Addr) int {
	if a.Is4() {
		return k.bits4
	}
	return k.bits6
}

// checkText checks a key that is given as text, as records name it.
func (k *keyTemplate) checkText(s string) error {
	texts := strings.Split(s, keySeparator)
	if len(texts) != len(k.parts) {
		return fmt.Errorf("the key has %d parts: write them with %q in between", len(k.parts), keySeparator)
	}
	for i, p := range k.parts {
		network, err := netip.ParsePrefix(texts[i])
		if p.kind != kindClientIP || err != nil {
			continue
		}
		if bits := k.bits(network.Addr().Unmap()); network.Bits() != bits {
			return fmt.Errorf("clients are told apart by %d bits of their addresses, not %d", bits, network.Bits())
		}
	}
	return nil
}

// hashText is the hash of a key that checkText found to be one.
func (k *keyTemplate) hashText(h *limiter.Hasher, s string) (sum uint64) {
	if !k.compounded {
		return k.hashPartText(h, &k.parts[0], s)
	}
	for i, text := range strings.Split(s, keySeparator) {
		sum = h.Join(sum, k.hashPartText(h, &k.parts[i], text))
	}
	return sum
}

func (k *keyTemplate) hashPartText(h *limiter.Hasher, p *part, s string) uint64 {
	switch p.kind {
	case kindClientIP:
		addr, _, _ := strings.Cut(s, "/")
		if a, ok := parseAddr(addr); ok > 0 {
			return k.hashAddr(h, a)
		}
	case kindHost:
		s = hostname(s)
	case kindGlobal:
		s = ""
	}
	return h.String(s)
}

// hostname is a host as all its spellings have it: without port, final dot and
// capital letters, which otherwise gave each a budget of its own.
func hostname(s string) string {
	if i := strings.LastIndexByte(s, ':'); i >= 0 && strings.IndexByte(s[i:], ']') < 0 {
		s = s[:i]
	}
	return strings.ToLower(strings.TrimSuffix(s, "."))
}

// keySeparator stands between the parts of a key where it is shown.
const keySeparator = " | "

// maxShown is how much of a key is shown, in bytes: it may be a megabyte.
const maxShown = 256

// show is the request's key for people.
func (k *keyTemplate) show(r *keyed) string {
	var b strings.Builder
	for i := range k.parts {
		if i > 0 {
			b.WriteString(keySeparator)
		}
		p := &k.parts[i]
		switch {
		case p.kind == kindGlobal:
			b.WriteString(partGlobal)
		case p.kind == kindClientIP && r.address():
			b.WriteString(k.network(r.addr))
		default:
			b.WriteString(k.text(p, r))
		}
	}
	s := b.String()
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(strings.Clone(s[:maxShown]), "") + "…"
}

func (k *keyTemplate) network(a netip.Addr) string {
	p, err := a.Prefix(k.bits(a))
	if err != nil || p.IsSingleIP() {
		return a.String()
	}
	return p.String()
}

// text is a part of a request's key.
func (k *keyTemplate) text(p *part, r *keyed) string {
	switch p.kind {
	case kindClientIP:
		r.address()
		return r.client
	case kindPrincipal:
		repl, _ := r.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if repl == nil {
			return ""
		}
		s, _ := repl.GetString(userID)
		return s
	case kindHost:
		return hostname(r.request.Host)
	case kindMethod:
		return r.request.Method
	case kindPath:
		return r.request.URL.Path
	case kindHeader:
		if v := r.request.Header[p.name]; len(v) > 0 {
			return v[0]
		}
	case kindCookie:
		if c, err := r.request.Cookie(p.name); err == nil {
			return c.Value
		}
	case kindText:
		if repl, _ := r.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); repl != nil {
			return repl.ReplaceAll(p.name, "")
		}
	}
	return ""
}
