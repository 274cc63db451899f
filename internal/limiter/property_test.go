package limiter

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// arrive is a way in which requests come: it returns the next time.
type arrive func(r *rand.Rand, now int64, l Limit) int64

var patterns = map[string]arrive{
	"random": func(r *rand.Rand, now int64, l Limit) int64 {
		return now + int64(r.ExpFloat64()*float64(l.Window)/float64(l.N)/1.5)
	},
	"bursts at the edges of windows": func(r *rand.Rand, now int64, l Limit) int64 {
		if r.IntN(int(l.N)+1) > 0 {
			return now + r.Int64N(3)
		}
		w := int64(l.Window)
		return (now/w+1)*w + r.Int64N(5) - 2
	},
	"as soon as one is admitted": func(r *rand.Rand, now int64, l Limit) int64 {
		return now + max(1, int64(l.Window)/(l.N*4))
	},
	"a clock that jumps": func(r *rand.Rand, now int64, l Limit) int64 {
		switch r.IntN(50) {
		case 0:
			return now - r.Int64N(3*int64(l.Window))
		case 1:
			return now + r.Int64N(3*int64(l.Window))
		}
		return now + r.Int64N(max(1, int64(l.Window)/l.N))
	},
}

// limits that the properties are tried with.
var limits = []Limit{
	{N: 1, Window: time.Second, Burst: 1},
	{N: 3, Window: time.Second, Burst: 1},
	{N: 7, Window: time.Second, Burst: 7},
	{N: 10, Window: time.Minute, Burst: 5},
	{N: 50, Window: 7 * time.Millisecond, Burst: 20},
	{N: 64, Window: time.Hour, Burst: 64},
}

// eachPattern tries a limit with each pattern; all together have as many
// arrivals as the property asks for.
func eachPattern(t *testing.T, mode Mode, check func(t *testing.T, z *Zone, l Limit, times func() (now, cost int64), n int)) {
	n := arrivals(t) / len(patterns) / len(limits)
	for name, next := range patterns {
		for i, l := range limits {
			l.Mode = mode
			if mode == Exact {
				l.Burst = 0
			}
			t.Run(fmt.Sprintf("%s/%s", name, l), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(i), 7))
				now := 3 * int64(time.Hour)
				z := limited(t, l, &now)
				check(t, z, l, func() (int64, int64) {
					now = next(r, now, l)
					cost := int64(1)
					if r.IntN(10) == 0 {
						cost = r.Int64N(4)
					}
					return now, cost
				}, n)
			})
		}
	}
}

func TestStrictNeverAdmitsMoreThanTheLimitInAnyWindow(t *testing.T) {
	for _, mode := range []Mode{Strict, Exact} {
		t.Run(mode.String(), func(t *testing.T) {
			eachPattern(t, mode, func(t *testing.T, z *Zone, l Limit, times func() (int64, int64), n int) {
				var units []unit
				for range n {
					now, cost := times()
					if _, ok := ask(z, now, "k", cost); ok && cost > 0 {
						units = append(units, unit{now, cost})
					}
				}
				if got := most(units, int64(l.Window)); got > l.N || got == 0 {
					t.Errorf("%d units in a window, of %d admitted", got, len(units))
				}
			})
		})
	}
}

func TestGCRANeverAdmitsMoreThanBurstAndRate(t *testing.T) {
	eachPattern(t, GCRA, func(t *testing.T, z *Zone, l Limit, times func() (int64, int64), n int) {
		var units []unit
		for range n {
			now, cost := times()
			if _, ok := ask(z, now, "k", cost); ok && cost > 0 {
				units = append(units, unit{now, cost})
			}
		}
		for _, w := range []int64{1, int64(l.Window) / 10, int64(l.Window), 10 * int64(l.Window)} {
			bound := l.burst() + (w*l.N+int64(l.Window)-1)/int64(l.Window)
			if got := most(units, w); got > bound || got == 0 {
				t.Errorf("%d units in %s, more than %d", got, time.Duration(w), bound)
			}
		}
	})
}

