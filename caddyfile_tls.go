package soc2

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// tlsFloor reads the option tls:
//
//	tls {
//		min      1.2|1.3
//		suites   <name>...
//		groups   <name>...
//		mode     enforce|report
//		client_auth <host>...
//		expiring <duration>
//		fips     on|only
//		upstream {
//			min        1.2|1.3
//			unverified <host>...
//			plaintext  <host or network>...
//		}
//	}
func (a *App) tlsFloor(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("soc2 tls takes a block and no argument, but has %q", d.Val())
	}
	if a.TLS != nil {
		return d.Err("soc2 tls is given twice: one block says all")
	}
	t := new(TLS)
	a.TLS = t
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "min":
			err = text(d, &t.Min)
		case "suites":
			err = list(d, &t.Suites)
		case "groups":
			err = list(d, &t.Groups)
		case "mode":
			err = text(d, &t.Mode)
		case "client_auth":
			err = list(d, &t.ClientAuth)
		case "expiring":
			err = duration(d, &t.Expiring)
		case "fips":
			err = text(d, &t.FIPS)
		case "upstream":
			t.Upstream = new(TLSUpstream)
			err = t.Upstream.unmarshal(d)
		default:
			err = d.Errf("soc2 tls has no option %q: it has min, suites, groups, mode, client_auth, expiring, fips and upstream", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *TLSUpstream) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("soc2 tls upstream takes a block, or nothing, but has %q", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "min":
			err = text(d, &u.Min)
		case "unverified":
			err = list(d, &u.Unverified)
		case "plaintext":
			err = list(d, &u.Plaintext)
		default:
			err = d.Errf("soc2 tls upstream has no option %q: it has min, unverified and plaintext", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
