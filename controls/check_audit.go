package controls

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

func auditCoverage(e *eval) {
	v := e.config()
	if v.soc2 == nil {
		e.examined++
		e.bad("/apps/soc2", "is not configured: there is no audit log")
	}
	for i := range v.servers {
		s := &v.servers[i]
		e.examined++
		if s.covered {
			continue
		}
		before := e.total
		e.audited(s, s.raw["routes"], s.pointer+"/routes")
		e.audited(s, member(s.raw, "errors")["routes"], s.pointer+"/errors/routes")
		if e.total == before && len(objects(s.raw["routes"])) == 0 {
			e.bad(s.pointer, "has neither the listener wrapper soc2 nor routes: its requests have no records")
		}
	}
	e.conclude("servers")
}

// audited notes the routes in which a request comes to a handler before it comes
// to one that keeps a record.
func (e *eval) audited(s *server, routes any, pointer string) {
	told := map[string]bool{}
	c := chain{
		e: e, server: s,
		is: func(h object) bool { return text(h, "handler") == "soc2_audit" },
		each: func(_ object, where string, passed bool) {
			route := where[:strings.LastIndex(where, "/handle/")]
			if !passed && !told[route] {
				told[route] = true
				e.bad(route, "has no soc2_audit before its handlers, and its server has no listener wrapper soc2")
			}
		},
	}
	c.follow(routes, pointer, false, 0)
}

func auditSkips(e *eval) {
	v := e.config()
	for i := range v.servers {
		s := &v.servers[i]
		e.examined++
		logs := member(s.raw, "logs")
		for _, host := range texts(logs["skip_hosts"]) {
			e.bad(s.pointer+"/logs/skip_hosts", "has %s", host)
		}
		if flag(logs, "skip_unmapped_hosts") {
			e.bad(s.pointer+"/logs/skip_unmapped_hosts", "is set")
		}
		for _, h := range s.handlers {
			if h.name == "log_skip" || h.name == "vars" && (truthy(h.raw["log_skip"]) || truthy(h.raw["skip_log"])) {
				e.bad(h.pointer, "keeps requests out of the access log")
			}
		}
	}
	for i, rule := range objects(member(v.soc2, "audit", "policy")["rules"]) {
		if text(rule, "level") == "none" {
			e.bad(fmt.Sprintf("/apps/soc2/audit/policy/rules/%d", i), "has the level none: the requests of %s are counted, and have no records", text(rule, "name"))
		}
	}
	e.conclude("servers")
}

func truthy(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		return v == "true"
	}
	return false
}

func auditMissing(e *eval) {
	s := e.server()
	if s.Log.Failure != "" {
		e.bad("the audit log", "takes no records: %s", s.Log.Failure)
	}
	for _, m := range s.Traffic.Sightings[SeenMissing] {
		if e.within(m.Time) {
			e.add(Evidence{What: fmt.Sprintf("%d %s", m.Count, m.What), Time: m.Time})
		}
	}
	e.examined = int(s.Log.Records)
	e.conclude("records")
}

func auditVerified(e *eval) {
	l := &e.server().Log
	age := e.duration("age")
	if l.Verified == nil {
		e.wake(l.Opened.Add(age))
		if e.s.Time.Sub(l.Opened) <= age {
			e.end(Unknown, "the log has not verified itself since it was opened %s", l.Opened.UTC().Format(time.RFC3339))
		}
		e.examined++
		e.bad("the audit log", "has not verified itself since it was opened %s", l.Opened.UTC().Format(time.RFC3339))
		e.conclude("logs")
		return
	}
	e.examined++
	for _, p := range l.Verified.Problems {
		e.add(Evidence{Where: "the audit log", What: p, Time: l.Verified.Time})
	}
	if outcome := l.Verified.Outcome; outcome != "" && outcome != "verified" && e.total == 0 {
		e.bad("the audit log", "could not verify itself to the end: %s", outcome)
	}
	if l.Verified.Error != "" {
		e.bad("the audit log", "could not verify itself: %s", l.Verified.Error)
	}
	if !e.within2(l.Verified.Time, age) {
		e.bad("the audit log", "verified itself last %s, which is more than %s ago", l.Verified.Time.UTC().Format(time.RFC3339), e.text("age"))
	}
	e.conclude("logs")
}

