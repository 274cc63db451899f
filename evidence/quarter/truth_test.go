package quarter_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// truth is what a report must say, counted from the script's own account by the
// plain words of docs/pack-format.md. No code of a report or a verifier is in it.
type truth struct {
	s           *site
	from, to    time.Time
	first, next int64 // records that are looked at
	size        int64
	root        string

	kinds     map[string]int
	records   int
	by        map[string]map[string]int
	total     int
	bytes     int64
	named     int
	days      map[string]*day
	rows      map[string][]int64 // of populations: the records that are in them
	checks    map[string]*line
	upstreams map[string]*line
	gaps      []gap
	lost      map[string]int64
	keys      []any
	people    map[string]*person
	clocks    []int64 // log.clock records of the period
	decided   decided
	samples   []sample // that were asked for
}

type day struct {
	requests, denied, limited, plain int
	bytes                            int64
	class                            map[string]int
}

type gap struct{ from, to, why string }

// person is a row of the population principals.
type person struct {
	method                             string
	first, last                        int64
	begun, ended                       time.Time
	requests, denied, limited, actions int
}

// populations of which a record can be one.
var populations = []string{
	"requests", "denials", "limited", "config_changes", "admin_calls", "certificates", "upstream_outages", "evidence_reads",
	"process_events", "check_transitions", "protocol_errors", "lockouts", "disposals", "reviews",
}

// of counts the records from one to before another, for a period.
func (s *site) of(first, next int64, from, to time.Time, checkpoint []byte) *truth {
	s.t.Helper()
	w := &truth{
		s: s, from: from, to: to, first: first, next: next, kinds: map[string]int{}, by: map[string]map[string]int{}, days: map[string]*day{},
		rows: map[string][]int64{}, checks: map[string]*line{}, upstreams: map[string]*line{}, lost: map[string]int64{}, people: map[string]*person{}, keys: []any{},
		decided: newDecided(), samples: []sample{},
	}
	for _, name := range []string{"status", "access", "cache", "end", "host", "limit", "method", "proto", "tls", "upstream"} {
		w.by[name] = map[string]int{}
	}
	w.size, w.root = head(s.t, checkpoint)
	w.begin()
	for seq := first; seq < next; seq++ {
		w.record(seq)
	}
	w.end()
	return w
}

func (w *truth) at(seq int64) time.Time { return time.Unix(0, w.s.facts[seq].at).UTC() }

// appended is when a record was.
func (w *truth) appended(seq int64) time.Time {
	f := w.s.facts[seq]
	return time.Unix(0, f.at+f.took).UTC()
}

func (w *truth) in(t time.Time) bool { return !t.Before(w.from) && t.Before(w.to) }

func (w *truth) gap(from, to time.Time, why string) {
	from, to = later(from, w.from), sooner(to, w.to)
	if from.Before(to) {
		w.gaps = append(w.gaps, gap{from.Format(stamp), to.Format(stamp), why})
	}
}

