package decision

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/controls"
)

// text is a member of a decision to be checked.
type text struct {
	name, value string
	most        int
	needed      bool
}

func vetTexts(list ...text) error {
	for _, t := range list {
		switch {
		case t.needed && strings.TrimSpace(t.value) == "":
			return fmt.Errorf("%q is needed", t.name)
		case len(t.value) > t.most:
			return fmt.Errorf("%q has %d bytes, and at most %d are kept: shorten it, and name a ticket that has the rest", t.name, len(t.value), t.most)
		case !utf8.ValidString(t.value):
			return fmt.Errorf("%q is not UTF-8", t.name)
		}
		if i := strings.IndexFunc(t.value, unfit); i >= 0 {
			return fmt.Errorf("%q has a control character at byte %d: write it in one line, of what prints", t.name, i)
		}
	}
	return nil
}

// unfit reports whether a character does not print, or changes how others do.
func unfit(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

func choose(name, value string, list []string) error {
	if slices.Contains(list, value) {
		return nil
	}
	if value == "" {
		return fmt.Errorf("%q is needed: choose %s", name, strings.Join(list, ", "))
	}
	return fmt.Errorf("%q is %.40q: choose %s", name, value, strings.Join(list, ", "))
}

// until reads how long a decision stands.
func until(value string, now time.Time) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, value)
	switch {
	case value == "":
		return t, errors.New(`"until" is needed: a time like 2027-01-31T00:00:00Z, when it expires`)
	case err != nil:
		return t, fmt.Errorf(`"until" is %.40q: it must be a time like 2027-01-31T00:00:00Z`, value)
	case !t.After(now):
		return t, fmt.Errorf(`"until" is %s, which is over: give a time to come`, value)
	case t.Sub(now) > MaxUntil:
		return t, fmt.Errorf(`"until" is %s: it may be at most %d days ahead, until %s; decide again then`, value, MaxUntil/(24*time.Hour), now.Add(MaxUntil).UTC().Format(time.DateOnly))
	}
	return t.UTC(), nil
}

// Vet finds what is wrong with a triage. Errors name the member and what mends
// it, as do those of the others.
func (t *Triage) Vet(now time.Time) error {
	err := vetTexts(text{"by", t.By, maxName, false}, text{"owner", t.Owner, maxName, true}, text{"reason", t.Reason, maxReason, true}, text{"ticket", t.Ticket, maxName, false})
	if err == nil {
		err = choose("verdict", t.Verdict, controls.Verdicts())
	}
	if err == nil && t.Seq < 0 {
		err = errors.New(`"record_seq" is negative: it is the index of a check.transition record`)
	}
	if err == nil && t.Until != "" {
		t.stands, err = until(t.Until, now)
	}
	return err
}

// Vet finds what is wrong with an acceptance.
func (a *Acceptance) Vet(now time.Time) error {
	d := controls.Checks().Check(a.Check)
	if d == nil {
		return fmt.Errorf(`"check" is %.40q: there is no such check; docs/controls.md lists them`, a.Check)
	}
	a.check = d.ID
	err := vetTexts(text{"by", a.By, maxName, false}, text{"reason", a.Reason, maxReason, true}, text{"owner", a.Owner, maxName, true},
		text{"approved_by", a.ApprovedBy, maxName, true}, text{"ticket", a.Ticket, maxName, false})
	if err == nil {
		a.ends, err = until(a.Until, now)
	}
	return err
}

// Vet finds what is wrong with a withdrawal.
func (w *Withdrawal) Vet() error {
	return vetTexts(text{"by", w.By, maxName, false}, text{"reason", w.Reason, maxReason, true}, text{"ticket", w.Ticket, maxName, false})
}

// Vet finds what is wrong with a drill.
func (d *Drill) Vet() error {
	if err := choose("subject", d.Subject, Subjects()); err != nil {
		return err
	}
	if err := choose("verdict", d.Verdict, []string{Passed, Failed}); err != nil {
		return err
	}
	err := vetTexts(text{"by", d.By, maxName, false}, text{"reason", d.Reason, maxReason, true}, text{"ticket", d.Ticket, maxName, false})
	if err == nil {
		err = vetFiles(d.Files)
	}
	switch {
	case err != nil:
		return err
	case d.Restored != nil && d.Subject != SubjectRestore:
		return fmt.Errorf(`"restored" does not belong to a drill of the subject %s`, d.Subject)
	case d.Restored != nil:
		return d.Restored.vet(d.Verdict)
	case d.Subject == SubjectRestore && d.Verdict == Passed:
		return errors.New(`"restored" is needed: what was measured of the copy; caddy soc2 drill restore --from DIRECTORY makes the drill`)
	}
	return nil
}

func (r *Restored) vet(verdict string) error {
	root, err := base64.StdEncoding.DecodeString(r.Root)
	passed := verdict == Passed
	switch {
	case passed && (err != nil || len(root) != 32 || r.Size <= 0 || r.Origin == "" || !IsSHA256(r.Checkpoint)):
		return errors.New(`"restored" does not say which tree was restored: origin, tree_size, tree_root and checkpoint_sha256 are needed`)
	case passed && len(r.Problems) > 0:
		return errors.New(`"restored" has problems, and the verdict is passed: it is failed then`)
	case passed && r.Age > r.MaxAge:
		return fmt.Errorf(`"restored" is %s old and at most %s were allowed, and the verdict is passed: it is failed then`, r.Age, r.MaxAge)
	case min(r.Size, r.LiveSize, r.Records, r.Pruned, r.Behind, int64(r.Age), int64(r.MaxAge), int64(r.Took), int64(r.Omitted)) < 0:
		return errors.New(`"restored" has a negative number`)
	case len(r.Problems) > maxProblems:
		return fmt.Errorf(`"restored.problems" has %d: at most %d are kept, and problems_omitted counts the others`, len(r.Problems), maxProblems)
	}
	list := []text{{"restored.origin", r.Origin, maxName, false}, {"restored.tree_root", r.Root, maxName, false}, {"restored.live_tree_root", r.LiveRoot, maxName, false}, {"restored.checkpoint_sha256", r.Checkpoint, maxName, false}}
	for i, p := range r.Problems {
		list = append(list, text{fmt.Sprintf("restored.problems[%d]", i), p, maxName, true})
	}
	return vetTexts(list...)
}

// IsSHA256 reports whether a text is a SHA-256 in small hex digits.
func IsSHA256(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 64 && strings.ToLower(s) == s
}

func vetFiles(list []File) error {
	if len(list) > maxFiles {
		return fmt.Errorf(`"files" has %d: a record keeps at most %d`, len(list), maxFiles)
	}
	for i, f := range list {
		// A record has the hash, a space and the name in one item.
		if err := vetTexts(text{fmt.Sprintf("files[%d].name", i), f.Name, maxName - 65, true}); err != nil {
			return err
		}
		if !IsSHA256(f.SHA256) {
			return fmt.Errorf(`"files[%d].sha256" is not 64 small hex digits`, i)
		}
	}
	return nil
}
