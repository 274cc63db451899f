package controls

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

var decided = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// failing is a snapshot in which the critical check AUD-003 fails since a day.
func failing(tally *Tally, now time.Time) *Snapshot {
	s := &Snapshot{Time: now, Server: &Server{Started: decided.Add(-48 * time.Hour), Failing: map[string]time.Time{"AUD-003": decided.Add(-24 * time.Hour)}}}
	tally.Facts(s.Server)
	s.Server.History = decided.Add(-100 * 24 * time.Hour)
	return s
}

func accept(check string, at time.Time, until time.Time) *audit.Review {
	return &audit.Review{
		Time: at, Kind: audit.KindReviewException, Subject: check, Verdict: VerdictAccepted, Owner: "platform", Approver: "carol",
		Reason: "one node until the move", Until: until, Actor: audit.Actor{Name: "uid=1000", Known: "verified"},
	}
}

func withdraw(seq int64, check string, at time.Time) *audit.Review {
	return &audit.Review{Time: at, Kind: audit.KindReviewException, Subject: check, Verdict: VerdictWithdrawn, Seq: seq, Reason: "moved"}
}

// TestAcceptedRiskIsInForceUntilItExpires looks at the result before the record,
// under it, at the moment of expiry and after it.
func TestAcceptedRiskIsInForceUntilItExpires(t *testing.T) {
	tally := NewTally(decided)
	until := decided.Add(time.Hour)
	if f := Run(failing(tally, decided), new(Settings)).Check("BKP-002"); f.Result != Fail || f.Accepted() {
		t.Fatalf("before: %+v", f)
	}
	tally.Decided(41, accept("BKP-002", decided, until), false)
	r := Run(failing(tally, until.Add(-time.Nanosecond)), new(Settings))
	f := r.Check("BKP-002")
	if f.Result != Fail || !f.Accepted() || f.Open() || f.Exception.Record != 41 || f.Exception.Owner != "platform" || f.Exception.Approver != "carol" || r.Accepted != 1 {
		t.Errorf("in force: %+v", f.Exception)
	}
	if !r.Next().Equal(until) {
		t.Errorf("the checks are made next %s, and it expires %s", r.Next(), until)
	}
	var tracker Tracker
	records := tracker.Apply(r)
	after := Run(failing(tally, until), new(Settings))
	if f := after.Check("BKP-002"); f.Accepted() || !f.Open() || !f.Exception.Expired {
		t.Errorf("expired: %+v", f.Exception)
	}
	told := map[string]bool{}
	for _, c := range append(records, tracker.Apply(after)...) {
		if c.Check == "BKP-002" {
			told[c.Exception] = true
			if c.After != string(Fail) {
				t.Errorf("the result says %s", c.After)
			}
		}
	}
	if !told["record 41 until 2026-11-21T13:00:00Z, accepted by carol: one node until the move"] || !told[""] || len(told) != 2 {
		t.Errorf("transitions say %v", told)
	}
}

// TestNewestAcceptanceCounts supersedes, withdraws and repeats.
func TestNewestAcceptanceCounts(t *testing.T) {
	tally := NewTally(decided)
	day := 24 * time.Hour
	steps := []struct {
		seq    int64
		record *audit.Review
		in     int64 // record that is in force, or 0
		states string
	}{
		{10, accept("UPS-004", decided, decided.Add(day)), 10, "in_force"},
		{11, accept("UPS-004", decided, decided.Add(2*day)), 11, "in_force superseded"},
		{12, withdraw(10, "UPS-004", decided), 11, "in_force withdrawn"}, // what does not count is withdrawn for nothing
		{11, accept("UPS-004", decided, decided.Add(2*day)), 11, "in_force withdrawn"},
		{13, withdraw(11, "UPS-004", decided), 0, "withdrawn withdrawn"},
		{14, withdraw(99, "UPS-004", decided), 0, "withdrawn withdrawn"},
		{15, accept("UPS-004", decided, decided.Add(-time.Second)), 0, "expired withdrawn withdrawn"},
		{16, accept("UPS-999", decided, decided.Add(day)), 0, "expired withdrawn withdrawn"},
		{0, accept("UPS-004", decided, decided.Add(day)), 0, "expired withdrawn withdrawn"},
	}
	for i, s := range steps {
		tally.Decided(s.seq, s.record, true)
		var in int64
		if w := failing(tally, decided).waiver(new(Settings), "UPS-004"); w != nil && !w.Expired {
			in = w.Record
		}
		var states []string
		for _, a := range tally.Accepted(decided) {
			states = append(states, a.State)
		}
		if in != s.in || strings.Join(states, " ") != s.states {
			t.Errorf("step %d: record %d is in force, states %v", i, in, states)
		}
	}
	tally.ForgetAccepted()
	if list := tally.Accepted(decided); len(list) != 0 {
		t.Errorf("of another log: %+v", list)
	}
}

