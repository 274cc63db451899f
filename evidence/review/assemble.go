package review

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/export"
)

// document makes the document of what was added up.
func (t *tally) document(p Period, l *Log, began time.Time) *Document {
	d := &Document{
		Title: Title, Version: Version, Period: p, Log: *l, Configuration: t.configuration(),
		Anonymous: t.anonymous, Sealed: t.sealed,
		Principals: []Principal{}, Policies: []PolicyReview{}, Accounts: []AccountReview{},
		Dormant: Dormant{Rules: []string{}, Accounts: []string{}},
	}
	d.Principals = t.principals()
	t.policies(d)
	t.staticAccounts(d)
	d.Elsewhere = t.elsewhere()
	d.Refused, d.Shadow, d.Refusals = refusals(t.refused), refusals(t.shadow), t.refusedOnes()
	d.Glass, d.Lockouts, d.Signed = t.opened(), t.locked(), t.signatures()
	d.LeftOut = t.beyond()
	d.Unknown = t.unknown(p, l, began)
	return d
}

func (t *tally) configuration() Configuration {
	c := t.grants.Configuration
	c.Name = export.Visible(c.Name)
	files := []File{}
	for _, f := range c.Files {
		files = append(files, File{export.Visible(f.Name), f.SHA256})
	}
	c.Files, c.Notes = files, visibleAll(c.Notes)
	return c
}

func visibleAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = export.Visible(s)
	}
	return out
}

// grantOf is the id of a rule, if it is in the configuration and allows.
func (t *tally) grantOf(k ruleKey) string {
	for i := range t.grants.Policies {
		p := &t.grants.Policies[i]
		if p.Hash != k.policy {
			continue
		}
		for j := range p.Rules {
			if r := &p.Rules[j]; r.Name == k.rule && !r.Deny {
				return t.grants.ruleID(p, r)
			}
		}
	}
	return ""
}

func (t *tally) principals() []Principal {
	ids := map[ruleKey]string{}
	id := func(k ruleKey) string {
		s, ok := ids[k]
		if !ok {
			s = t.grantOf(k)
			ids[k] = s
		}
		return s
	}
	list := []Principal{}
	for k, p := range t.people {
		row := Principal{Name: export.Visible(k.name), Method: export.Visible(k.method), Pseudonym: p.pseudonym, Tally: p.Tally, LeftOut: p.overflow, Rules: []RuleUse{}}
		for _, i := range p.accounts {
			row.Grants = append(row.Grants, t.grants.Accounts[i].id())
		}
		for r, s := range p.rules {
			row.Rules = append(row.Rules, RuleUse{id(r), export.Visible(r.policy), export.Visible(r.rule), s.count, s.First, s.Last})
		}
		slices.SortFunc(row.Rules, func(a, b RuleUse) int {
			return cmp.Or(strings.Compare(a.Rule, b.Rule), strings.Compare(a.Policy, b.Policy))
		})
		list = append(list, row)
	}
	slices.SortFunc(list, func(a, b Principal) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Method, b.Method))
	})
	return list
}

// policies writes the rules that the configuration has, and which nobody used.
func (t *tally) policies(d *Document) {
	allowed := map[ruleKey]int64{} // principals by rule
	for _, p := range t.people {
		for k := range p.rules {
			allowed[k]++
		}
	}
	for i := range t.grants.Policies {
		p := &t.grants.Policies[i]
		row := PolicyReview{Names: visibleAll(p.Names), Sites: visibleAll(p.Sites), Hash: export.Visible(p.Hash), Mode: export.Visible(p.Mode), BreakGlass: visibleAll(p.BreakGlass), Rules: []RuleReview{}}
		for j := range p.Rules {
			r := t.ruleReview(p, &p.Rules[j])
			r.Principals = allowed[ruleKey{p.Hash, p.Rules[j].Name}]
			row.Rules = append(row.Rules, r)
			if r.Grant != "" && r.Status == NotUsed {
				d.Dormant.Rules = append(d.Dormant.Rules, r.Grant)
			}
		}
		d.Policies = append(d.Policies, row)
	}
}

