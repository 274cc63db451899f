package review

import (
	"slices"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/rules"
)

// ruleKey is a rule as records name it.
type ruleKey struct{ policy, rule string }

// who is a principal as records name it.
type who struct{ name, method string }

// reasonKey is why something was refused.
type reasonKey struct{ policy, rule, reason, by string }

type whoKey struct {
	who
	reasonKey
}

// person is what is kept of a principal.
type person struct {
	pseudonym bool
	Tally
	rules    map[ruleKey]*span
	overflow int64
	accounts []int // that it is, by their place in the grants
}

type span struct {
	count, anonymous int64
	Span
}

// The bounds of lists whose length does not go with that of principals.
const (
	maxRulesOfOne = 64    // rules of a principal
	maxReasons    = 10000 // of refusals
	maxElsewhere  = 10000 // rules that are not in the configuration
	maxGlass      = 10000
	maxLockouts   = 10000
	maxSigned     = 1000
)

// tally adds up the records of a period.
type tally struct {
	grants *Grants
	bound  int // principals

	requests          int64
	people            map[who]*person
	anonymous, sealed Tally
	ruled             map[ruleKey]*Tally // all rules that records name
	shadowRules       map[ruleKey]int64
	refused, shadow   map[reasonKey]*span
	refusedWho        map[whoKey]*span
	glass             map[string]*GlassUse
	lockouts          map[lockoutKey]*LockoutUse
	signed            map[string]*Signed
	leftOut           map[string]int64 // by list

	accounts   []Tally // by their place in the grants
	byName     map[string][]int
	patterns   []int
	hashes     map[string]bool // of policies in the grants
	unresolved int64           // requests whose pseudonym no key could be had for

	gaps    gaps
	changes int64
	erased  []string
}

type lockoutKey struct{ what, subject, rule string }

// gaps is what the log says is not in it.
type gaps struct{ records, served, refused, lost, omitted int64 }

func newTally(g *Grants, bound int) *tally {
	t := &tally{
		grants: g, bound: bound, people: map[who]*person{}, ruled: map[ruleKey]*Tally{}, shadowRules: map[ruleKey]int64{},
		refused: map[reasonKey]*span{}, shadow: map[reasonKey]*span{}, refusedWho: map[whoKey]*span{}, glass: map[string]*GlassUse{},
		lockouts: map[lockoutKey]*LockoutUse{}, signed: map[string]*Signed{}, leftOut: map[string]int64{},
		accounts: make([]Tally, len(g.Accounts)), byName: map[string][]int{}, hashes: map[string]bool{},
	}
	for i := range g.Accounts {
		a := &g.Accounts[i]
		if a.Kind == Pattern {
			t.patterns = append(t.patterns, i)
			continue
		}
		for _, name := range append([]string{a.Name}, a.Aliases...) {
			t.byName[name] = append(t.byName[name], i)
		}
	}
	for _, p := range g.Policies {
		t.hashes[p.Hash] = true
	}
	return t
}

// add adds a record. Its texts are copied, as they share the memory of all of it.
func (t *tally) add(seq int64, body audit.Body) {
	switch b := body.(type) {
	case *audit.Event:
		t.request(seq, b)
	case *audit.BreakGlass:
		t.breakGlass(b)
	case *audit.Lockout:
		t.lockout(seq, b)
	case *audit.AccessReview:
		t.sign(seq, b)
	case *audit.LogGap:
		t.gaps.add(b)
	case *audit.LogErase:
		t.erase(b)
	case *audit.ConfigChange:
		if b.Outcome == "applied" {
			t.changes++
		}
	}
}

func (g *gaps) add(b *audit.LogGap) {
	g.records++
	g.served += b.Served
	g.refused += b.Refused
	g.lost += b.Lost
	for _, n := range b.Rules {
		g.omitted += n.N
	}
}

// The outcomes of access control.
const (
	outcomeAllow  = "allow"
	outcomeDeny   = "deny"
	outcomeShadow = "shadow_deny"
	outcomeGlass  = "break_glass"
)

// see counts a request.
func (t *Tally) see(seq int64, at time.Time, outcome string) {
	switch outcome {
	case outcomeAllow:
		t.Allowed++
	case outcomeDeny:
		t.Refused++
	case outcomeShadow:
		t.Shadow++
	case outcomeGlass:
		t.Glass++
	default:
		t.Undecided++
	}
	if t.FirstSeq == nil || at.Before(t.First) {
		t.First, t.FirstSeq = at, new(seq)
	}
	if t.LastSeq == nil || !at.Before(t.Last) {
		t.Last, t.LastSeq = at, new(seq)
	}
	if outcome != outcomeDeny && (t.LastUseSeq == nil || !at.Before(t.LastUse)) {
		t.LastUse, t.LastUseSeq = at, new(seq)
	}
}

// let is how many requests were not refused.
func (t *Tally) let() int64 { return t.Allowed + t.Shadow + t.Glass + t.Undecided }

func (s *span) see(seq int64, at time.Time, nobody bool) {
	if s.count == 0 || at.Before(s.First) {
		s.First, s.FirstSeq = at, seq
	}
	if s.count == 0 || !at.Before(s.Last) {
		s.Last, s.LastSeq = at, seq
	}
	s.count++
	if nobody {
		s.anonymous++
	}
}

