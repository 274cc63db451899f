package controls

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// Tracker knows how each check was, and tells what has changed. It belongs to
// one goroutine.
type Tracker struct {
	states map[string]State
	told   time.Time // when all results were recorded last
}

// State is how a check was.
type State struct {
	Result   Result    `json:"result"`
	Since    time.Time `json:"since"`             // of the result
	Failing  time.Time `json:"failing,omitzero"`  // since when it does not pass: fails or is unknown
	Accepted bool      `json:"accepted,omitzero"` // by an exception in force
}

// Repeat is after how long all results are recorded again although none has
// changed: what was pruned from the log leaves no check without a record.
const Repeat = 24 * time.Hour

// The triggers of a run.
const (
	TriggerStart    = "start"
	TriggerChange   = "change"
	TriggerInterval = "interval"
	TriggerDemand   = "demand"
)

// Load takes up what an earlier process knew, as Save wrote it. Results that
// this version has no check for are left out.
func (t *Tracker) Load(b []byte) error {
	var states map[string]State
	if err := json.Unmarshal(b, &states); err != nil {
		return fmt.Errorf("results of checks: %w", err)
	}
	t.states = map[string]State{}
	for id, s := range states {
		if Checks().Check(id) != nil && s.Result != "" {
			t.states[id] = s
		}
	}
	return nil
}

// Save writes what is known, for a later process.
func (t *Tracker) Save() ([]byte, error) { return json.Marshal(t.states) }

// Failing returns since when critical checks fail.
func (t *Tracker) Failing() map[string]time.Time {
	list := map[string]time.Time{}
	for id, s := range t.states {
		if d := Checks().Check(id); d.Severity == Critical && s.Result == Fail {
			list[id] = s.Failing
		}
	}
	return list
}

// Untold says that records of a run did not get into the log: those of all
// results are made anew at the next run, each with since when it is so.
func (t *Tracker) Untold() { t.told = time.Time{} }

// Apply takes the results of a run over, writes into them since when they are
// so, and returns the records of what has changed: at the first run, and once
// in a day, of every check.
func (t *Tracker) Apply(r *Report) (records []*audit.CheckTransition) {
	if t.states == nil {
		t.states = map[string]State{}
	}
	all := t.told.IsZero() || r.Time.Sub(t.told).Abs() >= Repeat // the clock may have been set back
	if all {
		t.told = r.Time
	}
	for i := range r.Checks {
		f := &r.Checks[i]
		was := t.states[f.ID]
		is := State{Result: f.Result, Since: was.Since, Failing: was.Failing, Accepted: f.Accepted()}
		changed := was.Result != is.Result
		if changed {
			is.Since = r.Time
		}
		switch {
		case f.Result != Fail && f.Result != Unknown:
			is.Failing = time.Time{}
		case is.Failing.IsZero():
			is.Failing = r.Time
		}
		t.states[f.ID] = is
		f.Since, f.Failing = is.Since.UTC(), is.Failing
		if changed || all || was.Accepted != is.Accepted {
			records = append(records, f.record(r, was))
		}
	}
	return records
}

// record is the record of a result.
func (f *Finding) record(r *Report, was State) *audit.CheckTransition {
	c := &audit.CheckTransition{
		Time: r.Time, Check: f.ID, Version: f.Definition.Version, Definition: f.Definition.SHA256,
		Severity: string(f.Severity), Class: string(f.Class), Criteria: f.Criteria,
		Before: string(was.Result), After: string(f.Result), Since: was.Since, Trigger: r.Trigger, Summary: f.Summary,
		Config: r.Config, Threshold: thresholdText(f), Evidence: audit.JSON{Value: f.EvidenceJSON()},
	}
	if f.Accepted() {
		c.Exception = f.Exception.text()
	}
	return c
}

// text names an exception. One of the log is told by its record, because its
// reason may be longer than what a transition keeps.
func (w *Waiver) text() string {
	if w.Record == 0 {
		return fmt.Sprintf("%s, accepted by %s until %s", w.Reason, w.Approver, w.Until.Format(time.RFC3339))
	}
	return fmt.Sprintf("record %d until %s, accepted by %s: %s", w.Record, w.Until.Format(time.RFC3339), w.Approver, w.Reason)
}

func thresholdText(f *Finding) string {
	var list []string
	for _, t := range Checks().Check(f.ID).Thresholds {
		list = append(list, t.Name+"="+strings.Join(f.Threshold[t.Name], ","))
	}
	return strings.Join(list, " ")
}
