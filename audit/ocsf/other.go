package ocsf

import (
	"strconv"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// The activities of API Activity 6003 and Entity Management 3004.
const (
	activityCreate = 1
	activityRead   = 2
	activityUpdate = 3
	activityDelete = 4
)

var apiActivities = map[string]int{
	"POST": activityCreate, "GET": activityRead, "HEAD": activityRead, "PUT": activityCreate, "PATCH": activityUpdate, "DELETE": activityDelete,
}

func (ev *event) api(r audit.Record, who audit.Actor, method, path string, status int) {
	activity, ok := apiActivities[method]
	if !ok {
		activity = other
	}
	ev.is(6003, activity, visible(method))
	ev.Message = visible(method + " " + path)
	ev.API = &api{Operation: ev.Message, Service: &named{Name: "admin"}}
	ev.Source = hostPort(who.Address)
	if ev.Source == nil {
		ev.Source = &endpoint{Name: "unknown"}
	}
	ev.by(who)
	ev.Destination = &endpoint{Instance: r.Instance, Service: "admin"}
	ev.outcome(status)
}

// by says who acted.
func (ev *event) by(who audit.Actor) {
	ev.Actor = &actor{AppName: "unknown"}
	if who.Name != "" {
		ev.Actor = &actor{User: &user{visible(who.Name)}}
	}
	ev.unmapped("actor_known", who.Known)
}

func (ev *event) outcome(status int) {
	if status == 0 {
		return
	}
	ev.StatusCode, ev.StatusID = strconv.Itoa(status), statusSuccess
	if status >= 400 {
		ev.StatusID, ev.SeverityID = statusFailure, severityLow
	}
}

func (ev *event) adminCall(r audit.Record, b *audit.AdminCall) {
	ev.api(r, b.Actor, b.Method, b.Path, b.Status)
	ev.Duration = b.Duration.Milliseconds()
	ev.StatusDetail = visible(b.Error)
	ev.unmapped("ticket", visible(b.Ticket))
	ev.unmapped("reason", visible(b.Reason))
}

func (ev *event) evidenceRead(r audit.Record, b *audit.EvidenceRead) {
	ev.api(r, b.Actor, "GET", b.Path, b.Status)
	ev.API.Service.Name = "evidence"
	ev.Destination.Service = "evidence"
	ev.unmapped("resource", visible(b.Resource))
	ev.unmapped("role", visible(b.Role))
}

func (ev *event) configChange(r audit.Record, b *audit.ConfigChange) {
	const typeOther = 99
	ev.is(3004, activityUpdate, "")
	ev.Message = "configuration " + b.Outcome
	ev.Entity = &entity{Name: "configuration of " + r.Instance, Type: "Configuration", TypeID: typeOther, UID: r.Instance, Version: b.After}
	ev.by(b.Actor)
	ev.StatusID, ev.StatusDetail = statusSuccess, visible(b.Error)
	if b.Outcome == "rejected" || b.Outcome == "error" {
		ev.StatusID = statusFailure
	}
	if len(b.Risks) > 0 {
		ev.SeverityID = severityHigh
		ev.unmapped("risks", b.Risks)
	}
	ev.unmapped("outcome", b.Outcome)
	ev.unmapped("source", b.Source)
	ev.unmapped("before", b.Before)
	ev.unmapped("ticket", visible(b.Ticket))
	ev.unmapped("reason", visible(b.Reason))
}

func (ev *event) accessReview(b *audit.AccessReview) {
	const typeOther = 99
	ev.is(3004, other, "Review")
	ev.Message = "access review signed"
	ev.Entity = &entity{Name: "access review", Type: "Access review", TypeID: typeOther, UID: visible(b.Review), Version: visible(b.Document)}
	ev.by(b.Actor)
	ev.StatusID = statusSuccess
	ev.unmapped("reviewer", visible(b.Reviewer))
	ev.unmapped("kept", b.Kept)
	ev.unmapped("revoked", b.Revoked)
	ev.unmapped("changed", b.Changed)
	ev.unmapped("ticket", visible(b.Ticket))
	ev.unmapped("reason", visible(b.Reason))
}

func (ev *event) lockout(b *audit.Lockout) {
	const lock, unlock = 9, 12
	activity := lock
	if b.Action == "unlock" || b.Action == "expire" {
		activity = unlock
	} else {
		ev.SeverityID = severityMedium
	}
	ev.is(3001, activity, "")
	ev.Message = visible(b.What + " " + b.Action)
	ev.User = &user{visible(b.Subject)}
	ev.StatusID = statusSuccess
	ev.unmapped("what", visible(b.What))
	ev.unmapped("rule", visible(b.Rule))
}

// complianceStatus are the values of compliance.status_id.
var complianceStatus = map[string]int{"pass": 1, "warn": 2, "fail": 3}

func (ev *event) check(b *audit.CheckTransition) {
	const update = 2
	ev.is(2003, update, "")
	status := complianceStatus[b.After]
	if status == 3 {
		ev.SeverityID = severityHigh
	}
	ev.Compliance = &compliance{Control: visible(b.Check), Status: visible(b.After), ID: status}
	if status == 0 {
		ev.Compliance.ID = other
	}
	ev.Finding = &finding{UID: visible(b.Check), Title: visible(b.Check + ": " + b.Before + " to " + b.After)}
	ev.Message = ev.Finding.Title
}

// lifecycle describes what happened to the process and to the log, and all
// that has no class of its own.
func (ev *event) lifecycle(r audit.Record) {
	const start, stop = 3, 4
	activity := other
	switch r.Kind {
	case audit.KindProcessStart, audit.KindOpen:
		activity = start
	case audit.KindProcessStop, audit.KindClose:
		activity = stop
	}
	ev.Message = string(r.Kind)
	if !strings.HasPrefix(string(r.Kind), "process.") && activity == other {
		ev.is(0, other, string(r.Kind))
		return
	}
	ev.is(6002, activity, string(r.Kind))
	app := ev.Metadata.Product
	app.UID = r.Instance
	ev.App = &app
}
