package limiter

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestDecisionsDoNotAllocate(t *testing.T) {
	now := sec
	zones := []*Zone{
		limited(t, Limit{N: 100, Window: time.Minute}, &now),
		limited(t, Limit{N: 10, Window: time.Minute, Mode: Exact}, &now),
		zoneOf(t, Config{Concurrency: 10, Ban: Ban{After: 3}}, &now),
	}
	i := 0
	if n := testing.AllocsPerRun(2000, func() {
		i++
		var asks [3]Ask
		for j, z := range zones {
			asks[j] = Ask{Zone: z, Hash: z.Hasher.String("10.0.0.1") + uint64(i%7), Cost: 1}
		}
		if Decide(now, asks[:]) {
			asks[0].Settle(now, 2)
			asks[2].Release()
		}
	}); n != 0 {
		t.Errorf("%v allocations a decision", n)
	}
}

func TestAllZonesAreChargedOrNone(t *testing.T) {
	now := sec
	a := limited(t, Limit{N: 100, Window: time.Hour}, &now)
	b := limited(t, Limit{N: 5, Window: time.Hour}, &now)
	c := zoneOf(t, Config{Concurrency: 1000}, &now)
	for range 50 {
		asks := []Ask{{Zone: a, Hash: 2, Cost: 1}, {Zone: b, Hash: 2, Cost: 1}, {Zone: c, Hash: 2}}
		if Decide(now, asks) {
			continue
		}
		if asks[0].Verdict != Allowed || asks[1].Verdict != OverRate {
			t.Fatal(asks[0].Verdict, asks[1].Verdict)
		}
	}
	if u := a.Usage(2, nil); u.Used != 5 {
		t.Errorf("the zone that admitted was charged %d units for 5 requests", u.Used)
	}
	if u := c.Usage(2, nil); u.Active != 5 {
		t.Errorf("%d requests are under way, of 5 admitted", u.Active)
	}
}

// TestConcurrentDecisionsAdmitExactlyTheLimit has many goroutines at few keys
// of several zones, in different orders of the clock.
func TestConcurrentDecisionsAdmitExactlyTheLimit(t *testing.T) {
	for _, mode := range []Mode{GCRA, Strict, Exact} {
		now := sec
		const n = 60
		tight := limited(t, Limit{N: n, Window: time.Hour, Burst: map[Mode]int64{Strict: n}[mode], Mode: mode}, &now)
		wide := limited(t, Limit{N: 1000, Window: time.Hour}, &now)
		var count [4]atomic.Int64
		var group sync.WaitGroup
		for g := range 8 {
			group.Go(func() {
				r := rand.New(rand.NewPCG(uint64(g), 1))
				for range 400 {
					k := r.IntN(len(count))
					asks := []Ask{{Zone: tight, Hash: uint64(2 + 2*k), Cost: 1}, {Zone: wide, Hash: uint64(2 + 2*k), Cost: 1}}
					if Decide(now, asks) {
						count[k].Add(1)
					}
				}
			})
		}
		group.Wait()
		for k := range count {
			if got := count[k].Load(); got != n {
				t.Errorf("%s: key %d was admitted %d times, not %d", mode, k, got, n)
			}
			if got := wide.Usage(uint64(2+2*k), nil).Used; got != n {
				t.Errorf("%s: key %d was charged %d units in the other zone, not %d", mode, k, got, n)
			}
		}
	}
}

func TestShadowZoneNeverRefuses(t *testing.T) {
	now := sec
	z := zoneOf(t, Config{Rate: mustRate(t, Limit{N: 2, Window: time.Hour}), Ban: Ban{After: 1}}, &now)
	refused := 0
	for range 10 {
		asks := []Ask{{Zone: z, Hash: 2, Cost: 1, Shadow: true}}
		if !Decide(now, asks) {
			t.Fatal("a shadow zone refused")
		}
		if asks[0].Verdict == OverRate {
			refused++
		}
	}
	if refused != 8 {
		t.Errorf("%d would have been refused, not 8", refused)
	}
	if z.Banned() != 0 {
		t.Error("a shadow zone banned")
	}
}

func TestConcurrencyIsWhatIsUnderWay(t *testing.T) {
	now := sec
	z := zoneOf(t, Config{Concurrency: 3}, &now)
	var open []Ask
	for range 5 {
		if a, ok := ask(z, now, "k", 1); ok {
			open = append(open, a)
		} else if a.Verdict != OverConcurrency {
			t.Error(a.Verdict)
		}
	}
	if len(open) != 3 {
		t.Fatalf("%d under way", len(open))
	}
	if err := z.Apply(Config{Concurrency: 4, Capacity: 1024}); err != nil { // those under way still count
		t.Fatal(err)
	}
	if n := admitted(z, now, "k", 5); n != 1 {
		t.Errorf("%d more", n)
	}
	for i := range open {
		open[i].Release()
		open[i].Release() // once is all that counts
	}
	if u := z.Usage(z.Hasher.String("k"), nil); u.Active != 1 {
		t.Errorf("%d under way", u.Active)
	}
}

