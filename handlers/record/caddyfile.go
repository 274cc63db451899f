package record

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ParseCaddyfile sets up the handler from a Caddyfile:
//
//	soc2_audit
//
// It has no options of its own: how records are kept is said once, in the
// global option soc2.
func ParseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	var handler Handler
	return &handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler.
func (*Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("soc2_audit takes no argument, but has %q: set the log's options in the global option soc2", d.Val())
	}
	for d.NextBlock(0) {
		return d.Errf("soc2_audit has no option %q: set the log's options in the global option soc2", d.Val())
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*Handler)(nil)