func sooner(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (w *truth) begin() {
	why := "the log begins then"
	if w.first > 0 {
		why = fmt.Sprintf("records before %d are not there", w.first)
	}
	w.gap(w.from, w.at(w.first), why)
}

// end notes what comes after the last record, if that is the log's.
func (w *truth) end() {
	until := w.to
	if w.next == w.size {
		last := w.next - 1
		until = sooner(w.to, later(w.appended(last), w.from))
		if w.s.kinds[w.s.facts[last].kind] == "log.close" {
			w.gap(w.at(last), w.to, "the log was closed")
		} else {
			w.gap(until, w.to, fmt.Sprintf("the log had %d records when the pack was made", w.size))
		}
	}
	for _, lines := range []map[string]*line{w.checks, w.upstreams} {
		for _, l := range lines {
			l.spend(w, until)
			l.state = "unknown"
			l.spend(w, w.to)
		}
	}
	slices.SortFunc(w.gaps, func(a, b gap) int {
		return strings.Compare(a.from+a.to+a.why, b.from+b.to+b.why)
	})
}

func (w *truth) record(seq int64) {
	f := w.s.facts[seq]
	kind, at := w.s.kinds[f.kind], time.Unix(0, f.at).UTC()
	if kind == "request" {
		if w.in(at) {
			r := draw(int(f.n), f.mood, at, time.Duration(f.took))
			w.request(seq, f, &r)
		}
	} else if !strings.HasPrefix(kind, "request.") {
		w.happened(seq, kind, at, &w.s.others[f.n])
	}
	if !w.in(at) {
		return
	}
	w.records++
	w.kinds[kind]++
}

func (w *truth) row(population string, seq int64) {
	w.rows[population] = append(w.rows[population], seq)
}

// name counts a name in a table, which has room for a thousand.
func (w *truth) name(table, name string) {
	if name == "" {
		name = "none"
	}
	t := w.by[table]
	if _, ok := t[name]; !ok && len(t) >= 1000 {
		name = "(other)"
	}
	t[name]++
}

func (w *truth) request(seq int64, f fact, r *request) {
	w.total++
	w.bytes += r.bytes
	user := w.s.shown(f, r, "auth.user", r.user)
	if user != "" {
		w.named++
	}
	w.name("status", strconv.Itoa(r.status))
	w.name("access", r.access)
	w.name("cache", r.cache)
	w.name("end", r.end)
	w.name("host", r.host)
	w.name("limit", r.limit)
	w.name("method", r.method)
	w.name("proto", r.proto)
	w.name("tls", r.tls)
	w.name("upstream", r.upstream)
	denied := r.access == "deny" || r.status == 401 || r.status == 403
	limited := r.limit == "limited"
	date := r.at.Format(time.DateOnly)
	d := w.days[date]
	if d == nil {
		d = &day{class: map[string]int{}}
		w.days[date] = d
	}
	d.requests++
	d.bytes += r.bytes
	d.class[strconv.Itoa(r.status/100)+"xx"]++
	if denied {
		d.denied++
	}
	if limited {
		d.limited++
	}
	if r.tls == "" {
		d.plain++
	}
	w.row("requests", seq)
	if denied || r.refused != "" {
		w.row("denials", seq)
	}
	if limited {
		w.row("limited", seq)
	}
	if user == "" {
		return
	}
	p := w.person("request\n"+user, seq, r.at, r.auth)
	p.requests++
	if denied || r.refused != "" {
		p.denied++
	}
	if limited {
		p.limited++
	}
}

func (w *truth) person(key string, seq int64, at time.Time, method string) *person {
	p := w.people[key]
	if p == nil {
		p = &person{method: method, first: seq, begun: at, ended: at}
		w.people[key] = p
	}
	p.last, p.begun, p.ended = seq, sooner(p.begun, at), later(p.ended, at)
	return p
}

// happened takes what is no request.
func (w *truth) happened(seq int64, kind string, at time.Time, o *other) {
	w.states(seq, kind, at, o)
	w.decide(seq, kind, at, o.cells)
	if !w.in(at) {
		return
	}
	switch family, _, _ := strings.Cut(kind, "."); {
	case kind == "config.change":
		w.row("config_changes", seq)
	case kind == "admin.call":
		w.row("admin_calls", seq)
	case kind == "evidence.read":
		w.row("evidence_reads", seq)
	case kind == "check.transition":
		w.row("check_transitions", seq)
	case kind == "protocol.error":
		w.row("protocol_errors", seq)
	case kind == "access.lockout", kind == "access.break_glass":
		w.row("lockouts", seq)
	case kind == "log.erase", kind == "log.hold":
		w.row("disposals", seq)
	case family == "review":
		w.row("reviews", seq)
	case family == "cert":
		w.row("certificates", seq)
	case family == "process", kind == "log.open", kind == "log.close", kind == "log.gap", kind == "log.clock":
		w.row("process_events", seq)
	case family == "upstream":
		if u := o.body.(*audit.UpstreamChange); u.Cause != "interval" && (kind == "upstream.down" || u.Before == "down") {
			w.row("upstream_outages", seq)
		}
	}
	if kind == "log.clock" {
		w.clocks = append(w.clocks, seq)
	}
	if a := actorOf(o.body); a.Name != "" && a.Known == "verified" {
		w.person("actor\n"+a.Name, seq, at, a.How).actions++
	}
}

// actorOf is who did what a record says.
func actorOf(b audit.Body) audit.Actor {
	switch b := b.(type) {
	case *audit.ConfigChange:
		return b.Actor
	case *audit.AdminCall:
		return b.Actor
	case *audit.EvidenceRead:
		return b.Actor
	case *audit.Lockout:
		return b.Actor
	case *audit.BreakGlass:
		return b.Actor
	case *audit.CachePurge:
		return b.Actor
	case *audit.LimitChange:
		return b.Actor
	case *audit.Review:
		return b.Actor
	}
	return audit.Actor{}
}
