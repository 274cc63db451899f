package evidence

import (
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ParseCaddyfile sets up the handler from a Caddyfile. For the syntax see
// UnmarshalCaddyfile.
func ParseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	soc2_evidence [<matcher>] {
//		prefix <path>
//		allow_unauthenticated
//		viewers  role:<name>|user:<name>|cert:<sha256>...
//		auditors role:<name>|user:<name>|cert:<sha256>...
//		rate     <requests a second>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("soc2_evidence takes a block and no argument, but has %q", d.Val())
	}
	for d.NextBlock(0) {
		switch d.Val() {
		case "prefix":
			if !d.AllArgs(&h.Prefix) {
				return d.Errf("prefix takes one argument")
			}
			if err := h.Validate(); err != nil {
				return d.WrapErr(err)
			}
		case "allow_unauthenticated":
			if d.NextArg() {
				return d.Errf("allow_unauthenticated takes no argument, but has %q", d.Val())
			}
			h.AllowUnauthenticated = true
		case "viewers", "auditors":
			option, list := d.Val(), &h.Viewers
			if option == "auditors" {
				list = &h.Auditors
			}
			names := d.RemainingArgs()
			if len(names) == 0 {
				return d.Errf("%s takes one argument at least", option)
			}
			if err := checkNames(option, names); err != nil {
				return d.WrapErr(err)
			}
			*list = append(*list, names...)
		case "rate":
			var text string
			var err error
			if !d.AllArgs(&text) {
				return d.Errf("rate takes one argument")
			}
			if h.Rate, err = strconv.Atoi(text); err != nil || h.Rate < 1 || h.Rate > maxRate {
				return d.Errf("rate %q: it is a number of requests a second from 1 to %d", text, maxRate)
			}
		default:
			return d.Errf("soc2_evidence has no option %q: it has prefix, allow_unauthenticated, viewers, auditors and rate", d.Val())
		}
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*Handler)(nil)
