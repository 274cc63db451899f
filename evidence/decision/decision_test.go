package decision_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/decision"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// vet reads and vets a decision of a kind, and makes its record.
func vet(kind, text string) (*audit.Review, error) {
	actor := audit.Actor{Known: "none", How: "tcp"}
	switch kind {
	case "triage":
		t := new(decision.Triage)
		if err := decision.Read(strings.NewReader(text), t); err != nil {
			return nil, err
		}
		if err := t.Vet(now); err != nil {
			return nil, err
		}
		return t.Record(now, "AUD-003", now, actor), nil
	case "acceptance":
		a := new(decision.Acceptance)
		if err := decision.Read(strings.NewReader(text), a); err != nil {
			return nil, err
		}
		if err := a.Vet(now); err != nil {
			return nil, err
		}
		return a.Record(now, actor), nil
	case "withdrawal":
		w := new(decision.Withdrawal)
		if err := decision.Read(strings.NewReader(text), w); err != nil {
			return nil, err
		}
		if err := w.Vet(); err != nil {
			return nil, err
		}
		return w.Record(now, &controls.Acceptance{Record: 7, Check: "UPS-004", Owner: "o"}, actor), nil
	}
	d := new(decision.Drill)
	if err := decision.Read(strings.NewReader(text), d); err != nil {
		return nil, err
	}
	if err := d.Vet(); err != nil {
		return nil, err
	}
	return d.Record(now, actor)
}

const (
	hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	root = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="
	tree = `"origin":"edge-1/soc2","tree_size":10,"tree_root":"` + root + `","checkpoint_sha256":"` + hash + `"`
)

