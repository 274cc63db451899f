package access

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/internal/rules"
)

// ParseCaddyfile sets up the handler from the directive soc2_access. For the
// syntax see UnmarshalCaddyfile.
func ParseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// ParseJWKSCaddyfile sets up the handler from the directive soc2_jwks:
//
//	soc2_jwks [<matcher>] [<key>]
func ParseJWKSCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	j := new(JWKS)
	h.Next() // directive name
	if h.NextArg() {
		j.Key = h.Val()
	}
	if h.NextArg() || h.NextBlock(0) {
		return nil, h.Err("soc2_jwks takes at most the name of a set of keys")
	}
	return j, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	soc2_access [<matcher>] {
//		name      <policy>
//		mode      enforce|shadow
//		default   deny
//		user_from <placeholder>
//		source    <name> <placeholder>
//		assign    <role> <principal>...
//		tolerate  encoded_slash|backslash|semicolon|percent|delimiter...
//		challenge <value>
//		rule <name> {
//			…     (see rule.unmarshal)
//		}
//		break_glass {
//			principal <principal>...
//			max_ttl   <duration>
//		}
//		identity {
//			header <field> user|roles|method|mfa|issued_at|claim:<name>
//			strip  <field>...
//			assertion [<field>] {
//				audience <name>...
//				issuer   <name>
//				ttl      <duration>
//				claim    <name>...
//				key      <name>
//			}
//		}
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	if d.NextArg() {
		return d.Errf("soc2_access takes a block and no argument, but has %q", d.Val())
	}
	for d.NextBlock(0) {
		if err := h.option(d); err != nil {
			return err
		}
	}
	if len(h.Rules) == 0 {
		return d.Err("soc2_access has no rule, and so refuses everything: write rule NAME { role staff }")
	}
	return nil
}

func (h *Handler) option(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "name":
		return word(d, &h.Name)
	case "mode":
		return word(d, &h.Mode)
	case "default":
		var v string
		if err := word(d, &v); err != nil || v == "deny" {
			return err
		}
		return d.Errf("default %q: it is deny; to allow the rest, write a last rule without conditions", v)
	case "user_from":
		return word(d, &h.UserFrom)
	case "source":
		var s Source
		if !d.AllArgs(&s.Name, &s.Value) {
			return d.Err("source is written: source NAME {placeholder}")
		}
		h.Sources = append(h.Sources, s)
		return nil
	case "assign":
		return h.assign(d)
	case "tolerate":
		return words(d, &h.Tolerate)
	case "challenge":
		return word(d, &h.Challenge)
	case "rule":
		r := new(rules.Rule)
		h.Rules = append(h.Rules, r)
		return (&rule{r}).unmarshal(d)
	case "break_glass":
		if h.BreakGlass != nil {
			return twice(d)
		}
		h.BreakGlass = new(BreakGlass)
		return h.BreakGlass.unmarshal(d)
	case "identity":
		if h.Identity != nil {
			return twice(d)
		}
		h.Identity = new(Identity)
		return h.Identity.unmarshal(d)
	default:
		return d.Errf("soc2_access has no option %q: it has rule, name, mode, default, user_from, source, assign, tolerate, challenge, break_glass and identity", name)
	}
}

func (h *Handler) assign(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Err("assign is written: assign ROLE PRINCIPAL...")
	}
	if h.Assign == nil {
		h.Assign = map[string][]string{}
	}
	h.Assign[args[0]] = append(h.Assign[args[0]], args[1:]...)
	return nil
}

// rule is a rule that is being read.
type rule struct{ *rules.Rule }

// unmarshal reads a rule:
//
//	rule <name> {
//		allow|deny
//		shadow
//		anonymous
//		role      <role>|<source>:<role>...
//		principal <name>...
//		claim     <name> [<value>...]
//		network   <address>|<range>|private_ranges...
//		method    <method>...
//		host      <name>...
//		path      <pattern>...
//		time      [<day>|<day>-<day>...] [<begin>-<end>] [<zone>]
//		from      <date or time>
//		until     <date or time>
//		cel       <expression>
//		require   mfa | max_token_age <duration> | auth_method <method>... | claim <name> [<value>...]
//	}
func (r *rule) unmarshal(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&r.Name) {
		return d.Err("rule takes a name, and a block")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := r.option(d); err != nil {
			return err
		}
	}
	return nil
}

