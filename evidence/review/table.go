package review

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/export"
)

// columns are those of the table. Part of its format: later versions may add some
// at the end.
var columns = [...]string{
	"section", "grant", "decision", "note", "kind", "name", "method", "policy", "rule", "reason", "status",
	"allowed", "refused", "shadow_denied", "break_glass", "undecided", "count", "first", "last", "first_seq", "last_seq", "details",
}

// line is a row of the table, by column.
type line map[string]string

// CSV writes the document as one table (RFC 4180), of which the column section
// says what a row is of. A cell that a spreadsheet would take for a formula begins
// with an apostrophe. The columns decision and note are empty: they are for the
// reviewer, and ParseDecisions reads them.
func (d *Document) CSV(w io.Writer) error {
	t := &table{w: csv.NewWriter(w)}
	t.w.UseCRLF = true
	if err := t.w.Write(columns[:]); err != nil {
		return err
	}
	d.about(t)
	d.could(t)
	d.did(t)
	d.refusedRows(t)
	d.others(t)
	for _, o := range d.LeftOut {
		t.row(line{"section": "left_out", "name": o.List, "count": number(o.Count), "details": "the list has at most " + strconv.Itoa(o.Bound)})
	}
	for _, s := range d.Unknown {
		t.row(line{"section": "cannot_know", "details": s})
	}
	t.w.Flush()
	if t.err != nil {
		return t.err
	}
	return t.w.Error()
}

// table writes rows until one fails.
type table struct {
	w   *csv.Writer
	err error
}

func (t *table) row(l line) {
	if t.err != nil {
		return
	}
	cells := make([]string, len(columns))
	for i, name := range columns {
		cells[i] = export.Guard(l[name])
	}
	t.err = t.w.Write(cells)
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return text(t)
}

// with adds a tally to a row.
func (l line) with(t *Tally) line {
	l["allowed"], l["refused"], l["shadow_denied"] = number(t.Allowed), number(t.Refused), number(t.Shadow)
	l["break_glass"], l["undecided"] = number(t.Glass), number(t.Undecided)
	l["first"], l["last"] = stamp(t.First), stamp(t.Last)
	if t.FirstSeq != nil && t.LastSeq != nil {
		l["first_seq"], l["last_seq"] = number(*t.FirstSeq), number(*t.LastSeq)
	}
	return l
}

func (l line) within(s *Span) line {
	l["first"], l["last"] = stamp(s.First), stamp(s.Last)
	l["first_seq"], l["last_seq"] = number(s.FirstSeq), number(s.LastSeq)
	return l
}

// about writes what the document stands on.
func (d *Document) about(t *table) {
	for _, fact := range d.facts() {
		t.row(line{"section": "about", "name": fact[0], "details": fact[1]})
	}
}

// facts are what the document stands on, each with its name.
func (d *Document) facts() [][2]string {
	seq := func(p *int64) string {
		if p == nil {
			return "none"
		}
		return number(*p)
	}
	list := [][2]string{
		{"period", "[" + text(d.Period.From) + ", " + text(d.Period.To) + ")"},
		{"log", d.Log.Origin},
		{"tree size", number(d.Log.Size)},
		{"tree root", d.Log.Root},
		{"newest record", text(d.Log.Ends)},
		{"records of the period", fmt.Sprintf("%d, of them %d requests; first %s, last %s", d.Log.Records, d.Log.Requests, seq(d.Log.First), seq(d.Log.Last))},
		{"configuration", strings.TrimSpace(d.Configuration.Source + " " + d.Configuration.Name)},
	}
	if d.Configuration.SHA256 != "" {
		list = append(list, [2]string{"configuration SHA-256", d.Configuration.SHA256})
	}
	for _, f := range d.Configuration.Files {
		list = append(list, [2]string{"file", strings.TrimSpace(f.Name + " " + f.SHA256)})
	}
	for _, s := range d.Configuration.Notes {
		list = append(list, [2]string{"note", s})
	}
	return list
}

// could writes the grants.
func (d *Document) could(t *table) {
	for i := range d.Policies {
		p := &d.Policies[i]
		for j := range p.Rules {
			r := &p.Rules[j]
			t.row(line{
				"section": "rule", "grant": r.Grant, "kind": r.Effect, "name": r.Rule, "policy": p.Hash, "rule": r.Rule, "status": r.Status,
				"details": r.details(),
			}.with(&r.Tally))
		}
	}
	for i := range d.Accounts {
		a := &d.Accounts[i]
		t.row(line{
			"section": "account", "grant": a.Grant, "kind": a.Kind, "name": a.Name, "status": a.Status, "details": a.details(),
		}.with(&a.Tally))
	}
}

