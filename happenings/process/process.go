// Package process records what happens to the server's process: that it began,
// and what it is made of; that it stopped, and why; that it crashed, which is
// noticed at the next start; the signals that it gets, and the limits of
// resources that it comes near.
//
// There is one Recorder for the process. It outlives configurations, and
// writes to the audit log of the one that runs.
package process

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// born is about when the process began.
var born = time.Now()

// Recorder writes the records of the process.
type Recorder struct {
	boot   string
	book   func() ledger.Book
	now    func() time.Time
	self   func(context.Context) audit.Process // what process.start says
	limits func() []limit
	every  time.Duration // between two looks at the limits

	alive alive

	mu      sync.Mutex // guards the fields below
	users   int        // configurations that have the audit log
	signals chan os.Signal
	stop    context.CancelFunc // nil unless run runs
	ended   chan struct{}      // closed when run has returned
	gone    bool               // the end of the process is recorded

	// Of the goroutine that run is, and of Leave when that has ended.
	last string     // signal that came last
	log  *audit.Log // that has the record of the start

	reachedMu sync.Mutex
	reached   map[string]bool // limits, by name
}

// The process has one recorder.
var shared = &Recorder{
	boot: audit.NewID(born).String(), book: ledger.Current, now: time.Now,
	self: describe, limits: sample, every: limitsEvery,
}

// Shared is the recorder of this process.
func Shared() *Recorder { return shared }

// limitsEvery is how often the limits of resources are looked at.
const limitsEvery = 10 * time.Second

// Reached returns the names of the limits that are reached, in order: of a few
// that the package knows.
func (r *Recorder) Reached() []string {
	r.reachedMu.Lock()
	defer r.reachedMu.Unlock()
	var list []string
	for name, is := range r.reached {
		if is {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// Describe says what the process is made of and where it runs. It reads the
// whole program file, unless ctx ends.
func Describe(ctx context.Context) audit.Process { return describe(ctx) }

// Clock is the state of the host's clock.
func Clock() audit.Clock { return clock() }

// Born is about when the process began.
func Born() time.Time { return born }

// Boot is the id of the process's life that its records have.
func (r *Recorder) Boot() string { return r.boot }

// Enter begins to record for a configuration that runs. File is where a mark is
// left that the process is alive.
func (r *Recorder) Enter(file string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alive.use(file)
	if r.users++; r.users > 1 || r.gone {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.ended = cancel, make(chan struct{})
	r.signals = make(chan os.Signal, 16)
	if list := caught(); len(list) > 0 {
		signal.Notify(r.signals, list...)
	}
	go r.run(ctx, r.signals, r.ended)
}

// Leave ends recording for a configuration. The last one to leave waits for
// what is being recorded; if the process is about to end, that is recorded.
func (r *Recorder) Leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users--; r.users > 0 || r.stop == nil {
		return
	}
	// When Stop returns, no signal is on its way any more: those that made Caddy
	// end are in the channel.
	signal.Stop(r.signals)
	r.stop()
	<-r.ended
	r.drain()
	r.stop = nil
	if caddy.Exiting() {
		r.finish()
	}
}

// drain records the signals that have come.
func (r *Recorder) drain() {
	for {
		select {
		case s := <-r.signals:
			r.signaled(s)
		default:
			return
		}
	}
}

// finish records the end of the process.
func (r *Recorder) finish() {
	r.gone = true
	reason := "asked for by the admin API or by the program itself"
	if r.last != "" {
		reason = "signal"
	}
	p := r.record(audit.KindProcessStop)
	p.Signal, p.Reason = r.last, reason
	r.write(&p)
	r.alive.remove()
}

// run records until ctx ends. It holds no lock that Leave holds.
func (r *Recorder) run(ctx context.Context, signals <-chan os.Signal, ended chan<- struct{}) {
	defer close(ended)
	r.start(ctx)
	tick := time.NewTicker(r.every)
	defer tick.Stop()
	r.look()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			r.signaled(s)
		case <-tick.C:
			r.start(ctx)
			r.look()
		}
	}
}

// start records the start of the process in a log that does not have it yet.
// The log is told of it once it has been opened, so again if the log failed or
// another one takes its place.
func (r *Recorder) start(ctx context.Context) {
	book := r.book()
	if book == nil || !book.Hold() {
		return
	}
	defer book.Release()
	log := book.Log()
	if log == r.log {
		return
	}
	r.crash(book, log)
	p := r.self(ctx)
	base := r.record(audit.KindProcessStart)
	p.Time, p.Kind, p.PID, p.Boot, p.Uptime = base.Time, base.Kind, base.PID, base.Boot, base.Uptime
	if book.Write(&p, false) == nil {
		r.log = log
		r.alive.begin(r.boot, r.now())
	}
}

// record is what all records of the process have.
func (r *Recorder) record(kind audit.Kind) audit.Process {
	now := r.now()
	return audit.Process{Time: now, Kind: kind, PID: os.Getpid(), Boot: r.boot, Uptime: max(0, now.Sub(born))}
}

func (r *Recorder) signaled(s os.Signal) {
	r.last = nameOf(s)
	p := r.record(audit.KindProcessSignal)
	p.Signal = r.last
	r.write(&p)
}

func (r *Recorder) write(p *audit.Process) {
	book := r.book()
	if book == nil || !book.Hold() {
		return
	}
	defer book.Release()
	if err := book.Write(p, false); err != nil {
		caddy.Log().Named("soc2").Warn("what happened to the process could not be recorded", zap.String("kind", string(p.Kind)), zap.Error(err))
	}
}
