package ratelimit

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
)

// ParseCaddyfile sets up the handler from the directive soc2_rate_limit, which
// stands before authentication. For the syntax see UnmarshalCaddyfile.
func ParseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// ParseUserCaddyfile sets up the handler from the directive
// soc2_rate_limit_user, which stands after authentication.
func ParseUserCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := &Handler{Phase: PostAuth}
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	soc2_rate_limit [<matcher>] {
//		phase   pre_auth|post_auth
//		headers draft|legacy|off [always]
//		zone <name> {
//			match       <matcher> <argument>...
//			key         <part>...
//			ipv4_prefix <bits>
//			ipv6_prefix <bits>
//			empty_key   share|skip|refuse
//			limit       <n>/<period> [burst <n>] [mode gcra|strict|exact]
//			burst       <n>
//			mode        gcra|strict|exact
//			cost        <units> [<matcher> <argument>...]
//			charge      status <status>... | bytes | header <name> [max <n>]
//			debt        <units>
//			concurrency <n>
//			ban         after <n> [within <duration>] [for <duration>] [most <duration>] [memory <duration>]
//			allow       <address>|<network>|key:<text>...
//			deny        <address>|<network>|key:<text>...
//			override    <key> <n>/<period> [burst <n>]
//			capacity    <keys>
//			shadow
//			show_keys
//			persist
//		}
//	}
//
// The options of limit can stand on lines of their own. match, and the matcher of
// cost, can have a block of several matchers, all of which must match.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	if d.NextArg() {
		return d.Errf("%s takes a block and no argument, but has %q", "soc2_rate_limit", d.Val())
	}
	for d.NextBlock(0) {
		var err error
		switch name := d.Val(); name {
		case "phase":
			err = word(d, &h.Phase)
		case "headers":
			err = h.unmarshalHeaders(d)
		case "zone":
			z := new(Zone)
			h.Zones = append(h.Zones, z)
			err = z.unmarshal(d)
		default:
			err = d.Errf("soc2_rate_limit has no option %q: it has zone, phase and headers", name)
		}
		if err != nil {
			return err
		}
	}
	if len(h.Zones) == 0 {
		return d.Err("soc2_rate_limit has no zone: write zone NAME { limit 100/1m }")
	}
	return nil
}

func (h *Handler) unmarshalHeaders(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && args[1] != "always" {
		return d.Err("headers is written: headers draft|legacy|off [always]")
	}
	h.Headers, h.Always = args[0], len(args) == 2
	return nil
}

func (z *Zone) unmarshal(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&z.Name) {
		return d.Err("zone takes a name, and a block")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := z.option(d); err != nil {
			return err
		}
	}
	// What does not depend on other modules is checked here too, for the line.
	if err := z.configure(); err != nil {
		return d.Errf("zone %s: %v", z.Name, err)
	}
	return nil
}

func (z *Zone) option(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "match":
		return matcher(d, &z.MatcherSetsRaw)
	case "key":
		return words(d, &z.Key)
	case "allow":
		return words(d, &z.Allow)
	case "deny":
		return words(d, &z.Deny)
	case "ipv4_prefix":
		return integer(d, &z.IPv4Prefix)
	case "ipv6_prefix":
		return integer(d, &z.IPv6Prefix)
	case "empty_key":
		return word(d, &z.EmptyKey)
	case "limit":
		return z.unmarshalLimit(d)
	case "mode":
		return word(d, &z.Mode)
	case "burst":
		return units(d, &z.Burst)
	case "debt":
		return units(d, &z.Debt)
	case "concurrency":
		return units(d, &z.Concurrency)
	case "capacity":
		return integer(d, &z.Capacity)
	case "cost":
		return z.unmarshalCost(d)
	case "charge":
		return z.unmarshalCharge(d)
	case "ban":
		return z.unmarshalBan(d)
	case "override":
		return z.unmarshalOverride(d)
	case "shadow":
		return flag(d, &z.Shadow)
	case "show_keys":
		return flag(d, &z.ShowKeys)
	case "persist":
		return flag(d, &z.Persist)
	default:
		return d.Errf("a zone has no option %q: it has match, key, ipv4_prefix, ipv6_prefix, empty_key, limit, burst, mode, cost, charge, debt, concurrency, ban, allow, deny, override, capacity, shadow, show_keys and persist", name)
	}
}

func (z *Zone) unmarshalLimit(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("limit is written: limit 100/1m [burst 20] [mode strict]")
	}
	z.Limit = d.Val()
	for d.NextArg() {
		switch name := d.Val(); {
		case name == "burst" && d.NextArg():
			n, err := limiter.ParseUnits(d.Val())
			if err != nil {
				return d.Errf("burst: %v", err)
			}
			z.Burst = n
		case name == "mode" && d.NextArg():
			z.Mode = d.Val()
		default:
			return d.Errf("limit has no option %q: it has burst and mode, each with a value", name)
		}
	}
	return nil
}

