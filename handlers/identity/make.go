package identity

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/apikey"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwks"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwt"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/lockout"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/mtls"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/password"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/reload"
	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

// make makes the sources that are configured.
func (p *Provider) make() (map[string]principal.Source, error) {
	policy, err := p.Lockout.policy()
	if err != nil {
		return nil, err
	}
	g := &guard{table: table(), policy: policy, realm: p.Realm, now: time.Now}
	made := map[string]principal.Source{}
	for _, part := range []struct {
		name string
		want bool
		make func() (principal.Source, error)
	}{
		{"mtls", p.MTLS != nil, p.makeMTLS},
		{"jwt", len(p.JWT) > 0, p.makeJWT},
		{"api_key", p.Clients != nil, func() (principal.Source, error) { return p.makeClients(g) }},
		{"password", p.Accounts != nil, func() (principal.Source, error) { return p.makeAccounts(g) }},
		{"oidc", p.OIDC != nil, p.makeOIDC},
	} {
		if !part.want {
			continue
		}
		if made[part.name], err = part.make(); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return made, nil
}

// warn tells the server's log of a failure that does not stop anything yet.
func (p *Provider) warn(err error) {
	p.logger.Error("what identities are taken from cannot be read as it should", zap.Error(err))
}

// open reads a file of the operator, whose name may have placeholders.
func open[T any](p *Provider, option, name string, parse func([]byte) (T, error)) (*reload.File[T], error) {
	path, err := secret.Text(option, name)
	if err != nil {
		return nil, err
	}
	f, err := reload.OpenAs(option+" "+name, path, time.Now, p.warn, parse)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (p *Provider) makeMTLS() (principal.Source, error) {
	c := p.MTLS
	s := &mtls.Source{
		Identity: cmp.Or(c.Identity, mtls.SANURI), Unicode: p.Unicode, Listed: c.ListedOnly, AcceptStale: c.AcceptStale, Now: time.Now,
	}
	if !slices.Contains(mtls.Kinds, s.Identity) {
		return nil, fmt.Errorf("identity %q: it is one of %s", s.Identity, strings.Join(mtls.Kinds, ", "))
	}
	var err error
	if c.Authorities != "" {
		if s.Authorities, err = authorities(c.Authorities); err != nil {
			return nil, err
		}
	}
	if c.Roles != "" {
		if s.Roles, err = open(p, "roles", c.Roles, mtls.ParseRoles); err != nil {
			return nil, err
		}
	} else if c.ListedOnly {
		return nil, errors.New("listed_only: there is no file of roles: give roles")
	}
	for _, path := range c.Revoked {
		list, err := open(p, "crl", path, mtls.ParseList)
		if err != nil {
			return nil, err
		}
		s.Lists = append(s.Lists, list)
	}
	return s, nil
}

func authorities(name string) ([]*x509.Certificate, error) {
	data, err := secret.Read("authorities", name)
	if err != nil {
		return nil, err
	}
	var list []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return nil, fmt.Errorf("authorities: %s has a PEM block that is no certificate", name)
		}
		list = append(list, cert)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("authorities: %s has no certificate (PEM)", name)
	}
	return list, nil
}

func (p *Provider) makeClients(g *guard) (principal.Source, error) {
	c := p.Clients
	keys, err := open(p, "file", c.File, apikey.Parse)
	if err != nil {
		return nil, err
	}
	p.header = http.CanonicalHeaderKey(cmp.Or(c.Header, "X-Api-Key"))
	if !token(p.header) || p.header == "Authorization" || p.header == "Cookie" {
		return nil, fmt.Errorf("header %q: it is no name of a header that can have a key", c.Header)
	}
	return &apikey.Source{Header: p.header, Keys: keys, Guard: byNetwork{g}, Now: time.Now}, nil
}

// token reports whether a text is a token (RFC 9110, section 5.6.2), of those
// that Caddy lets through as names of headers.
func token(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != ""
}

