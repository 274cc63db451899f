// Package auditlog measures the audit log against its limits and its peers.
package auditlog

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
	"github.com/caddy-soc2/caddy-soc2/bench/traffic"
)

// Bench is what the measurements share.
type Bench struct {
	Dir      string // all files are made below it
	Rounds   int
	Each     time.Duration // of a variant in a round
	Records  int64         // of the log for start, proofs and verification
	Progress io.Writer
	Self     string // this program, which measures in children of its own

	lean []audit.Event     // made ahead, so that making them costs the measured nothing
	hist []measure.Latency // of each writer
}

// poolSize is how many events are made ahead. Writers go round.
const poolSize = 1 << 14

func (b *Bench) plan() measure.Plan {
	return measure.Plan{Rounds: b.Rounds, Each: b.Each, Progress: b.Progress}
}

// pool returns events of 600-byte records.
func (b *Bench) pool() []audit.Event {
	if b.lean == nil {
		g := traffic.New(1)
		g.Lean = true
		b.lean = make([]audit.Event, poolSize)
		for i := range b.lean {
			g.Next(&b.lean[i], time.Now())
		}
	}
	return b.lean
}

// appender takes one event on behalf of a writer. buf is the writer's own; what
// is returned becomes its next.
type appender func(ctx context.Context, ev *audit.Event, buf []byte) ([]byte, error)

// noop is the harness alone: it neither encodes nor appends.
func noop(_ context.Context, _ *audit.Event, buf []byte) ([]byte, error) { return buf, nil }

// drive appends from so many writers for about d, each waiting for its record
// before it makes the next (closed loop). flush, if not nil, is called at the
// end and counts.
func (b *Bench) drive(ctx context.Context, writers int, d time.Duration, do appender, flush func() error) (measure.Sample, error) {
	var (
		wg     sync.WaitGroup
		failed atomic.Pointer[error]
		pool   = b.pool()
	)
	if len(b.hist) < writers {
		b.hist = make([]measure.Latency, writers)
	}
	each := b.hist[:writers]
	for i := range each {
		each[i].Reset()
	}
	cpu, start := measure.CPU(), time.Now()
	end := start.Add(d)
	for i := range writers {
		wg.Go(func() {
			buf := make([]byte, 0, 4096)
			var (
				err error
				ev  audit.Event // not in the loop: it escapes
			)
			for n, now := i*len(pool)/writers, time.Now(); now.Before(end) && ctx.Err() == nil; n++ {
				ev = pool[n%len(pool)]
				ev.Start, ev.ID = now, audit.NewID(now)
				if buf, err = do(ctx, &ev, buf); err != nil {
					failed.Store(&err)
					return
				}
				done := time.Now()
				each[i].Add(done.Sub(now))
				now = done
			}
		})
	}
	wg.Wait()
	err := ctx.Err()
	if p := failed.Load(); p != nil {
		err = errors.Join(err, *p)
	}
	if flush != nil && err == nil {
		err = flush()
	}
	s := measure.Sample{Elapsed: time.Since(start), CPU: measure.CPU() - cpu, Latency: &measure.Latency{}}
	for i := range each {
		s.Latency.Merge(&each[i])
	}
	s.Ops = s.Latency.Count()
	return s, err
}
