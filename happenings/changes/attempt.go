package changes

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// attempt is a change of the configuration that somebody tries.
type attempt struct {
	record audit.ConfigChange // what is known from the beginning
	book   ledger.Book        // log of the configuration that goes; held; may be nil
	sent   *sent              // body of the call of /load, if it was one
	gated  bool               // a gate waits for its end, and finishes it

	// Guarded by attemptsMu until the attempt is taken off the table.
	load      *load
	unchanged bool   // Caddy said so
	failure   string // said in Caddy's log
	done      bool   // is being finished
}

// load is a configuration that is being loaded.
type load struct {
	ctx       caddy.Context // ends, with a cause, when the configuration was rejected or has gone
	attempted any           // as far as it can be seen
}

// The outcomes of a change.
const (
	applied   = "applied"
	rejected  = "rejected"
	unchanged = "unchanged"
	unclear   = "error"
)

// The sources of changes.
const (
	sourceAdmin   = "admin"
	sourceReload  = "reload"
	sourceFile    = "file"
	sourceSignal  = "signal"
	sourceStart   = "start"
	sourceLoader  = "loader"
	sourcePlugin  = "plugin"
	sourceUnknown = "unknown"
)

// announce begins an attempt of the goroutine that calls. Only one can be under
// way in a goroutine: an earlier one that came to nothing is forgotten.
func (r *recorder) announce(a *attempt) {
	a.record.Time = time.Now()
	a.record.Mode = mode()
	a.book = hold()
	g := goroutine()
	r.attemptsMu.Lock()
	old := r.attempts[g]
	r.attempts[g] = a
	forgotten := old != nil && old.load == nil && !old.done
	r.attemptsMu.Unlock()
	if forgotten {
		old.release()
	}
	if !a.gated {
		time.AfterFunc(announceLimit, func() { r.overdue(a) })
	}
}

// announceLimit is how long after its announcement a load begins or fails.
const announceLimit = 30 * time.Second

// overdue concludes an attempt that was announced and of which nothing was seen
// since: a configuration whose admin endpoint is off, and which has no soc2 app,
// tells nobody that it failed.
func (r *recorder) overdue(a *attempt) {
	r.attemptsMu.Lock()
	over := a.load == nil && !a.done
	r.attemptsMu.Unlock()
	if over {
		install()
		r.conclude(a)
	}
}

// current returns the attempt that is under way in the goroutine that calls.
// attemptsMu is held.
func (r *recorder) current() *attempt { return r.attempts[goroutine()] }

// take takes an attempt off the table, if nobody has done so.
func (r *recorder) take(a *attempt) bool {
	r.attemptsMu.Lock()
	defer r.attemptsMu.Unlock()
	if a.done {
		return false
	}
	a.done = true
	for g, other := range r.attempts {
		if other == a {
			delete(r.attempts, g)
		}
	}
	return true
}

func (a *attempt) release() {
	if a.book != nil {
		a.book.Release()
		a.book = nil
	}
}

// Begin says that a configuration is being loaded. An admin router calls it for
// each configuration whose admin endpoint is on, before the apps are
// provisioned, and the soc2 app for each that has it; the second call for a
// configuration changes nothing.
func Begin(ctx caddy.Context, whole bool) { process.begin(ctx, whole) }

func (r *recorder) begin(ctx caddy.Context, whole bool) {
	install()
	r.attemptsMu.Lock()
	a := r.current()
	if a != nil && a.load != nil && !sameConfig(a.load.ctx, ctx) {
		a = nil // one that is over, and about to be finished
	}
	first := r.loads == 0
	known := a != nil && a.load != nil
	r.attemptsMu.Unlock()
	if known {
		return
	}
	if a == nil { // nobody announced it
		a = new(attempt)
		a.record.Source, a.record.Actor = sourcePlugin, audit.Actor{Known: knownNone}
		if first {
			a.record.Source = sourceStart
		}
		if v, ok := r.serving.Load(goroutine()); ok {
			c, _ := v.(*audit.AdminCall)
			a.record.Actor, a.record.Method, a.record.Path, a.record.Ticket, a.record.Reason = c.Actor, c.Method, c.Path, c.Ticket, c.Reason
		}
		r.announce(a)
	}
	l := &load{ctx: ctx}
	if whole {
		l.attempted = attemptedOf(ctx)
	}
	r.attemptsMu.Lock()
	r.loads++
	a.load = l
	r.attemptsMu.Unlock()
	if !a.gated {
		r.follow(a)
	}
}

