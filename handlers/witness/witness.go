// Package witness is the handler that serves the witness which this instance
// is for the logs of others (C2SP tlog-witness).
package witness

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

// Source has the witness. It is all that this handler asks of the soc2 app.
type Source interface {
	// WitnessHandler is the witness, or nil if this instance is none.
	WitnessHandler() http.Handler
}

// Handler serves POST /add-checkpoint and GET /<origin hash>/checkpoint below
// its prefix. It needs no authentication: a checkpoint is let in by the
// signature of a log that the witness knows.
type Handler struct {
	// Prefix is the path below which the witness is served. Default: /witness.
	Prefix string `json:"prefix,omitempty"`

	server http.Handler
}

const defaultPrefix = "/witness"

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.soc2_witness",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision finds the witness.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := secret.Fill(h); err != nil {
		return fmt.Errorf("soc2_witness: %w", err)
	}
	if h.Prefix == "" {
		h.Prefix = defaultPrefix
	}
	if !strings.HasPrefix(h.Prefix, "/") || strings.HasSuffix(h.Prefix, "/") {
		return fmt.Errorf("soc2_witness prefix %q: it must begin with a slash and not end with one", h.Prefix)
	}
	app, err := ctx.AppIfConfigured("soc2")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errors.New("soc2_witness needs the soc2 app: add a soc2 block with a witness_server to the global options")
	}
	if err != nil {
		return err
	}
	source, ok := app.(Source)
	if !ok {
		return fmt.Errorf("the app soc2 is a %T, which is no witness", app)
	}
	if h.server = source.WitnessHandler(); h.server == nil {
		return errors.New("soc2_witness needs a witness_server in the soc2 block: it says whose logs are witnessed")
	}
	h.server = http.StripPrefix(h.Prefix, h.server)
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !strings.HasPrefix(r.URL.Path, h.Prefix+"/") {
		return next.ServeHTTP(w, r)
	}
	h.server.ServeHTTP(w, r)
	return nil
}

// ParseCaddyfile reads the directive:
//
//	soc2_witness {
//		prefix <path>
//	}
func ParseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	var handler Handler
	return &handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("soc2_witness takes a block and no argument, but has %q", d.Val())
	}
	for d.NextBlock(0) {
		if d.Val() != "prefix" {
			return d.Errf("soc2_witness has no option %q: it has prefix", d.Val())
		}
		if !d.AllArgs(&h.Prefix) {
			return d.Err("prefix takes one argument")
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
