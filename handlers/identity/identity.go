// Package identity finds out who makes a request: by a client certificate, a
// bearer token, an API key, a password, or a login at an OpenID provider. Rules
// on who may do what are not here: they go by Caddy's placeholders
//
//	{http.auth.user.id}         name of the principal
//	{http.auth.user.method}     jwt, oidc, mtls, api_key or password
//	{http.auth.user.roles}      roles, with commas
//	{http.auth.user.issued_at}  unix seconds: of the token, the login, the certificate
//	{http.auth.user.mfa}        true if by more than one factor
//	{http.auth.user.amr}        methods of authentication, with commas
//	{http.auth.user.claim.NAME} claims that the configuration asks for
package identity

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/oidc"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
)

// Provider tries its sources in a stated order. The first that finds a credential
// of its kind in the request decides: one that is wrong is refused, whatever
// others there are.
//
// As http.authentication.providers.soc2 it is for Caddy's handler authentication,
// which knows only yes and no; with oidc, the handler soc2_auth is needed.
type Provider struct {
	// Order of the sources: mtls, jwt, api_key, password, oidc. Default: this one.
	// Sources that are not in it come after those that are.
	Order []string `json:"order,omitempty"`

	// Optional lets requests without a credential go on without a principal.
	// Default: they are refused.
	Optional bool `json:"optional,omitempty"`

	// Realm is the name that a browser shows when it asks for a password. Accounts
	// of one realm are counted together for the lockout. Default: restricted.
	Realm string `json:"realm,omitempty"`

	// Unicode lets names of principals have letters that are not ASCII, if they
	// are of one script. Default: such names are refused, because many look alike.
	Unicode bool `json:"unicode,omitempty"`

	// MTLS takes client certificates.
	MTLS *MTLS `json:"mtls,omitempty"`

	// JWT takes bearer tokens of some issuers.
	JWT []*JWT `json:"jwt,omitempty"`

	// Clients takes API keys.
	Clients *Clients `json:"clients,omitempty"`

	// Accounts takes passwords.
	Accounts *Accounts `json:"accounts,omitempty"`

	// OIDC lets people log in with a browser.
	OIDC *OIDC `json:"oidc,omitempty"`

	// Lockout of passwords and API keys that are tried out. Default: with all its
	// defaults.
	Lockout *Lockout `json:"lockout,omitempty"`

	logger     *zap.Logger
	sources    []source
	browser    *oidc.Source
	challenges []string
	header     string // of the API key
	closing    []func()
}

// source is a source with its name in order.
type source struct {
	name string
	principal.Source
}

// kinds are the names of the sources in their usual order.
var kinds = []string{"mtls", "jwt", "api_key", "password", "oidc"}

// CaddyModule returns the Caddy module information.
func (*Provider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.authentication.providers.soc2",
		New: func() caddy.Module { return new(Provider) },
	}
}

// Provision reads the files and makes the sources.
func (p *Provider) Provision(ctx caddy.Context) error {
	if p.OIDC != nil {
		return errors.New("oidc needs the handler soc2_auth: the handler authentication can answer neither a redirect nor a callback")
	}
	return p.provision(ctx)
}

func (p *Provider) provision(ctx caddy.Context) error {
	p.logger = ctx.Logger()
	p.Realm = cmp.Or(p.Realm, "restricted")
	if strings.ContainsFunc(p.Realm, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return fmt.Errorf("realm %q: it has characters that no header can have in quotes", p.Realm)
	}
	for i, name := range p.Order {
		if !slices.Contains(kinds, name) || slices.Contains(p.Order[:i], name) {
			return fmt.Errorf("order: %q is not one of mtls, jwt, api_key, password and oidc, each once", name)
		}
	}
	made, err := p.make()
	if err != nil {
		return err
	}
	for _, name := range append(slices.Clone(p.Order), kinds...) {
		if s := made[name]; s != nil {
			p.sources = append(p.sources, source{name, s})
			delete(made, name)
		}
	}
	if len(p.sources) == 0 {
		return errors.New("there is no source of identity: add mtls, jwt, api_key, password or oidc")
	}
	return nil
}

// Cleanup leaves what is shared.
func (p *Provider) Cleanup() error {
	for _, leave := range slices.Backward(p.closing) {
		leave()
	}
	p.closing = nil
	return nil
}

// outcome is what the sources say of a request.
type outcome struct {
	user    *caddyauth.User
	source  string // that decided
	refusal *principal.Refusal
}

// find asks the sources. Nothing at all is the outcome for a request without a
// credential.
func (p *Provider) find(w http.ResponseWriter, r *http.Request) outcome {
	for i := range p.sources {
		s := &p.sources[i]
		user, refusal := s.Authenticate(w, r)
		if user != nil || refusal != nil {
			return outcome{user, s.name, refusal}
		}
	}
	return outcome{}
}

// Authenticate implements caddyauth.Authenticator.
func (p *Provider) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	o := p.find(w, r)
	switch {
	case o.user != nil:
		note(r, o)
		p.strip(r)
		set(r, "http.auth.user", o.user.ID, o.user.Metadata)
		return *o.user, true, nil
	case o.refusal == nil && p.Optional:
		return caddyauth.User{}, true, nil
	case o.refusal == nil:
		o.refusal = principal.Refuse(principal.NoCredentials)
	}
	note(r, o)
	p.challenge(w, o.refusal)
	return candidate(o), false, p.cause(o)
}

// candidate is who the request claims to be of.
func candidate(o outcome) caddyauth.User {
	if o.refusal.Candidate == "" {
		return caddyauth.User{}
	}
	return caddyauth.User{ID: o.refusal.Candidate, Metadata: map[string]string{"method": o.source, "reason": string(o.refusal.Reason)}}
}

// cause returns the technical cause of a refusal, if it has one.
func (p *Provider) cause(o outcome) error {
	if o.refusal.Cause == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", o.refusal.Reason, o.refusal.Cause)
}

// decider names this part in the records of its decisions.
const decider = "soc2_auth"

// note counts the outcome and annotates the request's record.
func note(r *http.Request, o outcome) {
	count(o)
	ev := audit.FromContext(r.Context())
	if o.user != nil {
		ev.SetUser(o.user.ID, o.user.Metadata["method"])
		return
	}
	ev.SetAccess(audit.Decision{Outcome: "deny", Rule: decider, Reason: string(o.refusal.Reason)})
}

// strip takes credentials out of a request that are of no use to an upstream:
// session cookies, API keys and passwords. Bearer tokens stay: applications read
// them.
func (p *Provider) strip(r *http.Request) {
	if p.header != "" {
		r.Header.Del(p.header)
	}
	if p.Accounts != nil {
		if list := slices.DeleteFunc(slices.Clone(r.Header["Authorization"]), basic); len(list) > 0 {
			r.Header["Authorization"] = list
		} else {
			r.Header.Del("Authorization")
		}
	}
	if p.browser != nil {
		p.browser.Strip(r)
	}
}

func basic(value string) bool {
	scheme, _, _ := strings.Cut(value, " ")
	return strings.EqualFold(scheme, "Basic")
}

// Interface guards
var (
	_ caddy.Provisioner       = (*Provider)(nil)
	_ caddy.CleanerUpper      = (*Provider)(nil)
	_ caddyauth.Authenticator = (*Provider)(nil)
)
