// Package access is the handler that lets requests pass which the rules of a
// policy allow, and refuses all others. What decides is internal/rules; this
// package asks it about a request as Caddy's authentication left it, tells the
// upstream who the principal is, and records each decision.
//
// Who the principal is comes from Caddy's placeholders, so that every provider
// of authentication will do:
//
//	http.auth.user.id            the principal; none if empty
//	http.auth.user.roles         its roles, separated by commas
//	http.auth.user.claim.NAME    what else is known of it (else http.auth.user.NAME)
//	http.auth.user.method        how it was authenticated
//	http.auth.user.mfa           true if by more than one factor
//	http.auth.user.issued_at     when the credential was issued: seconds since 1970, or RFC 3339
package access

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/response"
	"github.com/caddy-soc2/caddy-soc2/internal/rules"
	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

// Handler serves what its policy allows.
type Handler struct {
	// Name is the policy's, by which the admin API knows it. Default: default.
	Name string `json:"name,omitempty"`

	// Mode is enforce, or shadow: then what the rules refuse is served and
	// recorded as shadow_deny. Default: enforce.
	Mode string `json:"mode,omitempty"`

	rules.Policy

	// UserFrom is a placeholder with the principal, for authentication that does
	// not set http.auth.user.id. Whatever it holds is believed. Default:
	// {http.auth.user.id}.
	UserFrom string `json:"user_from,omitempty"`

	// Sources are further places to find roles, besides the source user, which is
	// {http.auth.user.roles}.
	Sources []Source `json:"sources,omitempty"`

	// Challenge is the field WWW-Authenticate of a response 401, which a request
	// without a principal gets. Default: Bearer.
	Challenge string `json:"challenge,omitempty"`

	// BreakGlass says who may be let in past the rules. Default: nobody.
	BreakGlass *BreakGlass `json:"break_glass,omitempty"`

	// Identity is what the upstream is told of the principal. Default: nothing.
	Identity *Identity `json:"identity,omitempty"`

	engine *rules.Engine
	hash   string
	strip  guard
	now    func() time.Time

	tallies map[string]*tally // by rule
}

// Source is a place to find roles.
type Source struct {
	// Name is what rules call it, as NAME:ROLE.
	Name string `json:"name"`

	// Value is a placeholder with roles separated by commas.
	Value string `json:"value"`
}

// The modes.
const (
	modeEnforce = "enforce"
	modeShadow  = "shadow"
)

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.soc2_access",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision compiles the policy. A rule that cannot do what it says is an error;
// one that does nothing is a warning in the log.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := secret.Fill(h); err != nil {
		return fmt.Errorf("soc2_access: %w", err)
	}
	h.now = time.Now
	list, err := h.Compile(h.now())
	if err != nil {
		return err
	}
	for _, f := range list {
		ctx.Logger().Warn(f.Text)
	}
	if h.Identity != nil && h.Identity.Assertion != nil {
		h.Identity.Assertion.ring = openRing(ctx, h.Identity.Assertion.Key)
	}
	h.keepTallies()
	published.add(h)
	return nil
}

// Cleanup takes the policy from the admin API.
func (h *Handler) Cleanup() error {
	published.remove(h)
	h.dropTallies()
	return nil
}

// Compile checks the configuration and makes the handler ready to decide, which
// needs no server. It returns what is odd about the rules.
func (h *Handler) Compile(now time.Time) ([]rules.Finding, error) {
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("soc2_access: %w", err)
	}
	var err error
	if h.engine, err = rules.New(&h.Policy, h.sourceNames(), now); err != nil {
		return nil, fmt.Errorf("soc2_access: %s: %w", h.Name, err)
	}
	h.hash = h.engine.Hash()
	var list []rules.Finding
	for _, f := range h.engine.Findings() {
		if f.Error {
			return nil, fmt.Errorf("soc2_access: %s: %s", h.Name, f.Text)
		}
		f.Text = "soc2_access: " + h.Name + ": " + f.Text
		list = append(list, f)
	}
	return list, nil
}

func (h *Handler) check() error {
	if h.Name == "" {
		h.Name = "default"
	}
	switch h.Mode {
	case "":
		h.Mode = modeEnforce
	case modeEnforce, modeShadow:
	default:
		return fmt.Errorf("mode %q: choose enforce or shadow", h.Mode)
	}
	if h.Challenge == "" {
		h.Challenge = "Bearer"
	}
	if !sendable(h.Challenge) {
		return fmt.Errorf("challenge %q: it cannot be sent in a header", h.Challenge)
	}
	if h.UserFrom == "" {
		h.UserFrom = "{" + placeholderUser + "}"
	}
	if !isPlaceholder(h.UserFrom) {
		return fmt.Errorf("user_from %q: it must be a placeholder in braces", h.UserFrom)
	}
	names := h.sourceNames()
	for i, s := range h.Sources {
		if s.Name == "" || strings.ContainsAny(s.Name, ":, ") || slices.Contains(names[:i+1], s.Name) {
			return fmt.Errorf("source %q: it needs a name of its own, without colon, comma and space; user is taken", s.Name)
		}
		if !isPlaceholder(s.Value) {
			return fmt.Errorf("source %s: %q must be a placeholder in braces", s.Name, s.Value)
		}
	}
	if err := h.BreakGlass.check(); err != nil {
		return err
	}
	if err := h.Identity.check(); err != nil {
		return err
	}
	h.strip = newGuard(h.Identity)
	return nil
}

