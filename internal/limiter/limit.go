package limiter

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Mode is how a Limit is held.
type Mode uint8

// The modes.
const (
	// GCRA lets a key spend Burst units at once and gives N back in each
	// Window (generic cell rate algorithm, ITU-T I.371). In any span of w it
	// admits no more than Burst + w·N/Window units: with the default Burst of N
	// that is up to 2N in one Window.
	GCRA Mode = iota

	// Strict is GCRA with an interval so long that no half-open span [t,
	// t+Window), wherever it begins, has more than N units: Burst +
	// ⌈Window/interval⌉ − 1 ≤ N holds for interval = ⌈Window/(N−Burst+1)⌉. The
	// price is the sustained rate, N−Burst+1 in a Window: a Burst of 1 has all
	// of the rate, a Burst of N one unit a Window after the burst.
	//
	// Proof. Let S units be admitted at times within [t, t+Window), the last of
	// them at u. The first of them left the theoretical arrival time (TAT) at
	// t+interval or later, each other one moved it by interval, so it is at least
	// t + S·interval. Admission at u needs it to be at most u + Burst·interval,
	// and u < t+Window, hence S < Burst + Window/interval. The TAT never goes
	// back, so this holds for a clock that does, too.
	Strict

	// Exact keeps the times of the last N units and admits one if the Nth
	// before it is at least a Window old: never more than N in a half-open
	// Window, and all of N at any time that is possible. It takes 8·N more bytes
	// a key and is for N up to MaxExact.
	Exact
)

var modeNames = [...]string{"gcra", "strict", "exact"}

// String is the mode's name.
func (m Mode) String() string { return modeNames[m] }

