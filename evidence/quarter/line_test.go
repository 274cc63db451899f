package quarter_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// line is how a check or an upstream was.
type line struct {
	state   string
	counted time.Time // up to when its time was added up
	ns      map[string]int64
	spans   []span // what was added up
	moves   int
	last    string // in the period
	since   string

	begun, ended string // first and last record of a failure in the period
	meta         *audit.CheckTransition
}

// span is a time that was added up.
type span struct {
	state    string
	from, to time.Time
}

func (w *truth) newLine() *line {
	return &line{state: "unknown", last: "unknown", counted: w.from, ns: map[string]int64{}}
}

// spend adds up the time to a moment. What was added up once is never again, but
// after the clock was set back.
func (l *line) spend(w *truth, to time.Time) {
	if to = sooner(to, w.to); to.After(l.counted) {
		l.ns[l.state] += int64(to.Sub(l.counted))
		l.spans = append(l.spans, span{l.state, l.counted, to})
		l.counted = to
	}
}

func (l *line) turn(w *truth, at time.Time, state string) {
	l.spend(w, at)
	if w.in(at) && state != l.state {
		l.moves++
	}
	if at.Before(w.to) && state != l.last {
		l.last, l.since = state, at.Format(stamp)
	}
	l.state = state
	if at.After(l.counted) { // behind the period
		l.counted = at
	}
}

// again takes back what was added up by a clock that was ahead of a moment, from
// which the state is counted again.
func (l *line) again(w *truth, at time.Time) {
	if !at.Before(l.counted) {
		return
	}
	l.counted = later(at, w.from)
	if at.Before(w.to) && l.state != l.last { // it was taken up after the period
		l.last, l.since = l.state, at.Format(stamp)
		if w.in(at) {
			l.moves++
		}
	}
	for i, s := range l.spans {
		from := later(s.from, l.counted)
		if !from.Before(s.to) {
			continue
		}
		if l.ns[s.state] -= int64(s.to.Sub(from)); l.ns[s.state] == 0 {
			delete(l.ns, s.state)
		}
		l.spans[i].to = from
	}
}

func (w *truth) setBack(at time.Time) {
	for _, lines := range []map[string]*line{w.checks, w.upstreams} {
		for _, l := range lines {
			l.again(w, at)
		}
	}
}

// states follows what a record says of states, gaps and keys.
func (w *truth) states(seq int64, kind string, at time.Time, o *other) {
	switch {
	case kind == "check.transition":
		w.transition(at, o.body.(*audit.CheckTransition))
	case strings.HasPrefix(kind, "upstream."):
		u := o.body.(*audit.UpstreamChange)
		id := fmt.Sprintf("%s %s %d", u.Server, u.Address, max(1, u.Handler))
		if w.upstreams[id] == nil {
			w.upstreams[id] = w.newLine()
		}
		w.upstreams[id].turn(w, at, strings.TrimPrefix(kind, "upstream."))
	case kind == "log.close":
		w.down(at)
	case kind == "log.clock":
		w.setBack(at)
	case kind == "log.open":
		w.opened(seq, at, o)
		w.setBack(at)
	case kind == "log.gap" && w.in(at):
		w.missing(seq, o)
	}
}

func (w *truth) transition(at time.Time, c *audit.CheckTransition) {
	l := w.checks[c.Check]
	if l == nil {
		l = w.newLine()
		w.checks[c.Check] = l
	}
	l.turn(w, at, c.After)
	if at.Before(w.to) {
		l.meta = c
	}
	if c.After == "fail" && w.in(at) {
		if l.ended = at.Format(stamp); l.begun == "" {
			l.begun = l.ended
		}
	}
}

func (w *truth) down(at time.Time) {
	for _, lines := range []map[string]*line{w.checks, w.upstreams} {
		for _, l := range lines {
			l.turn(w, at, "unknown")
		}
	}
}

func (w *truth) opened(seq int64, at time.Time, o *other) {
	if n := len(w.keys); n == 0 || strings.Join(w.keys[n-1].(map[string]any)["keys"].([]string), " ") != strings.Join(o.keys, " ") {
		w.keys = append(w.keys, map[string]any{"seq": seq, "keys": o.keys})
	}
	switch {
	case seq == w.first:
	case w.s.kinds[w.s.facts[seq-1].kind] == "log.close":
		w.gap(w.at(seq-1), at, "the log was closed")
	case !o.clean:
		w.gap(w.appended(seq-1), at, "the log was not closed in order")
		w.down(w.appended(seq - 1))
	}
}

func (w *truth) missing(seq int64, o *other) {
	w.lost["gaps"]++
	n := map[string]int64{}
	for _, name := range []string{"lost", "refused", "served", "late"} {
		v, err := strconv.ParseInt(o.cells[name], 10, 64)
		w.s.must(err)
		n[name] = v
		w.lost[name] += v
	}
	if n["lost"]+n["served"] == 0 {
		return
	}
	from, err := time.Parse(stamp, o.cells["from"])
	w.s.must(err)
	to, err := time.Parse(stamp, o.cells["to"])
	w.s.must(err)
	w.gap(from, to, fmt.Sprintf("log.gap record %d: %d lost, %d served without a record", seq, n["lost"], n["served"]))
}

// json is the line as the report has it.
func (l *line) json() map[string]any {
	return map[string]any{"state": l.last, "since": l.since, "ns": l.ns, "transitions": l.moves}
}

// minutes has three decimals, the rest is cut.
func minutes(ns int64) string {
	return fmt.Sprintf("%d.%03d", ns/int64(time.Minute), ns%int64(time.Minute)*1000/int64(time.Minute))
}

// check is the line as the report has it of a check.
func (l *line) check() map[string]any {
	m := l.json()
	m["failing_minutes"] = minutes(l.ns["fail"])
	m["severity"], m["criteria"], m["definition"] = "", []string{}, ""
	if l.begun != "" {
		m["first_fail"], m["last_fail"] = l.begun, l.ended
	}
	if c := l.meta; c != nil {
		m["severity"], m["criteria"], m["definition"] = c.Severity, c.Criteria, c.Definition
		if c.Exception != "" {
			m["exception"] = c.Exception
		}
	}
	return m
}
