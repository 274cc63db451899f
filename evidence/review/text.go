package review

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/export"
)

// Text writes the document for people: what a reviewer looks at first, and the
// beginnings of long lists.
func (d *Document) Text(w io.Writer) error {
	p := &page{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	p.printf("Access review\n")
	for _, fact := range d.facts() {
		p.printf("  %s\t%s\n", fact[0], fact[1])
	}
	d.textCould(p)
	d.textDid(p)
	d.textDormant(p)
	d.textRefused(p)
	d.textPast(p)
	d.textSigned(p)
	p.section("What this review cannot know")
	for _, s := range d.Unknown {
		p.flush()
		p.printf("  - %s\n", s)
	}
	p.flush()
	return p.err
}

// maxLines is how many rows of a list the text has. The other formats have all.
const maxLines = 200

// page is text in columns.
type page struct {
	w   *tabwriter.Writer
	err error
}

func (p *page) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// flush ends the columns of a table.
func (p *page) flush() {
	if p.err == nil {
		p.err = p.w.Flush()
	}
}

func (p *page) section(title string) {
	p.flush()
	p.printf("\n%s\n", title)
}

// rows writes as many rows as the text has, and says how many it leaves out.
func (p *page) rows(n int, row func(i int)) {
	for i := range min(n, maxLines) {
		row(i)
	}
	if n > maxLines {
		p.printf("  … and %d more: see --format json, csv or html\n", n-maxLines)
	}
	if n == 0 {
		p.printf("  none\n")
	}
}

func short(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// policyName is what a policy is called, by its hash.
func (d *Document) policyName(hash string) string {
	for i := range d.Policies {
		if p := &d.Policies[i]; p.Hash == hash {
			return strings.Join(p.Names, "+")
		}
	}
	if len(hash) > 8 {
		return hash[:8] + "…"
	}
	return orDash(hash)
}

func (d *Document) textCould(p *page) {
	p.section("Who could: rules")
	for i := range d.Policies {
		policy := &d.Policies[i]
		p.flush()
		p.printf("  policy %s (%s, %s), sites: %s\n", strings.Join(policy.Names, "+"), policy.Mode, policy.Hash, orDash(strings.Join(policy.Sites, " ")))
		p.rows(len(policy.Rules), func(i int) {
			r := &policy.Rules[i]
			p.printf("    %s\t%s\t%s\tallowed %d\trefused %d\t%d principals\t%s\n", r.Rule, r.Effect, r.Status, r.Allowed, r.Refused, r.Principals, r.details())
		})
	}
	p.section("Who could: principals that the configuration names")
	p.rows(len(d.Accounts), func(i int) {
		a := &d.Accounts[i]
		p.printf("  %s\t%s\tallowed %d\trefused %d\tlast used %s\t%s\n", a.Grant, a.Status, a.Allowed, a.Refused, short(a.LastUse), a.details())
	})
}

func (d *Document) textDid(p *page) {
	p.section("Who did")
	p.rows(len(d.Principals), func(i int) {
		one := &d.Principals[i]
		var by []string
		for _, u := range one.Rules {
			by = append(by, fmt.Sprintf("%s/%s (%d)", d.policyName(u.Policy), u.Rule, u.Count))
		}
		p.printf("  %s\t%s\tallowed %d\trefused %d\tfirst %s\tlast %s\t%s\n", one.Name, orDash(one.Method), one.Allowed, one.Refused, short(one.First), short(one.Last), strings.Join(by, ", "))
	})
	p.flush()
	p.printf("  (nobody)\t\tallowed %d\trefused %d\n", d.Anonymous.Allowed, d.Anonymous.Refused)
	if s := &d.Sealed; s.let()+s.Refused > 0 {
		p.printf("  (sealed)\t\tallowed %d\trefused %d\n", s.Allowed, s.Refused)
	}
	if len(d.Elsewhere) == 0 {
		return
	}
	p.section("Decided by what is not in the configuration")
	p.rows(len(d.Elsewhere), func(i int) {
		e := &d.Elsewhere[i]
		p.printf("  %s\t%s\tallowed %d\trefused %d\tlast %s\n", orDash(e.Policy), orDash(e.Rule), e.Allowed, e.Refused, short(e.Last))
	})
}

func (d *Document) textDormant(p *page) {
	p.section("Grants that nobody used")
	p.rows(len(d.Dormant.Rules), func(i int) { p.printf("  %s\n", d.Dormant.Rules[i]) })
	p.rows(len(d.Dormant.Accounts), func(i int) { p.printf("  %s\n", d.Dormant.Accounts[i]) })
}

func (d *Document) textRefused(p *page) {
	p.section("Refused, by reason and rule")
	p.rows(len(d.Refused), func(i int) {
		r := &d.Refused[i]
		p.printf("  %s\t%s/%s\t%d\tof nobody %d\tfirst %s\tlast %s\n", orDash(r.Reason), d.policyName(r.Policy), orDash(r.Rule), r.Count, r.Anonymous, short(r.First), short(r.Last))
	})
	p.section("Who was refused")
	p.rows(len(d.Refusals), func(i int) {
		r := &d.Refusals[i]
		p.printf("  %s\t%s\t%s\t%s/%s\t%d\tfirst %s\tlast %s\n", r.Name, orDash(r.Method), orDash(r.Reason), d.policyName(r.Policy), orDash(r.Rule), r.Count, short(r.First), short(r.Last))
	})
}

func (d *Document) textPast(p *page) {
	p.section("Would have been refused (shadow)")
	p.rows(len(d.Shadow), func(i int) {
		r := &d.Shadow[i]
		p.printf("  by %s\t%s/%s\t%s\t%d\tfirst %s\tlast %s\n", r.By, d.policyName(r.Policy), orDash(r.Rule), orDash(r.Reason), r.Count, short(r.First), short(r.Last))
	})
	p.section("Break-glass")
	p.rows(len(d.Glass), func(i int) {
		g := &d.Glass[i]
		p.printf("  %s\t%s\t%d requests\t%s\t%s\n", g.Principal, g.Policy, g.Requests, orDash(g.Reason), g.details())
	})
	p.section("Lockouts")
	p.rows(len(d.Lockouts), func(i int) {
		l := &d.Lockouts[i]
		p.printf("  %s\t%s\t%s\tlocked %d\textended %d\tunlocked %d\texpired %d\tlast %s\n", l.What, l.Subject, orDash(l.Rule), l.Locked, l.Extended, l.Unlocked, l.Expired, short(l.Last))
	})
}

func (d *Document) textSigned(p *page) {
	p.section("Reviews signed in the period")
	p.rows(len(d.Signed), func(i int) {
		s := &d.Signed[i]
		p.printf("  %s\t%s\t%s\n", short(s.Time), s.Reviewer, s.details())
	})
	if len(d.LeftOut) == 0 {
		return
	}
	p.section("Left out of this document")
	for _, o := range d.LeftOut {
		p.printf("  %s\t%d requests or records beyond the %d rows of the list\n", o.List, o.Count, o.Bound)
	}
}

// SignedText writes sign-offs for people, with each decision that is not to keep.
func SignedText(w io.Writer, list []Signed) error {
	p := &page{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	for i := range list {
		s := &list[i]
		p.printf("signed\t%s by %s, records %s\n", text(s.Time), s.Reviewer, strings.Trim(fmt.Sprint(s.Seqs), "[]"))
		p.printf("\t%s\n", s.details())
		p.printf("reason\t%s\n", orDash(strings.TrimSpace(s.Reason+" "+s.Ticket)))
		for _, d := range s.Decisions {
			if d.Decision != Keep {
				p.printf("%s\t%s: %s\n", d.Decision, export.Visible(d.Grant), export.Visible(d.Note))
			}
		}
	}
	p.flush()
	return p.err
}
