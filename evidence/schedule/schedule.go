package schedule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

const (
	// Delay is how long after its end a period is made: a minute longer than
	// what a pack looks at behind the period.
	Delay = pack.Tail + time.Minute

	// backlog is how many periods are made up for.
	backlog = 12

	// Again is how long after a failure the next attempt is, and attempts how
	// many there are.
	again    = time.Hour
	attempts = 24

	// step is the longest wait at a time: the clock may be set.
	step = time.Minute
)

// Options of a Schedule.
type Options struct {
	Plans []*Plan // that were checked

	// Log signs what was appended so far, and returns the log.
	Log func(context.Context) (packer.Log, error)
	// Record appends a record, and waits until it is durable.
	Record func(audit.Body) error
	// Report tells the operator of failures.
	Report func(error)

	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Wait waits for some time, and returns false if the context ends before.
	// Default: it does, in real time.
	Wait func(ctx context.Context, d time.Duration) bool
}

// Schedule carries plans out. One of a process does so at a time: a schedule
// that replaces another waits until that has stopped.
type Schedule struct {
	opt    Options
	cancel context.CancelFunc
	ended  chan struct{}
	open   []*task
	first  time.Time // when the log began
}

// task is a period that is to be made.
type task struct {
	plan   *Plan
	what   string
	period pack.Period
	failed int
	due    time.Time
}

// turn is held by the schedule that carries plans out.
var turn = make(chan struct{}, 1)

// Start begins to carry plans out. The caller stops it.
func Start(opt Options) *Schedule {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Wait == nil {
		opt.Wait = wait
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Schedule{opt: opt, cancel: cancel, ended: make(chan struct{})}
	go s.run(ctx)
	return s
}

// Stop ends what is being made, and waits until it has ended.
func (s *Schedule) Stop() {
	if s == nil {
		return
	}
	s.cancel()
	<-s.ended
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

func (s *Schedule) run(ctx context.Context) {
	defer close(s.ended)
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return
	}
	from := s.opt.Now().UTC()
	for !s.missed(ctx, from) {
		if !s.opt.Wait(ctx, step) {
			return
		}
		from = s.opt.Now().UTC()
	}
	for ctx.Err() == nil {
		s.carryOut(ctx)
		now := s.opt.Now().UTC()
		s.add(from, now)
		from = later(from, now)
		if d := s.next(now).Sub(now); d > 0 && !s.opt.Wait(ctx, min(d, step)) {
			return
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// missed finds what was not made before; false if the log cannot be read.
func (s *Schedule) missed(ctx context.Context, now time.Time) bool {
	log, err := s.opt.Log(ctx)
	if err == nil {
		s.open, s.first, err = pending(ctx, log.Dir, s.opt.Plans, now)
	}
	if err != nil && ctx.Err() == nil {
		s.opt.Report(fmt.Errorf("finding out which reports were made: %w", err))
	}
	return err == nil
}

// add adds the periods whose time to be made has come since.
func (s *Schedule) add(since, now time.Time) {
	for _, p := range s.opt.Plans {
		if !p.due(since).After(now) {
			s.addPlan(p, since, now)
		}
	}
}

func (s *Schedule) addPlan(p *Plan, since, now time.Time) {
	for _, period := range slices.Backward(p.periods(now, backlog)) {
		if !period.To.Add(Delay).After(since) || !period.To.After(s.first) {
			continue
		}
		for _, what := range p.Make {
			s.open = append(s.open, &task{plan: p, what: what, period: period})
		}
	}
}

// next is when something is to be done.
func (s *Schedule) next(now time.Time) time.Time {
	at := now.Add(step)
	for _, p := range s.opt.Plans {
		if due := p.due(now); due.Before(at) {
			at = due
		}
	}
	for _, t := range s.open {
		if t.due.Before(at) {
			at = t.due
		}
	}
	return at
}

// carryOut makes what is due.
func (s *Schedule) carryOut(ctx context.Context) {
	rest := s.open[:0]
	for _, t := range s.open {
		if ctx.Err() != nil || t.due.After(s.opt.Now()) {
			rest = append(rest, t)
			continue
		}
		if err := s.attempt(ctx, t); err != nil {
			t.failed++
			t.due = s.opt.Now().Add(again)
			if t.failed < attempts {
				rest = append(rest, t)
			}
		}
	}
	s.open = rest
}

// attempt makes a period, and records the beginning and the end.
func (s *Schedule) attempt(ctx context.Context, t *task) error {
	if err := s.record(t, begun, made{}, nil); err != nil {
		s.opt.Report(err)
		return err
	}
	m, err := s.produce(ctx, t)
	what := done
	switch {
	case err != nil && ctx.Err() != nil:
		what, err = failed, errors.New("the configuration or the process ended before it was done")
	case err != nil:
		what = failed
		s.opt.Report(fmt.Errorf("making %s: %w", t.file(), err))
	}
	if rerr := s.record(t, what, m, err); rerr != nil {
		s.opt.Report(rerr)
		return errors.Join(err, rerr)
	}
	if err == nil {
		if err := t.plan.prune(t.what); err != nil {
			s.opt.Report(fmt.Errorf("removing old reports of %s: %w", t.plan.To, err))
		}
	}
	return err
}

// file is where a task's result goes.
func (t *task) file() string { return t.plan.file(t.what, t.period) }
