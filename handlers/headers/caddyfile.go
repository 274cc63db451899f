package headers

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ParseCaddyfile sets up the handler from the soc2_headers directive. For the
// syntax see UnmarshalCaddyfile.
func ParseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	soc2_headers [<matcher>] [baseline|strict|api] {
//	    csp <policy>
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
		switch name := d.Val(); name {
		case "csp":
			if h.CSP != "" {
				return d.Errf("csp is given twice")
			}
			if !d.AllArgs(&h.CSP) || h.CSP == "" {
				return d.Errf("csp takes one policy, in quotes")
			}
		default:
			return d.Errf("unknown subdirective %q: there is only csp", name)
		}
	}
	return nil
}