func (r *rule) option(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "allow", "deny":
		if r.Effect != "" {
			return d.Errf("rule %s says %s and %s", r.Name, r.Effect, name)
		}
		r.Effect = name
		return none(d)
	case "shadow":
		r.Shadow = true
		return none(d)
	case "anonymous":
		r.Anonymous = true
		return none(d)
	case "role", "roles":
		return words(d, &r.Roles)
	case "principal", "principals":
		return words(d, &r.Principals)
	case "claim":
		return claim(d, d.RemainingArgs(), &r.Claims)
	case "network", "networks":
		return r.networks(d)
	case "method", "methods":
		return words(d, &r.Methods)
	case "host", "hosts":
		return words(d, &r.Hosts)
	case "path", "paths":
		return words(d, &r.Paths)
	case "time", "from", "until":
		return r.when(d, name)
	case "cel":
		if r.CEL != "" {
			return twice(d)
		}
		if d.CountRemainingArgs() > 1 { // with the quotes, which are the expression's
			r.CEL = strings.Join(d.RemainingArgsRaw(), " ")
			return nil
		}
		return word(d, &r.CEL)
	case "require":
		return r.require(d)
	default:
		return d.Errf("rule %s has no option %q: it has allow, deny, shadow, anonymous, role, principal, claim, network, method, host, path, time, from, until, cel and require", r.Name, name)
	}
}

func (r *rule) networks(d *caddyfile.Dispenser) error {
	var list []string
	if err := words(d, &list); err != nil {
		return err
	}
	for _, s := range list {
		if s == "private_ranges" {
			for _, p := range caddyhttp.PrivateRangesCIDR() {
				if prefix, err := netip.ParsePrefix(p); err == nil { // else it is an address
					p = prefix.Masked().String()
				}
				r.Networks = append(r.Networks, p)
			}
			continue
		}
		r.Networks = append(r.Networks, s)
	}
	return nil
}

func (r *rule) when(d *caddyfile.Dispenser, name string) error {
	args := d.RemainingArgs()
	if name == "time" {
		w, err := parseTimes(args)
		r.Times = append(r.Times, w)
		return wrap(d, name, err)
	}
	if name == "from" && !r.From.IsZero() || name == "until" && !r.Until.IsZero() {
		return d.Errf("%s is given twice", name)
	}
	if len(args) != 1 {
		return d.Errf("%s takes a date like 2027-01-31, or a time like 2027-01-31T18:00:00Z", name)
	}
	t, err := parseDate(args[0])
	if name == "from" {
		r.From = t
	} else {
		r.Until = t
	}
	return wrap(d, name, err)
}

func wrap(d *caddyfile.Dispenser, name string, err error) error {
	if err != nil {
		return d.Errf("%s: %v", name, err)
	}
	return nil
}

// parseDate reads a time or the beginning of a day in UTC.
func parseDate(s string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, errors.New("it takes a date like 2027-01-31, or a time like 2027-01-31T18:00:00Z")
	}
	return t, nil
}

// parseTimes tells days, times of day and the name of a zone apart.
func parseTimes(args []string) (w rules.Window, err error) {
	for _, s := range args {
		switch begin, end, isRange := strings.Cut(s, "-"); {
		case isRange && strings.Contains(begin, ":") && w.Begin == "":
			w.Begin, w.End = begin, end
		case s == "UTC" || strings.Contains(s, "/"):
			if w.Zone != "" {
				return w, errors.New("it takes one time zone")
			}
			w.Zone = s
		default:
			w.Days = append(w.Days, s)
		}
	}
	if len(args) == 0 {
		err = errors.New("it is written: time mon-fri 08:00-18:00 Europe/Berlin")
	}
	return w, err
}

func (r *rule) require(d *caddyfile.Dispenser) error {
	if r.Require == nil {
		r.Require = new(rules.Require)
	}
	args := d.RemainingArgs()
	switch {
	case len(args) == 1 && args[0] == "mfa":
		r.Require.MFA = true
		return nil
	case len(args) == 2 && args[0] == "max_token_age":
		v, err := caddy.ParseDuration(args[1])
		if err != nil || v <= 0 {
			return d.Errf("require max_token_age %q: it is not a duration like 12h", args[1])
		}
		r.Require.MaxTokenAge = v
		return nil
	case len(args) > 1 && args[0] == "auth_method":
		r.Require.Methods = append(r.Require.Methods, args[1:]...)
		return nil
	case len(args) > 1 && args[0] == "claim":
		return claim(d, args[1:], &r.Require.Claims)
	}
	return d.Err("require takes mfa, max_token_age DURATION, auth_method METHOD..., or claim NAME [VALUE...]")
}

func claim(d *caddyfile.Dispenser, args []string, to *[]rules.Claim) error {
	if len(args) == 0 {
		return d.Err("claim is written: claim NAME [VALUE...]")
	}
	c := rules.Claim{Name: args[0]}
	if len(args) > 1 {
		c.Values = args[1:]
	}
	*to = append(*to, c)
	return nil
}

var _ caddyfile.Unmarshaler = (*Handler)(nil)
