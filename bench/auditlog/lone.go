package auditlog

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// lone counts the syncs of the segment that each append of one writer costs.
func (b *Bench) lone(ctx context.Context) (measure.Spread, error) {
	var syncs atomic.Int64
	l, err := b.openLog(counting{syncs: &syncs})
	if err != nil {
		return measure.Spread{}, err
	}
	var each []float64
	err = b.steady(ctx, durably(l), 500, func() {
		each = append(each, float64(syncs.Swap(0)))
	})
	if err = errors.Join(err, remove(l)); err != nil {
		return measure.Spread{}, err
	}
	return measure.SpreadOf(each[1:]), nil // the first has the syncs of opening
}

// steady appends n events, one after the other, and calls after after each.
func (b *Bench) steady(ctx context.Context, do appender, n int, after func()) (err error) {
	buf := make([]byte, 0, 4096)
	pool := b.pool()
	var ev audit.Event
	for i := range n {
		ev = pool[i%len(pool)]
		ev.Start = time.Now()
		if buf, err = do(ctx, &ev, buf); err != nil {
			return err
		}
		after()
	}
	return ctx.Err()
}

// Allocs counts the allocations of the whole process for each record that is
// encoded and appended: those of the committer, tiles and checkpoints too.
// Package audit's TestEncodingDoesNotAllocate and TestAppendDoesNotAllocate hold
// the same at every run of the tests.
func (b *Bench) Allocs(ctx context.Context) ([]measure.Figure, []string, error) {
	var figures []measure.Figure
	for _, c := range []struct {
		name string
		do   func(l *audit.Log) appender
	}{{"durable", durably}, {"async", queued}} {
		l, err := b.openLog(nil)
		if err != nil {
			return nil, nil, err
		}
		const n = 20000
		do := c.do(l)
		err = b.steady(ctx, do, n, func() {}) // grows the buffers
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err == nil {
			err = b.steady(ctx, do, n, func() {})
		}
		runtime.ReadMemStats(&after)
		if err = errors.Join(err, remove(l)); err != nil {
			return nil, nil, err
		}
		got := float64(after.Mallocs-before.Mallocs) / n
		// testing.AllocsPerRun, by which it was asked, rounds down too.
		figures = append(figures,
			measure.AtMost("allocations a record, "+c.name, 0, "", measure.SpreadOf([]float64{float64(int(got))})).
				With("%.3f before rounding down: a tile for 256 records, checkpoints", got))
	}
	return figures, nil, nil
}
