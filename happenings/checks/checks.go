// Package checks makes the checks of package controls on the running server:
// when a configuration begins to run, when something happens that a check looks
// at, at an interval, and on demand. Each change of a result is a
// check.transition record.
//
// What checks know belongs to the process: configurations come and go. The
// results of an earlier process are in a file, so that since when a check fails
// survives a restart; what happened in its time is read back from the log.
package checks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/notary"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/happenings/process"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Options say how the checks are made.
type Options struct {
	// Interval is how often all checks are made although nothing has happened
	// that they look at. Default: 60s. Minimum: 1s.
	Interval caddy.Duration `json:"interval,omitempty"`

	controls.Settings
}

const (
	defaultInterval = time.Minute
	minInterval     = time.Second
)

// SetDefaults fills in and checks the options.
func (o *Options) SetDefaults() error {
	if o.Interval == 0 {
		o.Interval = caddy.Duration(defaultInterval)
	}
	if d := time.Duration(o.Interval); d < minInterval {
		return fmt.Errorf("soc2: checks every %s (interval): it must be at least %s", d, minInterval)
	}
	if err := o.Validate(time.Now()); err != nil {
		return fmt.Errorf("soc2: checks: %w", err)
	}
	return nil
}

// App is what the checks ask of the soc2 app.
type App interface {
	// Anchors are what outsiders did with the log.
	Anchors() []notary.Anchor
	// Held reports whether a legal hold is in force.
	Held() bool
	// Guarded are the files that have to be closed to others.
	Guarded() []controls.File
	// StateFile is where results are kept for a later process.
	StateFile() string
}

// watcher is what the process knows.
type watcher struct {
	// owner is the monitor of the configuration that runs.
	owner atomic.Pointer[Monitor]

	tally  *controls.Tally
	report atomic.Pointer[controls.Report] // of the last run
	counts counts

	mu      sync.Mutex // held while checks are made; guards the fields below
	tracker controls.Tracker
	loaded  string // file that the tracker was read from
	saved   string // file that it was written to last, beside the log that has all results
	facts   facts
	past    past
	decided *audit.Log // of which it was read what persons decided

	unwritten bool // the last records did not get into the log
}

var shared = newWatcher()

func newWatcher() *watcher {
	w := &watcher{tally: controls.NewTally(process.Born())}
	w.tally.Notify = func() {
		if m := w.owner.Load(); m != nil {
			m.wake()
		}
	}
	return w
}

// Request counts a request with the header of its response. It is for the
// handler that makes records.
func Request(ev *audit.Event, sent http.Header) {
	shared.tally.Request(ev, sent)
	if m := shared.owner.Load(); m != nil {
		m.counted.Add(1)
	}
}

// Happened counts what a record says.
func Happened(body audit.Body) { shared.tally.Happened(body, false) }

// Decided counts what a person decided, of which the record has an index.
func Decided(seq int64, r *audit.Review) { shared.tally.Decided(seq, r, false) }

// Last returns the report of the last run; nil before the first.
func Last() *controls.Report { return shared.report.Load() }

// Monitor makes the checks for one configuration.
type Monitor struct {
	options Options
	ctx     caddy.Context
	app     App
	watcher *watcher
	counted atomic.Int64 // requests that were recorded for the configuration

	woken chan struct{}
	ask   chan chan<- *controls.Report
	done  chan struct{} // closed when run is about to end
	stop  context.CancelFunc
	ended chan struct{} // closed when run has returned; nil before Start
}

// New returns a monitor for a configuration that is being provisioned.
func New(ctx caddy.Context, o Options, app App) *Monitor {
	return &Monitor{
		options: o, ctx: ctx, app: app, watcher: shared,
		woken: make(chan struct{}, 1), ask: make(chan chan<- *controls.Report), done: make(chan struct{}),
	}
}

// EventStarted is the name of the event for Handle.
const EventStarted = "started"

// Handle implements caddyevents.Handler: the configuration runs.
func (m *Monitor) Handle(context.Context, caddy.Event) error {
	m.watcher.owner.Store(m)
	m.watcher.tally.Set(&m.options.Settings)
	m.wake()
	return nil
}

func (m *Monitor) wake() {
	select {
	case m.woken <- struct{}{}:
	default:
	}
}