func TestBansEscalateAndAreForgotten(t *testing.T) {
	now := sec
	z := zoneOf(t, Config{
		Rate: mustRate(t, Limit{N: 1, Window: time.Minute}),
		Ban:  Ban{After: 3, Within: time.Minute, For: time.Minute, Most: 3 * time.Minute, Memory: time.Hour},
	}, &now)
	for _, want := range []time.Duration{time.Minute, 2 * time.Minute, 3 * time.Minute, 3 * time.Minute} {
		admitted(z, now, "k", 1)
		_, _ = ask(z, now, "k", 1)
		a, _ := ask(z, now, "k", 1)
		if a.Until != 0 {
			t.Fatal("banned after 2 refusals")
		}
		if a, _ = ask(z, now, "k", 1); a.Until != now+int64(want) {
			t.Fatalf("banned for %s, not %s", time.Duration(a.Until-now), want)
		}
		if a, ok := ask(z, now+int64(want)-msec, "k", 1); ok || a.Verdict != Banned {
			t.Fatal("not banned to the end")
		}
		now += int64(want) + 5*sec
		if a, _ := ask(z, now, "k", 0); a.Verdict == Banned {
			t.Fatal("banned after the end")
		}
		now += int64(time.Minute)
	}
	now += int64(2 * time.Hour)
	admitted(z, now, "k", 3)
	if a, _ := ask(z, now, "k", 1); a.Until != now+int64(time.Minute) {
		t.Errorf("after a time without bans, banned for %s", time.Duration(a.Until-now))
	}
	if !z.Unban(z.Hasher.String("k")) || !z.Ban(z.Hasher.String("m"), time.Hour) {
		t.Error("by hand")
	}
	if a, _ := ask(z, now, "m", 1); a.Verdict != Banned {
		t.Error("not banned by hand")
	}
}

func TestRefusalThatBansTellsWhenTheBanEnds(t *testing.T) {
	now := sec
	z := zoneOf(t, Config{Rate: mustRate(t, Limit{N: 1, Window: time.Second}), Ban: Ban{After: 1, For: time.Hour}}, &now)
	ask(z, now, "k", 1)
	if a, ok := ask(z, now, "k", 1); ok || a.Retry() != int64(time.Hour) {
		t.Errorf("admitted is %v, retry in %s", ok, time.Duration(a.Retry()))
	}
}

func TestZoneThatDidNotRefuseTellsWhatIsLeft(t *testing.T) {
	for _, mode := range []Mode{GCRA, Exact} {
		now := sec
		wide := limited(t, Limit{N: 10, Window: 10 * time.Second, Mode: mode}, &now)
		tight := limited(t, Limit{N: 1, Window: time.Hour}, &now)
		for i := range 3 {
			asks := []Ask{{Zone: wide, Hash: 2, Cost: 1}, {Zone: tight, Hash: 2, Cost: 1}}
			if ok := Decide(now, asks); ok != (i == 0) || asks[0].Left() != 9 {
				t.Errorf("%s: admitted is %v, %d left of 10 after one request", mode, ok, asks[0].Left())
			}
		}
	}
}

func TestExactTellsWhenThereIsMore(t *testing.T) {
	now := sec
	z := limited(t, Limit{N: 5, Window: 10 * time.Second, Mode: Exact}, &now)
	for _, want := range []int64{10, 9, 8} {
		if a, _ := ask(z, now, "k", 1); a.Next() != want*sec {
			t.Errorf("the next in %s, not %d s", time.Duration(a.Next()), want)
		}
		now += sec
	}
}

func TestBansThatHadToGoAreCounted(t *testing.T) {
	now := sec
	z := zoneOf(t, Config{Rate: mustRate(t, Limit{N: 1, Window: time.Second}), Capacity: 64}, &now)
	for i := range 1000 {
		z.Ban(z.Hasher.String(key(i)), time.Hour+time.Duration(i)*time.Second)
	}
	if banned := int64(z.Banned()); banned+z.Lost() != 1000 || z.Lost() == 0 {
		t.Errorf("%d banned of 1000, %d lost", banned, z.Lost())
	}
}