// TestErrorsNameTheMemberAndTheFix has a decision that is wrong in one way each.
func TestErrorsNameTheMemberAndTheFix(t *testing.T) {
	long := strings.Repeat("x", 1025)
	for _, c := range []struct{ kind, text, want string }{
		{"triage", `{"verdict":"incident","owner":"o"}`, `"reason" is needed`},
		{"triage", `{"verdict":"incident","owner":" ","reason":"r"}`, `"owner" is needed`},
		{"triage", `{"owner":"o","reason":"r"}`, `"verdict" is needed: choose incident`},
		{"triage", `{"verdict":"fine","owner":"o","reason":"r"}`, `"verdict" is "fine": choose incident`},
		{"triage", `{"verdict":"benign","owner":"o","reason":"` + long + `"}`, `"reason" has 1025 bytes, and at most 1024`},
		{"triage", `{"verdict":"benign","owner":"` + long + `","reason":"r"}`, `"owner" has 1025 bytes, and at most 256`},
		{"triage", `{"verdict":"benign","owner":"o\u0000","reason":"r"}`, `"owner" has a control character at byte 1`},
		{"triage", `{"verdict":"benign","owner":"o","reason":"r\nr"}`, `"reason" has a control character`},
		{"triage", `{"verdict":"benign","owner":"o","reason":"\u202egnp.exe"}`, `"reason" has a control character at byte 0`},
		{"triage", `{"verdict":"benign","owner":"o","reason":"r","record_seq":-1}`, `"record_seq" is negative`},
		{"triage", `{"verdict":"benign","owner":"o","reason":"r","record_seq":"7"}`, `"record_seq" is a string, and has to be a number`},
		{"triage", `{"verdict":"benign","owner":"o","reason":"r","until":"tomorrow"}`, `"until" is "tomorrow": it must be a time like`},
		{"triage", `{"verdict":"benign","owner":"o","reason":"r","until":"2026-11-21T12:00:00Z"}`, `which is over`},
		{"triage", `{"verdict":"benign","owner":"o","reason":"r","severity":"low"}`, `unknown field "severity"`},
		{"triage", `{} {}`, `something follows`},
		{"triage", `[]`, `one JSON object`},
		{"triage", ``, `one JSON object`},
		{"acceptance", `{"check":"UPS-999"}`, `"check" is "UPS-999": there is no such check`},
		{"acceptance", `{"check":"UPS-004","reason":"r","owner":"o","approved_by":"a"}`, `"until" is needed`},
		{"acceptance", `{"check":"UPS-004","reason":"r","owner":"o","until":"2027-01-31T00:00:00Z"}`, `"approved_by" is needed`},
		{"acceptance", `{"check":"UPS-004","reason":"r","owner":"o","approved_by":"a","until":"2028-01-31T00:00:00Z"}`, `at most 366 days ahead, until 2027-11-22`},
		{"withdrawal", `{"by":"b"}`, `"reason" is needed`},
		{"drill", `{"subject":"fire","verdict":"passed","reason":"r"}`, `"subject" is "fire": choose restore, alert, limit`},
		{"drill", `{"subject":"alert","verdict":"done","reason":"r"}`, `"verdict" is "done": choose passed, failed`},
		{"drill", `{"subject":"alert","verdict":"passed","reason":"r","files":[{"name":"a","sha256":"b"}]}`, `"files[0].sha256" is not 64`},
		{"drill", `{"subject":"alert","verdict":"passed","reason":"r","files":"a"}`, `"files" is a string, and has to be a list`},
		{"drill", `{"subject":"alert","verdict":"passed","reason":"r","files":[` + strings.Repeat(`{},`, 64) + `{}]}`, `at most 64`},
		{"drill", `{"subject":"alert","verdict":"passed","reason":"r","restored":{}}`, `"restored" does not belong`},
		{"drill", `{"subject":"restore","verdict":"passed","reason":"r"}`, `caddy soc2 drill restore`},
		{"drill", `{"subject":"restore","verdict":"passed","reason":"r","restored":{}}`, `does not say which tree`},
		{"drill", `{"subject":"restore","verdict":"passed","reason":"r","restored":{` + tree + `,"problems":["p"]}}`, `it is failed then`},
		{"drill", `{"subject":"restore","verdict":"passed","reason":"r","restored":{` + tree + `,"age_ns":2,"max_age_ns":1}}`, `it is failed then`},
		{"drill", `{"subject":"restore","verdict":"failed","reason":"r","restored":{"behind":-1}}`, `negative`},
	} {
		if _, err := vet(c.kind, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.80s: %v, want %s", c.kind, c.text, err, c.want)
		}
	}
}

// TestRecordsSayWhatWasDecided makes one of each.
func TestRecordsSayWhatWasDecided(t *testing.T) {
	for _, c := range []struct {
		kind, text string
		want       audit.Review
	}{
		{
			"triage", `{"by":"dora","verdict":"incident","owner":"oncall","reason":"=1+1","ticket":"INC-7","until":"2026-12-01T01:00:00+01:00","record_seq":9}`,
			audit.Review{Kind: audit.KindReviewTriage, Subject: "AUD-003", Verdict: "incident", Owner: "oncall", Reason: "=1+1", Ticket: "INC-7", From: now, Until: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Seq: 9},
		},
		{
			"acceptance", `{"by":"dora","check":"ups-004","owner":"platform","approved_by":"carol","reason":"one node","until":"2027-01-31T00:00:00Z"}`,
			audit.Review{Kind: audit.KindReviewException, Subject: "UPS-004", Verdict: "accepted", Owner: "platform", Approver: "carol", Reason: "one node", Until: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)},
		},
		{
			"withdrawal", `{"by":"dora","reason":"two nodes now"}`,
			audit.Review{Kind: audit.KindReviewException, Subject: "UPS-004", Verdict: "withdrawn", Owner: "o", Reason: "two nodes now", Seq: 7},
		},
		{
			"drill", `{"by":"dora","subject":"alert","verdict":"passed","reason":"pager rang","files":[{"name":"pager.png","sha256":"` + hash + `"}]}`,
			audit.Review{Kind: audit.KindReviewDrill, Subject: "alert", Verdict: "passed", Reason: "pager rang", Files: []string{hash + " pager.png"}},
		},
	} {
		got, err := vet(c.kind, c.text)
		if err != nil {
			t.Errorf("%s: %v", c.kind, err)
			continue
		}
		c.want.Time, c.want.Actor = now, audit.Actor{Known: "asserted", How: "tcp", Claim: "dora"}
		if a, b := fmt.Sprintf("%+v", *got), fmt.Sprintf("%+v", c.want); a != b {
			t.Errorf("%s:\n%s\nwant\n%s", c.kind, a, b)
		}
	}
}

