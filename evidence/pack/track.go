package pack

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
)

// track follows the state of something.
type track struct {
	state string // unknown at first
	since string // when the state that counts now began; empty: before all
	last  string // state at the end of the period so far
	from  string // since when that is
	ns    map[string]int64
	moves int64
	spans []Span // that ns counts, in order

	by *Cause // of the state that counts now; nil: no record says it
}

func newTrack() *track {
	return &track{state: unknown, last: unknown, ns: map[string]int64{}}
}

// until counts the time up to a time in the present state.
func (t *track) until(a *Account, at string) error {
	from, to := max(t.since, a.from), min(at, a.to)
	if from >= to {
		return nil
	}
	x, err := nanos(from)
	if err != nil {
		return err
	}
	y, err := nanos(to)
	t.ns[t.state] += y - x
	t.since = to
	if n := len(t.spans); n > 0 && t.spans[n-1].To == from && t.spans[n-1].State == t.state {
		t.spans[n-1].To = to
		t.spans[n-1].NS += y - x
	} else {
		t.spans = append(t.spans, Span{t.state, from, to, y - x, t.by})
	}
	return err
}

// rewind is told that the clock was set back: what was counted later than it says
// now was counted by a clock that was ahead.
func (t *track) rewind(a *Account, at string) error {
	if t.since <= at {
		return nil
	}
	for n := len(t.spans); n > 0 && t.spans[n-1].To > at; n-- {
		s := &t.spans[n-1]
		from := max(s.From, at)
		x, err1 := nanos(from)
		y, err2 := nanos(s.To)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if t.ns[s.State] -= y - x; t.ns[s.State] == 0 {
			delete(t.ns, s.State)
		}
		if s.To, s.NS = from, s.NS-(y-x); s.From == from {
			t.spans = t.spans[:n-1]
		}
	}
	t.since = at
	if at < a.to && t.state != t.last {
		t.last, t.from = t.state, at
		if at >= a.from {
			t.moves++
		}
	}
	return nil
}

// become takes up a state. A clock that was set back counts nothing twice.
func (t *track) become(a *Account, at, state string) error {
	if err := t.until(a, at); err != nil {
		return err
	}
	if at < a.to {
		if state != t.last {
			t.last, t.from = state, at
		}
		if state != t.state && at >= a.from {
			t.moves++
		}
	}
	if state != t.state {
		t.by = a.cause
	}
	t.state = state
	t.since = max(t.since, at)
	return nil
}

// end counts what is left: up to end in the last state, and behind it unknown.
func (t *track) end(a *Account, end string) (Timeline, error) {
	err := t.until(a, end)
	if err == nil {
		t.state, t.by = unknown, nil
		err = t.until(a, a.to)
	}
	return Timeline{State: t.last, Since: t.from, NS: t.ns, Transitions: t.moves}, err
}

// happening is what of a record that is no request is used.
type happening struct {
	Check      string   `json:"check"`
	After      string   `json:"after"`
	Severity   string   `json:"severity"`
	Criteria   []string `json:"criteria"`
	Exception  string   `json:"exception"`
	Definition string   `json:"definition"`
	Trigger    string   `json:"trigger"`
	Summary    string   `json:"summary"`

	Server  string `json:"server"`
	Address string `json:"address"`
	Handler int64  `json:"handler"`

	Key   string   `json:"key"`
	Also  []string `json:"also"`
	Clean bool     `json:"clean"`

	Cause   string `json:"cause"`
	From    string `json:"from"`
	To      string `json:"to"`
	Lost    int64  `json:"lost"`
	Refused int64  `json:"refused"`
	Served  int64  `json:"served"`
	Late    int64  `json:"late"`

	Before   string `json:"before"`
	Since    string `json:"since"`
	Subject  string `json:"subject"`
	Verdict  string `json:"verdict"`
	Owner    string `json:"owner"`
	Ticket   string `json:"ticket"`
	Reason   string `json:"reason"`
	Until    string `json:"until"`
	Approver string `json:"approver"`
	Answers  int64  `json:"answers"`
	Actor    struct {
		Name  string `json:"name"`
		Known string `json:"known"`
		Claim string `json:"claim"`
	} `json:"actor"`
}

// happened takes what a record says of states.
func (a *Account) happened(seq int64, at, kind string, record []byte) error {
	upstream, isUpstream := strings.CutPrefix(kind, "upstream.")
	switch {
	case kind == "log.clock":
		return a.rewind(at)
	case isUpstream, kind == "check.transition", kind == "log.open", kind == "log.gap", kind == "review.triage", kind == "review.exception":
	case kind == "log.close":
		a.closed, a.cause = at, &Cause{Seq: seq, Kind: kind}
		return a.down(at)
	case kind == rollup.Kind && a.spans == nil:
		return a.rollup(record)
	default:
		return nil
	}
	var h happening
	if err := json.Unmarshal(record, &h); err != nil {
		return err
	}
	a.cause = &Cause{Seq: seq, Kind: kind}
	switch kind {
	case "check.transition":
		a.followed(seq, at, &h)
		return a.transition(at, &h)
	case "review.triage":
		a.triaged(seq, at, &h)
		return nil
	case "review.exception":
		a.accepted(seq, at, &h)
		return nil
	case "log.open":
		a.keys(seq, append([]string{h.Key}, h.Also...))
		return a.open(at, h.Clean)
	case "log.gap":
		a.lost(seq, at, &h)
		return nil
	}
	if a.spans != nil {
		return nil
	}
	id := fmt.Sprintf("%s %s %d", h.Server, h.Address, max(h.Handler, 1))
	if a.upstreams[id] == nil {
		a.upstreams[id] = newTrack()
	}
	return a.upstreams[id].become(a, at, upstream)
}

