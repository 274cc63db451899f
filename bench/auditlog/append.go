package auditlog

import (
	"context"
	"time"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// The load that the figures are asked for.
const (
	few, many  = 64, 1024
	recordSize = 600
)

// Append measures durable appends against the disk and against Tessera.
func (b *Bench) Append(ctx context.Context) ([]measure.Figure, []string, error) {
	bestFew, err := b.bestTessera(ctx, few)
	if err != nil {
		return nil, nil, err
	}
	bestMany, err := b.bestTessera(ctx, many)
	if err != nil {
		return nil, nil, err
	}
	rounds, err := b.plan().Run(ctx,
		b.bare("disk, reserve", few*recordSize, true),
		b.bare("disk, growing", few*recordSize, false),
		b.ours("log, 64 writers", few),
		b.tessera("tessera, 64 writers", few, bestFew),
		b.ours("log, 1024 writers", many),
		b.tessera("tessera, 1024 writers", many, bestMany),
	)
	if err != nil {
		return nil, nil, err
	}
	limit := func(r measure.Round) float64 {
		return few * max(r["disk, reserve"].Rate(), r["disk, growing"].Rate())
	}
	rate := func(name string) measure.Spread {
		return measure.Over(rounds, func(r measure.Round) float64 { return r[name].Rate() })
	}
	over := func(a, b string) measure.Spread {
		return measure.Over(rounds, func(r measure.Round) float64 { return r[a].Rate() / r[b].Rate() })
	}
	return []measure.Figure{
		measure.AtLeast("durable append, 64 writers, of 64 records a sync", 0.5, "×",
			measure.Over(rounds, func(r measure.Round) float64 { return r["log, 64 writers"].Rate() / limit(r) })),
		measure.AtLeast("durable append, 64 writers, of Tessera's", 4, "×", over("log, 64 writers", "tessera, 64 writers")).
			With("Tessera's batches %s", bestFew),
		measure.AtLeast("durable append, 1,024 writers, of Tessera's", 3, "×", over("log, 1024 writers", "tessera, 1024 writers")).
			With("Tessera's batches %s", bestMany),
		measure.Info("limit: 64 records a sync", "rec/s", measure.Over(rounds, limit)),
		measure.Info("log, 64 writers", "rec/s", rate("log, 64 writers")),
		measure.Info("log, 1,024 writers", "rec/s", rate("log, 1024 writers")),
		measure.Info("Tessera, 64 writers", "rec/s", rate("tessera, 64 writers")),
		measure.Info("Tessera, 1,024 writers", "rec/s", rate("tessera, 1024 writers")),
	}, nil, nil
}

// Latency measures how long an append takes against how long a sync takes.
func (b *Bench) Latency(ctx context.Context) ([]measure.Figure, []string, error) {
	rounds, err := b.plan().Run(ctx,
		b.bare("disk, 1 record, reserve", recordSize, true),
		b.bare("disk, 1 record, growing", recordSize, false),
		b.ours("log, 1 writer", 1),
		b.bare("disk, 64 records, reserve", few*recordSize, true),
		b.bare("disk, 64 records, growing", few*recordSize, false),
		b.ours("log, 64 writers", few),
	)
	if err != nil {
		return nil, nil, err
	}
	// The faster of the two ways to write is what the log is held against.
	disk := func(r measure.Round, records string, q float64) time.Duration {
		return min(r["disk, "+records+", reserve"].Latency.Quantile(q), r["disk, "+records+", growing"].Latency.Quantile(q))
	}
	over := func(log, records string, q float64) measure.Spread {
		return measure.Over(rounds, func(r measure.Round) float64 {
			return float64(r[log].Latency.Quantile(q)) / float64(disk(r, records, q))
		})
	}
	micro := func(value func(r measure.Round) time.Duration) measure.Spread {
		return measure.Over(rounds, func(r measure.Round) float64 { return float64(value(r)) / 1e3 })
	}
	syncs, err := b.lone(ctx)
	if err != nil {
		return nil, nil, err
	}
	return []measure.Figure{
		measure.AtMost("p99 of an append, 1 writer, of a bare sync's", 3, "×", over("log, 1 writer", "1 record", 0.99)),
		measure.AtMost("p99 of an append, 64 writers, of a bare sync's", 3, "×", over("log, 64 writers", "64 records", 0.99)).
			With("the sync of 64 records"),
		measure.AtMost("p50 of an append, 1 writer, of a bare sync's", 1.5, "×", over("log, 1 writer", "1 record", 0.5)).
			With("asked: one sync and no delay; 1.5 leaves room for two changes of goroutine"),
		measure.AtMost("syncs a record, 1 writer", 1, "", syncs),
		measure.Info("bare sync of 1 record, p50", "µs", micro(func(r measure.Round) time.Duration { return disk(r, "1 record", 0.5) })),
		measure.Info("bare sync of 1 record, p99", "µs", micro(func(r measure.Round) time.Duration { return disk(r, "1 record", 0.99) })),
		measure.Info("append, 1 writer, p50", "µs", micro(func(r measure.Round) time.Duration { return r["log, 1 writer"].Latency.Quantile(0.5) })),
		measure.Info("append, 1 writer, p99", "µs", micro(func(r measure.Round) time.Duration { return r["log, 1 writer"].Latency.Quantile(0.99) })),
		measure.Info("bare sync of 64 records, p99", "µs", micro(func(r measure.Round) time.Duration { return disk(r, "64 records", 0.99) })),
		measure.Info("append, 64 writers, p50", "µs", micro(func(r measure.Round) time.Duration { return r["log, 64 writers"].Latency.Quantile(0.5) })),
		measure.Info("append, 64 writers, p99", "µs", micro(func(r measure.Round) time.Duration { return r["log, 64 writers"].Latency.Quantile(0.99) })),
	}, nil, nil
}
