package headers

import (
	"net/http"
	"slices"
	"strings"
)

// secureCookies makes Set-Cookie obey the policy.
func (e *enforcement) secureCookies(h http.Header) {
	const name = "Set-Cookie"
	sent := h[name]
	if len(sent) == 0 {
		return
	}
	if e.policy.cookies.report {
		e.mend("set-cookie")
		return
	}
	var changed []string // a copy, once there is something to change
	for i, line := range sent {
		mended := e.mendCookie(line)
		if mended != line && changed == nil {
			changed = append(make([]string, 0, len(sent)), sent[:i]...)
		}
		if changed != nil && mended != "" {
			changed = append(changed, mended)
		}
	}
	switch {
	case changed == nil:
	case len(changed) == 0:
		delete(h, name)
	default:
		h[name] = changed
	}
}

// mendCookie returns the line of one cookie with what it lacks, or empty if
// the cookie may not be set.
func (e *enforcement) mendCookie(line string) string {
	c := parseCookie(line)
	mended := line
	if e.secure && !c.secure {
		mended += "; Secure"
		c.secure = true
		e.mend("set-cookie:secure")
	}
	if !c.sameSite {
		mended += "; SameSite=Lax"
		e.mend("set-cookie:samesite")
	}
	if e.policy.cookies.httpOnly && !c.httpOnly && !isToken(c.name) {
		mended += "; HttpOnly"
		e.mend("set-cookie:httponly")
	}
	if e.policy.cookies.prefix && c.breaksPrefix() {
		e.mend("set-cookie:prefix")
		return ""
	}
	return mended
}

// cookie is what matters of a Set-Cookie line (RFC 6265 section 4.1).
type cookie struct {
	name                       string
	secure, httpOnly, sameSite bool
	domain, rootPath           bool
}

func parseCookie(line string) cookie {
	pair, attributes, _ := strings.Cut(line, ";")
	name, _, _ := strings.Cut(pair, "=")
	c := cookie{name: strings.TrimSpace(name)}
	for attribute := range strings.SplitSeq(attributes, ";") {
		key, value, _ := strings.Cut(attribute, "=")
		switch key = strings.TrimSpace(key); {
		case strings.EqualFold(key, "Secure"):
			c.secure = true
		case strings.EqualFold(key, "HttpOnly"):
			c.httpOnly = true
		case strings.EqualFold(key, "SameSite"):
			c.sameSite = true
		case strings.EqualFold(key, "Domain"):
			c.domain = true
		case strings.EqualFold(key, "Path"):
			c.rootPath = strings.TrimSpace(value) == "/"
		}
	}
	return c
}

// breaksPrefix tells whether the name promises what the attributes do not
// hold (RFC 6265bis section 4.1.3). Browsers refuse such a cookie.
func (c *cookie) breaksPrefix() bool {
	switch {
	case hasPrefixFold(c.name, "__Host-"):
		return !c.secure || c.domain || !c.rootPath
	case hasPrefixFold(c.name, "__Secure-"):
		return !c.secure
	}
	return false
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// tokens are cookies against request forgery, which the page's script has to
// read: those of Angular, Laravel and axios, of Django, and of usual spelling.
var tokens = []string{"XSRF-TOKEN", "csrftoken", "csrf-token", "csrf_token"}

func isToken(name string) bool {
	return slices.ContainsFunc(tokens, func(token string) bool {
		return strings.EqualFold(name, token)
	})
}
