package soc2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/evidence/review"
	"github.com/caddy-soc2/caddy-soc2/handlers/access"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/apikey"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/mtls"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/password"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/reload"
	"github.com/caddy-soc2/caddy-soc2/internal/rules"
	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

// granting reads what a configuration grants.
type granting struct {
	review.Grants
	missing bool // a file that is not there is noted, and no error
	seen    map[string]bool
	hashes  []string // of the policies, if they are known otherwise: secrets and placeholders are not filled in then
}

// grantsOf reads what a configuration (JSON) grants: the policies of soc2_access,
// and the principals that it or the files that it names have.
func grantsOf(config []byte, c review.Configuration, missing bool) (*review.Grants, error) {
	return grantsWith(config, c, missing, nil)
}

// grantsWith is grantsOf for a configuration without its secrets, of whose policies
// the hashes are known.
func grantsWith(config []byte, c review.Configuration, missing bool, hashes []string) (*review.Grants, error) {
	g := &granting{missing: missing, seen: map[string]bool{}, hashes: hashes}
	g.Configuration = c
	config = caddy.RemoveMetaFields(config)
	policies, err := access.Find(config)
	if err != nil {
		return nil, err
	}
	if hashes != nil && len(hashes) != len(policies) {
		return nil, errors.New("the configuration has other policies than the one without its secrets")
	}
	for i, p := range policies {
		hash := ""
		if hashes != nil {
			hash = hashes[i]
		}
		if err := g.policy(&p, hash); err != nil {
			return nil, err
		}
	}
	var doc any
	if err := json.Unmarshal(config, &doc); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if err := g.walk(doc); err != nil {
		return nil, err
	}
	g.Merge()
	return &g.Grants, nil
}

func (g *granting) note(format string, args ...any) {
	g.Configuration.Notes = append(g.Configuration.Notes, fmt.Sprintf(format, args...))
}

func (g *granting) account(kind, name, source string, roles ...string) {
	g.Accounts = append(g.Accounts, review.Account{Kind: kind, Name: name, Sources: []string{source}, Roles: roles})
}

// policy adds a policy, and the principals that it names. Without its hash it is
// made complete first.
func (g *granting) policy(h *access.Placed, hash string) error {
	if hash == "" {
		if err := g.placeholders(h.Handler); err != nil {
			return fmt.Errorf("policy %s: %w", h.Name, err)
		}
		if _, err := h.Compile(time.Now()); err != nil {
			return err
		}
		hash = h.Hash()
	}
	p := review.Policy{Names: []string{h.Name}, Sites: h.Site, Hash: hash, Mode: h.Mode, Assign: h.Assign}
	source := "policy " + h.Name
	for _, r := range h.Rules {
		p.Rules = append(p.Rules, review.Rule{
			Name: r.Name, Deny: r.Effect == rules.Deny, Shadow: r.Shadow, Anonymous: r.Anonymous, Roles: r.Roles, Principals: r.Principals, Conditions: conditionsOf(r),
		})
		for _, name := range r.Principals {
			kind := review.Listed
			if strings.Contains(name, "*") {
				kind = review.Pattern
			}
			if r.Effect != rules.Deny {
				g.account(kind, name, source+", rule "+r.Name)
			}
		}
	}
	for role, names := range h.Assign {
		for _, name := range names {
			g.account(review.Listed, name, source+", assign", role)
		}
	}
	if h.BreakGlass != nil {
		p.BreakGlass = h.BreakGlass.Principals
		for _, name := range p.BreakGlass {
			g.account(review.Glass, name, source+", break_glass")
		}
	}
	if !strings.Contains(h.UserFrom, "http.auth.user.id") {
		g.note("Policy %s takes the principal from %s: who sets that is not in the records.", h.Name, h.UserFrom)
	}
	for _, s := range h.Sources {
		g.note("Policy %s takes roles of the source %s from %s.", h.Name, s.Name, s.Value)
	}
	g.Policies = append(g.Policies, p)
	return nil
}

// placeholders fills in those that a server fills in when it loads a policy: they
// are part of its hash, by which records name it. In a configuration that the log
// recorded they are not filled in, as it may come from elsewhere, nor is what it
// hides known.
func (g *granting) placeholders(h *access.Handler) error {
	if g.Configuration.Source == "file" {
		return secret.Fill(h)
	}
	b, err := json.Marshal([]any{h.Name, h.Policy, h.BreakGlass})
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	for _, begin := range []string{"{env.", "{file.", "[secret "} {
		if bytes.Contains(b, []byte(begin)) {
			return errors.New("the recorded configuration does not have all of its text, but placeholders of the server's environment or what looks like secrets: name the configuration itself with --config, where they can be filled in, or say --no-config for a review of who did alone")
		}
	}
	return nil
}

// conditionsOf writes all that a rule asks for, as it is configured.
func conditionsOf(r *rules.Rule) (list []string) {
	add := func(name string, values ...string) {
		if len(values) > 0 {
			list = append(list, name+" "+strings.Join(values, " "))
		}
	}
	flag := func(on bool, name string) {
		if on {
			list = append(list, name)
		}
	}
	flag(r.Anonymous, "anonymous")
	add("role", r.Roles...)
	add("principal", r.Principals...)
	for _, c := range r.Claims {
		add("claim", append([]string{c.Name}, c.Values...)...)
	}
	add("network", r.Networks...)
	add("method", r.Methods...)
	add("host", r.Hosts...)
	add("path", r.Paths...)
	for _, w := range r.Times {
		hours := ""
		if w.Begin != "" || w.End != "" {
			hours = w.Begin + "-" + w.End
		}
		add("time", strings.Fields(strings.Join(w.Days, ",")+" "+hours+" "+w.Zone)...)
	}
	if !r.From.IsZero() {
		add("from", r.From.UTC().Format(time.RFC3339))
	}
	if !r.Until.IsZero() {
		add("until", r.Until.UTC().Format(time.RFC3339))
	}
	flag(r.CEL != "", "cel "+r.CEL)
	if need := r.Require; need != nil {
		flag(need.MFA, "require mfa")
		flag(need.MaxTokenAge > 0, "require max_token_age "+need.MaxTokenAge.String())
		add("require auth_method", need.Methods...)
		for _, c := range need.Claims {
			add("require claim", append([]string{c.Name}, c.Values...)...)
		}
	}
	return list
}

