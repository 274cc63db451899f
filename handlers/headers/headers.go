// Package headers is the handler that makes every response carry the security
// headers of a profile, whatever the handlers inside and the upstream send.
//
// It works on the header map four times, because no single moment sees every
// response: before the next handler, at the commit of the final header, after
// an error that nobody answered yet, and after handlers that wrote nothing.
package headers

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Handler enforces a profile of security headers on responses, removes
// headers that give away what a site is made of, and completes cookies.
//
// Instances may be nested: the outermost one enforces, and the innermost one
// that names a profile or a policy decides what.
type Handler struct {
	// The profile to enforce: `baseline`, which is safe in front of an
	// unknown application, `strict`, for a site whose pages load only their
	// own resources, or `api`, for a service without pages. Default: the
	// profile of the soc2 app, else `baseline`.
	Profile string `json:"profile,omitempty"`

	// A Content-Security-Policy to send in place of the profile's, and of
	// the upstream's. Line breaks become spaces.
	CSP string `json:"csp,omitempty"`

	profile string
	policy  *policy
}

// Profiler is what this handler asks of the soc2 app.
type Profiler interface {
	// Profile returns the name of the profile for handlers that name none;
	// empty for baseline.
	Profile() string
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.soc2_headers",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision resolves the profile and makes its policy.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.profile = h.Profile
	if h.profile == "" {
		var err error
		if h.profile, err = appProfile(ctx); err != nil {
			return err
		}
	}
	h.CSP = strings.Join(strings.Fields(h.CSP), " ")
	if preset := presets[h.profile]; preset != nil {
		h.policy = preset(h.CSP)
	}
	return nil
}

// appProfile returns the profile that the soc2 app names.
func appProfile(ctx caddy.Context) (string, error) {
	app, err := ctx.AppIfConfigured("soc2")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return Baseline, nil
	}
	if err != nil {
		return "", fmt.Errorf("getting the soc2 app: %w", err)
	}
	p, ok := app.(Profiler)
	if !ok {
		return "", fmt.Errorf("the soc2 app (%T) has no profile", app)
	}
	if name := p.Profile(); name != "" {
		return name, nil
	}
	return Baseline, nil
}

// Validate checks the profile and the policy.
func (h *Handler) Validate() error {
	if h.policy == nil {
		return fmt.Errorf("unknown profile %q: there are %s, %s and %s", h.profile, Baseline, Strict, API)
	}
	for i := range len(h.CSP) {
		if c := h.CSP[i]; c < ' ' || c > '~' {
			return fmt.Errorf("csp: byte %#02x at position %d cannot be sent in a header", c, i)
		}
	}
	return nil
}

// ServeHTTP enforces the policy on what next sends, or leaves that to the
// instance outside, after telling it the policy.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	e, found := caddyhttp.GetVar(r.Context(), enforcementVar).(*enforcement)
	if !found {
		e = newEnforcement(h.policy)
		caddyhttp.SetVar(r.Context(), enforcementVar, e)
		return e.serve(w, r, next)
	}
	if h.decides() {
		e.adopt(h.policy)
	}
	// While the instance outside is at work, w leads to its writer. After it
	// returned an error, an error route starts from the bare writer again.
	if e.active || e.Committed() {
		return next.ServeHTTP(w, r)
	}
	return e.serve(w, r, next)
}

// decides tells whether somebody configured this instance. One that is only
// there to cover a server does not undo what a site chose.
func (h *Handler) decides() bool {
	return h.Profile != "" || h.CSP != ""
}

// enforcementVar is the request variable that holds the *enforcement. It
// survives into the error chain, unlike the writer and the context.
const enforcementVar = "soc2_headers"

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
