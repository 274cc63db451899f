package headers

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// fromProxies are fields that only a proxy in front may send, by the rule that
// removes them. Assertions that are signed are not among them.
var fromProxies = func() map[string]string {
	m := map[string]string{}
	for name := range strings.FieldsSeq(`Forwarded X-Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port
		X-Forwarded-Prefix X-Forwarded-Server X-Forwarded-Ssl X-Forwarded-Scheme X-Forwarded-Uri X-Forwarded-Method X-Forwarded-By
		X-Original-Forwarded-For X-Real-Ip X-Client-Ip X-Cluster-Client-Ip True-Client-Ip Cf-Connecting-Ip Fastly-Client-Ip
		X-Originating-Ip X-Remote-Ip X-Remote-Addr X-Host X-Original-Host X-Original-Url X-Rewrite-Url X-Url-Scheme
		X-Envoy-External-Address Front-End-Https Proxy Client-Ip Proxy-Client-Ip Wl-Proxy-Client-Ip Fly-Client-Ip Cf-Connecting-Ipv6
		X-Azure-Clientip X-Azure-Socketip X-Appengine-User-Ip X-Vercel-Forwarded-For X-Nf-Client-Connection-Ip X-Http-Host-Override`) {
		m[name] = forwardedRule
	}
	for name := range strings.FieldsSeq(`Remote-User Remote-Groups Remote-Name Remote-Email X-Remote-User X-Remote-Group X-Remote-Groups
		X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Preferred-Username X-Forwarded-Access-Token
		X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Groups X-Auth-Request-Preferred-Username X-Auth-Request-Access-Token
		X-Authenticated-User X-Authenticated-Userid X-Webauth-User X-Webauth-Name X-Webauth-Email X-Webauth-Roles X-Webauth-Groups
		X-Authentik-Username X-Authentik-Groups X-Authentik-Email X-Authentik-Uid X-Ssl-Client-Cert X-Ssl-Client-Verify
		X-Ssl-Client-Dn X-Ssl-Client-S-Dn Ssl-Client-Cert Ssl-Client-Verify X-Client-Cert X-Client-Dn X-Client-Verify
		X-Forwarded-Client-Cert X-Forwarded-Tls-Client-Cert X-Arr-Clientcert X-Amzn-Oidc-Identity
		X-Goog-Authenticated-User-Email X-Goog-Authenticated-User-Id Cf-Access-Authenticated-User-Email
		X-Ms-Client-Principal X-Ms-Client-Principal-Id X-Ms-Client-Principal-Name Tailscale-User-Login Tailscale-User-Name`) {
		m[name] = identityRule
	}
	return m
}()

// mayBe holds the lengths and first letters of those names, which most fields
// of a request have none of.
var mayBe = func() (t [256][64]bool) {
	for name := range fromProxies {
		t[name[0]][len(name)] = true
	}
	return t
}()

// ForwardedVar is the request variable that is true if a client that is no
// trusted proxy sent a field that only a proxy sends. The field is gone when
// handlers inside look, but a request that claims to come from elsewhere is not
// one of this host.
const ForwardedVar = "soc2_forwarded"

// clean removes from the header what may not come from a client.
func (e *enforcement) clean(r *http.Request) error {
	known, proxy := false, false
	for name := range r.Header {
		if len(name) >= 64 || len(name) == 0 || !mayBe[name[0]][len(name)] {
			continue
		}
		rule, ok := fromProxies[name]
		if !ok {
			continue
		}
		if !known {
			known, proxy = true, trusted(r)
		}
		if !proxy {
			if rule == forwardedRule {
				caddyhttp.SetVar(r.Context(), ForwardedVar, true)
			}
			e.strip(r.Header, name, rule)
		}
	}
	e.keepToHop(r)
	if r.Header["Traceparent"] != nil || r.Header["Tracestate"] != nil {
		e.checkTrace(r.Header)
	}
	if e.event == nil && r.Header[requestID] != nil && (len(r.Header[requestID]) > 1 || !isRequestID(r.Header[requestID][0])) {
		e.strip(r.Header, requestID, idRule)
	}
	switch r.Method {
	case http.MethodTrace, "TRACK":
		return e.refuse(methodRule, http.StatusMethodNotAllowed, "the method is not allowed")
	case http.MethodConnect:
		if e.policy.profile != Baseline && !opensProtocol(r) {
			return e.refuse(methodRule, http.StatusMethodNotAllowed, "the method is not allowed")
		}
	}
	return nil
}

// opensProtocol tells whether a CONNECT is for a protocol, such as a WebSocket,
// and not for a tunnel (RFC 8441, RFC 9220). Over HTTP/2 the protocol is among
// the fields; quic-go has it in the place of the version.
func opensProtocol(r *http.Request) bool {
	return r.Header[":protocol"] != nil || r.ProtoMajor == 3 && r.Proto != "HTTP/3.0"
}

// strip removes a field of a request.
func (e *enforcement) strip(h http.Header, name, rule string) {
	if _, ok := h[name]; !ok {
		return
	}
	report := e.policy.reports(rule)
	e.find(rule, report, "", "")
	if !report {
		delete(h, name)
	}
}

