package packer_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

func stamp(hour int) string {
	return start.Add(time.Duration(hour) * time.Hour).Format(pack.TimeForm)
}

func TestFindingsHaveTheirLastTriage(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	f := report(t, s.make(true)).Logs[0]
	type brief struct{ check, subject, result, opened, closed, verdict string }
	var got []brief
	for _, x := range f.Findings {
		got = append(got, brief{x.Check, x.Subject, x.Result, x.Opened, x.Closed, x.Triage.Verdict})
	}
	want := []brief{
		{"ADM-001", "", "fail", stamp(30), stamp(50), "incident"},
		{"", "=a call from outside", "", stamp(49), "", "benign"},
		{"ADM-002", "", "fail", stamp(52), "", ""},
		{"TLS-001", "", "fail", stamp(55), start.Add(57*time.Hour + 90*time.Second).Format(pack.TimeForm), ""},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestRisksThatExpiredBeforeThePeriodAreNotListed(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	f := report(t, s.make(true)).Logs[0]
	if len(f.Risks) != 3 {
		t.Fatalf("risks %+v", f.Risks)
	}
	a, b := f.Risks[0], f.Risks[2]
	if w := f.Risks[1]; w.Check != "UPS-002" || w.Verdict != "accepted" || w.Ended != stamp(58) {
		t.Errorf("%+v", w)
	}
	if a.Check != "UPS-004" || a.Source != "review" || a.Claim != "-alice" || a.Expires != start.AddDate(0, 1, 0).Format(pack.TimeForm) {
		t.Errorf("%+v", a)
	}
	if b.Check != "ADM-002" || b.Source != "configuration" || b.Time != stamp(52) || b.Ended != stamp(54) {
		t.Errorf("%+v", b)
	}
}

// TestADecisionAfterThePeriodIsNotInItsReport: the report says what was known at
// the end of the period.
func TestADecisionAfterThePeriodIsNotInItsReport(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days().period(start.AddDate(0, 0, 1), start.AddDate(0, 0, 2))
	b := s.make(true)
	mustVerify(t, b, s)
	f := report(t, b).Logs[0]
	if len(f.Findings) != 1 || f.Findings[0].Check != "ADM-001" || f.Findings[0].Closed != "" || f.Findings[0].Triage.Time != "" {
		t.Errorf("findings %+v", f.Findings)
	}
}

func TestSamplesAreThoseThatAreDrawnFromTheLog(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	log, err := population.Open(s.input().Dir, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, full := range []bool{true, false} {
		b := s.make(full)
		files, m := unpack(t, b)
		for _, d := range report(t, b).Logs[0].Samples {
			p, err := population.Find(d.Population)
			if err != nil {
				t.Fatal(err)
			}
			opt := population.Options{Population: p, Period: population.Period{From: s.want.period.From, To: s.want.period.To}}
			drawn, r, err := population.Sample(context.Background(), log, opt, d.Rows, d.Seed)
			if err != nil {
				t.Fatal(err)
			}
			var want []int64
			for i := range drawn {
				want = append(want, drawn[i].Row.Seq)
			}
			if !slices.Equal(d.Seqs, want) || d.Of != r.Count {
				t.Errorf("full %t, %+v: drawn %v of %d, want %v of %d", full, d.Sample, d.Seqs, d.Of, want, r.Count)
			}
			rows, err := csv.NewReader(bytes.NewReader(files[m.Logs[0].Folder+d.Table()])).ReadAll()
			if err != nil || len(rows) != len(want)+1 {
				t.Errorf("%s: %d rows, %v", d.Table(), len(rows), err)
			}
		}
	}
}

func TestSamplesThatCannotBeDrawnAreRefused(t *testing.T) {
	s := newSite(t, "edge-1/soc2")
	s.open()
	s.close()
	for name, list := range map[string][]pack.Sample{
		"no such population": {ask("x", 1, "s")}, "derived": {ask("principals", 1, "s")}, "no rows": {ask("denials", 0, "s")},
		"too many rows": {ask("denials", 1001, "s")}, "no seed": {ask("denials", 1, "")}, "not ASCII": {ask("denials", 1, "é")},
		"twice": {ask("denials", 1, "s"), ask("denials", 2, "s")}, "one file for two": {ask("denials", 1, "s"), ask("denials", 1, "S")},
		"too many": slices.Repeat([]pack.Sample{ask("denials", 1, "s")}, pack.MaxSamples+1),
	} {
		opt := s.options(true)
		opt.Period, opt.Samples = pack.Period{From: start, To: start.Add(time.Hour)}, list
		if _, err := packer.Write(context.Background(), &bytes.Buffer{}, []packer.Log{s.input()}, opt); !errors.Is(err, packer.ErrPeriod) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
