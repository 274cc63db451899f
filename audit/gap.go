package audit

import (
	"errors"
	"time"
)

// Cause tells why requests have no record, or a record that their clients did
// not see answered.
type Cause int

// The causes of a gap.
const (
	CauseFailure Cause = iota // the log could not be written
	CauseStall                // the disk did not answer in time
	CauseExit                 // the process ended while requests were running
	causes
)

var causeNames = [causes]string{"failure", "stall", "exit"}

// gap counts what the log does not hold, or not as the client saw it.
type gap struct {
	from, to time.Time // of the first and last count; zero: nothing was counted
	reason   string    // the first that was given

	lost int64 // records taken and not written
	Missed
}

func (g *gap) empty() bool { return g.lost == 0 && g.Missed == Missed{} }

// add counts more, or less if n is -1.
func (g *gap) add(more gap, n int64) {
	g.lost += n * more.lost
	g.Missed.add(more.Missed, n)
}

// Missed counts what has no record. A log.gap record will tell.
type Missed struct {
	Refused int64 // requests refused because the log took no records
	Served  int64 // requests served all the same
	Late    int64 // requests refused after Append took the record and gave up (ErrStalled)
	Other   int64 // records that are not of requests and were not taken
}

func (m *Missed) add(more Missed, n int64) {
	m.Refused += n * more.Refused
	m.Served += n * more.Served
	m.Late += n * more.Late
	m.Other += n * more.Other
}

// Miss counts what has no record. The counts are written as a log.gap record
// with the next checkpoint, or when the log has healed.
func (l *Log) Miss(cause Cause, m Missed) { l.miss(cause, gap{Missed: m}) }

func (l *Log) miss(cause Cause, more gap) {
	now := l.cfg.Now()
	l.mu.Lock()
	if heir := l.heir; heir != nil {
		l.mu.Unlock()
		heir.miss(cause, more)
		return
	}
	defer l.mu.Unlock()
	g := &l.gaps[cause]
	if g.from.IsZero() {
		g.from = now
	}
	if g.reason == "" { // who was refused may count before the committer, which knows why
		g.reason = more.reason
	}
	g.to = now
	g.add(more, 1)
	l.missed[cause].add(more, 1)
}

// Inherit takes over what another log, which was closed and took the same
// records before, has counted and not told, and what it will still be told to
// count.
func (l *Log) Inherit(old *Log) {
	old.mu.Lock()
	gaps := old.gaps
	old.gaps = [causes]gap{}
	old.heir = l
	old.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, g := range gaps {
		if g.from.IsZero() {
			continue
		}
		l.missed[c].add(g, 1)
		own := &l.gaps[c]
		if own.empty() {
			*own = g
			continue
		}
		own.add(g, 1)
		own.from, own.reason = g.from, g.reason // it is the older one
	}
}

// Gaps sums up what was missed and is not yet told in the log.
func (l *Log) Gaps() (lost int64, m Missed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.gaps {
		lost += g.lost
		m.add(g.Missed, 1)
	}
	return lost, m
}

// body is the log.gap record of a gap. Without an end it says that the gap has
// begun.
func (g *gap) body(cause Cause, instance string) []byte {
	r := LogGap{
		Time: g.to, Cause: causeNames[cause], Reason: g.reason, From: g.from, To: g.to,
		Refused: g.Refused, Served: g.Served, Late: g.Late, Lost: g.lost, Other: g.Other,
	}
	if g.to.IsZero() {
		r.Time = g.from
	}
	return r.AppendBody(nil, instance)
}

// tellGaps queues the log.gap records of what was missed while the log took
// records.
func (l *Log) tellGaps() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.gaps {
		g := &l.gaps[c]
		if g.empty() || l.err != nil {
			continue
		}
		if _, err := l.add(g.body(Cause(c), l.cfg.Instance), nil); err == nil {
			*g = gap{}
		}
	}
}

// inscribeGaps writes the log.gap records of a log that heals. A failure that
// nobody noticed has one, too.
func (l *Log) inscribeGaps() error {
	for c := range l.gaps {
		l.mu.Lock()
		g := l.gaps[c]
		l.mu.Unlock()
		if g.from.IsZero() {
			continue
		}
		if g.to = l.cfg.Now(); g.to.Before(g.from) {
			g.to = g.from
		}
		if err := l.inscribe(g.body(Cause(c), l.cfg.Instance)); err != nil {
			return err
		}
		l.subtract(Cause(c), g)
	}
	return nil
}

// subtract takes off what a record has told. What was counted since stays.
func (l *Log) subtract(cause Cause, told gap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := &l.gaps[cause]
	g.add(told, -1)
	if g.empty() {
		*g = gap{}
		return
	}
	g.from = told.to
}

// watch tells those who wait when the disk does not answer, so that a stalled
// disk does not stall every client for good. Their records stay in the batch.
func (l *Log) watch() {
	defer close(l.watched)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.committed:
			return
		case <-tick.C:
			l.giveUp(time.Now())
		}
	}
}

// watchEvery is how exactly the deadline is kept.
const watchEvery = 100 * time.Millisecond

func (l *Log) giveUp(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range []*batch{l.flying, l.pending} {
		if b == nil || len(b.lengths) == 0 || now.Sub(b.since) < l.cfg.Deadline {
			continue
		}
		for i, w := range b.waiters {
			if w != nil {
				w.done <- ErrStalled
				b.waiters[i] = nil
			}
		}
	}
}

// noteClock records that the clock was set back. The order of records is their
// index, never their time.
func (l *Log) noteClock(now time.Time) {
	was := l.clock
	l.clock = now.Round(0) // the time of day: the monotonic clock never goes back
	if !was.IsZero() && was.Sub(l.clock) > clockStep {
		l.mu.Lock()
		defer l.mu.Unlock()
		if _, err := l.add((&LogClock{Time: l.clock, From: was, To: l.clock}).AppendBody(nil, l.cfg.Instance), nil); err != nil && !errors.Is(err, ErrClosed) {
			l.cfg.Logger.Warn("the clock was set back, but the audit log cannot say so", "from", was, "to", l.clock, "error", err)
		}
		l.nudge()
	}
}

// clockStep is how far back the clock must go to be worth a record.
const clockStep = time.Second
