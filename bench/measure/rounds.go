package measure

import (
	"context"
	"errors"
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

// Runner is a variant that is ready to run. Run may be called many times.
type Runner struct {
	Run   func(ctx context.Context, d time.Duration) (Sample, error)
	Close func() error // nil if there is nothing to close
}

// Variant is one of the things that are compared.
type Variant struct {
	Name string
	Open func(ctx context.Context) (Runner, error)
}

// Round holds the samples of a round by the names of the variants.
type Round map[string]Sample

// Plan says how often and how long variants are run.
type Plan struct {
	Rounds   int
	Each     time.Duration // of each variant in each round
	Progress io.Writer
}

// turns is how many parts a variant's time in a round is cut into. The parts
// of all variants alternate: others' use of the disk comes in bursts of seconds,
// which so hit all variants.
const turns = 10

// Run runs all variants in each round, after a shorter one that does not count.
func (p Plan) Run(ctx context.Context, variants ...Variant) ([]Round, error) {
	var rounds []Round
	for n := range p.Rounds + 1 {
		each := p.Each
		if n == 0 {
			each /= 2
		}
		r, err := round(ctx, n, each, variants)
		if err != nil {
			return nil, err
		}
		for _, v := range variants {
			s := r[v.Name]
			fmt.Fprintf(p.Progress, "  round %d/%d  %-28s %9.0f/s  p50 %-9s p99 %-9s cpu %.2f s/1M\n",
				n, p.Rounds, v.Name, s.Rate(), s.Latency.Quantile(0.5), s.Latency.Quantile(0.99), s.CPUPerMillion())
		}
		if n > 0 {
			rounds = append(rounds, r)
		}
	}
	return rounds, nil
}

// round opens all variants, runs them in turns and closes them.
func round(ctx context.Context, n int, each time.Duration, variants []Variant) (r Round, err error) {
	r = Round{}
	runners := make([]Runner, len(variants))
	for i, v := range variants {
		if runners[i], err = v.Open(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", v.Name, err)
		}
		if done := runners[i].Close; done != nil {
			defer func() { err = errors.Join(err, done()) }()
		}
	}
	for turn := range turns {
		for i := range variants {
			i = (i + turn + n) % len(variants)
			s, err := runners[i].Run(ctx, each/turns)
			if err = errors.Join(err, ctx.Err()); err != nil {
				return nil, fmt.Errorf("%s: %w", variants[i].Name, err)
			}
			r[variants[i].Name] = r[variants[i].Name].plus(s)
		}
	}
	return r, nil
}

// plus adds what a variant did in another part of the round.
func (s Sample) plus(o Sample) Sample {
	if s.Latency == nil {
		s.Latency = &Latency{}
	}
	if o.Latency != nil {
		s.Latency.Merge(o.Latency)
	}
	return Sample{s.Ops + o.Ops, s.Elapsed + o.Elapsed, s.CPU + o.CPU, s.Latency}
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

// Reset empties the histogram.
func (l *Latency) Reset() { *l = Latency{} }

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