// follow has an attempt finished when its load is over, after those that were
// begun before.
func (r *recorder) follow(a *attempt) {
	ended := make(chan struct{})
	r.attemptsMu.Lock()
	before := r.last
	r.last = ended
	r.attemptsMu.Unlock()
	go func() {
		defer close(ended)
		r.await(a, before)
	}()
}

// patience is how long an attempt waits for the record of another. One that is
// not over by then is a configuration that was provisioned for something else.
const patience = 5 * time.Second

// settled returns when the attempts are recorded that nobody waits for.
func (r *recorder) settled() {
	r.attemptsMu.Lock()
	last := r.last
	r.attemptsMu.Unlock()
	within(last)
}

// within waits for a channel to be closed, if there is one, but not for ever.
func within(ended <-chan struct{}) {
	if ended == nil {
		return
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-ended:
	case <-limit.C:
	}
}

// awaitEvery is how often a load that no gate waits for is looked at.
const awaitEvery = 10 * time.Millisecond

// await finishes an attempt when its load is over. It ends with it: Caddy ends
// the context of each configuration that it does not run.
func (r *recorder) await(a *attempt, before <-chan struct{}) {
	tick := time.NewTicker(awaitEvery)
	defer tick.Stop()
	for !sameConfig(caddy.ActiveContext(), a.load.ctx) && a.load.ctx.Err() == nil {
		select {
		case <-a.load.ctx.Done():
		case <-tick.C:
		}
	}
	within(before)
	r.conclude(a)
}

// conclude finishes an attempt that no gate waits for.
func (r *recorder) conclude(a *attempt) {
	if r.take(a) {
		r.finish(a, result{})
		a.release()
		r.checkSoon()
	}
}

// result is what a gate saw of an attempt.
type result struct {
	status  int    // of the answer; 0: no gate
	message string // error that was answered
}

// outcome tells how an attempt ended, and why if it was rejected. It is empty
// for what was no attempt to change anything, such as a validation.
func (a *attempt) outcome(seen result) (outcome, reason string) {
	if a.load != nil {
		cause := context.Cause(a.load.ctx)
		switch {
		case cause == nil:
			return applied, ""
		case strings.HasPrefix(cause.Error(), "configuration"): // error, start error
			return rejected, firstOf(seen.message, cause.Error())
		case strings.HasPrefix(cause.Error(), "validation"):
			return "", ""
		}
		return applied, "" // it has gone since
	}
	switch {
	case a.unchanged:
		return unchanged, ""
	case seen.status >= 400:
		return rejected, seen.message
	case a.failure != "":
		return rejected, a.failure
	case seen.status > 0:
		return applied, "" // neither admin endpoint nor soc2 app is left
	}
	return unclear, "it was announced, and neither its load nor its failure was seen"
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// said puts what Caddy logs about an attempt of the goroutine that calls to it,
// and finishes one that ends so without a load.
func (r *recorder) said(failure string, same bool) {
	r.attemptsMu.Lock()
	a := r.current()
	if a == nil {
		r.attemptsMu.Unlock()
		return
	}
	a.unchanged = a.unchanged || same
	a.failure = firstOf(a.failure, failure)
	ends := !a.gated && a.load == nil
	r.attemptsMu.Unlock()
	if ends {
		go r.conclude(a) // Caddy may hold the lock of the configuration now
	}
}

// sameConfig reports whether two contexts are for one configuration. The
// context that a module is provisioned with may be derived from that of the
// configuration, so it is the configuration that is compared.
func sameConfig(a, b caddy.Context) bool {
	x, y := configOf(a), configOf(b)
	return x == y && x != nil || a.Context != nil && a.Context == b.Context
}

// configOf returns the configuration that a context is for. It is nil if it
// cannot be seen.
func configOf(ctx caddy.Context) *caddy.Config {
	f := reflect.ValueOf(ctx).FieldByName("cfg")
	if !f.IsValid() || f.Type() != reflect.TypeFor[*caddy.Config]() || f.IsNil() {
		return nil
	}
	return (*caddy.Config)(f.UnsafePointer())
}

// AppJSON returns the JSON of an app in the configuration that a context is
// for. It is nil if the configuration has no such app, or has provisioned it
// already: Caddy drops it then. Whoever gets it must not change it.
func AppJSON(ctx caddy.Context, name string) json.RawMessage {
	if config := configOf(ctx); config != nil {
		return config.AppsRaw[name]
	}
	return nil
}
