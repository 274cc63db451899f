package pack

import "strconv"

// maxListed is how many findings and how many accepted risks of a log are listed;
// further ones are counted. Part of the format.
const maxListed = 10_000

// Finding is a time in which a check failed or warned, with what somebody decided
// about it; or something else that somebody decided about. Times are as records
// hold them.
type Finding struct {
	Seq      int64  `json:"seq"` // record that opened it; its name
	Check    string `json:"check,omitempty"`
	Subject  string `json:"subject,omitempty"` // of what is no result of a check
	Severity string `json:"severity,omitempty"`
	Result   string `json:"result,omitempty"` // fail or warn: the worst
	Opened   string `json:"opened"`
	Closed   string `json:"closed,omitempty"` // absent if it was open at the end of the period
	Triage   Triage `json:"triage,omitzero"`  // the last before the end of the period
}

// Triage is a decision on a finding.
type Triage struct {
	Seq     int64  `json:"seq"` // its record
	Time    string `json:"time"`
	Verdict string `json:"verdict"`
	By      string `json:"by"`    // verified name of who decided
	Claim   string `json:"claim"` // name that they gave themselves
	Known   string `json:"known"` // how good the name is
	Owner   string `json:"owner"`
	Ticket  string `json:"ticket"`
	Reason  string `json:"reason"`
}

// Risk is a risk that was accepted for a time.
type Risk struct {
	Seq      int64  `json:"seq"`    // record that says so first
	Source   string `json:"source"` // review or configuration
	Check    string `json:"check"`
	Time     string `json:"time"`
	Verdict  string `json:"verdict"`
	Owner    string `json:"owner"`
	Approver string `json:"approver"`
	By       string `json:"by"`
	Claim    string `json:"claim"`
	Known    string `json:"known"`
	Ticket   string `json:"ticket"`
	Reason   string `json:"reason"`
	Expires  string `json:"expires,omitempty"`
	Ended    string `json:"ended,omitempty"` // when it was withdrawn, or a result of the check came without it
}

// The sources of accepted risks.
const (
	fromReview        = "review"
	fromConfiguration = "configuration"
)

// withdrawn is the verdict that ends an accepted risk.
const withdrawn = "withdrawn"

// review follows what people decide.
type review struct {
	findings []*Finding
	open     map[string]*Finding // newest of each check
	others   map[string]*Finding // newest of each other subject
	by       map[int64]*Finding  // by the index of a record of it
	risks    []*Risk
	inForce  map[string]*Risk // of the configuration, by check
	accepted map[int64]*Risk  // of reviews, by their records
}

func (v *review) begin() {
	v.accepted = map[int64]*Risk{}
	v.open, v.others, v.by, v.inForce = map[string]*Finding{}, map[string]*Finding{}, map[int64]*Finding{}, map[string]*Risk{}
}

// goesOn reports whether a finding goes on with a result.
func goesOn(result string) bool { return result == "fail" || result == "warn" || result == unknown }

// followed takes the result of a check.
func (a *Account) followed(seq int64, at string, h *happening) {
	if at >= a.to {
		return
	}
	v := &a.review
	a.configured(seq, at, h)
	f := v.open[h.Check]
	if f != nil && f.Closed == "" {
		v.by[seq] = f
		switch {
		case !goesOn(h.After):
			f.Closed = at
		case h.After == "fail":
			f.Result = "fail"
		}
		return
	}
	if h.After != "fail" && h.After != "warn" {
		return
	}
	f = &Finding{Seq: seq, Check: h.Check, Severity: h.Severity, Result: h.After, Opened: at}
	if h.Before == h.After && h.Since != "" && h.Since < at {
		f.Opened = h.Since // it is told again, as all results are once a day
	}
	v.findings = append(v.findings, f)
	v.open[h.Check], v.by[seq] = f, f
}

// configured takes the accepted exception that a result names.
func (a *Account) configured(seq int64, at string, h *happening) {
	v := &a.review
	r := v.inForce[h.Check]
	if r != nil && r.Reason == h.Exception {
		return
	}
	if r != nil {
		r.Ended = at
		delete(v.inForce, h.Check)
	}
	if h.Exception != "" {
		r = &Risk{Seq: seq, Source: fromConfiguration, Check: h.Check, Time: at, Reason: h.Exception}
		v.inForce[h.Check] = r
		v.risks = append(v.risks, r)
	}
}

// triaged takes a decision on a finding: the one that the record with the index
// "answers" is of, or the one that "subject" names by the index of such a record,
// or the newest of the check that it names. If there is none, what it is about is
// a finding of its own.
func (a *Account) triaged(seq int64, at string, h *happening) {
	if at >= a.to {
		return
	}
	v := &a.review
	f := v.about(h)
	if f == nil {
		f = &Finding{Seq: seq, Subject: h.Subject, Opened: at}
		v.findings = append(v.findings, f)
		v.others[h.Subject] = f
	}
	v.by[seq] = f
	f.Triage = Triage{seq, at, h.Verdict, h.Actor.Name, h.Actor.Claim, h.Actor.Known, h.Owner, h.Ticket, h.Reason}
}

// about returns the finding that a decision is on, or nil.
func (v *review) about(h *happening) *Finding {
	if f := v.by[h.Answers]; f != nil {
		return f
	}
	if n, err := strconv.ParseInt(h.Subject, 10, 64); err == nil && strconv.FormatInt(n, 10) == h.Subject && v.by[n] != nil {
		return v.by[n]
	}
	if f := v.open[h.Subject]; f != nil {
		return f
	}
	return v.others[h.Subject]
}

// accepted takes a decision on a risk.
func (a *Account) accepted(seq int64, at string, h *happening) {
	v := &a.review
	if at >= a.to || h.Until != "" && h.Until < a.from {
		return
	}
	if h.Verdict == withdrawn {
		if r := v.accepted[h.Answers]; r != nil {
			if r.Ended == "" { // one that was withdrawn does not end again
				r.Ended = at
			}
			return
		}
		if at < a.from {
			return // of what was accepted before the records of the pack
		}
	}
	r := &Risk{
		Seq: seq, Source: fromReview, Check: h.Subject, Time: at, Verdict: h.Verdict, Owner: h.Owner, Approver: h.Approver,
		By: h.Actor.Name, Claim: h.Actor.Claim, Known: h.Actor.Known, Ticket: h.Ticket, Reason: h.Reason, Expires: h.Until,
	}
	v.accepted[seq] = r
	v.risks = append(v.risks, r)
}

// reviewed lists what was there in the period.
func (a *Account) reviewed() {
	for _, f := range a.review.findings {
		if f.Closed != "" && f.Closed < a.from && f.Triage.Time < a.from || f.Check == "" && f.Triage.Time < a.from {
			continue
		}
		if len(a.Findings) < maxListed {
			a.Findings = append(a.Findings, *f)
		} else {
			a.MoreFindings++
		}
	}
	for _, r := range a.review.risks {
		if r.Ended != "" && r.Ended < a.from {
			continue
		}
		if len(a.Risks) < maxListed {
			a.Risks = append(a.Risks, *r)
		} else {
			a.MoreRisks++
		}
	}
}
