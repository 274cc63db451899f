package headers

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// CORS says which other origins may read responses. Without it no response may
// be read with credentials by an origin that it merely reflects (profile strict;
// baseline only reports that, api leaves it to the service).
type CORS struct {
	// Origins that may be named in Access-Control-Allow-Origin, such as
	// https://app.example. A star allows all, without credentials.
	Origins []string `json:"origins,omitempty"`

	// Credentials lets these origins read responses to requests with cookies.
	Credentials bool `json:"credentials,omitempty"`
}

const (
	allowOrigin      = "Access-Control-Allow-Origin"
	allowCredentials = "Access-Control-Allow-Credentials"
)

// corsRules guard Access-Control-Allow-Origin and -Credentials.
type corsRules struct {
	report      bool
	reflect     bool // without a list: an origin may be reflected with credentials
	list        bool // origins are those that may be named
	credentials bool
	origins     []string
}

func (c *CORS) check() error {
	for _, o := range c.Origins {
		if o == "*" {
			if c.Credentials {
				return errors.New("cors: every origin with credentials: name the origins")
			}
			continue
		}
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o || o != strings.ToLower(o) || strings.Contains(o, "*") {
			return fmt.Errorf("cors: %q is no origin like https://app.example, in small letters", o)
		}
		if u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" {
			return fmt.Errorf("cors: %q has the usual port: browsers leave it out", o)
		}
	}
	if c.Credentials && len(c.Origins) == 0 {
		return errors.New("cors: credentials for no origin: name the origins")
	}
	return nil
}

func (c *CORS) rules() corsRules {
	return corsRules{list: true, origins: c.Origins, credentials: c.Credentials}
}

// guard removes a permission for other origins that may not be given. A
// browser then refuses the response to a script of that origin, and nobody else
// notices.
func (e *enforcement) guard(h http.Header) {
	sent := h[allowOrigin]
	credentials := h[allowCredentials]
	if len(sent) == 0 && len(credentials) == 0 {
		return
	}
	c := &e.policy.cors
	origin := strings.TrimSpace(first(sent)) // as it arrives
	with := slices.ContainsFunc(credentials, func(v string) bool { return strings.EqualFold(strings.TrimSpace(v), "true") })
	switch {
	case len(sent) == 0: // credentials alone mean nothing
		e.find("cors:credentials", c.report, allowCredentials, credentials[0])
	case len(sent) > 1 || !e.mayRead(origin, with):
		e.find("cors:origin", c.report, allowOrigin, sent[0])
		if !c.report {
			delete(h, allowOrigin)
		}
	case with && (origin == "*" || c.list && !c.credentials):
		e.find("cors:credentials", c.report, allowCredentials, credentials[0])
	default:
		return
	}
	if !c.report {
		delete(h, allowCredentials)
	}
}

// mayRead tells whether the origin may be named.
func (e *enforcement) mayRead(origin string, credentials bool) bool {
	c := &e.policy.cors
	switch {
	case origin == "null":
		return false // every sandboxed frame is null
	case c.list:
		return slices.Contains(c.origins, origin) || slices.Contains(c.origins, "*")
	case origin == "*":
		return true
	case origin != e.origin || !credentials || c.reflect:
		return true // fixed, or harmless
	}
	host := e.host
	scheme, rest, _ := strings.Cut(origin, "://")
	return strings.EqualFold(rest, host) && (scheme == "https" || !e.secure)
}