func (p *Provider) makeAccounts(g *guard) (principal.Source, error) {
	c := p.Accounts
	accounts, err := open(p, "file", c.File, password.Parse)
	if err != nil {
		return nil, err
	}
	if c.Parallel < 0 || c.Parallel > 256 {
		return nil, fmt.Errorf("parallel %d: it is from 1 to 256", c.Parallel)
	}
	gate, leave, err := shareGate(c.Parallel)
	if err != nil {
		return nil, err
	}
	p.closing = append(p.closing, leave)
	p.challenges = append(p.challenges, `Basic realm="`+p.Realm+`", charset="UTF-8"`)
	return &password.Source{Accounts: accounts, Guard: g, Gate: gate, Now: time.Now}, nil
}

func (p *Provider) makeJWT() (principal.Source, error) {
	s := &jwt.Source{Now: time.Now}
	for _, c := range p.JWT {
		issuer, err := p.makeIssuer(c)
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", c.Issuer, err)
		}
		for _, other := range s.Issuers {
			if other.Issuer == c.Issuer {
				return nil, fmt.Errorf("issuer %q: it is there twice", c.Issuer)
			}
		}
		s.Issuers = append(s.Issuers, issuer)
	}
	p.challenges = append(p.challenges, `Bearer realm="`+p.Realm+`"`)
	return s, nil
}

// defaultRemember is how many verified tokens are remembered.
const defaultRemember = 10_000

func (p *Provider) makeIssuer(c *JWT) (*jwt.Issuer, error) {
	if err := secret.Texts(map[string]*string{"issuer": &c.Issuer, "jwks_url": &c.JWKS}); err != nil {
		return nil, err
	}
	for i := range c.Audience {
		if err := secret.Texts(map[string]*string{"audience": &c.Audience[i]}); err != nil {
			return nil, err
		}
	}
	algs, leeway, err := c.check()
	switch {
	case err != nil:
		return nil, err
	case c.Issuer == "":
		return nil, errors.New("there is no issuer")
	case len(c.Audience) == 0 || slices.Contains(c.Audience, ""):
		return nil, errors.New("there is no audience: without it, tokens for other services would be taken")
	case c.JWKS != "" && c.JWKSFile != "":
		return nil, errors.New("there are jwks_url and jwks_file: choose one")
	case c.MaxAge < 0 || c.Remember < 0:
		return nil, errors.New("max_age and remember cannot be negative")
	}
	v := &jwt.Verifier{
		Issuer: c.Issuer, Audience: c.Audience, Algs: algs, Leeway: leeway, MaxAge: time.Duration(c.MaxAge),
		Require: c.Require, Now: time.Now,
	}
	for _, typ := range c.Types {
		v.Types = append(v.Types, strings.TrimPrefix(strings.ToLower(typ), "application/"))
	}
	if v.Keys, err = p.keys(c); err != nil {
		return nil, err
	}
	issuer := &jwt.Issuer{Verifier: v, Names: c.names(p.Unicode), Cache: jwt.NewCache(cmp.Or(c.Remember, defaultRemember))}
	p.closing = append(p.closing, showCache(issuer.Cache))
	if c.Revoked != "" {
		if issuer.Revoked, err = open(p, "revoked", c.Revoked, jwt.ParseRevoked); err != nil {
			return nil, err
		}
	}
	return issuer, nil
}

// keys is where the keys of an issuer come from.
func (p *Provider) keys(c *JWT) (jwt.Keys, error) {
	if c.JWKSFile != "" {
		file, err := open(p, "jwks_file", c.JWKSFile, jwks.Parse)
		return jwks.File{File: file}, err
	}
	address := cmp.Or(c.JWKS, c.Issuer)
	if err := jwks.CheckURL(address); err != nil {
		return nil, err
	}
	return p.remote(c.Issuer, c.JWKS, c.Asking)
}

// check checks what issuers have in common.
func (n *Naming) check() (algs []string, leeway time.Duration, err error) {
	algs = n.Algorithms
	if len(algs) == 0 {
		algs = []string{"RS256", "ES256"}
	}
	for _, alg := range algs {
		if !slices.Contains(jwt.Algorithms, alg) {
			return nil, 0, fmt.Errorf("algs: %q is not one of %s", alg, strings.Join(jwt.Algorithms, ", "))
		}
	}
	leeway = time.Duration(n.Leeway)
	switch {
	case leeway == 0:
		leeway = time.Minute
	case leeway < 0 || leeway > 5*time.Minute:
		return nil, 0, fmt.Errorf("leeway %s: it is at most 5m", leeway)
	}
	for option, claims := range map[string]map[string][]string{"require": n.Require, "mfa": n.MFA} {
		for name, values := range claims {
			if name == "" || len(values) == 0 {
				return nil, 0, fmt.Errorf("%s %q: it has no values", option, name)
			}
		}
	}
	return algs, leeway, nil
}

