package limiter

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a Zone holds its keys to.
type Config struct {
	// Rate is the limit, which an Ask can override. nil: none.
	Rate *Rate

	// Largest is the greatest N of Rate and of the overrides, for mode Exact.
	// Default: that of Rate.
	Largest int64

	// Debt is how many units a key can owe, beyond what it may spend, for costs
	// that are charged afterwards. Default: as many as the burst.
	Debt int64

	// Concurrency is how many requests of a key may be under way. 0: any
	// number.
	Concurrency int64

	// Later says that costs of requests may be set aside until they are known
	// (Ask.Later).
	Later bool

	// Ban says when refusals lead to a ban. Keys can be banned by hand in any
	// case.
	Ban Ban

	// Capacity is how many keys the zone holds, rounded up to a multiple of 8.
	// Default: DefaultCapacity.
	Capacity int
}

// Zone has the state of many keys in a memory that does not grow.
type Zone struct {
	Hasher Hasher

	id    uint64 // zones are locked in its order
	now   func() int64
	mu    sync.Mutex // held by who replaces the state
	state atomic.Pointer[state]

	lost atomic.Int64
}

// state is replaced when the configuration changes.
type state struct {
	Config
	table    table     // TATs; no buckets without Rate
	grace    int64     // for how long after its TAT a key still has something to lose
	logs     *logs     // for mode Exact
	inflight *inflight // requests under way
	aside    *inflight // units set aside
	bans     bans
}

var zoneIDs atomic.Uint64

// NewZone makes a zone. now is its clock, in nanoseconds from any beginning: a
// monotonic one, so that nobody who sets the computer's clock resets limits. If it
// is nil it is Now.
func NewZone(c Config, h Hasher, now func() int64) (*Zone, error) {
	if now == nil {
		now = Now
	}
	z := &Zone{Hasher: h, id: zoneIDs.Add(1), now: now}
	st, err := newState(c)
	if err != nil {
		return nil, err
	}
	z.state.Store(st)
	return z, nil
}

// begin of the clock: some time ago, so that Now is not near 0.
var begin = time.Now().Add(-time.Hour)

// Now is the monotonic clock of this process, in nanoseconds.
func Now() int64 { return int64(time.Since(begin)) }

// Check completes a configuration and says what is wrong with it.
func (c *Config) Check() error {
	if c.Rate == nil && c.Concurrency == 0 {
		return errors.New("a zone needs a limit, or a limit of concurrency")
	}
	if c.Capacity == 0 {
		c.Capacity = DefaultCapacity
	}
	if c.Capacity < MinCapacity || c.Capacity > MaxCapacity {
		return fmt.Errorf("capacity %d: it must be between %d and %d keys", c.Capacity, MinCapacity, MaxCapacity)
	}
	if c.Concurrency < 0 {
		return fmt.Errorf("concurrency %d: it must not be negative", c.Concurrency)
	}
	if c.Debt < 0 || c.Debt > MaxUnits {
		return fmt.Errorf("debt %d: it must be between 0 and %d", c.Debt, MaxUnits)
	}
	if c.Rate != nil {
		c.Largest = max(c.Largest, c.Rate.N)
		if c.Debt == 0 {
			c.Debt = c.Rate.burst
		}
		if c.Rate.Mode == Exact && c.Largest > MaxExact {
			return fmt.Errorf("limit %d: mode exact is for at most %d", c.Largest, MaxExact)
		}
	}
	c.Ban = c.Ban.withDefaults()
	return c.Ban.check()
}

func newState(c Config) (*state, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	st := &state{Config: c}
	if c.Rate != nil {
		st.table = *newTable(c.Capacity)
		if c.Rate.Mode == Exact {
			st.logs = newLogs(int(c.Largest), st.table.slots())
			st.grace = int64(c.Rate.Window)
		}
	}
	if c.Concurrency > 0 {
		st.inflight = newInflight(c.Capacity)
	}
	if c.Rate != nil && c.Later {
		st.aside = newInflight(c.Capacity)
	}
	return st, st.bans.init(c.Ban, c.Capacity/4)
}

