// Package availability computes from a log alone how available the upstreams
// were: weighted by time and by requests, with the mean times to repair and
// between failures, and with the part of the period in which anything was known.
//
// It reads the records upstream.*, which say when an upstream went from one
// state to another, and those that say when nobody was there to look: log.open,
// log.close and process.crash. Anyone who has the log can compute the same.
//
// An upstream is identified by its server, its address and the number of the
// health check that watches it (audit.UpstreamChange). It is up, down or, when
// nothing watches it and while no process runs, unknown:
//
//	availability = up / (up + down)
//	coverage     = (up + down) / period
//
// An outage begins when an upstream that was not in one is seen down, and ends
// when it is seen up: a restart in its middle, during which the state is
// unknown, does not end it.
package availability

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// state is what is known of an upstream.
type state uint8

const (
	unknown state = iota
	up
	down
	gone // no longer configured, or not yet: nothing to be known
)

var states = map[audit.Kind]state{
	audit.KindUpstreamUp: up, audit.KindUpstreamDown: down,
	audit.KindUpstreamUnknown: unknown, audit.KindUpstreamGone: gone,
}

var names = [...]string{unknown: "unknown", up: "up", down: "down", gone: "gone"}

// key identifies an upstream.
type key struct {
	server, address string
	handler         int
}

// upstream is what has been added up of one.
type upstream struct {
	check string
	state state
	since time.Time // of the state

	final *upstream // as it was at the end of the period, if a later record was added

	at    time.Time // up to when the state was added up
	spent [len(names)]time.Duration

	served, failed int64

	outage         time.Time // when the outage that goes on began; zero: none
	begun          int       // outages that began in the period
	repaired       int
	repair         time.Duration // of those
	longest        time.Duration
	outages        []Outage
	omittedOutages int
}

// Account adds records up. They are added in the order of the log.
type Account struct {
	from, to time.Time // of the period; zero: the first and the last record

	first, last time.Time // times of records
	upstreams   map[key]*upstream
	crashed     map[key]state // since an unclean end, what was known before it
}

// New returns an account of the period from one time to before another. Zero
// means the first and the last record that is added. No state is taken to have
// gone on after the last record.
func New(from, to time.Time) *Account {
	return &Account{from: from, to: to, upstreams: map[key]*upstream{}}
}

// kinds are the records that matter, as they are written. A record of another
// kind is not decoded.
var kinds = [][]byte{
	[]byte(`"kind":"upstream.`), []byte(`"kind":"log.open"`), []byte(`"kind":"log.close"`), []byte(`"kind":"process.crash"`),
}

// Add adds a record. Those that say nothing of upstreams only tell the time.
func (a *Account) Add(record []byte) error {
	head := record[:min(len(record), headBytes)]
	if !slices.ContainsFunc(kinds, func(k []byte) bool { return bytes.Contains(head, k) }) {
		_, rest, _ := bytes.Cut(head, []byte(`"time":"`))
		text, _, _ := bytes.Cut(rest, []byte{'"'})
		t, err := time.Parse(time.RFC3339Nano, string(text))
		if err != nil {
			return fmt.Errorf("a record has no time: %w", err)
		}
		a.seen(t)
		return nil
	}
	r, err := audit.Decode(record)
	if err != nil {
		return err
	}
	before := a.last
	a.seen(r.Time)
	switch body := r.Body.(type) {
	case *audit.UpstreamChange:
		a.change(body)
	case *audit.LogOpen:
		if body.Clean {
			before = r.Time
		}
		a.interrupted(before, body.Clean)
	case *audit.LogClose:
		a.interrupted(r.Time, true)
	case *audit.Process:
		a.aliveUntil(body)
	}
	return nil
}

// headBytes is more than a record has before and in its time and kind.
const headBytes = 256

// seen notes the time of a record. A clock that was set back takes nothing off.
func (a *Account) seen(t time.Time) {
	if a.first.IsZero() {
		a.first = t
	}
	if t.After(a.last) {
		a.last = t
	}
}