// TestWhatADrillMeasuredIsKeptWhole has as much as there may be.
func TestWhatADrillMeasuredIsKeptWhole(t *testing.T) {
	d := &decision.Drill{Subject: "restore", Verdict: "failed", Reason: "r", Restored: &decision.Restored{Origin: "edge-1", Records: 7}}
	for range 40 {
		d.Restored.Note("segments/0: " + strings.Repeat("<\x00\u202e", 400))
	}
	if err := d.Vet(); err != nil || len(d.Restored.Problems) != 16 || d.Restored.Omitted != 24 {
		t.Fatalf("%v: %d problems, %d omitted", err, len(d.Restored.Problems), d.Restored.Omitted)
	}
	r, err := d.Record(now, audit.Actor{})
	if err != nil {
		t.Fatal(err)
	}
	body := decode(t, r)
	var figures decision.Restored
	if err := json.Unmarshal(body.Figures.Value, &figures); err != nil || len(figures.Problems) != 16 || figures.Records != 7 {
		t.Errorf("%v: %+v", err, figures)
	}
}

// decode writes a record and reads it.
func decode(t *testing.T, r *audit.Review) *audit.Review {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(audit.Config{Dir: t.TempDir() + "/log", Key: key, Instance: "edge-1", CheckpointEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	seq, err := log.Append(t.Context(), r.AppendBody(nil, "edge-1"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := log.Records().Record(seq)
	if err != nil {
		t.Fatal(err)
	}
	read, err := audit.Decode(b)
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	body, ok := read.Body.(*audit.Review)
	if !ok || len(body.Cut) > 0 || len(body.LeftOut) > 0 {
		t.Fatalf("%T, cut: %s", read.Body, b)
	}
	return body
}

// FuzzDecision feeds bytes of callers: what is taken makes a record of which
// nothing is cut.
func FuzzDecision(f *testing.F) {
	kinds := []string{"triage", "acceptance", "withdrawal", "drill"}
	for i, text := range []string{
		`{"by":"dora","verdict":"incident","owner":"oncall","reason":"looking","ticket":"INC-7","until":"2026-12-01T00:00:00Z","record_seq":9}`,
		`{"check":"UPS-004","owner":"platform","approved_by":"carol","reason":"one node","until":"2027-01-31T00:00:00Z"}`,
		`{"reason":"two nodes now"}`,
		`{"subject":"restore","verdict":"passed","reason":"r","files":[{"name":"checkpoint","sha256":"` + hash + `"}],"restored":{` + tree + `,"age_ns":1,"max_age_ns":2}}`,
	} {
		f.Add(byte(i), text)
	}
	f.Fuzz(func(t *testing.T, kind byte, text string) {
		r, err := vet(kinds[int(kind)%len(kinds)], text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00\u202e") {
				t.Errorf("the error shows what was sent as it is: %q", err)
			}
			return
		}
		if r.Subject == "" || r.Verdict == "" || r.Reason == "" || r.Until.Sub(now) > decision.MaxUntil {
			t.Fatalf("%s is taken as %+v", text, r)
		}
		b := append([]byte(`{"seq":1,`), r.AppendBody(nil, "edge-1")...)
		if strings.Contains(string(b), `"cut":`) || strings.Contains(string(b), `"left_out":`) {
			t.Fatalf("something of it is cut: %s", b)
		}
	})
}
