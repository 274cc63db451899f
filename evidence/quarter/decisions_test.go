package quarter_test

import (
	"slices"
	"strconv"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/controls"
)

// planDecisions plans what people decide about what checks found, and which
// risks they accept.
func (s *script) planDecisions() {
	bob := audit.Actor{Name: "bob", Known: "verified", How: "oidc"}
	robot := audit.Actor{Known: "none", How: "tcp", Claim: "=deploy-bot", Address: "127.0.0.1:50505"}
	triage := func(at string, a audit.Actor, verdict, reason string, of func() (subject string, answers int64)) {
		s.on(at, func() {
			subject, answers := of()
			s.add(&audit.Review{Time: s.now, Kind: audit.KindReviewTriage, Actor: a, Subject: subject, Seq: answers, Verdict: verdict, Owner: "@oncall", Ticket: "INC-" + strconv.Itoa(len(s.others)), Reason: reason})
		})
	}
	s.on("02-25 11:40:00", s.settle) // as a period ends five minutes later
	check := func(id string) func() (string, int64) { return func() (string, int64) { return id, 0 } }
	answer := func(id string, back int) func() (string, int64) {
		return func() (string, int64) { return "a finding", s.result(id, back) }
	}
	index := func(id string) func() (string, int64) {
		return func() (string, int64) { return strconv.FormatInt(s.result(id, 0), 10), 0 }
	}
	triage("01-05 12:00:00", bob, "incident", `C:\temp is shared`, check("TLS-004"))
	triage("01-07 09:00:00", bob, "benign", "=over", check("TLS-004")) // it is over
	triage("01-19 08:00:00", robot, "accepted", "known", answer("RLM-003", 0))
	triage("02-03 09:00:00", bob, "incident", "still there", index("RLM-003"))
	triage("02-18 01:30:00", bob, "incident", "somebody listens", answer("ADM-001", 0))
	triage("02-18 09:00:00", robot, "benign", "-1", check("ADM-001")) // after the crash
	triage("02-24 16:00:00", bob, "benign", "before the clock", check("6f00"))
	triage("02-25 11:45:00", bob, "incident", "first", check("6f01"))
	triage("02-25 11:55:00", bob, "benign", "in time the last", check("6f02"))
	triage("02-25 12:10:00", bob, "duplicate", "last", check("6f01")) // by a clock that was set back
	triage("02-25 12:11:00", bob, "false_positive", "by its number", index("TLS-004"))
	triage("02-25 12:12:00", bob, "benign", "it is over", answer("TLS-004", 2))
	triage("02-26 08:00:00", bob, "incident", "a day later", answer("TLS-004", 1))
	triage("03-31 21:00:00", bob, "incident", "at the end", answer("EVD-001", 0))
	triage("04-02 09:00:00", bob, "benign", "behind the end", check("EVD-001"))
	for i, result := range []string{"fail", "unknown", "warn"} { // worse for a while
		s.on("03-27 1"+strconv.Itoa(i)+":30:00", func() {
			c := *s.others[s.facts[s.result("CHG-007", 0)].n].body.(*audit.CheckTransition)
			c.Time, c.Before, c.After = s.now, c.After, result
			s.add(&c)
		})
	}
	s.planRisks(bob, robot)
}

// planRisks plans what is accepted, by people and by the configuration.
func (s *script) planRisks(bob, robot audit.Actor) {
	var newest int64
	accept := func(at, check string, a audit.Actor, lasts time.Duration) {
		s.on(at, func() {
			s.add(&audit.Review{Time: s.now, Kind: audit.KindReviewException, Actor: a, Subject: check, Verdict: "accepted", Owner: "=platform", Ticket: "RISK-1", Reason: "until the bucket is there", Until: s.now.Add(lasts), Approver: "carol"})
			newest = int64(len(s.facts)) - 1
		})
	}
	withdraw := func(at, check string) {
		s.on(at, func() {
			s.add(&audit.Review{Time: s.now, Kind: audit.KindReviewException, Actor: bob, Subject: check, Verdict: "withdrawn", Owner: "=platform", Reason: "the bucket is there", Seq: newest})
		})
	}
	accept("01-08 10:00:00", "BKP-001", bob, 200*24*time.Hour)
	accept("02-16 12:00:00", "RLM-003", robot, 6*time.Hour) // is over when the 17th begins
	accept("02-17 08:00:00", "BKP-001", bob, 40*24*time.Hour)
	withdraw("02-18 16:00:00", "BKP-001")
	accept("02-25 09:00:00", "ALT-001", robot, 14*24*time.Hour+time.Nanosecond)
	accept("04-01 00:00:00", "ALT-001", bob, 14*24*time.Hour) // behind the quarter

	set := func(at, check, reason string) {
		s.on(at, func() {
			s.settings.Exceptions = slices.DeleteFunc(slices.Clone(s.settings.Exceptions), func(e controls.Exception) bool { return e.Check == check })
			if reason != "" {
				s.settings.Exceptions = append(s.settings.Exceptions, controls.Exception{Check: check, Reason: reason, Approver: "alice", Until: logEnds.AddDate(2, 0, 0)})
			}
			s.check("change")
		})
	}
	set("01-04 09:00:00", "TLS-004", "debugging")
	set("01-06 18:00:00", "TLS-004", "")
	set("01-20 09:00:00", "RLM-003", "=large uploads")
	set("01-31 23:30:00", "RLM-003", "larger uploads") // another takes its place
	set("02-04 18:00:00", "RLM-003", "")
	set("02-18 02:30:00", "ADM-001", "@maintenance") // while the process crashes
	set("02-18 12:00:00", "ADM-001", "")
	set("02-25 11:52:00", "TLS-004", "debugging again") // the clock is set back meanwhile
	set("03-01 10:00:00", "TLS-004", "")
	set("03-30 10:00:00", "EVD-001", "an open door")
}

// result is the index of the newest result of a check, or of one that came so
// many before.
func (s *script) result(check string, back int) int64 {
	s.t.Helper()
	for seq, f := range slices.Backward(s.facts) {
		if s.kinds[f.kind] != "check.transition" || s.others[f.n].cells["check"] != check {
			continue
		}
		if back--; back < 0 {
			return int64(seq)
		}
	}
	s.t.Fatalf("%s has too few results", check)
	return 0
}