func (t *tally) ruleReview(p *Policy, r *Rule) RuleReview {
	key := ruleKey{p.Hash, r.Name}
	row := RuleReview{Rule: export.Visible(r.Name), Effect: "allow", Shadow: r.Shadow, Conditions: visibleAll(r.Conditions), ShadowRule: t.shadowRules[key]}
	if u := t.ruled[key]; u != nil {
		row.Tally = *u
	}
	if r.Deny {
		row.Effect = "deny"
	} else {
		row.Grant = t.grants.ruleID(p, r)
		row.Otherwise = t.otherwise(r.Name)
	}
	seen := row.Allowed + row.Refused + row.Tally.Shadow + row.Glass
	switch {
	case r.Shadow:
		row.Status = NotDeciding
	case !r.Deny && row.Allowed > 0, r.Deny && seen > 0:
		row.Status = Used
	case seen > 0:
		row.Status = RefusedOnly // what it requires was missing each time
	case row.Otherwise > 0:
		row.Status = NotKnown // an earlier version of it may have been used
	default:
		row.Status = NotUsed
	}
	return row
}

// otherwise is how often rules of this name allowed in policies that are not in
// the configuration: earlier versions, or those of other sites.
func (t *tally) otherwise(rule string) (n int64) {
	for k, u := range t.ruled {
		if k.rule == rule && !t.hashes[k.policy] {
			n += u.Allowed
		}
	}
	return n
}

// staticAccounts writes the principals that the configuration names, and which
// were never seen.
func (t *tally) staticAccounts(d *Document) {
	for i := range t.grants.Accounts {
		a := &t.grants.Accounts[i]
		row := AccountReview{
			Grant: a.id(), Kind: a.Kind, Name: export.Visible(a.Name), Sources: visibleAll(a.Sources), Roles: visibleAll(a.Roles),
			Limits: visibleAll(a.Limits), Rules: []string{}, Tally: t.accounts[i],
		}
		if !a.Expires.IsZero() {
			row.Expires = a.Expires.UTC()
			row.Expired = row.Expires.Before(d.Period.To)
		}
		for j := range t.grants.Policies {
			p := &t.grants.Policies[j]
			for k := range p.Rules {
				if r := &p.Rules[k]; r.may(p, a) {
					row.Rules = append(row.Rules, t.grants.ruleID(p, r))
				}
			}
		}
		row.Status = t.status(a, &row.Tally)
		if row.Status == NotUsed {
			d.Dormant.Accounts = append(d.Dormant.Accounts, row.Grant)
		}
		d.Accounts = append(d.Accounts, row)
	}
}

// status is what became of an account. One that was not seen is dormant only if
// no principal of the period is hidden behind what it is not known to be.
func (t *tally) status(a *Account, u *Tally) string {
	hidden := t.unresolved + t.sealed.let() + t.sealed.Refused
	if a.Kind == Pattern {
		for _, p := range t.people {
			if p.pseudonym {
				hidden++
			}
		}
	}
	switch {
	case u.let() > 0:
		return Used
	case hidden > 0:
		return NotKnown
	case u.Refused > 0:
		return RefusedOnly
	}
	return NotUsed
}

func (t *tally) elsewhere() []Elsewhere {
	list := []Elsewhere{}
	for k, u := range t.ruled {
		if !t.hashes[k.policy] || k.rule != "" && !t.configured(k) {
			list = append(list, Elsewhere{export.Visible(k.policy), export.Visible(k.rule), *u})
		}
	}
	slices.SortFunc(list, func(a, b Elsewhere) int {
		return cmp.Or(strings.Compare(a.Policy, b.Policy), strings.Compare(a.Rule, b.Rule))
	})
	return list
}

func (t *tally) configured(k ruleKey) bool {
	return slices.ContainsFunc(t.grants.Policies, func(p Policy) bool {
		return p.Hash == k.policy && slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Name == k.rule })
	})
}

func refusals(m map[reasonKey]*span) []Refusal {
	list := []Refusal{}
	for k, s := range m {
		list = append(list, Refusal{export.Visible(k.policy), export.Visible(k.rule), export.Visible(k.reason), k.by, s.count, s.anonymous, s.Span})
	}
	slices.SortFunc(list, func(a, b Refusal) int {
		return cmp.Or(strings.Compare(a.Reason, b.Reason), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Policy, b.Policy), strings.Compare(a.By, b.By))
	})
	return list
}

func (t *tally) refusedOnes() []RefusedWho {
	list := []RefusedWho{}
	for k, s := range t.refusedWho {
		list = append(list, RefusedWho{
			export.Visible(k.name), export.Visible(k.method), export.Visible(k.policy), export.Visible(k.rule), export.Visible(k.reason), s.count, s.Span,
		})
	}
	slices.SortFunc(list, func(a, b RefusedWho) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Method, b.Method), strings.Compare(a.Reason, b.Reason),
			strings.Compare(a.Rule, b.Rule), strings.Compare(a.Policy, b.Policy))
	})
	return list
}

