package policy

import (
	"sync"
	"sync/atomic"
	"time"
)

// Omitted is a number of requests that have no record of their own. It becomes
// a record of the kind log.gap.
type Omitted struct {
	Rule   string
	Reason string
	Count  int64
	From   time.Time // they were completed after this
	To     time.Time // and not after this
}

// Counters counts the requests that rules of the level none took out of the
// log. One Counters serves a log for as long as it is open: policies come and
// go with the configuration, and requests that an old one still serves are
// counted too.
//
// It is safe for concurrent use.
type Counters struct {
	// Now is the clock. Default: time.Now.
	Now func() time.Time

	mu    sync.Mutex // guards the fields below, not the counts themselves
	list  []*omission
	since time.Time // of the last Take
}

// omission counts for one rule and reason.
type omission struct {
	rule, reason string
	count        atomic.Int64
	from         time.Time // set if counts of an earlier period were put back
}

// counter returns the counter of a rule and reason.
func (c *Counters) counter(rule, reason string) *atomic.Int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		c.since = c.now()
	}
	return &c.entry(rule, reason).count
}

func (c *Counters) entry(rule, reason string) *omission {
	for _, o := range c.list {
		if o.rule == rule && o.reason == reason {
			return o
		}
	}
	o := &omission{rule: rule, reason: reason}
	c.list = append(c.list, o)
	return o
}

func (c *Counters) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// Take returns what was counted since the last Take, by rule, and counts from
// zero again. Each request is in the answer of exactly one Take. A caller that
// cannot record an answer gives it to Return.
func (c *Counters) Take() []Omitted {
	c.mu.Lock()
	defer c.mu.Unlock()
	to := c.now()
	var taken []Omitted
	for _, o := range c.list {
		n := o.count.Swap(0)
		if n == 0 {
			continue
		}
		from := c.since
		if !o.from.IsZero() {
			from, o.from = o.from, time.Time{}
		}
		taken = append(taken, Omitted{o.rule, o.reason, n, from, to})
	}
	c.since = to
	return taken
}

// Return puts counts back that could not be recorded. The next Take returns
// them again.
func (c *Counters) Return(list []Omitted) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range list {
		o := c.entry(t.Rule, t.Reason)
		o.count.Add(t.Count)
		if o.from.IsZero() || t.From.Before(o.from) {
			o.from = t.From
		}
	}
}
