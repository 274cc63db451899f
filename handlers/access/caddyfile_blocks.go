package access

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func (b *BreakGlass) unmarshal(d *caddyfile.Dispenser) error {
	if err := none(d); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "principal", "principals":
			err = words(d, &b.Principals)
		case "max_ttl":
			err = duration(d, &b.MaxTTL)
		default:
			err = d.Errf("break_glass has no option %q: it has principal and max_ttl", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (id *Identity) unmarshal(d *caddyfile.Dispenser) error {
	if err := none(d); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "header":
			var field, what string
			if !d.AllArgs(&field, &what) {
				return d.Err("header is written: header FIELD user|roles|method|mfa|issued_at|claim:NAME")
			}
			if id.Headers == nil {
				id.Headers = map[string]string{}
			}
			id.Headers[field] = what
		case "strip":
			err = words(d, &id.Strip)
		case "assertion":
			if id.Assertion != nil {
				return twice(d)
			}
			id.Assertion = new(Assertion)
			err = id.Assertion.unmarshal(d)
		default:
			err = d.Errf("identity has no option %q: it has header, strip and assertion", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *Assertion) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		a.Header = d.Val()
	}
	if err := none(d); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "audience":
			err = words(d, &a.Audience)
		case "issuer":
			err = word(d, &a.Issuer)
		case "ttl":
			err = duration(d, &a.TTL)
		case "claim", "claims":
			err = words(d, &a.Claims)
		case "key":
			err = word(d, &a.Key)
		default:
			err = d.Errf("assertion has no option %q: it has audience, issuer, ttl, claim and key", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// word reads an option's one argument.
func word(d *caddyfile.Dispenser, to *string) error {
	name := d.Val()
	if *to != "" {
		return twice(d)
	}
	if !d.AllArgs(to) || *to == "" {
		return d.Errf("%s takes one argument", name)
	}
	return nil
}

// twice is the error for an option of which the last would silently win.
func twice(d *caddyfile.Dispenser) error { return d.Errf("%s is given twice", d.Val()) }

// words reads an option's arguments, of which there is at least one.
func words(d *caddyfile.Dispenser, to *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s takes at least one argument", name)
	}
	*to = append(*to, args...)
	return nil
}

// none checks that an option has no argument.
func none(d *caddyfile.Dispenser) error {
	name := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes no argument, but has %q", name, d.Val())
	}
	return nil
}

func duration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	var arg string
	name := d.Val()
	if err := word(d, &arg); err != nil {
		return err
	}
	v, err := caddy.ParseDuration(arg)
	if err != nil || v <= 0 {
		return d.Errf("%s %q: it is not a duration like 10s", name, arg)
	}
	*to = caddy.Duration(v)
	return nil
}
