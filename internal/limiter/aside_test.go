package limiter

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// later asks a zone about a key whose cost is set aside.
func later(z *Zone, now int64, key string, cost int64) (*Ask, bool) {
	asks := []Ask{{Zone: z, Hash: z.Hasher.String(key), Cost: cost, Later: true}}
	ok := Decide(now, asks)
	return &asks[0], ok
}

func TestWhatIsSetAsideIsNotSpentTwiceAndComesBackWhole(t *testing.T) {
	for _, mode := range []Mode{GCRA, Strict, Exact} {
		now := sec
		z := zoneOf(t, Config{Rate: mustRate(t, Limit{N: 10, Window: time.Second, Burst: map[Mode]int64{Strict: 10}[mode], Mode: mode}), Later: true}, &now)
		a, _ := later(z, now, "k", 4)
		b, _ := later(z, now, "k", 6)
		if c, ok := later(z, now, "k", 1); ok || c.Left() != 0 {
			t.Fatalf("%s: units that are set aside were spent: %d left", mode, c.Left())
		}
		now += 5 * sec // they do not come back by themselves
		if _, ok := later(z, now, "k", 1); ok {
			t.Fatalf("%s: units that are set aside came back", mode)
		}
		a.Settle(now, 0)
		if u := z.Usage(a.Hash, nil); u.Left != 4 {
			t.Errorf("%s: %+v", mode, u)
		}
		b.Settle(now, 6)
		b.Settle(now, 6) // once is all that counts
		if n := admitted(z, now, "k", 20); n != 4 {
			t.Errorf("%s: %d more, not 4", mode, n)
		}
		if z.state.Load().aside.count(a.Hash) != 0 {
			t.Errorf("%s: something stays set aside", mode)
		}
	}
}

// TestResponsesThatCountStayWithinTheLimit has requests under way of any length,
// of which some count and others cost nothing, from a client that tries to come
// by more: it holds requests that will cost nothing until it needs them.
func TestResponsesThatCountStayWithinTheLimit(t *testing.T) {
	for _, mode := range []Mode{Strict, Exact} {
		for seed := range uint64(20) {
			r := rand.New(rand.NewPCG(seed, 5))
			now := sec
			l := Limit{N: 10, Window: time.Second, Mode: mode}
			z := zoneOf(t, Config{Rate: mustRate(t, l), Later: true}, &now)
			var open []*Ask
			var units []unit
			for range 20_000 / sparing {
				now += r.Int64N(100 * msec)
				for range r.IntN(8) {
					if a, ok := later(z, now, "k", 1); ok {
						open = append(open, a)
					}
				}
				for range r.IntN(8) {
					if len(open) == 0 {
						break
					}
					i, cost := r.IntN(len(open)), int64(r.IntN(2))
					open[i].Settle(now, cost)
					open = append(open[:i], open[i+1:]...)
					if cost > 0 {
						units = append(units, unit{now, cost})
					}
				}
			}
			if got := most(units, int64(l.Window)); got > l.N || got < 3 {
				t.Fatalf("%s, seed %d: %d responses that count in a window", mode, seed, got)
			}
		}
	}
}

func TestNothingStaysUnderWayWhenTablesAreReplaced(t *testing.T) {
	now := sec
	rate := mustRate(t, Limit{N: 1_000_000, Window: time.Second})
	z := zoneOf(t, Config{Rate: rate, Concurrency: 1000, Later: true}, &now)
	var group sync.WaitGroup
	var stop atomic.Bool
	for range 4 {
		group.Go(func() {
			for !stop.Load() {
				if a, ok := later(z, now, "k", 1); ok {
					a.Settle(now, 0)
					a.Release()
				}
			}
		})
	}
	for i := range 2000 / sparing {
		if err := z.Apply(Config{Rate: rate, Concurrency: 1000, Later: i%5 != 0, Capacity: 64 << (i % 3)}); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	group.Wait()
	if u := z.Usage(z.Hasher.String("k"), nil); u.Active != 0 || z.state.Load().aside.count(u.Hash) != 0 {
		t.Errorf("%+v, %d set aside", u, z.state.Load().aside.count(u.Hash))
	}
}

func TestDebtIsBoundedAndIsPaidOff(t *testing.T) {
	now := sec
	z := zoneOf(t, Config{Rate: mustRate(t, Limit{N: 10, Window: time.Second, Burst: 10}), Debt: 5}, &now)
	a, _ := ask(z, now, "k", 1)
	a.Settle(now, 1_000_000)
	a, ok := ask(z, now, "k", 1)
	if ok || a.Retry() != 600*msec {
		t.Fatalf("admitted is %v, retry in %s", ok, time.Duration(a.Retry()))
	}
	if _, ok := ask(z, now, "k", 0); ok {
		t.Error("a request of unknown cost was admitted in debt")
	}
	if n := admitted(z, now+a.Retry(), "k", 3); n != 1 {
		t.Errorf("%d admitted after the debt was paid off", n)
	}
}
