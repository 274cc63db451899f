package policy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// secretWords are parts of the names of header fields that carry credentials.
// A field that has one loses its value, whatever the configuration says.
var secretWords = []string{
	"auth", "token", "secret", "password", "passwd", "credential", "session", "key", "signature",
	"jwt", "csrf", "xsrf", "otp", "assertion", "cookie", "sec-websocket-protocol",
}

// addressFields hold an address, with a query of its own.
var addressFields = []string{
	"referer", "location", "content-location", "destination", "refresh", "link",
	"x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-original-uri", "x-accel-redirect",
}

// headers returns header fields in the order of their names, redacted, and
// notes under the prefix which ones were.
func (d *redaction) headers(ev *audit.Event, prefix string, h http.Header) []audit.Header {
	if len(h) == 0 {
		return nil
	}
	names := make([]string, 0, len(h))
	lines := 0
	for name, values := range h {
		names = append(names, name)
		lines += len(values)
	}
	slices.Sort(names)
	out := make([]audit.Header, 0, lines)
	for _, name := range names {
		lowered := strings.ToLower(name)
		for _, value := range h[name] {
			shown := d.header(lowered, value)
			if shown != value {
				note(ev, prefix+lowered)
			}
			out = append(out, audit.Header{Name: name, Value: shown})
		}
	}
	return out
}

// header redacts a value of the field of the given name, in lower case.
func (d *redaction) header(name, value string) string {
	switch {
	case anyWildcard(d.headerNames, name):
		return star
	case name == "cookie":
		value = d.cookie(value)
	case name == "set-cookie":
		value = d.setCookie(value)
	case containsAny(name, secretWords), hasScheme(value):
		return star
	case slices.Contains(addressFields, name):
		value = d.address(value)
	}
	return search(d.inHeaders, value)
}

func containsAny(s string, words []string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// hasScheme reports whether a value begins as credentials do (RFC 9110,
// section 11.4).
func hasScheme(value string) bool {
	for _, scheme := range [...]string{"basic ", "bearer ", "digest ", "negotiate ", "ntlm ", "dpop "} {
		if len(value) > len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
			return true
		}
	}
	return false
}

// cookie shows the names of a Cookie field (RFC 6265, section 4.2.1).
func (d *redaction) cookie(value string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(value, ";") {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(d.cookiePair(strings.TrimSpace(part)))
	}
	return b.String()
}

func (d *redaction) cookiePair(pair string) string {
	name, _, ok := strings.Cut(pair, "=")
	switch {
	case !ok:
		return star
	case anyWildcard(d.cookies, strings.TrimSpace(name)):
		return "*=*"
	}
	return name + "=*"
}

// cookieAttributes are those of Set-Cookie that say nothing about the user
// (RFC 6265, section 5.2, and its successor).
var cookieAttributes = []string{"expires", "max-age", "domain", "path", "secure", "httponly", "samesite", "partitioned", "priority"}

// setCookie shows the name and the attributes of a cookie.
func (d *redaction) setCookie(value string) string {
	pair, attributes, _ := strings.Cut(value, ";")
	shown := d.cookiePair(strings.TrimSpace(pair))
	if attributes == "" {
		return shown
	}
	for part := range strings.SplitSeq(attributes, ";") {
		part = strings.TrimSpace(part)
		name, _, _ := strings.Cut(part, "=")
		switch lowered := strings.ToLower(strings.TrimSpace(name)); {
		case !slices.Contains(cookieAttributes, lowered):
			part = star
		case lowered == "path":
			part = name + "=" + d.path(part[len(name)+min(1, len(part)-len(name)):])
		}
		shown += "; " + part
	}
	return shown
}

// address redacts an address as the request's own path and query are. One that
// is wrapped in other text, or that has a user name, is hidden if it could hold
// something.
func (d *redaction) address(value string) string {
	value, fragment, fragmented := strings.Cut(value, "#")
	before, query, queried := strings.Cut(value, "?")
	if strings.ContainsAny(before, "<>@;, ") {
		if queried || fragmented || strings.Contains(before, "@") {
			return star
		}
	}
	origin := 0
	if i := strings.Index(before, "//"); i == 0 || i > 0 && before[i-1] == ':' {
		origin = len(before)
		if j := strings.IndexByte(before[i+2:], '/'); j >= 0 {
			origin = i + 2 + j
		}
	}
	shown := before[:origin] + d.path(before[origin:])
	if queried {
		shown += "?" + d.query.redact(query)
	}
	if fragmented && fragment != "" {
		shown += "#*"
	}
	return shown
}
