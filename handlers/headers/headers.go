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
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/internal/secret"
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

	// The requests that this instance is for; others pass as if it was not
	// there. Default: all.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	// A Content-Security-Policy to send in place of the profile's, and of
	// the upstream's. Line breaks become spaces.
	CSP string `json:"csp,omitempty"`

	// Changes to the Content-Security-Policy: at most one to that which
	// holds, and one to try out.
	Policies []CSP `json:"policies,omitempty"`

	// What the site says about header fields of responses. Of rules about one
	// field the last one that fits a response holds.
	Rules []Rule `json:"rules,omitempty"`

	// What values must be, whoever chose them.
	Bounds []Bound `json:"bounds,omitempty"`

	// What cookies must have.
	Cookies *Cookies `json:"cookies,omitempty"`

	// Which other origins may read responses.
	CORS *CORS `json:"cors,omitempty"`

	// Which responses nobody may store: `authenticated`, those to an
	// authenticated client, `dynamic`, all but static files with a
	// Cache-Control of their own, `all`, or `never`. Default: that of the
	// profile: authenticated for baseline, dynamic for strict, all for api.
	NoStore string `json:"no_store,omitempty"`

	// The path of a soc2_reports handler on the same site, which browsers are
	// asked to report violations to. With it the profile baseline also sends
	// the policy of strict as Content-Security-Policy-Report-Only.
	ReportsTo string `json:"reports_to,omitempty"`

	// Rules that only report what they would change, and rules that do not,
	// although an instance outside says so. The names are those in records,
	// besides `all`, `leaks`, `set-cookie`, `cors`, `values` and fields that
	// rules or bounds name.
	Report  []string `json:"report,omitempty"`
	Enforce []string `json:"enforce,omitempty"`

	// Nonces gives each page a nonce.
	Nonces *Nonces `json:"nonces,omitempty"`

	// What requests must be.
	Request *Request `json:"request,omitempty"`

	profile  string
	text     policyText // of CSP
	matchers caddyhttp.MatcherSets
	policy   *policy   // of this instance alone
	derived  *sync.Map // *policy of the instances outside -> *policy with this one
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

// Provision resolves the profile, finds mistakes and makes the policy.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := secret.Fill(h); err != nil {
		return fmt.Errorf("soc2_headers: %w", err)
	}
	h.profile, h.derived = h.Profile, new(sync.Map)
	if h.profile == "" {
		var err error
		if h.profile, err = appProfile(ctx); err != nil {
			return err
		}
	}
	if !Known(h.profile) {
		return fmt.Errorf("unknown profile %q: there are %s, %s and %s", h.profile, Baseline, Strict, API)
	}
	if h.MatcherSetsRaw != nil {
		m, err := ctx.LoadModule(h, "MatcherSetsRaw")
		if err != nil {
			return fmt.Errorf("loading the matchers of soc2_headers: %w", err)
		}
		if err := h.matchers.FromInterface(m); err != nil {
			return fmt.Errorf("the matchers of soc2_headers: %w", err)
		}
	}
	if err := h.prepare(); err != nil {
		return err
	}
	h.policy = compile([]*Handler{h})
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

// ServeHTTP enforces the policy on what next sends, or leaves that to the
// instance outside, after telling it the policy.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.matchers != nil {
		fits, err := h.matchers.AnyMatchWithError(r)
		if err != nil {
			return err
		}
		if !fits {
			return next.ServeHTTP(w, r)
		}
	}
	if h.Nonces != nil {
		next = h.Nonces.around(next)
	}
	e, found := caddyhttp.GetVar(r.Context(), enforcementVar).(*enforcement)
	if !found {
		e = newEnforcement(h.policy)
		caddyhttp.SetVar(r.Context(), enforcementVar, e)
		return e.serve(h, w, r, next)
	}
	if h.decides() {
		e.adopt(h.derive(e.policy))
	}
	// While the instance outside is at work, w leads to its writer. After it
	// returned an error, an error route starts from the bare writer again.
	if e.active || e.Committed() {
		return h.admit(e, w, r, next, false)
	}
	return e.serve(h, w, r, next)
}

// derive returns the policy of outer with that of this instance inside.
func (h *Handler) derive(outer *policy) *policy {
	if p, ok := h.derived.Load(outer); ok {
		return p.(*policy)
	}
	if slices.Contains(outer.layers, h) {
		return outer // an error route comes by here again
	}
	p, _ := h.derived.LoadOrStore(outer, compile(append(slices.Clone(outer.layers), h)))
	return p.(*policy)
}

// decides tells whether somebody configured this instance. One that is only
// there to cover a server does not undo what a site chose.
func (h *Handler) decides() bool {
	return h.Profile != "" || h.CSP != "" || h.Policies != nil || h.Rules != nil || h.Bounds != nil || h.Cookies != nil ||
		h.CORS != nil || h.NoStore != "" || h.ReportsTo != "" || h.Report != nil || h.Enforce != nil || h.Nonces != nil
}

// enforcementVar is the request variable that holds the *enforcement. It
// survives into the error chain, unlike the writer and the context.
const enforcementVar = "soc2_headers"

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