// change takes over a new state.
func (a *Account) change(c *audit.UpstreamChange) {
	s, ok := states[c.Kind]
	if !ok { // of a later version
		s = unknown
	}
	k := key{c.Server, c.Address, c.Handler}
	u := a.upstreams[k]
	if u == nil {
		u = &upstream{state: gone, since: c.Time, at: c.Time}
		a.upstreams[k] = u
	}
	delete(a.crashed, k)
	u.check = c.Check
	if a.within(c.Time) {
		u.served += c.Served
		u.failed += c.Failed
	}
	a.enter(u, s, c.Time)
}

// enter ends an upstream's state.
func (a *Account) enter(u *upstream, s state, t time.Time) {
	a.spend(u, t)
	if u.final == nil && !a.to.IsZero() && !t.Before(a.to) {
		u.final = &upstream{state: u.state, since: u.since}
	}
	switch {
	case s == down && u.outage.IsZero():
		u.outage = t
		if a.within(t) {
			u.begun++
		}
	case (s == up || s == gone) && !u.outage.IsZero():
		a.ended(u, t, s == up)
		u.outage = time.Time{}
	}
	if s != u.state {
		u.state, u.since = s, t
	}
}

// spend adds up the time that an upstream's state has lasted.
func (a *Account) spend(u *upstream, t time.Time) {
	u.spent[u.state] += a.overlap(u.at, t)
	if t.After(u.at) {
		u.at = t
	}
}

// interrupted says that from t on nobody looked. After an unclean end that is
// the time of the last record.
func (a *Account) interrupted(t time.Time, clean bool) {
	a.crashed = nil
	if !clean {
		a.crashed = map[key]state{}
	}
	for k, u := range a.upstreams {
		if u.state == gone {
			continue
		}
		if !clean && u.state != unknown {
			a.crashed[k] = u.state
		}
		a.enter(u, unknown, t)
	}
}

// aliveUntil says that before an unclean end the process was seen later than at
// its last record.
func (a *Account) aliveUntil(p *audit.Process) {
	if p.Kind != audit.KindProcessCrash || p.Last.IsZero() {
		return
	}
	for k, s := range a.crashed {
		u := a.upstreams[k]
		d := a.overlap(u.since, p.Last)
		u.spent[s] += d
		if u.at.Before(p.Last) {
			u.at = p.Last
		}
	}
	a.crashed = nil
}

// within reports whether a time is in the period.
func (a *Account) within(t time.Time) bool {
	return (a.from.IsZero() || !t.Before(a.from)) && (a.to.IsZero() || t.Before(a.to))
}

// overlap is how long the time from one moment to another is in the period.
func (a *Account) overlap(from, to time.Time) time.Duration {
	if !a.from.IsZero() && from.Before(a.from) {
		from = a.from
	}
	if !a.to.IsZero() && to.After(a.to) {
		to = a.to
	}
	return max(0, to.Sub(from))
}

// maxOutages is how many outages of an upstream a report lists, the first ones.
// All are counted.
const maxOutages = 1000

// ended adds up an outage, or the part of it that is in the period.
func (a *Account) ended(u *upstream, t time.Time, repaired bool) {
	d := a.overlap(u.outage, t)
	if d == 0 && !a.within(t) {
		return
	}
	u.longest = max(u.longest, d)
	if repaired && a.within(t) {
		u.repaired++
		u.repair += d
	}
	if len(u.outages) == maxOutages {
		u.omittedOutages++
		return
	}
	o := Outage{From: u.outage.UTC(), Seconds: d.Seconds()}
	if a.within(t) && repaired {
		o.To = t.UTC()
	}
	u.outages = append(u.outages, o)
}

// sortKeys orders upstreams for a report.
func sortKeys(a, b key) int {
	return cmp.Or(cmp.Compare(a.server, b.server), cmp.Compare(a.address, b.address), cmp.Compare(a.handler, b.handler))
}
