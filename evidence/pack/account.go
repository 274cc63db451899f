package pack

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/member"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// Account computes the figures of a log. Records are given in their order.
type Account struct {
	Figures
	period   Period
	from, to string // as records hold times
	sink     Sink

	record    member.Record
	matcher   *population.Matcher
	selectors []selector
	counts    []Count
	listed    bool // the record before is of a population other than all requests
	checks    map[string]*track
	upstreams map[string]*track
	meta      map[string]Check // newest of each check before the end of the period
	ahead     map[string]Check // newest of each check
	spans     *spans           // of the one check that is followed; nil: all that there is is counted
	cause     *Cause           // the record that is being added, if it can change a state

	missing string         // why the records behind the one before cannot be read
	seen    bool           // a record
	at      string         // time of the record before
	took    int64          // its duration
	closed  string         // time of a log.close that no log.open has followed
	segment map[int64]bool // whose rollup was counted

	review review
	lots   []lot
}

// selector is a population. Those of the account are in the order of the
// definitions.
type selector struct {
	p *population.Population
	s *population.Selector
}

// Sink takes the rows of populations.
type Sink interface {
	// Wants reports whether it takes rows of a population.
	Wants(p *population.Population) bool
	// Row takes a row of a population. The record is valid during the call.
	Row(p *population.Population, row *population.Row) error
}

// The tables of requests, and what is in them. Part of the format.
var tables = []struct {
	name  string
	field member.Field
}{
	{"access", member.Access},
	{"cache", member.Cache},
	{"end", member.End},
	{"host", member.Host},
	{"limit", member.Limit},
	{"method", member.Method},
	{"proto", member.Proto},
	{"tls", member.TLSVersion},
	{"upstream", member.Upstream},
}

const (
	unknown = "unknown"
	none    = "none"
)

// NewAccount returns an account of a log for a period. sink may be nil.
func NewAccount(l *Log, p Period, sink Sink) *Account {
	a := &Account{period: p, sink: sink, checks: map[string]*track{}, upstreams: map[string]*track{}, meta: map[string]Check{}, ahead: map[string]Check{}, segment: map[int64]bool{}}
	a.from, a.to = p.texts()
	a.Heads, a.First, a.Next = l.Heads, l.First, l.Next
	a.Kinds, a.Days, a.Populations = map[string]int64{}, map[string]Day{}, map[string]Count{}
	a.Gaps, a.Keys = []Gap{}, []KeyUse{}
	a.Findings, a.Risks, a.Samples = []Finding{}, []Risk{}, []Drawn{}
	a.review.begin()
	a.Requests.By = map[string]map[string]int64{"status": {}}
	for _, t := range tables {
		a.Requests.By[t.name] = map[string]int64{}
	}
	var defs []*population.Population
	for _, d := range population.All() {
		if d.Derived {
			continue
		}
		a.selectors = append(a.selectors, selector{d, d.Selector(population.Period{From: p.From, To: p.To})})
		defs = append(defs, d)
	}
	a.counts = make([]Count, len(defs))
	a.matcher = population.NewMatcher(defs)
	return a
}

// Add takes a record.
func (a *Account) Add(seq int64, record []byte) error {
	r := &a.record
	if err := r.Read(record); err != nil {
		return fmt.Errorf("record %d: %w", seq, err)
	}
	at, kind := string(r.Text(member.Time)), string(r.Text(member.Kind))
	if !isTime(at) {
		return fmt.Errorf("record %d: its time %q is not one", seq, at)
	}
	took, _ := r.Number(member.Duration)
	if !a.seen || a.missing != "" {
		known := at // from when it was appended: what ended before may be missing
		if took > 0 {
			known = shift(at, took)
		}
		a.begin(known)
		a.found(known)
	}
	if err := a.happened(seq, at, kind, record); err != nil {
		return fmt.Errorf("record %d: %w", seq, err)
	}
	a.at, a.took, a.listed = at, max(took, 0), false
	if at < a.from || at >= a.to || a.spans != nil {
		return nil
	}
	a.Records++
	a.Kinds[kind]++
	if kind == "request" {
		a.request(at)
	}
	return a.rows(seq, record)
}

// begin is told when the first record was appended.
func (a *Account) begin(at string) {
	if a.seen {
		return
	}
	a.seen = true
	why := "the log begins then"
	if a.First > 0 {
		why = fmt.Sprintf("records before %d are not there", a.First)
	}
	a.gap(a.from, at, why)
}

// gap notes a part of the period.
func (a *Account) gap(from, to, why string) {
	from, to = max(from, a.from), min(to, a.to)
	if from < to {
		a.Gaps = append(a.Gaps, Gap{from, to, why})
	}
}

// before is when the record before was appended; empty if there is none.
func (a *Account) before() string {
	if a.took > 0 {
		a.at, a.took = shift(a.at, a.took), 0
	}
	return a.at
}

func shift(at string, ns int64) string {
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return at
	}
	return t.Add(time.Duration(ns)).UTC().Format(TimeForm)
}

