package evidence

import (
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
		default:
			return d.Errf("soc2_evidence has no option %q: it has prefix and allow_unauthenticated", d.Val())
		}
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*Handler)(nil)
