package identity

import (
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ParseCaddyfile sets up the handler from the soc2_auth directive. For the syntax
// see UnmarshalCaddyfile.
func ParseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up a provider from Caddyfile tokens. The sources are
// tried in the order in which they are written. Syntax:
//
//	soc2_auth [<matcher>] {
//		optional
//		realm <text>
//		unicode
//		mtls {
//			identity      san_uri|san_dns|san_email|cn
//			authorities   <file>
//			roles         <file>
//			listed_only
//			crl           <file>...
//			crl_accept_stale
//		}
//		jwt <issuer> {
//			audience  <name>...
//			jwks_url  <url>
//			jwks_file <file>
//			max_age   <duration>
//			types     <typ>...
//			revoked   <file>
//			remember  <number>
//			…         (naming, asking)
//		}
//		api_key <file> {
//			header <name>
//		}
//		password <file> {
//			parallel <number>
//		}
//		oidc <issuer> {
//			client_id          <id>
//			client_secret_file <file>
//			scopes             <scope>...
//			base               <url>
//			login              <path>
//			callback           <path>
//			logout             <path>
//			backchannel_logout <path>
//			logged_out         <path>
//			session_keys       <file>
//			idle_timeout       <duration>
//			absolute_timeout   <duration>
//			grace              <duration>
//			logout_file        <file>
//			…                  (naming, asking)
//		}
//		lockout {
//			failures         <number>
//			network_failures <number>
//			window           <duration>
//			duration         <duration>
//			longest          <duration>
//		}
//	}
//
// Naming is user, roles, claims, require, mfa, algs and leeway; asking is authorities,
// stale_for and retry.
func (p *Provider) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	if d.NextArg() {
		return d.Errf("soc2_auth takes a block and no argument, but has %q", d.Val())
	}
	for d.NextBlock(0) {
		if err := p.option(d, d.Val()); err != nil {
			return err
		}
	}
	return nil
}

func (p *Provider) option(d *caddyfile.Dispenser, name string) error {
	if slices.Contains(kinds, name) && !slices.Contains(p.Order, name) {
		p.Order = append(p.Order, name)
	} else if slices.Contains(kinds, name) && name != "jwt" {
		return d.Errf("soc2_auth has %s twice", name)
	}
	switch name {
	case "optional":
		return flag(d, &p.Optional)
	case "unicode":
		return flag(d, &p.Unicode)
	case "realm":
		return text(d, &p.Realm)
	case "mtls":
		p.MTLS = new(MTLS)
		return p.MTLS.unmarshal(d)
	case "jwt":
		c := new(JWT)
		p.JWT = append(p.JWT, c)
		return c.unmarshal(d)
	case "api_key":
		p.Clients = new(Clients)
		return p.Clients.unmarshal(d)
	case "password":
		p.Accounts = new(Accounts)
		return p.Accounts.unmarshal(d)
	case "oidc":
		p.OIDC = new(OIDC)
		return p.OIDC.unmarshal(d)
	case "lockout":
		p.Lockout = new(Lockout)
		return p.Lockout.unmarshal(d)
	}
	return d.Errf("soc2_auth has no option %q: it has optional, realm, unicode, mtls, jwt, api_key, password, oidc and lockout", name)
}

// block reads the options of a block.
func block(d *caddyfile.Dispenser, in, options string, set func(name string) (known bool, err error)) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		known, err := set(name)
		if err != nil {
			return err
		}
		if !known {
			return d.Errf("soc2_auth %s has no option %q: it has %s", in, name, options)
		}
	}
	return nil
}

func (c *MTLS) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return block(d, "mtls", "identity, authorities, roles, listed_only, crl and crl_accept_stale", func(name string) (bool, error) {
		switch name {
		case "identity":
			return true, text(d, &c.Identity)
		case "authorities":
			return true, text(d, &c.Authorities)
		case "roles":
			return true, text(d, &c.Roles)
		case "listed_only":
			return true, flag(d, &c.ListedOnly)
		case "crl":
			return true, list(d, &c.Revoked)
		case "crl_accept_stale":
			return true, flag(d, &c.AcceptStale)
		}
		return false, nil
	})
}

func (c *JWT) unmarshal(d *caddyfile.Dispenser) error {
	if err := text(d, &c.Issuer); err != nil {
		return err
	}
	return block(d, "jwt", "audience, jwks_url, jwks_file, max_age, types, revoked, remember, "+common, func(name string) (bool, error) {
		switch name {
		case "audience":
			return true, list(d, &c.Audience)
		case "jwks_url":
			return true, text(d, &c.JWKS)
		case "jwks_file":
			return true, text(d, &c.JWKSFile)
		case "max_age":
			return true, duration(d, &c.MaxAge)
		case "types":
			return true, list(d, &c.Types)
		case "revoked":
			return true, text(d, &c.Revoked)
		case "remember":
			return true, number(d, &c.Remember)
		}
		return issuerOption(d, name, &c.Naming, &c.Asking)
	})
}