// walk finds what authenticates.
func (g *granting) walk(v any) error {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if err := g.walk(item); err != nil {
				return err
			}
		}
	case map[string]any:
		switch v["handler"] {
		case "soc2_auth":
			return g.provider(v)
		case "authentication":
			providers, _ := v["providers"].(map[string]any)
			return g.providers(providers)
		}
		for _, item := range v {
			if err := g.walk(item); err != nil {
				return err
			}
		}
	}
	return nil
}

// providers reads those of Caddy's handler authentication.
func (g *granting) providers(all map[string]any) error {
	for name, p := range all {
		switch name {
		case "soc2":
			if err := g.provider(p); err != nil {
				return err
			}
		case "http_basic":
			var basic struct {
				Accounts []struct {
					Username string `json:"username"`
				} `json:"accounts"`
			}
			if err := recode(p, &basic); err != nil {
				return err
			}
			for _, a := range basic.Accounts {
				g.account(review.Basic, a.Username, "basic_auth")
			}
		default:
			g.note("Principals of the authentication provider %s are known to it alone.", name)
		}
	}
	return nil
}

func recode(v, to any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	return nil
}

// provider reads the sources of identity of soc2_auth.
func (g *granting) provider(v any) error {
	var p identity.Provider
	if err := recode(v, &p); err != nil {
		return err
	}
	for _, j := range p.JWT {
		g.note("Principals of the issuer %s (bearer tokens) are known to it alone.", j.Issuer)
	}
	if p.OIDC != nil {
		g.note("Principals of the issuer %s (login with a browser) are known to it alone.", p.OIDC.Issuer)
	}
	var err error
	if p.Clients != nil {
		err = errors.Join(err, g.file(p.Clients.File, "API keys", g.apiKeys))
	}
	if p.Accounts != nil {
		err = errors.Join(err, g.file(p.Accounts.File, "accounts", g.passwords))
	}
	if p.MTLS == nil {
		return err
	}
	if p.MTLS.Roles == "" {
		g.note("Principals with client certificates are known to the authorities that issue them.")
		return err
	}
	if !p.MTLS.ListedOnly {
		g.note("Client certificates are taken also of names that the file of roles does not have.")
	}
	return errors.Join(err, g.file(p.MTLS.Roles, "roles of client certificates", g.certificates))
}

// file reads a file that the configuration names, once.
func (g *granting) file(name, what string, read func(name string, b []byte) error) error {
	if g.seen[what+" "+name] {
		return nil
	}
	g.seen[what+" "+name] = true
	if hidden := strings.Contains(name, "[secret "); hidden && g.missing {
		g.note("The recorded configuration hides the name of the file of %s: whom it names is not in this review.", what)
		return nil
	} else if hidden {
		return fmt.Errorf("the recorded configuration hides the name of the file of %s, which looks like a secret: name the configuration itself with --config, or say --missing-files for a review without its principals", what)
	}
	b, err := contents(name)
	if errors.Is(err, fs.ErrNotExist) && g.missing {
		g.Configuration.Files = append(g.Configuration.Files, review.File{Name: name})
		g.note("The file %s (%s) was not there: whom it names is not in this review.", name, what)
		return nil
	}
	if err != nil {
		return fmt.Errorf("the file of %s that the configuration names cannot be read: %w: review where it is, or say --missing-files for a review without its principals", what, err)
	}
	g.Configuration.Files = append(g.Configuration.Files, review.File{Name: name, SHA256: review.Hash(b)})
	if err := read(name, b); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// contents are those of a file that a configuration names, which may come from
// elsewhere: only of a regular file of a size that a server reads. What its
// placeholders stand for gets into no output.
func contents(name string) ([]byte, error) {
	path, err := secret.Text("file", name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	f, err := reload.OpenAs(name, path, time.Now, nil, func(b []byte) ([]byte, error) { return b, nil })
	if err != nil {
		return nil, err
	}
	return *f.Get(), nil
}

func (g *granting) apiKeys(name string, b []byte) error {
	keys, err := apikey.Parse(b)
	if err != nil {
		return err
	}
	for _, k := range keys {
		a := review.Account{Kind: review.APIKey, Name: k.ID, Sources: []string{name}, Roles: k.Roles, Expires: k.Expires}
		for _, s := range k.Scopes {
			a.Limits = append(a.Limits, "scope "+s)
		}
		for _, s := range k.Networks {
			a.Limits = append(a.Limits, "network "+s)
		}
		if !k.NotBefore.IsZero() {
			a.Limits = append(a.Limits, "not before "+k.NotBefore.UTC().Format(time.RFC3339))
		}
		g.Accounts = append(g.Accounts, a)
	}
	return nil
}

func (g *granting) passwords(name string, b []byte) error {
	accounts, err := password.Parse(b)
	if err != nil {
		return err
	}
	for _, a := range accounts.All() {
		g.account(review.Password, a.Name, name, a.Roles...)
	}
	return nil
}

func (g *granting) certificates(name string, b []byte) error {
	roles, err := mtls.ParseRoles(b)
	if err != nil {
		return err
	}
	for who, list := range roles {
		g.account(review.MTLS, who, name, list...)
	}
	return nil
}
