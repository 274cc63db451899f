package changes

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// checkEvery is how often the admin endpoint is compared with the
// configuration.
const checkEvery = time.Minute

// Watch compares the admin endpoint with the configuration at intervals, and
// notices when the configuration that has it goes without a successor.
type Watch struct {
	stop  chan struct{}
	ended chan struct{}
}

// NewWatch prepares a watch for a configuration, whose context is ctx.
func NewWatch(ctx caddy.Context) *Watch {
	Begin(ctx, false) // an admin endpoint that is off tells nobody
	return new(Watch)
}

// Start begins the comparisons.
func (w *Watch) Start() {
	if w == nil { // the app was not provisioned by Caddy
		return
	}
	w.stop, w.ended = make(chan struct{}), make(chan struct{})
	go w.run()
}

func (w *Watch) run() {
	defer close(w.ended)
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			CheckEndpoint()
		case <-w.stop:
			return
		}
	}
}

// Stop ends the comparisons. If the configuration that runs by now has no soc2
// app, and no admin endpoint that would have told, the change is recorded: the
// log is still open, and held until it is.
func (w *Watch) Stop() {
	if w == nil || w.stop == nil {
		return
	}
	close(w.stop)
	<-w.ended
	w.stop = nil
	if caddy.Exiting() {
		process.calls.settleAll()
		return
	}
	process.left()
}

// left records that the soc2 app is gone, unless an attempt that is under way
// will.
func (r *recorder) left() {
	next := caddy.ActiveContext()
	if next.Context == nil {
		return // Caddy stops
	}
	if _, err := next.AppIfConfigured("soc2"); !errors.Is(err, caddy.ErrNotConfigured) {
		return
	}
	r.attemptsMu.Lock()
	a := r.current()
	told := a != nil && (a.load != nil || a.gated)
	if a != nil && a.load == nil {
		a.load = &load{ctx: next} // announced, by the file watcher for example
	}
	r.attemptsMu.Unlock()
	if told {
		return
	}
	if a == nil {
		a = new(attempt)
		a.record.Source, a.record.Actor = sourcePlugin, audit.Actor{Known: knownNone}
		r.announce(a)
		r.attemptsMu.Lock()
		a.load = &load{ctx: next}
		r.attemptsMu.Unlock()
	}
	if !a.gated {
		r.follow(a)
	}
}