func auditAnchored(e *eval) {
	l := &e.server().Log
	e.examined++
	if late := e.duration("checkpoint_age"); !l.Waiting.IsZero() && e.s.Time.Sub(l.Waiting) > late {
		e.bad("the checkpoint", "is of %s, and %d records wait for one", l.CheckpointTime.UTC().Format(time.RFC3339), l.Records-l.Checkpoint)
	} else if !l.Waiting.IsZero() {
		e.wake(l.Waiting.Add(late).Add(time.Second))
	}
	anchors, fresh := 0, false
	for _, a := range l.Anchors {
		if a.What == "replica" {
			continue
		}
		anchors++
		if a.Outcome == "conflict" {
			e.bad(a.What+" "+a.Name, "has seen another history of the log: %s", a.Error)
		}
		fresh = fresh || !a.Seen.IsZero() && (e.within2(a.Seen, e.duration("anchor_age")) || a.Size >= l.Checkpoint && a.Size > 0)
	}
	switch {
	case anchors == 0:
		e.bad("/apps/soc2/audit", "has neither a witness nor a timestamp: nobody outside has seen the log's head")
	case !fresh:
		e.bad("anchors", "are older than %s", e.text("anchor_age"))
	}
	e.conclude("logs")
}

func auditSecond(e *eval) {
	c := e.server().Second
	if c == nil {
		e.end(Unknown, "there is no second count: switch Caddy's metrics on")
	}
	e.examined = int(c.Ours)
	difference := math.Abs(float64(c.Ours - c.Theirs))
	percent := 0.0
	if most := max(c.Ours, c.Theirs); most > 0 {
		percent = 100 * difference / float64(most)
	}
	if percent > e.number("tolerance") && difference > float64(c.Flight+1) {
		e.bad(c.Source, "counts %d requests, and the records are %d", c.Theirs, c.Ours)
	}
	e.conclude("requests")
}

func auditSecrets(e *eval) {
	v := e.config()
	for i := range v.servers {
		e.examined++
		if flag(v.servers[i].raw, "logs", "should_log_credentials") {
			e.bad(v.servers[i].pointer+"/logs/should_log_credentials", "is set")
		}
	}
	logs := member(v.root, "logging", "logs")
	for _, name := range slices.Sorted(maps.Keys(logs)) {
		if flag(logs, name, "should_log_credentials") {
			e.bad(jsonpatch.Pointer("/logging/logs", name)+"/should_log_credentials", "is set")
		}
	}
	if e.total == 0 && e.server().Sampled == nil {
		e.end(Unknown, "the newest records could not be read")
	}
	if s := e.s.Server; s != nil && s.Sampled != nil {
		e.examined += s.Sampled.Records
		for _, f := range s.Sampled.Found {
			e.add(f)
		}
	}
	e.conclude("servers and records")
}

func auditRoom(e *eval) {
	l := &e.server().Log
	e.examined++
	if l.Free < 0 {
		e.end(Unknown, "the file system does not tell how much is free")
	}
	if l.Failure != "" {
		e.bad("the audit log", "takes no records: %s", l.Failure)
	}
	if least := e.number("free"); float64(l.Free) < least {
		e.bad("the file system", "has %d bytes free, and %.0f have to be", l.Free, least)
	}
	if l.Daily > 0 {
		if days := float64(l.Free) / l.Daily; days < e.number("days") {
			e.bad("the file system", "has room for %.1f days at the rate of the last hours, and %s are needed", days, e.text("days"))
		}
	}
	e.conclude("file systems")
}

// day is a day of retention.
const day = 24 * time.Hour

func retentionLong(e *eval) {
	v := e.config()
	if v.soc2 == nil {
		e.examined++
		e.bad("/apps/soc2", "is not configured: there is no audit log")
		e.conclude("logs")
		return
	}
	e.examined++
	least := time.Duration(e.number("days") * float64(day))
	keep := period(v.soc2, "audit", "retain")
	if keep > 0 && keep < least {
		e.bad("/apps/soc2/audit/retain", "is %s days, and %s are needed", days(keep), e.text("days"))
	}
	if s := e.s.Server; s != nil && s.Log.First > 0 && !s.Log.Oldest.IsZero() {
		if kept := e.s.Time.Sub(s.Log.Oldest); kept < least-day {
			e.bad("the oldest record", "is %s days old, and records before it are gone", days(kept))
		}
	}
	e.conclude("logs")
}