// Start begins to make checks. None is made before the configuration runs.
func (m *Monitor) Start() {
	if m == nil { // the app was not provisioned by Caddy
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.stop, m.ended = cancel, make(chan struct{})
	go m.run(ctx)
}

// Stop ends the checks and waits for one that is being made.
func (m *Monitor) Stop() {
	if m == nil || m.ended == nil {
		return
	}
	m.stop()
	<-m.ended
	m.watcher.owner.CompareAndSwap(m, nil)
}

// errNotRunning means that nobody makes checks.
var errNotRunning = errors.New("the checks are not being made: the configuration does not run yet, or not any more")

// Demand makes the checks now and returns their report.
func (m *Monitor) Demand(ctx context.Context) (*controls.Report, error) {
	answer := make(chan *controls.Report, 1)
	select {
	case m.ask <- answer:
	case <-m.done:
		return nil, errNotRunning
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case r := <-answer:
		return r, nil
	case <-m.done:
		return nil, errNotRunning
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

const (
	// glance is how often what does not announce itself is looked at: whether
	// the log takes records, and the clock.
	glance = 500 * time.Millisecond

	// settle is how long the first run waits for the configuration to be known.
	settle = 2 * time.Second

	// again is after how long parts that were not known at the first run are:
	// the certificates are looked at a second after the start.
	again = 2500 * time.Millisecond

	// spacing is the least time between two runs that nobody asked for.
	spacing = 100 * time.Millisecond
)

func (m *Monitor) run(ctx context.Context) {
	defer close(m.ended)
	defer close(m.done)
	if !m.settled(ctx) {
		return
	}
	m.watcher.prepare(ctx, m)
	m.make(ctx, controls.TriggerStart)
	due := time.NewTimer(again)
	defer due.Stop()
	plan := func(after time.Duration) {
		if r := m.watcher.report.Load(); r != nil && !r.Next().IsZero() { // the timer has the monotonic clock: the other one may be set back
			after = min(after, max(0, time.Until(r.Next())))
		}
		due.Reset(after)
	}
	plan(again)
	tick := time.NewTicker(glance)
	defer tick.Stop()
	var last time.Time
	spaced := func() bool { pause := spacing - time.Since(last); return pause <= 0 || wait(ctx, pause) }
	for {
		select {
		case <-ctx.Done():
			return
		case answer := <-m.ask:
			answer <- m.make(ctx, controls.TriggerDemand)
		case <-m.woken:
			if !spaced() {
				return
			}
			m.make(ctx, controls.TriggerChange)
		case now := <-tick.C:
			m.watcher.glance(now)
			continue
		case <-due.C:
			if !spaced() {
				return
			}
			m.make(ctx, controls.TriggerInterval)
		}
		last = time.Now()
		plan(time.Duration(m.options.Interval))
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// settled waits until it is known which configuration runs, but not for long.
func (m *Monitor) settled(ctx context.Context) bool {
	deadline := time.NewTimer(settle)
	defer deadline.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-deadline.C:
			return true
		case <-m.woken:
		}
		if _, _, known := changes.Running(); known && m.watcher.owner.Load() == m {
			return true
		}
	}
}

// make makes the checks, records what has changed, and returns the report; the
// last one if another configuration runs.
func (m *Monitor) make(ctx context.Context, trigger string) *controls.Report {
	w := m.watcher
	w.owner.CompareAndSwap(nil, m) // a later configuration was withdrawn
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.owner.Load() != m {
		return w.report.Load()
	}
	began := time.Now()
	s := w.facts.gather(ctx, m, trigger)
	if ctx.Err() != nil {
		return w.report.Load()
	}
	s.Server.Failing = w.tracker.Failing()
	r := controls.Run(s, &m.options.Settings)
	r.Took, r.Trigger = time.Since(began), trigger
	w.tally.Know(r, &m.options.Settings)
	if file := m.app.StateFile(); w.saved != file {
		w.saved = file
		w.tracker.Untold() // to this log
	}
	records := w.tracker.Apply(r)
	if len(records) > 0 {
		w.save(m.app.StateFile()) // first: after a crash between the two the log gets all results anew
		if !w.write(records) {
			w.tracker.Untold()
		}
	}
	w.counts.ran(r, records)
	w.report.Store(r)
	return r
}

// write appends records, and reports whether the log has taken all of them.
func (w *watcher) write(records []*audit.CheckTransition) bool {
	book := ledger.Current()
	if book == nil || !book.Hold() {
		return false
	}
	defer book.Release()
	for _, r := range records {
		if err := book.Write(r, false); err != nil {
			if !w.unwritten {
				caddy.Log().Named("soc2").Warn("the result of a check could not be recorded; all are when the log takes records again", zap.String("check", r.Check), zap.Error(err))
			}
			w.unwritten = true
			return false // the log counts what it does not take
		}
	}
	w.unwritten = false
	return true
}

func (w *watcher) save(file string) {
	b, err := w.tracker.Save()
	if err == nil {
		err = durable.WriteFile(durable.OS{}, file, b)
	}
	if err != nil {
		caddy.Log().Named("soc2").Warn("the results of checks could not be kept for a later process; they are in the log", zap.Error(err))
	}
}