func isPlaceholder(s string) bool {
	return len(s) > 2 && s[0] == '{' && s[len(s)-1] == '}' && !strings.ContainsAny(s[1:len(s)-1], "{} ")
}

func (h *Handler) sourceNames() []string {
	list := []string{rules.UserSource}
	for _, s := range h.Sources {
		list = append(list, s.Name)
	}
	return list
}

// The reasons of this package, besides those of package rules.
const (
	noRoute    = "no_route"            // a rule allows it, but nothing answers
	unsendable = "identity_unsendable" // the principal cannot be told to the upstream
)

// ServeHTTP serves what is allowed.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	var q rules.Request
	var sources [4]string
	h.describe(&q, r, sources[:0])
	h.strip.clean(r)
	ev := audit.FromContext(r.Context())
	if q.Principal != "" {
		ev.SetUser(q.Principal, q.AuthMethod)
	}
	d := h.engine.Decide(&q)
	note := audit.Decision{Outcome: rules.Allow, Rule: d.Rule, Reason: string(d.Reason)}
	switch {
	case d.Allow:
	case h.Mode == modeShadow:
		note.Outcome = shadowDeny
	case h.pastRules(&q, d, &note):
	default:
		note.Outcome = rules.Deny
		h.record(ev, note, d.Shadow)
		return h.refuse(w, &q, d)
	}
	if err := h.Identity.tell(r, &q, h.engine); err != nil {
		note.Outcome, note.Reason = rules.Deny, unsendable
		h.record(ev, note, d.Shadow)
		return err
	}
	h.record(ev, note, d.Shadow)
	return h.serve(w, r, next, ev, note)
}

// serve calls what is inside. A request that a rule allows, and that nothing
// answers, is refused: Caddy would answer it 200 without a body.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, ev *audit.Event, note audit.Decision) error {
	rw := &response.Writer{ResponseWriter: w}
	err := next.ServeHTTP(rw, r)
	if err != nil || rw.Committed() || rw.Hijacked() || h.Mode == modeShadow {
		return err
	}
	note.Outcome, note.Reason = rules.Deny, noRoute
	ev.SetAccess(note)
	h.tallies[note.Rule].add(noRoute)
	return caddyhttp.Error(http.StatusNotFound, errors.New("no route answers the request"))
}

// record annotates the request's record. Where several handlers of this kind
// follow one another, the innermost that is reached decided.
func (h *Handler) record(ev *audit.Event, d audit.Decision, shadow *rules.Decision) {
	var rule string
	if shadow != nil && !shadow.Allow {
		rule = shadow.Rule
	}
	ev.SetAccess(d)
	ev.SetAccessPolicy(h.hash, rule)
	h.count(d, rule)
}

// refuse answers a request that is not allowed: 401 if other credentials could
// help, else 403. The client is not told which rule decided.
func (h *Handler) refuse(w http.ResponseWriter, q *rules.Request, d rules.Decision) error {
	status, challenge := http.StatusForbidden, ""
	switch d.Reason {
	case rules.NotAuthenticated:
		status, challenge = http.StatusUnauthorized, h.Challenge
	case rules.MFARequired, rules.TokenTooOld, rules.TokenAgeUnknown, rules.MethodRequired:
		status, challenge = http.StatusUnauthorized, stepUp(d)
	case rules.MethodForm, rules.PathForm, rules.PathInvalid, rules.PathControl, rules.PathDots, rules.PathEncodedSlash, rules.PathBackslash,
		rules.PathPercent, rules.PathSemicolon, rules.PathDelimiter:
		status = http.StatusBadRequest
	}
	if q.Principal == "" && d.Rule != "" && d.Reason == rules.ByRule {
		status = http.StatusForbidden
	}
	w.Header().Set("Cache-Control", "no-store")
	if challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	return caddyhttp.Error(status, fmt.Errorf("access denied: policy %s, rule %q: %s", h.Name, d.Rule, d.Reason))
}

// stepUp asks for a better authentication (RFC 9470, section 3).
func stepUp(d rules.Decision) string {
	s := `Bearer error="insufficient_user_authentication", error_description="` + string(d.Reason) + `"`
	if d.Require != nil && d.Require.MaxTokenAge > 0 && d.Reason != rules.MFARequired {
		s += ", max_age=" + strconv.Itoa(int(d.Require.MaxTokenAge/time.Second))
	}
	return s
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
