package access

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/internal/rules"
)

const placeholderUser = "http.auth.user.id"

// claims finds claims among the placeholders of a request.
type claims struct{ *caddy.Replacer }

// Claim implements rules.Claims.
func (c claims) Claim(name string) (string, bool) {
	if v, ok := c.GetString("http.auth.user.claim." + name); ok {
		return v, true
	}
	return c.GetString("http.auth.user." + name)
}

// describe makes of a request what rules are asked about.
func (h *Handler) describe(q *rules.Request, r *http.Request, roles []string) {
	ctx := r.Context()
	q.Host, q.Path, q.RawPath, q.Query, q.Header, q.Now = r.Host, r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.Header, h.now()
	if r.URL.Opaque != "" {
		q.Path = "" // it has no path that could be judged
	}
	q.Methods = methodsOf(r)
	if ip, ok := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string); ok {
		if a, err := netip.ParseAddr(ip); err == nil {
			q.Client = a.Unmap().WithZone("")
		}
	}
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	q.Principal = placeholder(repl, h.UserFrom)
	if q.Principal == "" {
		return // whatever else is claimed is claimed of nobody
	}
	roles = append(roles, text(repl, "http.auth.user.roles"))
	for _, s := range h.Sources {
		roles = append(roles, placeholder(repl, s.Value))
	}
	q.Roles, q.Claims = roles, claims{repl}
	q.AuthMethod = text(repl, "http.auth.user.method")
	q.MFA = text(repl, "http.auth.user.mfa") == "true"
	q.IssuedAt = parseTime(text(repl, "http.auth.user.issued_at"))
}

func text(repl *caddy.Replacer, name string) string {
	s, _ := repl.GetString(name)
	return s
}

// placeholder is the value of a placeholder in braces.
func placeholder(repl *caddy.Replacer, s string) string { return text(repl, s[1:len(s)-1]) }

// parseTime reads seconds since 1970 or RFC 3339. What is neither is not known.
func parseTime(s string) time.Time {
	if s == "" {
		return time.Time{}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 && n < 1<<40 {
		return time.Unix(n, 0)
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// methodLists saves a list for each request with a common method.
var methodLists = func() map[string][]string {
	m := map[string][]string{}
	for _, s := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"} {
		m[s] = []string{s}
	}
	return m
}()

// overrides are the fields, as normalName writes them, by which frameworks let
// a client change the method.
var overrides = []string{"x-http-method-override", "x-http-method", "x-method-override"}

// methodsOf are the methods that a request may be taken to have: its own, the
// same in capitals, and those that it names in fields or the query for a
// framework to use. One that only its body names cannot be seen here.
func methodsOf(r *http.Request) []string {
	list := methodLists[r.Method]
	if list == nil {
		list = []string{r.Method}
		if up := strings.ToUpper(r.Method); up != r.Method {
			list = append(list, up)
		}
	}
	add := func(s string) {
		if s = strings.ToUpper(strings.TrimSpace(s)); s != "" && !slices.Contains(list, s) {
			list = append(slices.Clip(list), s)
		}
	}
	for name, values := range r.Header {
		if len(name) < len(overrides[1]) || !isOneOf(name, overrides) {
			continue
		}
		for _, v := range values {
			for s := range strings.SplitSeq(v, ",") {
				add(s)
			}
		}
	}
	if q := r.URL.RawQuery; strings.Contains(q, "_method") || strings.IndexByte(q, '%') >= 0 {
		values, _ := url.ParseQuery(strings.ReplaceAll(q, ";", "&")) // what can be read counts
		for _, v := range values["_method"] {
			add(v)
		}
	}
	return list
}
