package evidence

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

// interval is a part of the period in which a check had one result.
type interval struct {
	State   string `json:"state"`
	From    string `json:"from"`
	To      string `json:"to"`
	Minutes string `json:"minutes"`
	NS      int64  `json:"ns"`
	By      *cause `json:"by"`
}

// cause is the record that began an interval.
type cause struct {
	Seq       int64  `json:"seq"`
	Kind      string `json:"kind"`
	Trigger   string `json:"trigger,omitempty"`
	Summary   string `json:"summary,omitempty"`
	Severity  string `json:"severity,omitempty"`
	Exception string `json:"exception,omitempty"`
}

// packed is the log as package packer takes it: it stands on the tree of the
// inquest.
func (q *inquest) packed() packer.Log {
	head := q.log.Head
	return packer.Log{Dir: q.log.Dir, Head: &head}
}

func (q *inquest) packing() packer.Options {
	return packer.Options{Period: pack.Period{From: q.period.From, To: q.period.To}, Now: q.api.now}
}

// history answers with the intervals of a check's results. They are the whole
// period, and their lengths those that a pack of the period has.
func (q *inquest) history() {
	d := controls.Checks().Check(strings.TrimSuffix(strings.TrimPrefix(q.of, "checks/"), "/history"))
	after, ok := q.place()
	if !ok || q.fresh() {
		return
	}
	list, n, more := []interval{}, int64(0), false
	figures, err := packer.History(q.ctx, q.packed(), q.packing(), d.ID, func(s *pack.Span) error {
		n++
		switch {
		case n <= after:
		case len(list) < q.limit:
			list = append(list, intervalOf(s))
		default:
			more = true
		}
		return nil
	})
	if err != nil {
		q.failed(err)
		return
	}
	c := figures.Checks[d.ID]
	if c.NS == nil { // the log says nothing of the check
		c.State, c.FailingMinutes, c.NS = string(controls.Unknown), "0.000", map[string]int64{}
		for _, i := range list {
			c.NS[i.State] += i.NS
		}
	}
	if c.Criteria == nil {
		c.Criteria = d.Criteria
	}
	var next *string
	if more {
		next = new(q.next(strconv.FormatInt(after+int64(len(list)), 10)))
	}
	q.listed(len(list), n)
	sendJSON(q.w, q.r, http.StatusOK, typeJSON, struct {
		basis
		ID    string `json:"check"`
		Title string `json:"title"`
		pack.Check
		Count     int64      `json:"count"`
		Intervals []interval `json:"intervals"`
		Gaps      []pack.Gap `json:"gaps"`
		Next      *string    `json:"next"`
	}{q.basis(), d.ID, d.Title, c, n, list, figures.Gaps[:min(len(figures.Gaps), maxGaps)], next})
}

// maxGaps is how many gaps of the log an answer lists.
const maxGaps = 1000

func intervalOf(s *pack.Span) interval {
	i := interval{State: s.State, From: s.From, To: s.To, Minutes: s.Minutes(), NS: s.NS}
	if b := s.By; b != nil {
		i.By = &cause{b.Seq, b.Kind, b.Trigger, b.Summary, b.Severity, b.Exception}
	}
	return i
}