func (a *Account) transition(at string, h *happening) error {
	if a.spans != nil {
		if h.Check != a.spans.check {
			return nil
		}
		c := a.cause
		c.Trigger, c.Summary, c.Exception, c.Severity = h.Trigger, h.Summary, h.Exception, h.Severity
	}
	t := a.checks[h.Check]
	if t == nil {
		t = newTrack()
		a.checks[h.Check] = t
	}
	if err := t.become(a, at, h.After); err != nil {
		return err
	}
	c := a.meta[h.Check]
	c.Severity, c.Criteria, c.Exception, c.Definition = h.Severity, h.Criteria, h.Exception, h.Definition
	if c.Criteria == nil {
		c.Criteria = []string{}
	}
	a.ahead[h.Check] = c
	if at >= a.to {
		return nil
	}
	if h.After == "fail" && at >= a.from {
		if c.FirstFail == "" {
			c.FirstFail = at
		}
		c.LastFail = at
	}
	a.meta[h.Check] = c
	return nil
}

// open is a log.open record: no process wrote the log since it was closed or,
// after a crash, since the record before.
func (a *Account) open(at string, clean bool) error {
	if err := a.rewind(at); err != nil {
		return err
	}
	switch {
	case a.closed != "":
		a.gap(a.closed, at, "the log was closed")
	case a.at != "" && !clean:
		a.gap(a.before(), at, "the log was not closed in order")
		if err := a.down(min(a.before(), at)); err != nil {
			return err
		}
	}
	a.closed = ""
	return nil
}

// keys notes which keys a log.open record names, if they changed.
func (a *Account) keys(seq int64, keys []string) {
	if n := len(a.Keys); n == 0 || !slices.Equal(a.Keys[n-1].Keys, keys) {
		a.Keys = append(a.Keys, KeyUse{seq, keys})
	}
}

// rewind is told that the clock may have been set back.
func (a *Account) rewind(at string) error {
	for id, t := range a.checks {
		if at < a.to && t.since > at {
			c := a.ahead[id]
			c.FirstFail, c.LastFail = a.meta[id].FirstFail, a.meta[id].LastFail
			a.meta[id] = c
		}
		if err := t.rewind(a, at); err != nil {
			return err
		}
	}
	for _, t := range a.upstreams {
		if err := t.rewind(a, at); err != nil {
			return err
		}
	}
	return nil
}

// down makes all states unknown.
func (a *Account) down(at string) error {
	for _, t := range a.checks {
		if err := t.become(a, at, unknown); err != nil {
			return err
		}
	}
	for _, t := range a.upstreams {
		if err := t.become(a, at, unknown); err != nil {
			return err
		}
	}
	return nil
}

// Missing says that records from one on are there by their hashes only, and that
// nobody knows what they were.
func (a *Account) Missing(first int64, why string) error {
	if a.missing == "" {
		a.missing = fmt.Sprintf("records from %d on cannot be read: %s", first, why)
	}
	if !a.seen {
		return nil
	}
	a.cause = nil
	return a.down(a.before())
}

// found ends what Missing began.
func (a *Account) found(at string) {
	if a.missing != "" {
		a.gap(a.before(), at, a.missing)
	}
	a.missing = ""
}

// lost is a log.gap record. It is written when the gap is over, which may be
// after the period that the gap is in.
func (a *Account) lost(seq int64, at string, h *happening) {
	if at >= a.from && at < a.to {
		l := &a.Lost
		l.Gaps++
		l.Lost += h.Lost
		l.Refused += h.Refused
		l.Served += h.Served
		l.Late += h.Late
	}
	if h.Lost+h.Served == 0 {
		return
	}
	from, to := h.From, h.To
	if from == "" {
		from = at
	}
	if to == "" {
		to = at
	}
	a.gap(from, to, fmt.Sprintf("log.gap record %d: %d lost, %d served without a record", seq, h.Lost, h.Served))
}

func (a *Account) rollup(record []byte) error {
	r, err := rollup.Parse(record)
	if err != nil {
		return err
	}
	if r.First < a.First || r.First+r.Records > a.Next || a.segment[r.First] {
		return nil
	}
	a.segment[r.First] = true
	var q struct {
		Total int64 `json:"total"`
	}
	if r.Members.Requests != nil {
		if err := json.Unmarshal(r.Members.Requests, &q); err != nil {
			return err
		}
	}
	a.Rollups.Segments++
	a.Rollups.Records += r.Records
	a.Rollups.Requests += q.Total
	return nil
}