// TestExceptionInForceIsTaken compares the exception of the configuration with an
// acceptance of the log.
func TestExceptionInForceIsTaken(t *testing.T) {
	for _, c := range []struct {
		config, log time.Duration // 0: none
		want        string
	}{
		{0, 0, "none"},
		{time.Hour, 0, "config"},
		{0, time.Hour, "log"},
		{time.Hour, time.Hour, "config"},
		{-time.Hour, time.Hour, "log"},
		{time.Hour, -time.Hour, "config"},
		{-time.Hour, -time.Hour, "config expired"},
		{0, -time.Hour, "log expired"},
	} {
		tally, settings := NewTally(decided), new(Settings)
		if c.config != 0 {
			settings.Exceptions = []Exception{{Check: "UPS-004", Reason: "r", Approver: "a", Until: decided.Add(c.config)}}
		}
		if c.log != 0 {
			tally.Decided(5, accept("UPS-004", decided, decided.Add(c.log)), true)
		}
		got := "none"
		if w := failing(tally, decided).waiver(settings, "UPS-004"); w != nil {
			got = map[bool]string{true: "config", false: "log"}[w.Record == 0]
			if w.Expired {
				got += " expired"
			}
		}
		if got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestAcceptancesAreBounded accepts more than is kept: what is in force stays.
func TestAcceptancesAreBounded(t *testing.T) {
	tally := NewTally(decided)
	tally.Decided(1, accept("UPS-004", decided, decided.Add(time.Hour)), true)
	for seq := int64(2); seq < 3*maxAccepted; seq++ {
		tally.Decided(seq, accept("BKP-001", decided, decided.Add(time.Hour)), true)
	}
	list := tally.Accepted(decided)
	if len(list) > maxAccepted || list[0].Record != 3*maxAccepted-1 || list[len(list)-1].Record != 1 {
		t.Errorf("%d are kept, from %d to %d", len(list), list[len(list)-1].Record, list[0].Record)
	}
}

// TestTriageStandsAsLongAsItSays follows ALT-002 and the list of findings.
func TestTriageStandsAsLongAsItSays(t *testing.T) {
	settings := &Settings{Thresholds: map[string]map[string][]string{"ALT-002": {"within": {"1h"}}}}
	tally := NewTally(decided)
	look := func(now time.Time) (Result, time.Time, Case) {
		t.Helper()
		r := Run(failing(tally, now), settings)
		r.Check("AUD-003").Result, r.Check("AUD-003").Failing = Fail, decided.Add(-24*time.Hour)
		for _, c := range Cases(r, tally.Reviews()) {
			if c.Check == "AUD-003" {
				return r.Check("ALT-002").Result, r.Check("ALT-002").next, c
			}
		}
		t.Fatal("the finding is not listed")
		return "", time.Time{}, Case{}
	}
	if result, _, c := look(decided); result != Fail || c.State != CaseOpen || !c.Due.Equal(decided.Add(-23*time.Hour)) {
		t.Errorf("untriaged: %s %+v", result, c)
	}
	triage := func(at, until time.Time) *audit.Review {
		return &audit.Review{Time: at, Kind: audit.KindReviewTriage, Subject: "AUD-003", Verdict: "incident", Owner: "oncall", Reason: "looking", Until: until}
	}
	tally.Decided(7, triage(decided.Add(-25*time.Hour), time.Time{}), false)
	if result, _, c := look(decided); result != Fail || c.State != CaseOpen || c.Triage != nil {
		t.Errorf("a triage before it failed: %s %+v", result, c)
	}
	until := decided.Add(time.Hour)
	tally.Decided(8, triage(decided, until), false)
	if result, next, c := look(decided); result != Pass || !next.Equal(until) || c.State != CaseTriaged || c.Triage.Record != 8 || c.Triage.Verdict != "incident" {
		t.Errorf("triaged: %s, next %s, %+v", result, next, c)
	}
	if result, _, c := look(until); result != Fail || c.State != CaseOpen || !c.Triage.Expired {
		t.Errorf("after its time: %s %+v", result, c)
	}
	tally.Decided(9, accept("AUD-003", decided, until.Add(time.Hour)), false)
	if result, _, c := look(until); result != Pass || c.State != CaseAccepted {
		t.Errorf("accepted: %s %+v", result, c)
	}
	if b, err := json.Marshal(Cases(nil, nil)); string(b) != "[]" || err != nil {
		t.Errorf("without a report: %s %v", b, err)
	}
}

// TestSignOffOfAnAccessReviewIsSeenOnce has one of three records.
func TestSignOffOfAnAccessReviewIsSeenOnce(t *testing.T) {
	tally := NewTally(decided)
	for part := 1; part <= 3; part++ {
		tally.Happened(&audit.AccessReview{Time: decided, Review: "ar-1", Part: part, Parts: 3, Document: "abc", Reviewer: "carol"}, false)
	}
	if list := tally.Reviews(); len(list) != 1 || list[0].Kind != "access" || list[0].Subject != "abc" || list[0].Owner != "carol" {
		t.Errorf("%+v", list)
	}
}
