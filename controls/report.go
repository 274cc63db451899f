package controls

import (
	"encoding/json"
	"time"
)

// Evidence is one thing that a check found: where, and what. It never holds a
// secret.
type Evidence struct {
	Where string    `json:"where,omitempty"` // a JSON Pointer into the configuration, a path, a name
	What  string    `json:"what"`
	Time  time.Time `json:"time,omitzero"`
}

// Applied is the definition that a check was made by.
type Applied struct {
	Version int    `json:"version"`
	SHA256  string `json:"sha256"`
}

// Waiver is an exception that was applied.
type Waiver struct {
	Reason   string    `json:"reason"`
	Approver string    `json:"approver"`
	Until    time.Time `json:"until"`
	Expired  bool      `json:"expired,omitempty"`

	// Of one that a record of the log says, and not the configuration.
	Owner  string `json:"owner,omitempty"`
	Record int64  `json:"record_seq,omitempty"`
}

// Finding is the result of one check.
type Finding struct {
	ID          string              `json:"id"`
	Title       string              `json:"title"`
	Criteria    []string            `json:"criteria"`
	Severity    Severity            `json:"severity"`
	Class       Class               `json:"class"`
	Result      Result              `json:"result"`
	Summary     string              `json:"summary"`
	Examined    int                 `json:"examined"` // how many things were looked at
	Evidence    []Evidence          `json:"evidence,omitempty"`
	Omitted     int                 `json:"evidence_omitted,omitempty"` // things found that are not in Evidence
	Threshold   map[string][]string `json:"threshold,omitempty"`
	Definition  Applied             `json:"definition"`
	Exception   *Waiver             `json:"exception,omitempty"`
	Remediation string              `json:"remediation,omitempty"` // of a check that does not pass

	// Of a running server.
	Since   time.Time `json:"since,omitzero"` // of the result
	Failing time.Time `json:"failing_since,omitzero"`

	next time.Time // when it may change by the passing of time
}

// Open reports whether something has to be done: the check fails or is unknown,
// and nobody accepted that.
func (f *Finding) Open() bool {
	return (f.Result == Fail || f.Result == Unknown) && !f.Accepted()
}

// Accepted reports whether an exception is in force.
func (f *Finding) Accepted() bool { return f.Exception != nil && !f.Exception.Expired }

// Report is the results of all checks at one time.
type Report struct {
	Notice    string         `json:"notice"`
	Time      time.Time      `json:"evaluated_at"`
	Took      time.Duration  `json:"duration_ns"`
	Trigger   string         `json:"trigger,omitempty"` // start, change, interval, demand
	Source    string         `json:"source"`            // configuration or server
	Config    string         `json:"config_sha256,omitempty"`
	Catalogue Applied        `json:"catalogue"`
	Counts    map[Result]int `json:"counts"`
	Open      int            `json:"open"`     // checks with something to be done; of a configuration alone those that fail
	Accepted  int            `json:"accepted"` // checks that do not pass and have an exception
	Checks    []Finding      `json:"checks"`

	next time.Time
}

// Notice is said with every report.
const Notice = "This is evidence for the examination of controls. Whether controls meet the criteria is an independent auditor's opinion."

// The sources of reports.
const (
	SourceConfig = "configuration"
	SourceServer = "server"
)

// Run makes all checks.
func Run(s *Snapshot, settings *Settings) *Report {
	c := Checks()
	r := &Report{
		Notice: Notice, Time: s.Time.UTC(), Source: SourceConfig, Config: s.ConfigSHA256,
		Catalogue: Applied{c.Version, c.SHA256}, Counts: map[Result]int{},
	}
	if s.Server != nil {
		r.Source = SourceServer
	}
	view := look(s.Config)
	for i := range c.Checks {
		f := runOne(&c.Checks[i], s, settings, view)
		r.Counts[f.Result]++
		switch {
		case f.Open() && (f.Result == Fail || s.Server != nil):
			r.Open++
		case f.Accepted() && f.Result != Pass && f.Result != NotApplicable:
			r.Accepted++
		}
		r.next = sooner(r.next, f.next)
		r.Checks = append(r.Checks, f)
	}
	return r
}

// Next is when a result may change although nothing happens, because something
// leaves the time that is looked at; zero if none does.
func (r *Report) Next() time.Time { return r.next }

// Check returns the result of a check; nil if there is none.
func (r *Report) Check(id string) *Finding {
	for i := range r.Checks {
		if r.Checks[i].ID == id {
			return &r.Checks[i]
		}
	}
	return nil
}

func runOne(d *Definition, s *Snapshot, settings *Settings, view *view) Finding {
	e := &eval{def: d, s: s, settings: settings, view: view}
	f := Finding{
		ID: d.ID, Title: d.Title, Criteria: d.Criteria, Severity: d.Severity, Class: d.Class,
		Definition: Applied{d.Version, d.SHA256},
	}
	for _, t := range d.Thresholds {
		if f.Threshold == nil {
			f.Threshold = map[string][]string{}
		}
		f.Threshold[t.Name] = settings.value(d.ID, t.Name)
	}
	e.run()
	e.into(&f)
	if f.Result != Pass && f.Result != NotApplicable {
		f.Remediation = d.Remediation
	}
	if f.Exception = s.waiver(settings, d.ID); f.Accepted() {
		f.next = sooner(f.next, f.Exception.Until)
	}
	return f
}

// sooner returns the earlier of two times, of which zero is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// EvidenceJSON is what a record of the result says of what it stands on.
func (f *Finding) EvidenceJSON() []byte {
	b, err := json.Marshal(struct {
		Examined int        `json:"examined"`
		Found    []Evidence `json:"found,omitempty"`
		Omitted  int        `json:"omitted,omitempty"`
	}{f.Examined, f.Evidence, f.Omitted})
	if err != nil {
		return nil
	}
	return b
}