func (z *Zone) unmarshalCost(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("cost is written: cost 5 [path /search]")
	}
	n, err := strconv.ParseInt(d.Val(), 10, 64)
	if err != nil || n < 0 {
		return d.Errf("cost %q: it is not a number of units", d.Val())
	}
	c := &Cost{Units: n}
	z.Costs = append(z.Costs, c)
	return matcher(d, &c.MatcherSetsRaw)
}

func (z *Zone) unmarshalCharge(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	c := new(Charge)
	z.Charge = c
	switch {
	case len(args) == 1 && args[0] == "bytes":
		c.Bytes = true
		return nil
	case len(args) > 1 && args[0] == "status":
		for _, s := range args[1:] {
			if len(s) == 3 && s[1:] == "xx" {
				s = s[:1]
			}
			n, err := strconv.Atoi(s)
			if err != nil {
				return d.Errf("charge status %q: it is not a status like 401 or 4xx", s)
			}
			c.Statuses = append(c.Statuses, n)
		}
		return nil
	case len(args) == 2 && args[0] == "header", len(args) == 4 && args[0] == "header" && args[2] == "max":
		c.Header = args[1]
		if len(args) == 4 {
			n, err := limiter.ParseUnits(args[3])
			if err != nil {
				return d.Errf("charge max: %v", err)
			}
			c.Max = n
		}
		return nil
	}
	return d.Err("charge is written: charge status 401 403, charge bytes, or charge header X-Cost max 100")
}

func (z *Zone) unmarshalBan(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 || len(args)%2 != 0 {
		return d.Err("ban is written: ban after 20 [within 1m] [for 10m] [most 24h] [memory 24h]")
	}
	b := new(Ban)
	z.Ban = b
	durations := map[string]*caddy.Duration{"within": &b.Within, "for": &b.For, "most": &b.Most, "memory": &b.Memory}
	for i := 0; i < len(args); i += 2 {
		if args[i] == "after" {
			n, err := strconv.ParseInt(args[i+1], 10, 64)
			if err != nil || n < 1 {
				return d.Errf("ban after %q: it is not a number of refusals", args[i+1])
			}
			b.After = n
			continue
		}
		to, ok := durations[args[i]]
		if !ok {
			return d.Errf("ban has no option %q: it has after, within, for, most and memory", args[i])
		}
		v, err := caddy.ParseDuration(args[i+1])
		if err != nil || v <= 0 {
			return d.Errf("ban %s %q: it is not a duration like 10m", args[i], args[i+1])
		}
		*to = caddy.Duration(v)
	}
	return nil
}

func (z *Zone) unmarshalOverride(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 && (len(args) != 4 || args[2] != "burst") {
		return d.Err("override is written: override KEY 1000/1m [burst 100]")
	}
	if _, twice := z.Overrides[args[0]]; twice {
		return d.Errf("override %q is given twice", args[0])
	}
	o := Override{Limit: args[1]}
	if len(args) == 4 {
		n, err := limiter.ParseUnits(args[3])
		if err != nil {
			return d.Errf("burst: %v", err)
		}
		o.Burst = n
	}
	if z.Overrides == nil {
		z.Overrides = make(map[string]Override)
	}
	z.Overrides[args[0]] = o
	return nil
}

// matcher reads what is left of the line, and the block, as a set of matchers.
func matcher(d *caddyfile.Dispenser, to *caddyhttp.RawMatcherSets) error {
	set, err := caddyhttp.ParseCaddyfileNestedMatcherSet(d)
	if err != nil {
		return err
	}
	if len(set) > 0 {
		*to = append(*to, set)
	}
	return nil
}

func word(d *caddyfile.Dispenser, to *string) error {
	name := d.Val()
	if !d.AllArgs(to) {
		return d.Errf("%s takes one argument", name)
	}
	return nil
}

func words(d *caddyfile.Dispenser, to *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s takes at least one argument", name)
	}
	*to = append(*to, args...)
	return nil
}

func flag(d *caddyfile.Dispenser, to *bool) error {
	name := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes no argument, but has %q", name, d.Val())
	}
	*to = true
	return nil
}

func units(d *caddyfile.Dispenser, to *int64) error {
	var arg string
	name := d.Val()
	if err := word(d, &arg); err != nil {
		return err
	}
	n, err := limiter.ParseUnits(arg)
	if err != nil {
		return d.Errf("%s: %v", name, err)
	}
	*to = n
	return nil
}

func integer(d *caddyfile.Dispenser, to *int) error {
	var n int64
	if err := units(d, &n); err != nil {
		return err
	}
	*to = int(n)
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Handler)(nil)
