package checks

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/decision"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/internal/adminapi"
)

// The paths of what persons decide, on the admin API.
const (
	findingsPath   = "/soc2/v1/findings"
	exceptionsPath = "/soc2/v1/exceptions"
	drillsPath     = "/soc2/v1/drills"
)

// Admin lists findings and accepted risks on Caddy's admin endpoint and takes
// what persons decide about them. Each decision is one record of the log, with
// who called as far as that is known. Who may call is what the admin endpoint is
// configured for.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.soc2_findings",
		New: func() caddy.Module { return new(Admin) },
	}
}

// Routes implements caddy.AdminRouter.
func (*Admin) Routes() []caddy.AdminRoute {
	return changes.Routes(serveAdmin, findingsPath, findingsPath+"/", exceptionsPath, exceptionsPath+"/", drillsPath)
}

func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	v, err := shared.route(w, r)
	return adminapi.Answer(w, r, v, err)
}

// route finds what a path stands for:
//
//	GET    /soc2/v1/findings              FindingList
//	POST   /soc2/v1/findings/{id}/triage  decision.Triage
//	GET    /soc2/v1/exceptions            ExceptionList
//	POST   /soc2/v1/exceptions            decision.Acceptance
//	DELETE /soc2/v1/exceptions/{id}       decision.Withdrawal
//	POST   /soc2/v1/drills                decision.Drill
func (w *watcher) route(out http.ResponseWriter, r *http.Request) (any, error) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	finding, isTriage := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, findingsPath+"/"), "/triage")
	exception, isException := strings.CutPrefix(r.URL.Path, exceptionsPath+"/")
	switch path := r.URL.Path; {
	case path == findingsPath && reads:
		return w.findings()
	case path == exceptionsPath && reads:
		return w.exceptions(time.Now()), nil
	case path == exceptionsPath && r.Method == http.MethodPost:
		return w.accept(out, r)
	case path == drillsPath && r.Method == http.MethodPost:
		return w.drill(out, r)
	case isException && exception != "" && r.Method == http.MethodDelete:
		return w.withdraw(out, r, exception)
	case strings.HasPrefix(path, findingsPath+"/") && isTriage && finding != "" && r.Method == http.MethodPost:
		return w.triage(out, r, finding)
	case path == findingsPath, path == exceptionsPath, path == drillsPath, isException && exception != "", isTriage && finding != "":
		return nil, adminapi.Fail(http.StatusMethodNotAllowed, "The path has no method %s: docs/evidence.md lists what there is.", r.Method)
	}
	return nil, adminapi.Fail(http.StatusNotFound, "There is nothing at this path.")
}

// FindingList is the checks that fail or are unknown, and what was done about
// each.
type FindingList struct {
	Notice   string          `json:"notice"`
	Time     time.Time       `json:"evaluated_at"`
	Open     int             `json:"open"` // neither triaged nor accepted
	Findings []controls.Case `json:"findings"`
}

// Findings lists the findings of the last run; nil before the first.
func Findings() *FindingList {
	list, err := shared.findings()
	if err != nil {
		return nil
	}
	return list
}

func (w *watcher) findings() (*FindingList, error) {
	report := w.report.Load()
	if report == nil {
		return nil, adminapi.Fail(http.StatusServiceUnavailable, "The checks were not made yet: try again in a moment.")
	}
	list := &FindingList{Notice: controls.Notice, Time: report.Time, Findings: controls.Cases(report, w.tally.Reviews())}
	for _, c := range list.Findings {
		if c.State == controls.CaseOpen {
			list.Open++
		}
	}
	return list, nil
}

// ExceptionList is the risks that were accepted by records of the log.
type ExceptionList struct {
	Notice     string                   `json:"notice"`
	Time       time.Time                `json:"evaluated_at"`
	InForce    int                      `json:"in_force"`
	Exceptions []controls.AcceptedState `json:"exceptions"` // newest first
}

// Exceptions lists the accepted risks as they were at the last run of the checks,
// or before the first as they are.
func Exceptions() *ExceptionList {
	if report := shared.report.Load(); report != nil {
		return shared.exceptions(report.Time)
	}
	return shared.exceptions(time.Now())
}

func (w *watcher) exceptions(now time.Time) *ExceptionList {
	list := &ExceptionList{Notice: controls.Notice, Time: now.UTC(), Exceptions: w.tally.Accepted(now)}
	for _, x := range list.Exceptions {
		if x.State == controls.StateInForce {
			list.InForce++
		}
	}
	return list
}

// read reads a decision from the body of a call.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	if err := decision.Read(http.MaxBytesReader(w, r.Body, decision.MaxBytes), into); err != nil {
		return refuse(err)
	}
	return nil
}

func refuse(err error) error {
	return adminapi.Fail(http.StatusBadRequest, "It is not recorded: %s.", err)
}

// Entered is the answer to a decision: its record.
type Entered struct {
	Record  int64      `json:"record_seq"` // index of the record
	Kind    audit.Kind `json:"kind"`
	Time    time.Time  `json:"time"`
	Subject string     `json:"subject"`
	Verdict string     `json:"verdict"`
	Answers int64      `json:"answers,omitempty"`
	Until   time.Time  `json:"until,omitzero"`
	Actor   string     `json:"actor,omitempty"`
	Claim   string     `json:"claim,omitempty"`
	Known   string     `json:"actor_known"`
}

// hold opens the log for a decision. The caller releases it.
func hold() (ledger.Numbered, error) {
	book, ok := ledger.Current().(ledger.Numbered)
	if !ok || !book.Hold() {
		return nil, adminapi.Fail(http.StatusServiceUnavailable, "It is not recorded: there is no audit log: the app soc2 is not configured, or its log is closed.")
	}
	return book, nil
}

// enter writes the record of a decision.
func enter(book ledger.Numbered, r *audit.Review) (*Entered, error) {
	seq, err := book.Enter(r)
	if errors.Is(err, audit.ErrStalled) { // a server that starts reads it then
		return nil, adminapi.Fail(http.StatusServiceUnavailable, "It is not in force, because its record was not kept in time: %s. The record may become durable later, and is then in force after the next start. Look at the log before you try again.", err)
	}
	if err != nil {
		return nil, adminapi.Fail(http.StatusServiceUnavailable, "It is not in force, because its record was not kept: %s. Try again when the log takes records.", err)
	}
	return &Entered{
		Record: seq, Kind: r.Kind, Time: r.Time.UTC(), Subject: r.Subject, Verdict: r.Verdict, Answers: r.Seq, Until: r.Until,
		Actor: r.Actor.Name, Claim: r.Actor.Claim, Known: r.Actor.Known,
	}, nil
}

// Interface guards
var (
	_ caddy.Module      = (*Admin)(nil)
	_ caddy.AdminRouter = (*Admin)(nil)
)
