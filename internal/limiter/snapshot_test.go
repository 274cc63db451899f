package limiter

import (
	"bytes"
	"testing"
	"time"
)

var wall = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// restarted makes a zone, spends, and restores its snapshot in another zone as
// after a restart.
func restarted(t *testing.T, was, is Config, spend int, at time.Time) *Zone {
	t.Helper()
	now, later := 5*sec, 900*sec // the clocks of two processes have nothing in common
	secret := bytes.Repeat([]byte{7}, 16)
	z, err := NewZone(was, KeyedHasher(secret), func() int64 { return now })
	if err != nil {
		t.Fatal(err)
	}
	admitted(z, now, "k", spend)
	z.Ban(z.Hasher.String("banned"), 10*time.Minute)
	z2, err := NewZone(is, KeyedHasher(secret), func() int64 { return later })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z2.Restore(z.Snapshot(wall), at); err != nil {
		t.Fatal(err)
	}
	return z2
}

func TestSpentStaysSpentAfterARestart(t *testing.T) {
	rate := func(n int64, m Mode) Config {
		return Config{Rate: mustRate(t, Limit{N: n, Window: time.Minute, Mode: m})}
	}
	for _, c := range []struct {
		name    string
		was, is Config
		passed  time.Duration
		want    int
	}{
		{"at once", rate(60, GCRA), rate(60, GCRA), 0, 20},
		{"after a while", rate(60, GCRA), rate(60, GCRA), 10 * time.Second, 30},
		{"after long", rate(60, GCRA), rate(60, GCRA), 1000 * time.Hour, 60},
		{"the clock was set back", rate(60, GCRA), rate(60, GCRA), -1000 * time.Hour, 20},
		{"another limit", rate(60, GCRA), rate(120, GCRA), 0, 80},
		{"exact", rate(60, Exact), rate(60, Exact), 59 * time.Second, 20},
		{"exact, after a while", rate(60, Exact), rate(60, Exact), 60 * time.Second, 60},
		{"gcra, now exact", rate(60, GCRA), rate(60, Exact), 0, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			z := restarted(t, c.was, c.is, 40, wall.Add(c.passed))
			if n := admitted(z, z.now(), "k", 200); n != c.want {
				t.Errorf("%d more are admitted, not %d", n, c.want)
			}
			a, _ := ask(z, z.now(), "banned", 1)
			if banned := a.Verdict == Banned; banned != (c.passed < 10*time.Minute) {
				t.Errorf("banned is %v", banned)
			}
		})
	}
}

// TestRestoredTimesAreClamped restores a snapshot of a limit under which keys
// could spend years ahead.
func TestRestoredTimesAreClamped(t *testing.T) {
	was := Config{Rate: mustRate(t, Limit{N: 10, Window: 366 * 24 * time.Hour})}
	is := Config{Rate: mustRate(t, Limit{N: 10, Window: time.Second}), Debt: 1}
	z := restarted(t, was, is, 10, wall.Add(-time.Hour))
	if a, ok := ask(z, z.now(), "k", 1); ok || a.Retry() > 200*msec {
		t.Errorf("admitted is %v, retry in %s", ok, time.Duration(a.Retry()))
	}
}

func FuzzRestore(f *testing.F) {
	now := sec
	for _, m := range []Mode{GCRA, Exact} {
		rate, _ := Limit{N: 3, Window: time.Minute, Mode: m}.Rate()
		z, err := NewZone(Config{Rate: rate, Capacity: 64}, KeyedHasher(make([]byte, 16)), func() int64 { return now })
		if err != nil {
			f.Fatal(err)
		}
		admitted(z, now, "k", 2)
		z.Ban(9, time.Hour)
		f.Add(z.Snapshot(wall), int64(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, passed int64) {
		for _, m := range []Mode{GCRA, Exact} {
			z := zoneOf(t, Config{Rate: mustRate(t, Limit{N: 3, Window: time.Minute, Mode: m}), Capacity: 64}, &now)
			b = resum(b)
			_, _ = z.Restore(b, wall.Add(time.Duration(passed)))
			for _, u := range z.Top(64) {
				if a, ok := ask(z, now, "other", 1); !ok {
					t.Fatal("a key that was not in the snapshot is refused", a.Verdict)
				}
				asks := []Ask{{Zone: z, Hash: u.Hash, Cost: 1}}
				if !Decide(now, asks) && asks[0].Verdict == OverRate && asks[0].Retry() > 3*int64(time.Minute) {
					t.Fatalf("a key has to wait for %s", time.Duration(asks[0].Retry()))
				}
				z.Reset(z.Hasher.String("other"))
			}
			z.Snapshot(wall)
		}
	})
}

// resum gives mutated bytes the checksum that lets them in.
func resum(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	return appendSum(bytes.Clone(b[:len(b)-4]))
}