// details are what a rule asks for, in a line, and what others of its name did.
func (r *RuleReview) details() string {
	list := r.Conditions
	if r.Otherwise > 0 {
		list = append(slices.Clone(list), fmt.Sprintf("allowed %d by a policy that is not in the configuration", r.Otherwise))
	}
	return strings.Join(list, "; ")
}

// details are what an account has, in a line.
func (a *AccountReview) details() string {
	list := []string{"from " + strings.Join(a.Sources, ", ")}
	if len(a.Roles) > 0 {
		list = append(list, "roles "+strings.Join(a.Roles, ", "))
	}
	list = append(list, a.Limits...)
	if !a.Expires.IsZero() {
		list = append(list, "expires "+text(a.Expires))
	}
	if len(a.Rules) > 0 {
		list = append(list, "could by "+strings.Join(a.Rules, ", "))
	}
	return strings.Join(list, "; ")
}

// did writes who did.
func (d *Document) did(t *table) {
	for i := range d.Principals {
		p := &d.Principals[i]
		t.row(line{"section": "principal", "kind": p.kind(), "name": p.Name, "method": p.Method, "details": strings.Join(p.Grants, ", ")}.with(&p.Tally))
		for _, u := range p.Rules {
			t.row(line{
				"section": "principal_rule", "name": p.Name, "method": p.Method, "policy": u.Policy, "rule": u.Rule,
				"count": number(u.Count), "first": text(u.First), "last": text(u.Last), "details": u.Grant,
			})
		}
	}
	t.row(line{"section": "anonymous"}.with(&d.Anonymous))
	t.row(line{"section": "sealed"}.with(&d.Sealed))
	for i := range d.Elsewhere {
		e := &d.Elsewhere[i]
		t.row(line{"section": "other_policy", "policy": e.Policy, "rule": e.Rule}.with(&e.Tally))
	}
}

func (p *Principal) kind() string {
	if p.Pseudonym {
		return "pseudonym"
	}
	return ""
}

// refusedRows writes what was refused, and what would have been.
func (d *Document) refusedRows(t *table) {
	for i := range d.Refused {
		r := &d.Refused[i]
		t.row(line{
			"section": "refused", "policy": r.Policy, "rule": r.Rule, "reason": r.Reason, "count": number(r.Count),
			"details": fmt.Sprintf("%d of nobody", r.Anonymous),
		}.within(&r.Span))
	}
	for i := range d.Refusals {
		r := &d.Refusals[i]
		t.row(line{
			"section": "refused_who", "name": r.Name, "method": r.Method, "policy": r.Policy, "rule": r.Rule, "reason": r.Reason, "count": number(r.Count),
		}.within(&r.Span))
	}
	for i := range d.Shadow {
		r := &d.Shadow[i]
		t.row(line{
			"section": "shadow", "kind": r.By, "policy": r.Policy, "rule": r.Rule, "reason": r.Reason, "count": number(r.Count),
			"details": fmt.Sprintf("%d of nobody", r.Anonymous),
		}.within(&r.Span))
	}
}

// others writes break-glass, lockouts and earlier sign-offs.
func (d *Document) others(t *table) {
	for i := range d.Glass {
		g := &d.Glass[i]
		t.row(line{
			"section": "break_glass", "name": g.Principal, "policy": g.Policy, "reason": g.Reason, "count": number(g.Requests),
			"first": stamp(g.First), "last": stamp(g.Last), "details": g.details(),
		})
	}
	for i := range d.Lockouts {
		l := &d.Lockouts[i]
		t.row(line{
			"section": "lockout", "kind": l.What, "name": l.Subject, "rule": l.Rule, "count": number(l.Locked),
			"details": fmt.Sprintf("extended %d, unlocked %d, expired %d; at most %d attempts", l.Extended, l.Unlocked, l.Expired, l.Attempts),
		}.within(&l.Span))
	}
	for i := range d.Signed {
		s := &d.Signed[i]
		t.row(line{"section": "signed", "kind": "review", "name": s.Reviewer, "first": text(s.Time), "last": text(s.Time), "details": s.details()})
	}
}

func (g *GlassUse) details() string {
	return fmt.Sprintf("%s; by %s (%s, said %q); ticket %q; opened %s, until %s, closed %s",
		g.Grant, orNobody(g.By), g.Known, g.Claim, g.Ticket, stamp(g.Opened), stamp(g.Until), stamp(g.Closed))
}

func (s *Signed) details() string {
	whole := ""
	if !s.Whole {
		whole = "; not all of its parts are there"
	}
	return fmt.Sprintf("%s of %s, period [%s, %s): %d kept, %d revoked, %d changed of %d; called by %s (%s)%s",
		s.Review, s.Document, text(s.From), text(s.To), s.Kept, s.Revoked, s.Changed, s.Grants, orNobody(s.Actor), s.Known, whole)
}

func orNobody(s string) string {
	if s == "" {
		return "nobody known"
	}
	return s
}
