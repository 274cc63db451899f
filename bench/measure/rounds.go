package measure

import (
	"context"
	"fmt"
	"io"
	"math/bits"
	"time"
)

// Sample is what one variant did in one round.
type Sample struct {
	Ops     int64
	Elapsed time.Duration
	CPU     time.Duration // user and system time of this process
	Latency *Latency      // nil if none was taken
}

// Rate is the number of operations in a second.
func (s Sample) Rate() float64 { return float64(s.Ops) / s.Elapsed.Seconds() }

// CPUPerMillion is the CPU time of a million operations, in seconds.
func (s Sample) CPUPerMillion() float64 { return s.CPU.Seconds() * 1e6 / float64(s.Ops) }

// Variant is one of the things that are compared.
type Variant struct {
	Name string
	Run  func(ctx context.Context, d time.Duration) (Sample, error)
}

// Round holds the samples of a round by the names of the variants.
type Round map[string]Sample

// Plan says how often and how long variants are run.
type Plan struct {
	Rounds   int
	Each     time.Duration
	Progress io.Writer
}

// Run runs all variants in each round, after a round that does not count.
func (p Plan) Run(ctx context.Context, variants ...Variant) ([]Round, error) {
	var rounds []Round
	for n := range p.Rounds + 1 {
		r, each := Round{}, p.Each
		if n == 0 {
			each /= 2
		}
		for i := range variants {
			v := variants[(i+n)%len(variants)]
			s, err := v.Run(ctx, each)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", v.Name, err)
			}
			r[v.Name] = s
			fmt.Fprintf(p.Progress, "  round %d/%d  %-28s %9.0f/s  p50 %-9s p99 %-9s cpu %.2f s/1M\n",
				n, p.Rounds, v.Name, s.Rate(), s.Latency.Quantile(0.5), s.Latency.Quantile(0.99), s.CPUPerMillion())
		}
		if n > 0 {
			rounds = append(rounds, r)
		}
	}
	return rounds, nil
}

// Over takes a value from each round and returns their spread.
func Over(rounds []Round, value func(r Round) float64) Spread {
	var all []float64
	for _, r := range rounds {
		all = append(all, value(r))
	}
	return SpreadOf(all)
}

// Latency is a histogram of durations, exact to 1.6 %. The zero value is
// empty. It does not allocate.
type Latency struct {
	counts [64 * 64]uint32
	n      int64
}

// Add counts a duration.
func (l *Latency) Add(d time.Duration) {
	l.counts[slot(uint64(max(d, 0)))]++
	l.n++
}

// Merge adds the durations of another histogram.
func (l *Latency) Merge(o *Latency) {
	for i, c := range o.counts {
		l.counts[i] += c
	}
	l.n += o.n
}

// Count is the number of durations.
func (l *Latency) Count() int64 { return l.n }

// Quantile returns the duration that the share q of all does not exceed. Of an
// empty or nil histogram it is 0.
func (l *Latency) Quantile(q float64) time.Duration {
	if l == nil || l.n == 0 {
		return 0
	}
	rest := int64(q * float64(l.n))
	for i, c := range l.counts {
		if rest -= int64(c); rest < 0 {
			return time.Duration(floor(i))
		}
	}
	return l.Max()
}

// Max is the longest duration.
func (l *Latency) Max() time.Duration {
	for i := len(l.counts) - 1; i >= 0; i-- {
		if l.counts[i] > 0 {
			return time.Duration(floor(i))
		}
	}
	return 0
}

// slot numbers ranges of values, 64 to each power of two.
func slot(v uint64) int {
	if v < 64 {
		return int(v)
	}
	shift := bits.Len64(v) - 7
	return (shift+1)*64 + int(v>>shift) - 64
}

// floor is the least value of a slot.
func floor(i int) uint64 {
	if i < 64 {
		return uint64(i)
	}
	return uint64(i%64+64) << (i/64 - 1)
}
