package evidence

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ending ends the requests that would go on for ever. A server that stops waits
// for its requests, so they have to end when it begins to stop, and when the
// configuration is replaced that let their clients in.
type ending struct {
	ctx context.Context //nolint:containedctx // of the configuration, not of a request
	now context.CancelFunc
}

func newEnding(ctx caddy.Context, server *caddyhttp.Server) *ending {
	var e ending
	e.ctx, e.now = context.WithCancel(ctx)
	if server != nil {
		server.RegisterOnShutdown(e.now)
	}
	return &e
}

// activeEnding ends with the configuration that runs.
func activeEnding() context.Context {
	if ctx := caddy.ActiveContext(); ctx.Context != nil {
		return ctx
	}
	ctx, end := context.WithCancel(context.Background())
	end() // there is none
	return ctx
}