func (a *Account) request(at string) {
	r, q := &a.record, &a.Requests
	q.Total++
	size, _ := r.Number(member.Bytes)
	q.Bytes += size
	if len(r.Text(member.User)) > 0 {
		q.Authenticated++
	}
	status, _ := r.Number(member.Status)
	add(q.By["status"], strconv.FormatInt(status, 10))
	for _, t := range tables {
		name := none
		if b := r.Text(t.field); len(b) > 0 {
			name = plain(b)
		}
		add(q.By[t.name], name)
	}
	day := a.Days[at[:10]]
	if day.Class == nil {
		day.Class = map[string]int64{}
	}
	day.Requests++
	day.Bytes += size
	day.Class[strconv.FormatInt(status/100, 10)+"xx"]++
	if string(r.Text(member.Access)) == "deny" || status == 401 || status == 403 {
		day.Denied++
	}
	if string(r.Text(member.Limit)) == "limited" {
		day.Limited++
	}
	if len(r.Text(member.TLSVersion)) == 0 {
		day.Plain++
	}
	a.Days[at[:10]] = day
}

// plain undoes JSON's escapes.
func plain(b []byte) string {
	if !slices.Contains(b, '\\') {
		return string(b)
	}
	var s string
	if err := json.Unmarshal(append(append([]byte{'"'}, b...), '"'), &s); err != nil {
		return string(b) // it was read as JSON before
	}
	return s
}

// rows counts a record in the populations that it belongs to, and gives their
// rows to the sink.
func (a *Account) rows(seq int64, record []byte) error {
	found, err := a.matcher.Of(&a.record)
	if err != nil {
		return fmt.Errorf("record %d: %w", seq, err)
	}
	for _, i := range found {
		s, c := &a.selectors[i], &a.counts[i]
		if c.Count++; c.Count == 1 {
			c.First, c.Last = new(seq), new(seq)
		}
		*c.Last = seq
		a.listed = a.listed || s.p.Name != requestRows
		a.offer(s.p, seq)
		if a.sink == nil || !a.sink.Wants(s.p) {
			continue
		}
		row, err := s.s.Row(seq, record)
		if err != nil {
			return fmt.Errorf("record %d: %w", seq, err)
		}
		if row == nil {
			return fmt.Errorf("record %d: it is in the population %s, and is not", seq, s.p.Name)
		}
		if err := a.sink.Row(s.p, row); err != nil {
			return err
		}
	}
	return nil
}

// Listed reports whether the record that was added last is of the period and of a
// population other than all requests.
func (a *Account) Listed() bool { return a.listed }

// isTime reports whether a text is a time as records hold it.
func isTime(s string) bool {
	const form = "dddd-dd-ddTdd:dd:dd.dddddddddZ"
	if len(s) != len(form) {
		return false
	}
	for i := range form {
		if c := s[i]; form[i] == 'd' && (c < '0' || c > '9') || form[i] != 'd' && c != form[i] {
			return false
		}
	}
	if s[5:7] < "01" || s[5:7] > "12" || s[8:10] < "01" || s[8:10] > "31" || s[11:13] > "23" || s[14:16] > "59" || s[17:19] > "59" {
		return false
	}
	if s[8:10] <= "28" {
		return true
	}
	_, err := time.Parse(time.DateOnly, s[:10])
	return err == nil
}

// End returns the figures, when all records were given.
func (a *Account) End() (Figures, error) {
	end := a.to
	a.found(a.to)
	if !a.seen {
		a.gap(a.from, a.to, "no record is there")
		end = a.from
	} else if a.Next == a.Size {
		end = min(end, max(a.before(), a.from))
		if a.closed != "" {
			a.gap(a.closed, a.to, "the log was closed")
		} else {
			a.gap(end, a.to, fmt.Sprintf("the log had %d records when the pack was made", a.Size))
		}
	}
	a.Checks, a.Upstreams = map[string]Check{}, map[string]Timeline{}
	for id, t := range a.checks {
		if _, ok := a.meta[id]; !ok {
			continue // it was first made after the period
		}
		line, err := t.end(a, end)
		if err != nil {
			return a.Figures, err
		}
		c := a.meta[id]
		c.Timeline = line
		c.FailingMinutes = minutes(line.NS["fail"])
		a.Checks[id] = c
	}
	if a.spans != nil {
		if err := a.spans.ended(a); err != nil {
			return a.Figures, err
		}
	}
	for id, t := range a.upstreams {
		line, err := t.end(a, end)
		if err != nil {
			return a.Figures, err
		}
		a.Upstreams[id] = line
	}
	slices.SortFunc(a.Gaps, byTime)
	for i, s := range a.selectors {
		a.Populations[s.p.Name] = a.counts[i]
	}
	a.reviewed()
	a.drawn()
	return a.Figures, nil
}

// nanos is a time in nanoseconds since 1970.
func nanos(at string) (int64, error) {
	if len(at) != len(TimeForm) || !strings.HasSuffix(at, "Z") {
		return 0, fmt.Errorf("%q is not a time of a record", at)
	}
	t, err := time.Parse(TimeForm, at)
	return t.UnixNano(), err
}
