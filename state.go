package soc2

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-soc2/caddy-soc2/happenings/certificates"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
	"github.com/caddy-soc2/caddy-soc2/happenings/process"
	"github.com/caddy-soc2/caddy-soc2/happenings/upstreams"
)

// State says what is recorded of the state of the server: of its certificates,
// its upstreams and its process.
type State struct {
	// Certificates says what is recorded of certificates.
	Certificates certificates.Options `json:"certificates,omitzero"`

	// Upstreams says how the upstreams of reverse proxies are watched.
	Upstreams upstreams.Options `json:"upstreams,omitzero"`
}

// markFile is where a mark is kept that the process is alive, below the data
// directory.
const markFile = "state/process"

// taps are what watches the state of the server for one configuration.
type taps struct {
	certificates *certificates.Monitor
	upstreams    *upstreams.Monitor
	mark         string
	entered      atomic.Bool // the process's recorder records for this configuration
}

// provision subscribes to Caddy's events, which is possible only now.
func (t *taps) provision(ctx caddy.Context, a *App) error {
	if err := a.Certificates.SetDefaults(); err != nil {
		return err
	}
	if err := a.Upstreams.SetDefaults(); err != nil {
		return err
	}
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("soc2: subscribing to events: %w", err)
	}
	events, ok := app.(*caddyevents.App)
	if !ok {
		return fmt.Errorf("soc2: the app events is a %T, which has no events", app)
	}
	t.certificates = certificates.New(ctx, a.Certificates, changes.Scrub)
	t.upstreams = upstreams.New(ctx, a.Upstreams)
	a.monitor = checks.New(ctx, a.Checks, a)
	t.mark = filepath.Join(a.DataDir, filepath.FromSlash(markFile))
	return errors.Join(
		subscribe(events, t.certificates, certificates.Events()...),
		subscribe(events, t.upstreams, upstreams.Events()...),
		subscribe(events, a.monitor, checks.EventStarted),
		subscribe(events, t, "started"))
}

func subscribe(events *caddyevents.App, handler caddyevents.Handler, names ...string) error {
	for _, name := range names {
		if err := events.On(name, handler); err != nil {
			return fmt.Errorf("soc2: subscribing to the event %s: %w", name, err)
		}
	}
	return nil
}

// Handle implements caddyevents.Handler: the configuration runs.
func (t *taps) Handle(context.Context, caddy.Event) error {
	if !t.entered.Swap(true) {
		process.Shared().Enter(t.mark)
	}
	return nil
}

func (t *taps) start() {
	if t.certificates == nil { // not provisioned
		return
	}
	t.certificates.Start()
	t.upstreams.Start()
}

// stop ends the watching. The end of the process is recorded last.
func (t *taps) stop() {
	if t.certificates == nil {
		return
	}
	t.certificates.Stop()
	t.upstreams.Stop()
	if t.entered.Swap(false) {
		process.Shared().Leave()
	}
}

var _ caddyevents.Handler = (*taps)(nil)
