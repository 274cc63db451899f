package happenings

import (
	"encoding/json"
	"net"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/happenings/wire"
)

// Framing is the listener wrapper that lets the wrapper soc2 see requests over
// HTTP/1 with TLS in the clear. The wrapper soc2 puts it last, behind tls, unless
// its option framing is off. There is no need to list it.
type Framing struct{}

// CaddyModule returns the Caddy module information.
func (*Framing) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.listeners.soc2_framing",
		New: func() caddy.Module { return new(Framing) },
	}
}

// WrapListener changes connections with TLS that come from a listener of the
// wrapper soc2, and no others.
func (*Framing) WrapListener(ln net.Listener) net.Listener { return wire.Above(ln) }

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. There are no options.
func (*Framing) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the wrapper's name
	if d.NextArg() || d.NextBlock(0) {
		return d.Errf("the listener wrapper soc2_framing takes nothing, but has %q", d.Val())
	}
	return nil
}

// lookIntoTLS lists the wrapper behind all others of a server whose wrappers are
// being loaded. Caddy looks how many there are before it loads each, and so loads
// this one too. Wrappers that others list behind tls see the connections as ever.
func lookIntoTLS(srv *caddyhttp.Server) {
	srv.ListenerWrappersRaw = append(slices.Clip(srv.ListenerWrappersRaw), json.RawMessage(`{"wrapper":"soc2_framing"}`))
}

// Interface guards
var (
	_ caddy.ListenerWrapper = (*Framing)(nil)
	_ caddyfile.Unmarshaler = (*Framing)(nil)
)
