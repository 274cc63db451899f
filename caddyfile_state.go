package soc2

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func (s *State) certificates(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("soc2 certificates takes a block and no argument, but has %q", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "expiring" {
			return d.Errf("soc2 certificates has no option %q: it has expiring", d.Val())
		}
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.Err("soc2 certificates expiring takes one or more durations, like 14d")
		}
		for _, arg := range args {
			v, err := caddy.ParseDuration(arg)
			if err != nil {
				return d.Errf("soc2 certificates expiring %q: it is not a duration like 14d", arg)
			}
			s.Certificates.Expiring = append(s.Certificates.Expiring, caddy.Duration(v))
		}
	}
	return nil
}

func (s *State) upstreams(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("soc2 upstreams takes a block and no argument, but has %q", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "sample":
			err = duration(d, &s.Upstreams.Sample)
		case "traffic":
			err = duration(d, &s.Upstreams.Traffic)
		default:
			err = d.Errf("soc2 upstreams has no option %q: it has sample and traffic", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