func (n *Naming) names(unicode bool) jwt.Names {
	return jwt.Names{User: n.User, Roles: n.Roles, Show: n.Claims, Unicode: unicode, MFA: n.MFA}
}

// policy is a policy with its defaults.
func (l *Lockout) policy() (lockout.Policy, error) {
	if l == nil {
		l = new(Lockout)
	}
	p := lockout.Policy{
		Failures:        cmp.Or(l.Failures, lockout.DefaultFailures),
		NetworkFailures: cmp.Or(l.NetworkFailures, lockout.DefaultNetworkFailures),
		Window:          cmp.Or(time.Duration(l.Window), lockout.DefaultWindow),
		Duration:        cmp.Or(time.Duration(l.Duration), lockout.DefaultDuration),
		Longest:         cmp.Or(time.Duration(l.Longest), lockout.DefaultLongest),
	}
	if p.Failures < 1 || p.NetworkFailures < 1 || p.Window < time.Second || p.Duration < time.Second || p.Longest < p.Duration {
		return p, errors.New("lockout: failures and network_failures are at least 1, window and duration at least 1s, and longest at least duration")
	}
	return p, nil
}

// pool has what outlives a reload: the keys of issuers, which may be away just
// then, and what was logged out.
var pool = caddy.NewUsagePool()

// pooled is something in the pool.
type pooled[T any] struct {
	it    T
	close func()
}

// Destruct implements caddy.Destructor.
func (p *pooled[T]) Destruct() error {
	if p.close != nil {
		p.close()
	}
	return nil
}

// share opens something with some settings, or joins it.
func share[T any](kind string, settings any, make func() (T, func(), error)) (it T, leave func(), err error) {
	text, err := json.Marshal(settings)
	if err != nil {
		return it, nil, err
	}
	key := kind + " " + string(text)
	v, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) {
		it, end, err := make()
		return &pooled[T]{it, end}, err
	})
	if err != nil {
		return it, nil, err
	}
	shared, ok := v.(*pooled[T])
	if !ok {
		return it, nil, fmt.Errorf("%s is something else", kind) // cannot be: the key has the kind
	}
	return shared.it, func() { _, _ = pool.Delete(key) }, nil
}

// shareGate returns the process's gate for so many passwords at a time.
func shareGate(parallel int) (*password.Gate, func(), error) {
	return share("gate", parallel, func() (*password.Gate, func(), error) {
		return password.NewGate(parallel, time.Now), nil, nil
	})
}

// remote joins the keys of an issuer, or begins to have them. It is not asked
// yet: it may be away while the server starts.
func (p *Provider) remote(issuer, address string, c Asking) (*jwks.Remote, error) {
	if c.StaleFor < 0 || c.Retry < 0 {
		return nil, errors.New("stale_for and retry cannot be negative")
	}
	var roots []byte
	if c.Authorities != "" {
		var err error
		if roots, err = secret.Read("authorities", c.Authorities); err != nil {
			return nil, err
		}
	}
	client, err := jwks.NewClient(roots)
	if err != nil {
		return nil, fmt.Errorf("authorities: %s: %w", c.Authorities, err)
	}
	settings := []any{issuer, address, c, string(roots)}
	keys, leave, err := share("issuer", settings, func() (*jwks.Remote, func(), error) {
		r := &jwks.Remote{
			Issuer: issuer, URL: address, Client: client, Stale: time.Duration(c.StaleFor), Retry: time.Duration(c.Retry), Now: time.Now,
			Warn: func(err error) {
				caddy.Log().Named("http.authentication.soc2").Warn("an issuer did not give its keys", zap.String("issuer", issuer), zap.Error(err))
			},
		}
		r.Open()
		return r, r.Close, nil
	})
	if err != nil {
		return nil, err
	}
	p.closing = append(p.closing, leave)
	return keys, nil
}
