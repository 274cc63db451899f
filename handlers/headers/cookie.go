package headers

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Cookies says what cookies must have besides Secure.
type Cookies struct {
	// HTTPOnly keeps cookies from scripts. Default: that of the profile; strict
	// does, baseline and api do not.
	HTTPOnly *bool `json:"http_only,omitempty"`

	// Readable names cookies that scripts have to read, besides the usual ones
	// against request forgery.
	Readable []string `json:"readable,omitempty"`

	// SameSite is what cookies without the attribute get: Lax or Strict.
	// Default: Lax.
	SameSite string `json:"same_site,omitempty"`

	// Prefix refuses cookies whose name promises what their attributes do not
	// hold (__Host-, __Secure-). Default: that of the profile; strict does.
	Prefix *bool `json:"prefix,omitempty"`
}

func (c *Cookies) check() error {
	if c.SameSite != "" && c.SameSite != "Lax" && c.SameSite != "Strict" {
		return fmt.Errorf("cookies: same_site %q: there are Lax and Strict; a cookie for other sites has to say None itself", c.SameSite)
	}
	for _, name := range c.Readable {
		if !isFieldName(name) {
			return fmt.Errorf("cookies: %q is no name of a cookie", name)
		}
	}
	return nil
}

// merge overrides c with what a layer inside says.
func (c *Cookies) merge(o *Cookies) {
	if o.HTTPOnly != nil {
		c.HTTPOnly = o.HTTPOnly
	}
	if o.Prefix != nil {
		c.Prefix = o.Prefix
	}
	if o.SameSite != "" {
		c.SameSite = o.SameSite
	}
	c.Readable = append(slices.Clone(c.Readable), o.Readable...)
}

// shape gives the rules of a profile what the site says. A site that says what
// its cookies are has cookies, also with the profile api.
func (c *Cookies) shape(r *cookieRules) {
	if c.HTTPOnly != nil {
		r.httpOnly, r.report = *c.HTTPOnly, false
	}
	if c.Prefix != nil {
		r.prefix, r.report = *c.Prefix, false
	}
	if c.SameSite != "" {
		r.sameSite, r.report = "; SameSite="+c.SameSite, false
	}
	if len(c.Readable) > 0 {
		r.readable, r.report = c.Readable, false
	}
}

// secureCookies makes Set-Cookie obey the policy.
func (e *enforcement) secureCookies(h http.Header) {
	sent := h[setCookie]
	if len(sent) == 0 {
		return
	}
	if e.policy.cookies.report {
		e.find(cookieRule, e.policy.only.cookies, setCookie, cookieName(sent[0]))
		return
	}
	var changed []string // a copy, once there is something to change
	for i, line := range sent {
		mended := e.mendCookie(line)
		if e.policy.only.cookies {
			continue
		}
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
		delete(h, setCookie)
	default:
		h[setCookie] = changed
	}
}

const setCookie = "Set-Cookie"

// mendCookie returns the line of one cookie with what it lacks, or empty if
// the cookie may not be set.
func (e *enforcement) mendCookie(line string) string {
	c := parseCookie(line)
	rules, only := &e.policy.cookies, e.policy.only.cookies
	mended := line
	if e.secure && !c.secure {
		mended += "; Secure"
		c.secure = true
		e.find("set-cookie:secure", only, setCookie, c.name)
	}
	if !c.sameSite {
		mended += rules.sameSite
		e.find("set-cookie:samesite", only, setCookie, c.name)
	}
	if rules.httpOnly && !c.httpOnly && !isToken(c.name) && !slices.Contains(rules.readable, c.name) {
		mended += "; HttpOnly"
		e.find("set-cookie:httponly", only, setCookie, c.name)
	}
	if rules.prefix && c.breaksPrefix() {
		e.find("set-cookie:prefix", only, setCookie, c.name)
		return ""
	}
	return mended
}

func cookieName(line string) string {
	pair, _, _ := strings.Cut(line, ";")
	name, _, ok := strings.Cut(pair, "=")
	if !ok {
		return "" // browsers take it all for a value
	}
	return strings.TrimSpace(name)
}

// cookie is what matters of a Set-Cookie line (RFC 6265 section 4.1).
type cookie struct {
	name                       string
	secure, httpOnly, sameSite bool
	domain, rootPath           bool
}

func parseCookie(line string) cookie {
	pair, attributes, _ := strings.Cut(line, ";")
	c := cookie{name: cookieName(pair)}
	for attribute := range strings.SplitSeq(attributes, ";") {
		key, value, _ := strings.Cut(attribute, "=")
		switch key = strings.TrimSpace(key); {
		case strings.EqualFold(key, "Secure"):
			c.secure = true
		case strings.EqualFold(key, "HttpOnly"):
			c.httpOnly = true
		case strings.EqualFold(key, "SameSite"):
			// The last one counts, and of a value that they do not know browsers
			// make none (RFC 6265bis section 5.6.7).
			value = strings.TrimSpace(value)
			c.sameSite = strings.EqualFold(value, "Lax") || strings.EqualFold(value, "Strict") || strings.EqualFold(value, "None")
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