func (c *OIDC) unmarshal(d *caddyfile.Dispenser) error {
	if err := text(d, &c.Issuer); err != nil {
		return err
	}
	texts := map[string]*string{
		"client_id": &c.ClientID, "client_secret_file": &c.ClientSecretFile, "base": &c.Base, "login": &c.Login, "callback": &c.Callback,
		"logout": &c.Logout, "backchannel_logout": &c.BackChannel, "logged_out": &c.LoggedOut, "session_keys": &c.SessionKeys,
		"logout_file": &c.LogoutFile,
	}
	durations := map[string]*caddy.Duration{"idle_timeout": &c.IdleTimeout, "absolute_timeout": &c.AbsoluteTimeout, "grace": &c.Grace}
	const options = "client_id, client_secret_file, scopes, base, login, callback, logout, backchannel_logout, logged_out, session_keys, idle_timeout, absolute_timeout, grace, logout_file, " + common
	return block(d, "oidc", options, func(name string) (bool, error) {
		switch {
		case texts[name] != nil:
			return true, text(d, texts[name])
		case durations[name] != nil:
			return true, duration(d, durations[name])
		case name == "scopes":
			return true, list(d, &c.Scopes)
		}
		return issuerOption(d, name, &c.Naming, &c.Asking)
	})
}

// common are the options that issuers of tokens have.
const common = "user, roles, claims, require, mfa, algs, leeway, authorities, stale_for and retry"

func issuerOption(d *caddyfile.Dispenser, name string, n *Naming, a *Asking) (bool, error) {
	switch name {
	case "user":
		return true, text(d, &n.User)
	case "roles":
		return true, text(d, &n.Roles)
	case "claims":
		return true, list(d, &n.Claims)
	case "require":
		return true, values(d, &n.Require)
	case "mfa":
		return true, values(d, &n.MFA)
	case "algs":
		return true, list(d, &n.Algorithms)
	case "leeway":
		return true, duration(d, &n.Leeway)
	case "authorities":
		return true, text(d, &a.Authorities)
	case "stale_for":
		return true, duration(d, &a.StaleFor)
	case "retry":
		return true, duration(d, &a.Retry)
	}
	return false, nil
}

func (c *Clients) unmarshal(d *caddyfile.Dispenser) error {
	if err := text(d, &c.File); err != nil {
		return err
	}
	return block(d, "api_key", "header", func(name string) (bool, error) {
		return name == "header", onlyIf(name == "header", func() error { return text(d, &c.Header) })
	})
}

func (c *Accounts) unmarshal(d *caddyfile.Dispenser) error {
	if err := text(d, &c.File); err != nil {
		return err
	}
	return block(d, "password", "parallel", func(name string) (bool, error) {
		return name == "parallel", onlyIf(name == "parallel", func() error { return number(d, &c.Parallel) })
	})
}

func onlyIf(known bool, read func() error) error {
	if !known {
		return nil
	}
	return read()
}

func (l *Lockout) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return block(d, "lockout", "failures, network_failures, window, duration and longest", func(name string) (bool, error) {
		switch name {
		case "failures":
			return true, number(d, &l.Failures)
		case "network_failures":
			return true, number(d, &l.NetworkFailures)
		case "window":
			return true, duration(d, &l.Window)
		case "duration":
			return true, duration(d, &l.Duration)
		case "longest":
			return true, duration(d, &l.Longest)
		}
		return false, nil
	})
}

// flag reads an option without arguments.
func flag(d *caddyfile.Dispenser, to *bool) error {
	name := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes no argument", name)
	}
	*to = true
	return nil
}

// text reads an option's one argument.
func text(d *caddyfile.Dispenser, to *string) error {
	name := d.Val()
	if *to != "" {
		return d.Errf("%s is given twice", name)
	}
	if !d.AllArgs(to) || *to == "" {
		return d.Errf("%s takes one argument", name)
	}
	return nil
}

// list reads an option's arguments, of which there is at least one.
func list(d *caddyfile.Dispenser, to *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s takes at least one argument", name)
	}
	*to = append(*to, args...)
	return nil
}

// values reads the name of a claim, and values.
func values(d *caddyfile.Dispenser, to *map[string][]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Errf("%s is written: %s <claim> <value>...", name, name)
	}
	if *to == nil {
		*to = map[string][]string{}
	}
	(*to)[args[0]] = append((*to)[args[0]], args[1:]...)
	return nil
}

// number reads an option's one argument, a positive number.
func number(d *caddyfile.Dispenser, to *int) error {
	var arg string
	name := d.Val()
	if err := text(d, &arg); err != nil {
		return err
	}
	n, err := strconv.Atoi(arg)
	if err != nil || n <= 0 {
		return d.Errf("%s %q: it is not a positive number", name, arg)
	}
	*to = n
	return nil
}

// duration reads an option's one argument, like 10s.
func duration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	var arg string
	name := d.Val()
	if err := text(d, &arg); err != nil {
		return err
	}
	v, err := caddy.ParseDuration(arg)
	if err != nil || v <= 0 {
		return d.Errf("%s %q: it is not a duration like 10s", name, arg)
	}
	*to = caddy.Duration(v)
	return nil
}

var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*Provider)(nil)
)
