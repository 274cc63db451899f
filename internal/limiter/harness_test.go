package limiter

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

const (
	msec = int64(time.Millisecond)
	sec  = int64(time.Second)
)

// arrivals is how many random arrivals a property is tried with: SOC2_LONG=1
// makes it the 10 million of a long run.
func arrivals(t *testing.T) int {
	t.Helper()
	if os.Getenv("SOC2_LONG") != "" {
		return 10_000_000
	}
	if testing.Short() {
		return 100_000 / sparing
	}
	return 500_000 / sparing
}

func mustRate(t testing.TB, l Limit) *Rate {
	t.Helper()
	r, err := l.Rate()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// zoneOf makes a zone whose clock is now.
func zoneOf(t testing.TB, c Config, now *int64) *Zone {
	t.Helper()
	z, err := NewZone(c, NewHasher(), func() int64 { return *now })
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func limited(t testing.TB, l Limit, now *int64) *Zone {
	return zoneOf(t, Config{Rate: mustRate(t, l)}, now)
}

// ask asks one zone about one key.
func ask(z *Zone, now int64, key string, cost int64) (Ask, bool) {
	asks := [1]Ask{{Zone: z, Hash: z.Hasher.String(key), Cost: cost}}
	ok := Decide(now, asks[:])
	return asks[0], ok
}

// admitted counts how many of n units of 1 a key is admitted at a moment.
func admitted(z *Zone, now int64, key string, n int) (units int) {
	for range n {
		if _, ok := ask(z, now, key, 1); ok {
			units++
		}
	}
	return units
}

// unit is an admitted cost.
type unit struct{ at, cost int64 }

// most returns the greatest sum of costs in any half-open window, whatever the
// order of the times is.
func most(units []unit, window int64) (sum int64) {
	units = slices.Clone(units)
	slices.SortFunc(units, func(a, b unit) int { return int(min(1, max(-1, a.at-b.at))) })
	var in int64
	first := 0
	for _, u := range units {
		in += u.cost
		for units[first].at <= u.at-window {
			in -= units[first].cost
			first++
		}
		sum = max(sum, in)
	}
	return sum
}

func key(i int) string { return "key-" + strconv.Itoa(i) }