func TestSpentStaysSpentWhenTheLimitChanges(t *testing.T) {
	for _, c := range []struct {
		name string
		to   Config
		want int
	}{
		{"twice the rate", Config{Rate: mustRate(t, Limit{N: 20, Window: time.Minute})}, 14},
		{"half the rate", Config{Rate: mustRate(t, Limit{N: 5, Window: time.Minute})}, 0},
		{"strict", Config{Rate: mustRate(t, Limit{N: 10, Window: time.Minute, Burst: 10, Mode: Strict})}, 4},
		{"exact", Config{Rate: mustRate(t, Limit{N: 10, Window: time.Minute, Mode: Exact})}, 4},
		{"longer", Config{Rate: mustRate(t, Limit{N: 10, Window: time.Hour})}, 4},
		{"more room", Config{Rate: mustRate(t, Limit{N: 10, Window: time.Minute}), Capacity: 1 << 17}, 4},
		{"less room", Config{Rate: mustRate(t, Limit{N: 10, Window: time.Minute}), Capacity: 64}, 4},
	} {
		for _, from := range []Mode{GCRA, Exact} {
			now := sec
			z := limited(t, Limit{N: 10, Window: time.Minute, Mode: from}, &now)
			admitted(z, now, "k", 6)
			if err := z.Apply(c.to); err != nil {
				t.Fatal(err)
			}
			if n := admitted(z, now, "k", 40); n != c.want {
				t.Errorf("%s to %s: %d more are admitted, not %d", from, c.name, n, c.want)
			}
			if n := admitted(z, now, "new", 5); n != 5 {
				t.Errorf("%s to %s: %d of a new key are admitted", from, c.name, n)
			}
		}
	}
}

func TestKeySprayWashesNothingAway(t *testing.T) {
	sprayed := 4_000_000 / sparing
	if testing.Short() {
		sprayed = 500_000 / sparing
	}
	now := sec
	z := zoneOf(t, Config{Rate: mustRate(t, Limit{N: 100, Window: time.Minute}), Capacity: 1 << 16}, &now)
	size := z.Bytes()
	admitted(z, now, "offender", 100)
	half := func(i int) string { return "half" + key(i) }
	for i := range 200 {
		admitted(z, now, half(i), 50)
	}
	begin := now
	for i := range sprayed {
		now = begin + int64(i)*sec/int64(sprayed)
		ask(z, now, key(i), 1)
	}
	refill := int((now - begin) * 100 / int64(time.Minute))
	if n := admitted(z, now, "offender", 200); n > refill {
		t.Errorf("the offender regained %d units, but its natural refill is %d", n, refill)
	}
	kept := 0
	for i := range 200 {
		if n := admitted(z, now, half(i), 200); n <= 50+refill {
			kept++
		}
	}
	if kept < 198 {
		t.Errorf("%d of 200 half-used clients kept their state", kept)
	}
	if z.Bytes() != size || z.Lost() == 0 && sprayed > 1<<17 {
		t.Errorf("%d bytes, before %d; %d keys lost", z.Bytes(), size, z.Lost())
	}
}

func TestMillionKeysFitIn32MiB(t *testing.T) {
	now := sec
	z := zoneOf(t, Config{Rate: mustRate(t, Limit{N: 1000, Window: time.Hour}), Capacity: 2_090_000}, &now)
	if n := z.Bytes(); n > 32<<20 {
		t.Errorf("%d bytes", n)
	}
	const keys = 1_000_000 / sparing
	for i := range keys {
		ask(z, now, key(i), 1)
	}
	if lost := z.Lost(); lost > keys/100 {
		t.Errorf("%d of %d keys lost", lost, keys)
	} else {
		t.Logf("%d of %d keys lost", lost, keys)
	}
}

func TestUsageTopAndReset(t *testing.T) {
	now := sec
	z := limited(t, Limit{N: 1000, Window: time.Minute}, &now)
	for i := range 500 {
		for range i % 50 {
			ask(z, now, key(i), 1)
		}
	}
	admitted(z, now, "worst", 900)
	worst := z.Hasher.String("worst")
	top := z.Top(3)
	if len(top) != 3 || top[0].Hash != fingerprint(worst) || top[0].Used != 900 || top[0].Left != 100 || top[1].Used != 49 {
		t.Errorf("%+v", top)
	}
	if !z.Reset(top[0].Hash) || z.Reset(worst) || z.Usage(worst, nil).Used != 0 {
		t.Error("the key is not reset")
	}
	if keys := z.Live(); keys != 490 || z.ResetAll() != 490 {
		t.Errorf("%d live keys", keys)
	}
}
