package access

import (
	"net/http"
	"net/netip"
	"strconv"
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
	q.Methods = rules.MethodsOf(r)
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