// sealedUser reports whether a record may have its principal in its sealed box.
func sealedUser(b *audit.Event) bool { return b.User == "" && len(b.Personal) > 0 }

// request counts a request.
func (t *tally) request(seq int64, b *audit.Event) {
	t.requests++
	at, outcome := b.Start.UTC(), b.Access.Outcome
	switch {
	case b.User != "":
		t.known(seq, at, b)
	case sealedUser(b) || b.AuthMethod != "":
		t.sealed.see(seq, at, outcome)
	default:
		t.anonymous.see(seq, at, outcome)
	}
	key := ruleKey{b.AccessPolicy, b.Access.Rule}
	if outcome != "" {
		t.rule(key).see(seq, at, outcome)
	}
	reason := reasonKey{key.policy, key.rule, b.Access.Reason, ""}
	nobody := b.User == ""
	switch outcome {
	case outcomeDeny:
		keep(t, t.refused, "refused", maxReasons, reason, reason.clone).see(seq, at, nobody)
		if !nobody {
			k := whoKey{who{b.User, b.AuthMethod}, reason}
			keep(t, t.refusedWho, "refused_by_who", t.bound, k, k.clone).see(seq, at, false)
		}
	case outcomeShadow:
		reason.by = "policy"
		keep(t, t.shadow, "shadow", maxReasons, reason, reason.clone).see(seq, at, nobody)
	case outcomeGlass:
		t.glassUse(at, b)
	}
	if b.AccessShadow != "" {
		k := reasonKey{policy: key.policy, rule: b.AccessShadow, by: "rule"}
		keep(t, t.shadow, "shadow", maxReasons, k, k.clone).see(seq, at, nobody)
		if k := (ruleKey{key.policy, b.AccessShadow}); t.hashes[k.policy] {
			t.shadowRules[k.clone()]++
		}
	}
}

func (k ruleKey) clone() ruleKey { return ruleKey{strings.Clone(k.policy), strings.Clone(k.rule)} }
func (k who) clone() who         { return who{strings.Clone(k.name), strings.Clone(k.method)} }
func (k whoKey) clone() whoKey   { return whoKey{k.who.clone(), k.reasonKey.clone()} }
func (k reasonKey) clone() reasonKey {
	return reasonKey{strings.Clone(k.policy), strings.Clone(k.rule), strings.Clone(k.reason), k.by}
}

// keep returns the item of a list, which is made if there is room. What is beyond
// the bound is counted and returned as an item that nobody keeps.
func keep[K comparable, V any](t *tally, list map[K]*V, name string, bound int, k K, clone func() K) *V {
	v := list[k]
	if v != nil {
		return v
	}
	v = new(V)
	if len(list) >= bound {
		t.leftOut[name]++
		return v
	}
	list[clone()] = v
	return v
}

// rule is the tally of a rule. Those of the configuration are always kept.
func (t *tally) rule(key ruleKey) *Tally {
	if t.hashes[key.policy] {
		return keep(t, t.ruled, "", int(^uint(0)>>1), key, key.clone)
	}
	return keep(t, t.ruled, "other_policies", maxElsewhere, key, key.clone)
}

// known counts a request of a principal. What accounts did is counted also of
// principals that are beyond the bound.
func (t *tally) known(seq int64, at time.Time, b *audit.Event) {
	key := who{b.User, b.AuthMethod}
	p := t.people[key]
	pseudonym := slices.Contains(b.Pseudonyms, "auth.user")
	var accounts []int
	if p == nil {
		accounts = t.accountsOf(key, pseudonym)
	} else {
		accounts = p.accounts
	}
	for _, i := range accounts {
		t.accounts[i].see(seq, at, b.Access.Outcome)
	}
	if pseudonym && !t.resolved(b.User) {
		t.unresolved++
	}
	if p == nil {
		if len(t.people) >= t.bound {
			t.leftOut["principals"]++
			return
		}
		p = &person{pseudonym: pseudonym, rules: map[ruleKey]*span{}, accounts: accounts}
		t.people[key.clone()] = p
	}
	p.see(seq, at, b.Access.Outcome)
	if b.Access.Outcome != outcomeAllow {
		return
	}
	rule := ruleKey{b.AccessPolicy, b.Access.Rule}
	s := p.rules[rule]
	if s == nil {
		if len(p.rules) >= maxRulesOfOne {
			p.overflow++
			return
		}
		s = new(span)
		p.rules[rule.clone()] = s
	}
	s.see(seq, at, false)
}

// accountsOf finds the accounts that a principal is.
func (t *tally) accountsOf(k who, pseudonym bool) (list []int) {
	for _, i := range t.byName[k.name] {
		a := &t.grants.Accounts[i]
		if a.uses(k.method) && (!pseudonym || slices.Contains(a.Aliases, k.name)) {
			list = append(list, i)
		}
	}
	if pseudonym {
		return list
	}
	for _, i := range t.patterns {
		if rules.Named(t.grants.Accounts[i].Name, k.name) {
			list = append(list, i)
		}
	}
	return list
}

// resolved reports whether a pseudonym, p:PERIOD:TEXT, is of a period whose keys
// were at hand.
func (t *tally) resolved(name string) bool {
	parts := strings.SplitN(name, ":", 3)
	return len(parts) == 3 && parts[0] == "p" && slices.Contains(t.grants.Resolved, parts[1])
}