func days(d time.Duration) string {
	return strconv.FormatFloat(math.Round(d.Hours()/2.4)/10, 'f', -1, 64)
}

func retentionShort(e *eval) {
	v := e.config()
	keep := period(v.soc2, "audit", "retain")
	if keep == 0 {
		e.end(NotApplicable, "records are kept for good: no retention is configured")
	}
	l := &e.server().Log
	if l.Held {
		e.end(NotApplicable, "a legal hold keeps the records")
	}
	e.examined++
	if l.Oldest.IsZero() {
		e.end(Unknown, "the time of the oldest record is not known")
	}
	if old := e.s.Time.Sub(l.Oldest); old > keep+e.duration("slack") {
		e.bad("the oldest record", "is %s days old, and records are kept for %s", days(old), days(keep))
	} else {
		e.wake(l.Oldest.Add(keep + e.duration("slack")).Add(time.Second))
	}
	e.conclude("logs")
}

// replica looks at what outsiders did with the log: this build has no option
// for replicas, so no configuration can tell.
func replica(e *eval) {
	l := &e.server().Log
	e.examined++
	copies, fresh := 0, false
	for _, a := range l.Anchors {
		if a.What != "replica" {
			continue
		}
		copies++
		fresh = fresh || !a.Seen.IsZero() && (a.Size >= l.Checkpoint || e.within2(a.Seen, e.duration("lag")))
	}
	switch {
	case copies == 0:
		e.bad("the log", "has no replica that this server knows of: there is one copy")
	case !fresh:
		e.bad("the replica", "has no copy that is younger than %s", e.text("lag"))
	}
	e.conclude("logs")
}

// drill makes a check of a drill that has to be on record.
func drill(subject string) func(*eval) {
	return func(e *eval) {
		e.history()
		var last Review
		for _, r := range e.server().Reviews {
			if r.Kind == "drill" && r.Subject == subject {
				e.examined++
				last = r
			}
		}
		switch {
		case e.examined == 0 && !e.reaches(e.duration("age")):
			e.end(Unknown, "no drill of the kind %s is in the records that were read, and older ones were not", subject)
		case e.examined == 0:
			e.end(Fail, "no drill of the kind %s is on record", subject)
		case last.Verdict != "passed":
			e.add(Evidence{Where: subject, What: "the last drill has the verdict " + last.Verdict, Time: last.Time})
		case !e.within2(last.Time, e.duration("age")):
			e.add(Evidence{Where: subject, What: "the last drill is more than " + e.text("age") + " old", Time: last.Time})
		}
		e.conclude("drills")
	}
}

func triaged(e *eval) {
	s := e.server()
	within := e.duration("within")
	for _, d := range Checks().Checks {
		since, failing := s.Failing[d.ID]
		if !failing {
			continue
		}
		e.examined++
		due := since.Add(within)
		if e.s.Time.Before(due) {
			e.wake(due)
			continue
		}
		last := triageOf(s.Reviews, d.ID, since)
		accepted := e.s.waiver(e.settings, d.ID)
		switch {
		case accepted != nil && !accepted.Expired:
			e.wake(accepted.Until)
		case last == nil:
			e.add(Evidence{Where: d.ID, What: "fails and was not triaged", Time: since})
		case !last.stands(e.s.Time):
			e.add(Evidence{Where: d.ID, What: "fails, and its triage stood until " + last.Until.UTC().Format(time.RFC3339), Time: since})
		case !last.Until.IsZero():
			e.wake(last.Until)
		}
	}
	e.conclude("critical checks that fail")
}

// reaches reports whether all records of the last time are in the snapshot.
func (e *eval) reaches(back time.Duration) bool {
	s := e.server()
	return !s.History.After(s.Log.Oldest) || !s.History.After(e.s.Time.Add(-back))
}
