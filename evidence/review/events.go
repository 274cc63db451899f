package review

import (
	"fmt"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/export"
)

// shown is text from outside as the document has it. It does not share memory.
func shown(s string) string { return strings.Clone(export.Visible(s)) }

// glassOf is what is known of something that was opened past the rules.
func (t *tally) glassOf(id string) *GlassUse {
	return keep(t, t.glass, "break_glass", maxGlass, id, func() string { return strings.Clone(id) })
}

func (t *tally) breakGlass(b *audit.BreakGlass) {
	g := t.glassOf(b.Grant)
	g.Policy, g.Principal, g.Until = shown(b.Policy), shown(b.Principal), b.Until.UTC()
	if b.Action == "close" {
		g.Closed = b.Time.UTC()
		return
	}
	g.By, g.Known, g.Claim = shown(b.Actor.Name), shown(b.Actor.Known), shown(b.Actor.Claim)
	g.Reason, g.Ticket, g.Opened = shown(b.Reason), shown(b.Ticket), b.Time.UTC()
}

// glassUse counts a request that was let in.
func (t *tally) glassUse(at time.Time, b *audit.Event) {
	g := t.glassOf(b.Access.Reason)
	if g.Principal == "" {
		g.Principal = shown(b.User)
	}
	if g.Requests == 0 || at.Before(g.First) {
		g.First = at
	}
	if g.Requests == 0 || at.After(g.Last) {
		g.Last = at
	}
	g.Requests++
}

func (t *tally) lockout(seq int64, b *audit.Lockout) {
	key := lockoutKey{b.What, b.Subject, b.Rule}
	l := keep(t, t.lockouts, "lockouts", maxLockouts, key, func() lockoutKey {
		return lockoutKey{strings.Clone(b.What), strings.Clone(b.Subject), strings.Clone(b.Rule)}
	})
	at, n := b.Time.UTC(), l.Locked+l.Extended+l.Unlocked+l.Expired
	l.What, l.Subject, l.Rule, l.Pseudonym = shown(b.What), shown(b.Subject), shown(b.Rule), b.Pseudo
	switch b.Action {
	case "lock":
		l.Locked++
	case "extend":
		l.Extended++
	case "unlock":
		l.Unlocked++
	default:
		l.Expired++
	}
	l.Attempts = max(l.Attempts, int64(b.Attempts))
	if n == 0 || at.Before(l.First) {
		l.First, l.FirstSeq = at, seq
	}
	if n == 0 || !at.Before(l.Last) {
		l.Last, l.LastSeq = at, seq
	}
}

// sign notes a part of a sign-off.
func (t *tally) sign(seq int64, b *audit.AccessReview) {
	s := keep(t, t.signed, "signed_in_period", maxSigned, b.Review, func() string { return strings.Clone(b.Review) })
	s.add(seq, b)
}

// add adds a part, without its decisions.
func (s *Signed) add(seq int64, b *audit.AccessReview) {
	if len(s.Seqs) == 0 {
		*s = Signed{
			Review: shown(b.Review), Reviewer: shown(b.Reviewer), Actor: shown(b.Actor.Name), Known: shown(b.Actor.Known), Time: b.Time.UTC(),
			Document: shown(b.Document), From: b.From.UTC(), To: b.To.UTC(), Parts: b.Parts,
			Grants: b.Grants, Kept: b.Kept, Revoked: b.Revoked, Changed: b.Changed, Reason: shown(b.Reason), Ticket: shown(b.Ticket),
		}
	}
	s.Seqs = append(s.Seqs, seq)
	s.Whole = len(s.Seqs) == s.Parts
}

// maxErased is how many erasures are told one by one.
const maxErased = 100

func (t *tally) erase(b *audit.LogErase) {
	if len(t.erased) >= maxErased {
		t.leftOut["what_it_cannot_know"]++
		return
	}
	at := b.Time.UTC().Format(time.RFC3339)
	switch b.What {
	case "retention":
		t.erased = append(t.erased, fmt.Sprintf("At %s retention removed the records before %d.", at, b.UpTo))
	case "subject":
		t.erased = append(t.erased, fmt.Sprintf("At %s the keys of a person were destroyed: who that was in sealed records cannot be known.", at))
	default:
		t.erased = append(t.erased, fmt.Sprintf("At %s the keys of the period %s were destroyed.", at, shown(b.Period)))
	}
}
