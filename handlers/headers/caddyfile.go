package headers

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ParseCaddyfile sets up a route from the soc2_headers directive. For the
// syntax see UnmarshalCaddyfile.
//
// The handler has the directive's matcher itself. Caddy would sort routes with a
// matcher before those without, and the one for a whole site would then have the
// last word. So the order in a block is the written one, and of several
// directives that match a request a later one decides over an earlier one.
func ParseCaddyfile(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	handler := new(Handler)
	return parseRoute(h, handler, handler.UnmarshalCaddyfile)
}

// ParseNonces sets up a route from the directive soc2_nonces. Syntax:
//
//	soc2_nonces [<matcher>] [<request header>]
func ParseNonces(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	handler := &Handler{Nonces: &Nonces{Rewrite: true}}
	return parseRoute(h, handler, func(d *caddyfile.Dispenser) error {
		d.Next() // directive name
		if d.NextArg() {
			handler.Nonces.RequestHeader = d.Val()
		}
		if d.NextArg() || d.NextBlock(0) {
			return d.ArgErr()
		}
		return located(d, handler.Nonces.check())
	})
}

func parseRoute(h httpcaddyfile.Helper, handler *Handler, parse func(*caddyfile.Dispenser) error) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	if err := parse(h.Dispenser); err != nil {
		return nil, err
	}
	if matcher != nil {
		handler.MatcherSetsRaw = caddyhttp.RawMatcherSets{matcher}
	}
	return h.NewRoute(nil, handler), nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	soc2_headers [<matcher>] [baseline|strict|api] {
//		csp        "<policy>"
//		csp        [replace] [report_only] {
//			<directive>  <source>...
//			+<directive> <source>...
//			-<directive>
//		}
//		set|default <field> <value> [<when>]
//		remove     <field> [<when>]
//		bound      <field> min|max <parameter> <number>
//		bound      <field> require|forbid|one_of <part>...
//		bound      <field> max_length <bytes>
//		cookies {
//			http_only on|off
//			readable  <cookie>...
//			same_site Lax|Strict
//			prefix    on|off
//		}
//		cors       <origin>... [{
//			credentials
//		}]
//		no_store   authenticated|dynamic|all|never
//		reports_to <path>
//		report     <rule>...
//		enforce    <rule>...
//		nonces     [<request header>]
//		request    { … }   (see Request.unmarshal)
//	}
//
// where <when> is a block:
//
//	{
//		types   <media type>|document|script|static|other ...
//		status  <code>|<class> ...
//		methods <method>...
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	if d.NextArg() {
		h.Profile = d.Val()
		if !Known(h.Profile) {
			return d.Errf("unknown profile %q: there are %s, %s and %s", h.Profile, Baseline, Strict, API)
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		name := d.Val()
		parse, ok := subdirectives[name]
		if !ok {
			return d.Errf("unknown subdirective %q: there are %s", name, sortedKeys(subdirectives))
		}
		if err := parse(h, d); err != nil {
			return err
		}
	}
	return located(d, h.prepare())
}

var subdirectives = map[string]func(h *Handler, d *caddyfile.Dispenser) error{
	"csp":     (*Handler).unmarshalCSP,
	"set":     (*Handler).unmarshalRule,
	"default": (*Handler).unmarshalRule,
	"remove":  (*Handler).unmarshalRule,
	"bound":   (*Handler).unmarshalBound,
	"cookies": func(h *Handler, d *caddyfile.Dispenser) error {
		if h.Cookies == nil {
			h.Cookies = new(Cookies)
		}
		return h.Cookies.unmarshal(d)
	},
	"cors": (*Handler).unmarshalCORS,
	"no_store": func(h *Handler, d *caddyfile.Dispenser) error {
		if err := word(d, &h.NoStore); err != nil {
			return err
		}
		if _, ok := cacheRules[h.NoStore]; !ok {
			return d.Errf("no_store %q: there are %s", h.NoStore, sortedKeys(cacheRules))
		}
		return nil
	},
	"reports_to": func(h *Handler, d *caddyfile.Dispenser) error { return word(d, &h.ReportsTo) },
	"report":     func(h *Handler, d *caddyfile.Dispenser) error { return words(d, &h.Report) },
	"enforce":    func(h *Handler, d *caddyfile.Dispenser) error { return words(d, &h.Enforce) },
	"nonces": func(h *Handler, d *caddyfile.Dispenser) error {
		h.Nonces = new(Nonces)
		if d.NextArg() {
			h.Nonces.RequestHeader = d.Val()
		}
		if d.NextArg() {
			return d.ArgErr()
		}
		return located(d, h.Nonces.check())
	},
	"request": func(h *Handler, d *caddyfile.Dispenser) error {
		if h.Request == nil {
			h.Request = new(Request)
		}
		return h.Request.unmarshal(d)
	},
}

func (h *Handler) unmarshalCSP(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	nesting := d.Nesting()
	if !d.NextBlock(nesting) {
		if h.CSP != "" {
			return d.Errf("csp is given twice")
		}
		if len(args) != 1 || args[0] == "" {
			return d.Errf("csp takes one policy, in quotes, or a block of directives")
		}
		h.CSP = args[0]
		if _, err := parseCSP(h.CSP); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
	var c CSP
	for _, arg := range args {
		switch arg {
		case "replace":
			c.Replace = true
		case "report_only":
			c.ReportOnly = true
		default:
			return d.Errf("csp has no option %q: it has replace and report_only", arg)
		}
	}
	for ok := true; ok; ok = d.NextBlock(nesting) {
		directive := Directive{Name: d.Val()}
		switch directive.Name[:min(len(directive.Name), 1)] {
		case "+":
			directive.Name, directive.Merge = directive.Name[1:], mergeAdd
		case "-":
			directive.Name, directive.Merge = directive.Name[1:], mergeRemove
		}
		directive.Sources = d.RemainingArgs()
		c.Directives = append(c.Directives, directive)
		if err := c.check(); err != nil {
			return d.WrapErr(err)
		}
	}
	h.Policies = append(h.Policies, c)
	return nil
}

func (h *Handler) unmarshalRule(d *caddyfile.Dispenser) error {
	r := Rule{Action: d.Val()}
	args := d.RemainingArgs()
	switch {
	case r.Action == actionRemove && len(args) == 1:
		r.Field = args[0]
	case r.Action != actionRemove && len(args) == 2:
		r.Field, r.Value = args[0], args[1]
	default:
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "types":
			err = words(d, &r.When.Types)
		case "status":
			err = words(d, &r.When.Status)
		case "methods":
			err = words(d, &r.When.Methods)
		default:
			err = d.Errf("%s has no option %q: it has types, status and methods", r.Action, d.Val())
		}
		if err != nil {
			return err
		}
	}
	if err := r.provision(); err != nil {
		return d.WrapErr(err)
	}
	h.Rules = append(h.Rules, r)
	return nil
}

// unmarshalBound adds to the bound of a field.
func (h *Handler) unmarshalBound(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 3 {
		return d.ArgErr()
	}
	b := Bound{Field: args[0]}
	switch rest := args[2:]; args[1] {
	case "min", "max":
		if len(rest) != 2 {
			return d.Errf("bound %s %s takes a parameter and a number", b.Field, args[1])
		}
		n, err := strconv.ParseInt(rest[1], 10, 64)
		if err != nil {
			return d.Errf("bound %s %s %s: %q is no number", b.Field, args[1], rest[0], rest[1])
		}
		b.Param = rest[0]
		if args[1] == "min" {
			b.Min = &n
		} else {
			b.Max = &n
		}
	case "require":
		b.Require = rest
	case "forbid":
		b.Forbid = rest
	case "one_of":
		b.OneOf = rest
	case "max_length":
		n, err := strconv.Atoi(rest[0])
		if err != nil || n <= 0 || len(rest) > 1 {
			return d.Errf("bound %s max_length takes a number of bytes", b.Field)
		}
		b.MaxLength = n
	default:
		return d.Errf("unknown bound %q: there are min, max, require, forbid, one_of and max_length", args[1])
	}
	return located(d, h.addBound(b))
}

// addBound merges b with the bound of the same field, if there is one that it
// fits in with, so that a contradiction is found.
func (h *Handler) addBound(b Bound) error {
	for i := range h.Bounds {
		o := &h.Bounds[i]
		if !strings.EqualFold(o.Field, b.Field) || b.Param != "" && o.Param != "" && o.Param != b.Param || len(b.OneOf) > 0 && len(o.OneOf) > 0 {
			continue
		}
		if b.Param != "" {
			o.Param = b.Param
		}
		if b.Min != nil {
			o.Min = b.Min
		}
		if b.Max != nil {
			o.Max = b.Max
		}
		o.Require, o.Forbid = append(o.Require, b.Require...), append(o.Forbid, b.Forbid...)
		o.OneOf = append(o.OneOf, b.OneOf...)
		if o.MaxLength == 0 || b.MaxLength > 0 && b.MaxLength < o.MaxLength {
			o.MaxLength = b.MaxLength
		}
		return o.provision()
	}
	h.Bounds = append(h.Bounds, b)
	return h.Bounds[len(h.Bounds)-1].provision()
}

func (c *Cookies) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "http_only":
			err = truth(d, &c.HTTPOnly)
		case "prefix":
			err = truth(d, &c.Prefix)
		case "same_site":
			err = word(d, &c.SameSite)
		case "readable":
			err = words(d, &c.Readable)
		default:
			err = d.Errf("cookies has no option %q: it has http_only, readable, same_site and prefix", d.Val())
		}
		if err != nil {
			return err
		}
		if err := c.check(); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

func (h *Handler) unmarshalCORS(d *caddyfile.Dispenser) error {
	if h.CORS != nil {
		return d.Errf("cors is given twice")
	}
	h.CORS = &CORS{Origins: d.RemainingArgs()}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "credentials" || d.NextArg() {
			return d.Errf("cors has no option %q: it has credentials", d.Val())
		}
		h.CORS.Credentials = true
	}
	return located(d, h.CORS.check())
}
