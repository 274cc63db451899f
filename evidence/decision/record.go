package decision

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/controls"
)

// Record makes the record of a triage that was vetted. subject is the check, or
// the hash of the configuration, that it is about, and since is when that began.
func (t *Triage) Record(now time.Time, subject string, since time.Time, actor audit.Actor) *audit.Review {
	return &audit.Review{
		Time: now, Kind: audit.KindReviewTriage, Actor: named(actor, t.By), Subject: subject, Verdict: t.Verdict, Owner: t.Owner, From: since, Until: t.stands,
		Ticket: t.Ticket, Reason: t.Reason, Seq: t.Seq,
	}
}

// Record makes the record of an acceptance that was vetted.
func (a *Acceptance) Record(now time.Time, actor audit.Actor) *audit.Review {
	return &audit.Review{
		Time: now, Kind: audit.KindReviewException, Actor: named(actor, a.By), Subject: a.check, Verdict: controls.VerdictAccepted, Owner: a.Owner, Until: a.ends,
		Ticket: a.Ticket, Reason: a.Reason, Approver: a.ApprovedBy,
	}
}

// Record makes the record that withdraws an acceptance.
func (w *Withdrawal) Record(now time.Time, of *controls.Acceptance, actor audit.Actor) *audit.Review {
	return &audit.Review{
		Time: now, Kind: audit.KindReviewException, Actor: named(actor, w.By), Subject: of.Check, Verdict: controls.VerdictWithdrawn, Owner: of.Owner,
		Ticket: w.Ticket, Reason: w.Reason, Seq: of.Record,
	}
}

// Record makes the record of a drill that was vetted.
func (d *Drill) Record(now time.Time, actor audit.Actor) (*audit.Review, error) {
	r := &audit.Review{
		Time: now, Kind: audit.KindReviewDrill, Actor: named(actor, d.By), Subject: d.Subject, Verdict: d.Verdict, Ticket: d.Ticket, Reason: d.Reason,
	}
	for _, f := range d.Files {
		r.Files = append(r.Files, f.SHA256+" "+f.Name)
	}
	if d.Restored != nil {
		b, err := json.Marshal(d.Restored)
		if err != nil {
			return nil, fmt.Errorf("writing what a drill measured: %w", err)
		}
		r.Figures.Value = b
	}
	return r, nil
}

// named adds to who calls, as far as that is known, who it says to be.
func named(a audit.Actor, by string) audit.Actor {
	if by == "" {
		return a
	}
	a.Claim = by
	if a.Name == "" {
		a.Known = "asserted"
	}
	return a
}

// FitName makes the name of a file one that a decision may have.
func FitName(s string) string { return fit(s, maxName-65) }

func fit(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unfit(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// Note adds a problem to what was found, or counts it if there are too many.
func (r *Restored) Note(problem string) {
	if len(r.Problems) >= maxProblems {
		r.Omitted++
		return
	}
	r.Problems = append(r.Problems, fit(problem, maxName))
}
