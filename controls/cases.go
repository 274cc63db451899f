package controls

import (
	"cmp"
	"slices"
	"time"
)

// Case is a finding with what was done about it: a check of a running server
// that fails or is unknown.
type Case struct {
	Check    string    `json:"check"`
	Title    string    `json:"title"`
	Severity Severity  `json:"severity"`
	Criteria []string  `json:"criteria"`
	Result   Result    `json:"result"`
	Summary  string    `json:"summary"`
	Since    time.Time `json:"failing_since"`

	// State is open, triaged or accepted.
	State string `json:"state"`

	// Due is when a critical finding has to be triaged (ALT-002).
	Due time.Time `json:"triage_due,omitzero"`

	Triage    *Triage `json:"triage,omitempty"` // the last one since the check fails
	Exception *Waiver `json:"exception,omitempty"`
}

// The states of a case.
const (
	CaseOpen     = "open"
	CaseTriaged  = "triaged"
	CaseAccepted = "accepted" // an exception is in force
)

// Triage is what somebody found out about a finding.
type Triage struct {
	Record  int64     `json:"record_seq,omitempty"`
	Time    time.Time `json:"time"`
	Verdict string    `json:"verdict"`
	Owner   string    `json:"owner"`
	Reason  string    `json:"reason"`
	Ticket  string    `json:"ticket,omitempty"`
	Actor   string    `json:"actor,omitempty"`
	Known   string    `json:"actor_known,omitempty"`
	Until   time.Time `json:"until,omitzero"`
	Expired bool      `json:"expired,omitempty"` // it does not stand any more
}

// Verdicts are those of a triage.
func Verdicts() []string {
	return []string{"incident", "benign", "false_positive", VerdictAccepted, "duplicate"}
}

// triageOf returns the last triage of a subject since a time; nil if there is
// none. One of an earlier finding of the check does not count.
func triageOf(reviews []Review, subject string, since time.Time) *Review {
	for i := range slices.Backward(reviews) {
		if r := &reviews[i]; r.Kind == "triage" && r.Subject == subject && !r.Time.Before(since) && (r.From.IsZero() || !r.From.Before(since)) {
			return r
		}
	}
	return nil
}

// stands reports whether a verdict stands at a time.
func (r *Review) stands(now time.Time) bool { return r.Until.IsZero() || now.Before(r.Until) }

// Reviews returns what persons decided, oldest first, as far as it is kept.
func (t *Tally) Reviews() []Review {
	h := &t.happened
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.reviews)
}

// Cases lists the findings of a report, the worst and the oldest first. Without
// a report there are none.
func Cases(r *Report, reviews []Review) []Case {
	list := []Case{}
	if r == nil {
		return list
	}
	for i := range r.Checks {
		if f := &r.Checks[i]; f.Result == Fail || f.Result == Unknown {
			list = append(list, f.asCase(r, reviews))
		}
	}
	order := Severities()
	slices.SortStableFunc(list, func(a, b Case) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Severity), slices.Index(order, b.Severity)), a.Since.Compare(b.Since))
	})
	return list
}

func (f *Finding) asCase(r *Report, reviews []Review) Case {
	c := Case{
		Check: f.ID, Title: f.Title, Severity: f.Severity, Criteria: f.Criteria, Result: f.Result, Summary: f.Summary,
		Since: f.Failing.UTC(), State: CaseOpen, Exception: f.Exception,
	}
	if within, err := ParseDuration(r.Check("ALT-002").Threshold["within"][0]); err == nil && f.Severity == Critical && f.Result == Fail {
		c.Due = c.Since.Add(within)
	}
	if t := triageOf(reviews, f.ID, f.Failing); t != nil {
		c.Triage = &Triage{
			Record: t.Record, Time: t.Time.UTC(), Verdict: t.Verdict, Owner: t.Owner, Reason: t.Reason, Ticket: t.Ticket, Actor: t.Actor, Known: t.Known,
			Until: t.Until, Expired: !t.stands(r.Time),
		}
		if !c.Triage.Expired {
			c.State = CaseTriaged
		}
	}
	if f.Accepted() {
		c.State = CaseAccepted
	}
	return c
}