// TestGCRADecidesAsTheExactOracle compares each decision with a bucket that is
// kept in exact fractions: units times the window's nanoseconds.
func TestGCRADecidesAsTheExactOracle(t *testing.T) {
	for _, l := range []Limit{{N: 4, Window: time.Second, Burst: 3}, {N: 100, Window: time.Minute, Burst: 100}, {N: 1000, Window: time.Millisecond, Burst: 9}} {
		t.Run(l.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 1))
			now := sec
			z := limited(t, l, &now)
			full := l.Burst * int64(l.Window)
			level, last := full, now
			for n := range arrivals(t) / 10 {
				now += int64(r.ExpFloat64() * float64(l.Window) / float64(l.N) / 1.3)
				level = min(full, level+(now-last)*l.N)
				last = now
				cost := 1 + r.Int64N(2)
				want := level >= cost*int64(l.Window)
				if want {
					level -= cost * int64(l.Window)
				}
				if _, got := ask(z, now, "k", cost); got != want {
					t.Fatalf("arrival %d of cost %d: admitted is %v, the oracle says %v", n, cost, got, want)
				}
			}
		})
	}
}

// TestExactDecidesAsTheExactOracle compares each decision with the list of all
// that was admitted.
func TestExactDecidesAsTheExactOracle(t *testing.T) {
	for _, n := range []int64{1, 2, 5, 64} {
		l := Limit{N: n, Window: time.Second, Mode: Exact}
		r := rand.New(rand.NewPCG(2, uint64(n)))
		now := sec
		z := limited(t, l, &now)
		var log []int64
		for i := range arrivals(t) / 20 {
			now += int64(r.ExpFloat64() * float64(l.Window) / float64(l.N) / 2)
			for len(log) > 0 && log[0] <= now-int64(l.Window) {
				log = log[1:]
			}
			cost := 1 + r.Int64N(3)
			want := int64(len(log))+cost <= n
			a, got := ask(z, now, "k", cost)
			if got != want {
				t.Fatalf("limit %d, arrival %d of cost %d: admitted is %v, the oracle says %v", n, i, cost, got, want)
			}
			if want {
				for range cost {
					log = append(log, now)
				}
			} else if cost <= n && log[int64(len(log))-1-(n-cost)]+int64(l.Window)-now != a.Retry() {
				t.Fatalf("limit %d, arrival %d: retry in %d", n, i, a.Retry())
			}
			if a.Left() != n-int64(len(log)) {
				t.Fatalf("limit %d, arrival %d: %d left, the oracle has %d", n, i, a.Left(), n-int64(len(log)))
			}
		}
	}
}

func TestPacedTrafficBelowTheLimitIsNeverRefused(t *testing.T) {
	for _, l := range []Limit{
		{N: 3, Window: time.Second, Burst: 1},
		{N: 500, Window: time.Second, Burst: 1},
		{N: 999_999, Window: time.Second, Burst: 1},
		{N: 7, Window: time.Minute},
		{N: 7, Window: time.Minute, Burst: 1, Mode: Strict},
		{N: 64, Window: time.Second, Mode: Exact},
	} {
		r := rand.New(rand.NewPCG(3, uint64(l.N)))
		now := sec
		z := limited(t, l, &now)
		pace := (int64(l.Window) + l.N - 1) / l.N
		if n := (Limit{N: l.N, Window: l.Window, Mode: l.Mode, Burst: l.Burst}); n.Mode == Strict {
			pace = z.Configured().Rate.interval
		}
		for n := range arrivals(t) / 10 {
			if _, ok := ask(z, now, "k", 1); !ok {
				t.Fatalf("%s %s: arrival %d was refused", l.Mode, l, n)
			}
			now += pace + r.Int64N(1+pace/100)
		}
	}
}

// TestRetryTellsWhenItIsAdmitted tries a refused cost again at the time that it
// was told, and a nanosecond before.
func TestRetryTellsWhenItIsAdmitted(t *testing.T) {
	for _, mode := range []Mode{GCRA, Strict, Exact} {
		r := rand.New(rand.NewPCG(4, uint64(mode)))
		now := sec
		z := limited(t, Limit{N: 20, Window: time.Second, Mode: mode}, &now)
		for range 20_000 / sparing {
			now += r.Int64N(100 * msec)
			cost := 1 + r.Int64N(4)
			a, ok := ask(z, now, "k", cost)
			if ok {
				continue
			}
			if _, early := ask(z, now+a.Retry()-1, "k", cost); early {
				t.Fatalf("%s: admitted before %d ns had passed", mode, a.Retry())
			}
			now += a.Retry()
			if _, ok := ask(z, now, "k", cost); !ok {
				t.Fatalf("%s: refused after %d ns", mode, a.Retry())
			}
		}
	}
}
