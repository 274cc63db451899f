package identity

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwks"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/oidc"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/session"
	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

// defaultGrace is how long a session goes on without its provider.
const defaultGrace = 5 * time.Minute

func (p *Provider) makeOIDC() (principal.Source, error) {
	c := p.OIDC
	if err := secret.Texts(map[string]*string{"issuer": &c.Issuer, "client_id": &c.ClientID, "base": &c.Base}); err != nil {
		return nil, err
	}
	algs, leeway, err := c.check()
	switch {
	case err != nil:
		return nil, err
	case c.ClientID == "":
		return nil, errors.New("there is no client_id")
	case c.SessionKeys == "":
		return nil, errors.New("there are no session_keys: give a file with a line of openssl rand -base64 32")
	}
	if err := jwks.CheckURL(c.Issuer); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	s := &oidc.Source{
		Issuer: c.Issuer, ClientID: c.ClientID, Names: c.names(p.Unicode), Require: c.Require, Algs: algs, Leeway: leeway,
		Scopes: scopes(c.Scopes), Now: time.Now, Warn: p.warn,
		Grace: cmp.Or(time.Duration(c.Grace), defaultGrace),
		Limits: session.Limits{
			Idle:     cmp.Or(time.Duration(c.IdleTimeout), session.DefaultIdle),
			Absolute: cmp.Or(time.Duration(c.AbsoluteTimeout), session.DefaultAbsolute),
		},
	}
	if s.Limits.Idle < time.Second || s.Limits.Absolute < s.Limits.Idle || s.Grace < 0 {
		return nil, errors.New("idle_timeout is at least 1s, absolute_timeout at least as long, and grace not negative")
	}
	if s.Base, err = c.base(); err != nil {
		return nil, err
	}
	if s.Paths, err = c.paths(); err != nil {
		return nil, err
	}
	if err := p.secrets(s); err != nil {
		return nil, err
	}
	if s.Provider, err = p.remote(c.Issuer, "", c.Asking); err != nil {
		return nil, err
	}
	s.Client = s.Provider.Client
	p.browser = s
	return s, s.Open()
}

func scopes(list []string) []string {
	if slices.Contains(list, "openid") {
		return list
	}
	return append([]string{"openid"}, list...)
}

// secrets reads the client's secret, the keys of the cookies, and what was logged
// out.
func (p *Provider) secrets(s *oidc.Source) error {
	c := p.OIDC
	s.Secret = func() string { return "" }
	if c.ClientSecretFile != "" {
		own, err := open(p, "client_secret_file", c.ClientSecretFile, func(data []byte) (string, error) {
			text := strings.TrimSpace(string(data))
			if text == "" {
				return "", errors.New("there is no secret in it")
			}
			return text, nil
		})
		if err != nil {
			return err
		}
		s.Secret = func() string { return *own.Get() }
	}
	keys, err := open(p, "session_keys", c.SessionKeys, session.ParseKeys)
	if err != nil {
		return err
	}
	s.Seals = *keys.Get()
	file := c.LogoutFile
	if file == "" {
		sum := sha256.Sum256([]byte(c.Issuer + "\x00" + c.ClientID))
		file = filepath.Join(caddy.AppDataDir(), "soc2", "state", "logouts-"+hex.EncodeToString(sum[:6])+".json")
	}
	if file, err = secret.Text("logout_file", file); err != nil {
		return err
	}
	ended, leave, err := share("logouts", file, func() (*session.Ended, func(), error) {
		e, err := session.OpenEnded(file)
		return e, nil, err
	})
	if err != nil {
		return fmt.Errorf("logout_file: %w", err)
	}
	s.Ended = ended
	p.closing = append(p.closing, leave)
	return nil
}

// base checks the address of the site.
func (c *OIDC) base() (string, error) {
	if c.Base == "" {
		return "", nil
	}
	u, err := url.Parse(c.Base)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("base %q: it is not an address like https://app.example", c.Base)
	}
	return "https://" + u.Host, nil
}

// paths are the paths with their defaults.
func (c *OIDC) paths() (oidc.Paths, error) {
	d := oidc.DefaultPaths
	paths := oidc.Paths{
		Login: cmp.Or(c.Login, d.Login), Callback: cmp.Or(c.Callback, d.Callback), Logout: cmp.Or(c.Logout, d.Logout),
		BackChannel: cmp.Or(c.BackChannel, d.BackChannel), LoggedOut: cmp.Or(c.LoggedOut, d.LoggedOut),
	}
	all := []string{paths.Login, paths.Callback, paths.Logout, paths.BackChannel, paths.LoggedOut}
	for i, p := range all {
		if p[0] != '/' || p == "/" || path.Clean(p) != p || strings.ContainsAny(p, "?#%\\{} ") || slices.Contains(all[:i], p) {
			return paths, fmt.Errorf("%q is not a path of its own, like %s", p, d.Callback)
		}
	}
	return paths, nil
}
