package quarter_test

import (
	"slices"
	"strconv"
	"time"
)

// decided is what became of findings, and which risks were accepted, by the
// account of the script.
type decided struct {
	findings []*finding
	newest   map[string]*finding // of a check
	others   map[string]*finding // of what no check found, by its subject
	of       map[int64]*finding  // by each record of it
	risks    []*risk
	named    map[string]*risk // by checks whose results name one
	reviewed map[int64]*risk  // of reviews, by their records
}

// finding is a row of incidents/findings.csv. An absent text is empty.
type finding struct {
	seq                      int64
	check, subject, severity string
	result, opened, closed   string
	triage                   *triage // the last
}

// triage is what somebody decided.
type triage struct {
	seq                                               int64
	at, verdict, by, known, claim, owner, ticket, why string
}

// risk is a row of exceptions/accepted-risks.csv.
type risk struct {
	triage
	source, check, approver, expires, ended string
}

func newDecided() decided {
	return decided{newest: map[string]*finding{}, others: map[string]*finding{}, of: map[int64]*finding{}, named: map[string]*risk{}, reviewed: map[int64]*risk{}}
}

// decision is what a record says of a decision.
func decision(seq int64, at string, c map[string]string) triage {
	return triage{seq, at, c["verdict"], c["actor"], c["actor_known"], c["actor_claim"], c["owner"], c["ticket"], c["reason"]}
}

// decide takes a record from before the end of the period.
func (w *truth) decide(seq int64, kind string, when time.Time, c map[string]string) {
	if !when.Before(w.to) {
		return
	}
	d, at := &w.decided, when.Format(stamp)
	switch kind {
	case "check.transition":
		d.accepted(seq, at, c)
		d.found(seq, at, c)
	case "review.triage":
		f := d.about(seq, at, c)
		t := decision(seq, at, c)
		f.triage = &t
	case "review.exception":
		r := &risk{triage: decision(seq, at, c), source: "review", check: c["subject"], approver: c["approver"], expires: c["until"]}
		answered, _ := strconv.ParseInt(c["answers"], 10, 64)
		if before := d.reviewed[answered]; before != nil && r.verdict == "withdrawn" {
			before.ended = at
			return
		}
		if r.verdict == "withdrawn" && at < w.from.Format(stamp) {
			return // of what is not in the pack
		}
		if r.expires == "" || r.expires >= w.from.Format(stamp) {
			d.reviewed[seq] = r
			d.risks = append(d.risks, r)
		}
	}
}

// found takes a result of a check: it opens a finding, goes on with it, or
// closes it.
func (d *decided) found(seq int64, at string, c map[string]string) {
	f := d.newest[c["check"]]
	bad := c["after"] == "fail" || c["after"] == "warn"
	if f == nil || f.closed != "" {
		if !bad {
			return
		}
		f = &finding{seq: seq, check: c["check"], severity: c["severity"], result: c["after"], opened: at}
		if c["before"] == c["after"] && c["since"] != "" {
			f.opened = min(at, c["since"])
		}
		d.newest[f.check] = f
		d.findings = append(d.findings, f)
	}
	d.of[seq] = f
	if c["after"] == "fail" {
		f.result = "fail"
	}
	if !bad && c["after"] != "unknown" {
		f.closed = at
	}
}

// about returns the finding that a triage is about, the first of those that
// docs/pack-format.md names; if there is none, it opens one.
func (d *decided) about(seq int64, at string, c map[string]string) *finding {
	subject := c["subject"]
	f := d.others[subject]
	if x := d.newest[subject]; x != nil {
		f = x
	}
	for _, name := range []string{subject, c["answers"]} {
		n, err := strconv.ParseInt(name, 10, 64)
		if x := d.of[n]; err == nil && x != nil {
			f = x
		}
	}
	if f == nil {
		f = &finding{seq: seq, subject: subject, opened: at}
		d.others[subject] = f
		d.findings = append(d.findings, f)
	}
	d.of[seq] = f
	return f
}

// accepted takes the exception that a result of a check names.
func (d *decided) accepted(seq int64, at string, c map[string]string) {
	check, text := c["check"], c["exception"]
	if r := d.named[check]; r != nil {
		if r.why == text {
			return
		}
		r.ended = at
		delete(d.named, check)
	}
	if text != "" {
		d.named[check] = &risk{triage: triage{seq: seq, at: at, why: text}, source: "configuration", check: check}
		d.risks = append(d.risks, d.named[check])
	}
}

// listed leaves out what was over before the period.
func (w *truth) listed() (findings []*finding, risks []*risk) {
	from := w.from.Format(stamp)
	findings, risks = []*finding{}, []*risk{}
	for _, f := range w.decided.findings {
		triaged := f.triage != nil && f.triage.at >= from
		if triaged || f.check != "" && (f.closed == "" || f.closed >= from) {
			findings = append(findings, f)
		}
	}
	for _, r := range w.decided.risks {
		if r.ended == "" || r.ended >= from {
			risks = append(risks, r)
		}
	}
	return findings, risks
}

// optional sets the members that have a text.
func optional(m map[string]any, members ...string) map[string]any {
	for pair := range slices.Chunk(members, 2) {
		if pair[1] != "" {
			m[pair[0]] = pair[1]
		}
	}
	return m
}

func (t *triage) json() map[string]any {
	return map[string]any{
		"seq": t.seq, "time": t.at, "verdict": t.verdict, "by": t.by, "known": t.known, "claim": t.claim,
		"owner": t.owner, "ticket": t.ticket, "reason": t.why,
	}
}

// decisions sets the members of the report that are about decisions.
func (w *truth) decisions(figures map[string]any) map[string]any {
	findings, risks := []any{}, []any{}
	listed, accepted := w.listed()
	for _, f := range listed {
		m := optional(map[string]any{"seq": f.seq, "opened": f.opened},
			"check", f.check, "subject", f.subject, "severity", f.severity, "result", f.result, "closed", f.closed)
		if f.triage != nil {
			m["triage"] = f.triage.json()
		}
		findings = append(findings, m)
	}
	for _, r := range accepted {
		m := optional(r.json(), "expires", r.expires, "ended", r.ended)
		m["source"], m["check"], m["approver"] = r.source, r.check, r.approver
		risks = append(risks, m)
	}
	figures["findings"], figures["more_findings"] = findings, 0
	figures["accepted_risks"], figures["more_accepted_risks"] = risks, 0
	return figures
}

// played checks that the script has all that can become of a finding and of a
// risk.
func (w *truth) played() {
	w.s.t.Helper()
	findings, risks := w.listed()
	n := map[string]int{}
	for _, f := range findings {
		n["triaged"] += count(f.triage != nil)
		n["closed"] += count(f.closed != "" && f.result == "fail")
		n["open"] += count(f.check != "" && f.closed == "")
		n["of others"] += count(f.check == "")
	}
	for _, r := range risks {
		n[r.source]++
		n["expires"] += count(r.expires != "")
		n["ended"] += count(r.ended != "")
		n["withdrawn"] += count(r.source == "review" && r.ended != "")
	}
	for _, what := range []string{"triaged", "closed", "open", "of others", "review", "configuration", "expires", "ended", "withdrawn"} {
		if n[what] == 0 {
			w.s.t.Errorf("the script has none that is %s: %v", what, n)
		}
	}
	w.s.t.Logf("findings and risks: %v", n)
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