func (t *tally) opened() []GlassUse {
	list := []GlassUse{}
	for id, g := range t.glass {
		g.Grant = export.Visible(id)
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b GlassUse) int {
		return cmp.Or(a.Opened.Compare(b.Opened), a.First.Compare(b.First), strings.Compare(a.Grant, b.Grant))
	})
	return list
}

func (t *tally) locked() []LockoutUse {
	list := []LockoutUse{}
	for _, l := range t.lockouts {
		list = append(list, *l)
	}
	slices.SortFunc(list, func(a, b LockoutUse) int {
		return cmp.Or(strings.Compare(a.What, b.What), strings.Compare(a.Subject, b.Subject), strings.Compare(a.Rule, b.Rule))
	})
	return list
}

func (t *tally) signatures() []Signed {
	list := []Signed{}
	for _, s := range t.signed {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b Signed) int { return cmp.Compare(a.Seqs[0], b.Seqs[0]) })
	return list
}

// bounds are those of the lists.
func (t *tally) bounds() map[string]int {
	return map[string]int{
		"principals": t.bound, "refused_by_who": t.bound, "refused": maxReasons, "shadow": maxReasons, "other_policies": maxElsewhere,
		"break_glass": maxGlass, "lockouts": maxLockouts, "signed_in_period": maxSigned, "what_it_cannot_know": maxErased,
	}
}

func (t *tally) beyond() []LeftOut {
	list := []LeftOut{}
	bounds := t.bounds()
	for _, name := range slices.Sorted(maps.Keys(t.leftOut)) {
		list = append(list, LeftOut{name, t.leftOut[name], bounds[name]})
	}
	return list
}

// unknown says what the review cannot know.
func (t *tally) unknown(p Period, l *Log, began time.Time) []string {
	list := []string{
		"What never reached the access rules: what Caddy answers before them, listeners without the soc2 wrapper, and access to the servers behind the proxy by another way. \"caddy soc2 boundary\" lists the classes.",
		"Who a principal is: an identity provider may name several persons alike, and persons share credentials.",
		"What rules could have allowed to principals that only an identity provider knows: of rules that ask for roles, claims or any principal, those who have them are listed there.",
		"Who was refused by authentication: of a wrong password, key or token its record has the reason and not whose it was to be, so that an account that was only tried there counts as never seen.",
		"What policies around another policy allowed: a request's record has the decision of the innermost one that it reached, so that rules of those around it can seem dormant.",
		"Requests that had not ended when the tree was signed: a request is recorded at its end, and counted at the time of its beginning.",
	}
	say := func(when bool, format string, args ...any) {
		if when {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	c := &t.grants.Configuration
	say(c.Source == "none", "What the configuration grants: none was given, so that no grant can be found dormant.")
	say(c.Source != "none", "What was granted in the period by other configurations than the one that is named: %d changes were applied in it.", t.changes)
	say(len(c.Files) > 0, "What the files that the configuration names held in the period: they were read when the review was made.")
	say(l.Oldest > 0 && began.After(p.From), "The requests of the period before %s: retention removed the records before %d.", text(began), l.Oldest)
	say(l.Oldest == 0 && began.After(p.From), "The requests of the period before %s: the log begins then.", text(began))
	say(l.Ends.Before(p.To), "The requests of the period after %s, which is the newest record of the tree.", text(l.Ends))
	say(t.gaps.records > 0, "The log has %d gap records in the period: %d requests were served without a record, %d refused because of it, %d records lost, and %d left out by the policy of the log.",
		t.gaps.records, t.gaps.served, t.gaps.refused, t.gaps.lost, t.gaps.omitted)
	pseudonyms := 0
	for _, one := range t.people {
		if one.pseudonym {
			pseudonyms++
		}
	}
	say(pseudonyms > 0, "Who is behind %d of the principals, which are pseudonyms: each period of keys has its own, so that one principal may be several.", pseudonyms)
	say(t.unresolved > 0, "Which accounts made the %d requests whose pseudonyms no key was given for: accounts that were not seen are unknown, not dormant.", t.unresolved)
	n := t.sealed.let() + t.sealed.Refused
	say(n > 0, "Who made %d requests, whose principal is sealed (encrypt), or who had none.", n)
	return append(list, t.erased...)
}