// ParseMode reads a mode's name; empty means GCRA.
func ParseMode(s string) (Mode, error) {
	if s == "" {
		return GCRA, nil
	}
	for m, name := range modeNames {
		if s == name {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("mode %q: choose gcra, strict or exact", s)
}

// What limits can be.
const (
	MaxExact  = 64                       // units of a Limit in mode Exact
	MaxWindow = 366 * 24 * time.Hour     // of a Limit
	MaxUnits  = int64(1_000_000_000_000) // of a Limit and of its Burst

	// maxHorizon is how far ahead of now a TAT can lie, in nanoseconds. 100 years
	// leave room for sums in an int64.
	maxHorizon = int64(100 * 366 * 24 * time.Hour)

	// maxRounding is how much slower than asked a limit may be because the
	// interval of a unit is a whole number of nanoseconds: 1/maxRounding.
	maxRounding = 100
)

// Limit is how many units a key may spend.
type Limit struct {
	N      int64         // units in a Window
	Window time.Duration // any, up to MaxWindow
	Burst  int64         // units at once; 0: N for GCRA, (N+1)/2 for Strict
	Mode   Mode
}

// String is the limit as ParseLimit reads it, without the mode.
func (l Limit) String() string {
	s := strconv.FormatInt(l.N, 10) + "/" + shortDuration(l.Window)
	if l.Burst > 0 {
		s += " burst " + strconv.FormatInt(l.Burst, 10)
	}
	return s
}

// shortDuration is a duration as people write it: 1m and not 1m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// burst is Burst or its default.
func (l Limit) burst() int64 {
	switch {
	case l.Burst > 0:
		return l.Burst
	case l.Mode == Strict:
		return (l.N + 1) / 2
	}
	return l.N
}

// Rate checks the limit and makes it ready for decisions.
func (l Limit) Rate() (*Rate, error) {
	if l.N <= 0 || l.N > MaxUnits {
		return nil, fmt.Errorf("limit %d: it must be between 1 and %d", l.N, MaxUnits)
	}
	if l.Window <= 0 || l.Window > MaxWindow {
		return nil, fmt.Errorf("period %s: it must be longer than 0 and at most %s", l.Window, shortDuration(MaxWindow))
	}
	if l.Burst < 0 || l.Burst > MaxUnits {
		return nil, fmt.Errorf("burst %d: it must be between 1 and %d", l.Burst, MaxUnits)
	}
	if int(l.Mode) >= len(modeNames) {
		return nil, fmt.Errorf("mode %d is not known", l.Mode)
	}
	each, err := l.units()
	if err != nil {
		return nil, err
	}
	interval := (int64(l.Window) + each - 1) / each
	if over := interval*each - int64(l.Window); over > int64(l.Window)/maxRounding {
		return nil, fmt.Errorf("limit %s: a unit would take less than a few nanoseconds, which cannot be held to 1 %%: choose fewer units a second", l)
	}
	burst := l.burst()
	if hi, lo := bits.Mul64(uint64(burst), uint64(interval)); hi != 0 || lo > uint64(maxHorizon) {
		return nil, fmt.Errorf("limit %s: its burst takes more than 100 years to come back: choose a smaller burst", l)
	}
	return &Rate{Limit: l, interval: interval, tolerance: burst * interval, burst: burst}, nil
}

// units is how many units come back in a Window.
func (l Limit) units() (int64, error) {
	burst := l.burst()
	switch l.Mode {
	case Strict:
		if burst > l.N {
			return 0, fmt.Errorf("burst %d: in mode strict it cannot be more than the limit, %d", burst, l.N)
		}
		return l.N - burst + 1, nil
	case Exact:
		if l.N > MaxExact {
			return 0, fmt.Errorf("limit %d: mode exact keeps the time of each unit and is for at most %d: choose strict", l.N, MaxExact)
		}
		if l.Burst != 0 && l.Burst != l.N {
			return 0, errors.New("mode exact has no burst: it admits all of the limit at once")
		}
	}
	return l.N, nil
}

// ParseLimit reads `N/period`, where N is a number of requests, or of bytes
// with a unit like kB or MiB, and period is a duration like 30s, 1h30m or 7d, or
// one of s, m, h and d.
func ParseLimit(s string) (Limit, error) {
	count, period, ok := strings.Cut(s, "/")
	if !ok {
		return Limit{}, fmt.Errorf("limit %q: write it like 100/1m, or 10/s", s)
	}
	n, err := ParseUnits(count)
	if err != nil {
		return Limit{}, fmt.Errorf("limit %q: %w", s, err)
	}
	window, err := parsePeriod(period)
	if err != nil {
		return Limit{}, fmt.Errorf("limit %q: %w", s, err)
	}
	return Limit{N: n, Window: window}, nil
}

var unitNames = []struct {
	name   string
	factor int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"B", 1},
}

// ParseUnits reads a positive number of units, or a size like 10MiB.
func ParseUnits(s string) (int64, error) {
	factor := int64(1)
	for _, u := range unitNames {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, factor = rest, u.factor
			break
		}
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	if n == 0 || n > uint64(MaxUnits)/uint64(factor) {
		return 0, fmt.Errorf("%s is not between 1 and %d", s, MaxUnits)
	}
	return int64(n) * factor, nil
}

func parsePeriod(s string) (time.Duration, error) {
	day := func(n uint64) (time.Duration, error) {
		if n == 0 || n > uint64(MaxWindow/(24*time.Hour)) {
			return 0, fmt.Errorf("the period %q is not between 1 and %d days", s, MaxWindow/(24*time.Hour))
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	switch s {
	case "s":
		return time.Second, nil
	case "m":
		return time.Minute, nil
	case "h":
		return time.Hour, nil
	case "d":
		return day(1)
	}
	if rest, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(rest, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("the period %q is not a number of days", s)
		}
		return day(n)
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("the period %q is not a duration like 1m", s)
	}
	if d <= 0 || d > MaxWindow {
		return 0, fmt.Errorf("the period %s is not longer than 0 and at most %s", d, shortDuration(MaxWindow))
	}
	return d, nil
}