// keepToHop removes fields that are for one hop (RFC 9110 section 7.6.1), so
// that a client cannot have a proxy after us drop fields that it relies on, or
// change the protocol to HTTP/2 past us.
func (e *enforcement) keepToHop(r *http.Request) {
	h := r.Header
	delete(h, "Keep-Alive")
	delete(h, "Proxy-Connection")
	if te := h["Te"]; te != nil && !only(te, "trailers") {
		delete(h, "Te")
		if hasDirective(te, "trailers") {
			h["Te"] = []string{"trailers"}
		}
	}
	if h["Http2-Settings"] != nil || hasDirective(h["Upgrade"], "h2c") {
		if report := e.policy.reports(hopRule); !report {
			delete(h, "Http2-Settings")
			delete(h, "Upgrade")
			e.find(hopRule, false, "", "")
		} else {
			e.find(hopRule, true, "", "")
		}
	}
	for _, line := range h["Connection"] {
		if !usual(line) {
			e.mendConnection(h)
			return
		}
	}
}

// usual tells whether a Connection names nothing but what concerns us.
func usual(line string) bool {
	for token := range strings.SplitSeq(line, ",") {
		switch token = strings.TrimSpace(token); {
		case strings.EqualFold(token, "close"), strings.EqualFold(token, "keep-alive"), strings.EqualFold(token, "upgrade"):
		default:
			return false
		}
	}
	return true
}

// mendConnection keeps the tokens of Connection that concern us, and removes the
// fields that others name, unless they are not for one hop.
func (e *enforcement) mendConnection(h http.Header) {
	report := e.policy.reports(hopRule)
	var kept []string
	odd := false
	for _, line := range h["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			token = strings.TrimSpace(token)
			switch {
			case token == "" || strings.EqualFold(token, "te") || strings.EqualFold(token, "http2-settings"):
			case usual(token):
				kept = append(kept, token)
			default:
				odd = true
				if name := http.CanonicalHeaderKey(token); !report && !forAllHops(name) {
					delete(h, name)
				}
			}
		}
	}
	if odd {
		e.find(hopRule, report, "", "")
	}
	if report {
		return
	}
	if kept == nil {
		delete(h, "Connection")
		return
	}
	h["Connection"] = []string{strings.Join(kept, ", ")}
}

// forAllHops tells whether a field is not for one hop, whatever Connection says.
func forAllHops(name string) bool {
	switch name {
	case "Authorization", "Cookie", "Host", "Origin", "Referer", "Range", "Expect", "Traceparent", "Tracestate", "Via", "User-Agent", requestID:
		return true
	}
	return fromProxies[name] != "" || strings.HasPrefix(name, "Content-") || strings.HasPrefix(name, "Accept") ||
		strings.HasPrefix(name, "Cache-") || strings.HasPrefix(name, "If-") || strings.HasPrefix(name, "Sec-")
}

// checkTrace removes a traceparent that is not valid, and a tracestate that
// belongs to none (W3C Trace Context, section 4.3).
func (e *enforcement) checkTrace(h http.Header) {
	parent := h["Traceparent"]
	if len(parent) == 1 && isTraceparent(parent[0]) {
		return
	}
	e.strip(h, "Traceparent", traceRule)
	e.strip(h, "Tracestate", traceRule)
}

// isTraceparent tells whether s is one (W3C Trace Context, section 3.2).
func isTraceparent(s string) bool {
	const length = len("00-") + 32 + 1 + 16 + len("-01")
	if len(s) < length || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" ||
		len(s) > length && (s[:2] == "00" || s[length] != '-') {
		return false
	}
	return isHex(s[:2]) && isHex(s[3:35]) && isHex(s[36:52]) && isHex(s[53:55]) &&
		strings.Trim(s[3:35], "0") != "" && strings.Trim(s[36:52], "0") != ""
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// trace gives a request without a trace one of its own. It is not sampled: that
// is for whoever keeps traces to decide.
func (q *Request) trace(e *enforcement, r *http.Request) {
	if q.Trace != generate || r.Header["Traceparent"] != nil {
		return
	}
	var ids [24]byte
	for i := 0; i < len(ids); i += 8 {
		n := rand.Uint64() | 1 //nolint:gosec // ids are no secrets; the bit keeps them from being zero
		for j := range 8 {
			ids[i+j] = byte(n >> (8 * j))
		}
	}
	b := make([]byte, 0, 55)
	b = hex.AppendEncode(append(b, "00-"...), ids[:16])
	b = hex.AppendEncode(append(b, '-'), ids[16:])
	parent := string(append(b, "-00"...))
	r.Header["Traceparent"] = []string{parent}
	if e.event != nil && e.event.Trace == "" {
		e.event.Trace = parent[3:35]
	}
}

// isRequestID tells whether an id from outside may be used in logs and headers.
func isRequestID(s string) bool {
	if len(s) < 8 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c|0x20 >= 'a' && c|0x20 <= 'z', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