// Bytes is how much memory the zone's tables take.
func (z *Zone) Bytes() int64 {
	const slotBytes = 16
	st := z.state.Load()
	n := int64(st.bans.table.slots()+st.bans.strikes.slots()) * slotBytes
	if st.table.buckets != nil {
		n += int64(st.table.slots()) * slotBytes
	}
	if st.logs != nil {
		n += int64(len(st.logs.times)*8 + len(st.logs.heads))
	}
	for _, f := range []*inflight{st.inflight, st.aside} {
		if f != nil {
			n += int64(f.slots()) * slotBytes
		}
	}
	return n
}

// Lost is how many keys had to be forgotten, or were not kept, although they
// had something to lose: the capacity is too small for the traffic.
func (z *Zone) Lost() int64 { return z.lost.Load() }

// Capacity is how many keys the zone holds.
func (z *Zone) Capacity() int { return z.state.Load().Capacity }

// Configured is what the zone holds its keys to now.
func (z *Zone) Configured() Config { return z.state.Load().Config }

// Apply changes what the zone holds its keys to. Units that are spent stay
// spent, whatever they are worth under the new limit; bans and what is under way
// stay. What is charged while the tables are copied may be forgotten.
func (z *Zone) Apply(c Config) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	was := z.state.Load()
	st, err := newState(c)
	if err != nil {
		return err
	}
	now := z.now()
	if st.table.buckets != nil && was.table.buckets != nil {
		st.takeRates(was, now, &z.lost)
	}
	z.lost.Add(st.bans.take(&was.bans, now))
	st.inflight = st.inflight.carry(was.inflight)
	st.aside = st.aside.carry(was.aside)
	z.state.Store(st)
	return nil
}

// takeRates fills an empty table with what keys have spent under another rate.
func (s *state) takeRates(was *state, now int64, lost *atomic.Int64) {
	was.table.each(func(slot int, fp uint64, tat *int64) bool {
		if *tat <= now-was.grace {
			return true
		}
		to, full := s.adopt(fp, s.Rate.convert(*tat, now, was.Rate, s.Debt), now)
		if full {
			lost.Add(1)
		}
		if to >= 0 && s.logs != nil {
			s.takeLog(to, was, slot, *tat, now)
		}
		return true
	})
}

// takeLog gives a slot the log of another state's slot or, where that kept none,
// as many units of now as were spent.
func (s *state) takeLog(to int, was *state, slot int, tat, now int64) {
	if was.logs != nil {
		s.logs.take(to, was.logs, slot)
		return
	}
	s.logs.reset(to)
	s.logs.add(to, now, (tat-now+was.Rate.interval-1)/was.Rate.interval)
}

// adopt puts a key into the table of a state. slot is negative if there is no
// room for it; lost reports that it or another key is not kept.
func (s *state) adopt(fp uint64, tat, now int64) (slot int, lost bool) {
	n := s.table.index(fp)
	b := &s.table.buckets[n]
	b.lock()
	defer b.unlock()
	i := b.find(fp)
	if i >= 0 {
		b[i].tat.Store(max(tat, b[i].tat.Load()))
	} else if i, lost = b.claim(fp, now-s.grace, tat); i < 0 {
		return -1, lost
	}
	return n*ways + i, lost
}

// takeAll copies another table's slots, and returns how many of those that are
// higher than now had no room.
func (t *table) takeAll(from *table, now int64) (lost int64) {
	from.each(func(_ int, fp uint64, v *int64) bool {
		b := t.bucket(fp)
		b.lock()
		if _, one := b.claim(fp, now, *v); one {
			lost++
		}
		b.unlock()
		return true
	})
	return lost
}

// take keeps bans, and strikes if they count the same. It returns how many bans
// had no room.
func (s *bans) take(was *bans, now int64) (lost int64) {
	lost = s.table.takeAll(was.table, packBan(now, 1<<banBits-1))
	s.any.Store(was.any.Load())
	if s.rate != nil && was.rate != nil && s.rate.Limit == was.rate.Limit {
		s.strikes.takeAll(was.strikes, now)
	}
	return lost
}
