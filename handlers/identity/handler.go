package identity

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/oidc"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
)

// Handler lets only requests through of which it knows who makes them. Unlike
// Caddy's handler authentication it tells refusals apart by status (401, 403,
// 429, 503), sends browsers to a login, and serves the addresses of that login.
// It sets the same placeholders, {http.auth.user.*} and, of who was refused,
// {http.auth.candidate.*}.
type Handler struct {
	Provider
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.soc2_auth",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision reads the files and makes the sources.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := h.provision(ctx); err != nil {
		return fmt.Errorf("soc2_auth: %w", err)
	}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.browser != nil {
		if served := h.browser.Serve(w, r); served != nil {
			return h.served(w, r, served)
		}
	}
	o := h.find(w, r)
	switch {
	case o.user != nil:
		note(r, o)
		set(r, "http.auth.user", o.user.ID, o.user.Metadata)
		h.strip(r)
		return next.ServeHTTP(w, r)
	case o.refusal == nil && h.Optional, h.Optional && ended(o):
		h.strip(r)
		return next.ServeHTTP(w, r)
	case o.refusal == nil:
		o.refusal = principal.Refuse(principal.NoCredentials)
	}
	if h.browser != nil && (o.source == "" || ended(o)) && oidc.Navigates(r) {
		refusal := h.browser.Login(w, r)
		if refusal == nil {
			note(r, o)
			return nil
		}
		o = outcome{source: "oidc", refusal: refusal}
	}
	return h.refuse(w, r, o)
}

// ended reports whether all that is wrong with a request is that its session is
// over, or not one of ours. Its cookie was taken back.
func ended(o outcome) bool {
	return o.source == "oidc" && o.refusal != nil && o.refusal.Status == 0
}

// served notes what the login did.
func (h *Handler) served(w http.ResponseWriter, r *http.Request, s *oidc.Served) error {
	if s.Refusal != nil {
		return h.refuse(w, r, outcome{source: "oidc", refusal: s.Refusal})
	}
	if s.User != "" {
		set(r, "http.auth.user", s.User, map[string]string{"method": string(principal.OIDC)})
		audit.FromContext(r.Context()).SetUser(s.User, string(principal.OIDC))
	}
	audit.FromContext(r.Context()).SetAccess(audit.Decision{Outcome: "allow", Rule: decider, Reason: s.What})
	return nil
}

// refuse answers with an error, which error routes may make a page of.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, o outcome) error {
	note(r, o)
	if user := candidate(o); user.ID != "" {
		set(r, "http.auth.candidate", user.ID, user.Metadata)
	}
	if err := h.cause(o); err != nil {
		h.logger.Warn("a credential could not be judged, or its issuer refused it", zap.String("source", o.source), zap.Error(err))
	}
	h.challenge(w, o.refusal)
	return caddyhttp.Error(o.refusal.Code(), errors.New("not authenticated: "+string(o.refusal.Reason)))
}

// challenge says how to do it better (RFC 9110, section 11.6.1), without the
// reason, which is for the record.
func (p *Provider) challenge(w http.ResponseWriter, refusal *principal.Refusal) {
	header := w.Header()
	if refusal.Retry > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64((refusal.Retry+time.Second-1)/time.Second), 10))
	}
	header.Set("Cache-Control", "no-store")
	if refusal.Code() != http.StatusUnauthorized {
		return
	}
	for _, c := range p.challenges {
		header.Add("WWW-Authenticate", c)
	}
}

// set sets placeholders as Caddy's handler authentication does. Those that an
// earlier handler set go: what is known of one principal is not known of another.
func set(r *http.Request, namespace, id string, data map[string]string) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	repl.DeleteByPrefix(namespace + ".")
	repl.Set(namespace+".id", id)
	for k, v := range data {
		repl.Set(namespace+"."+k, v)
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
