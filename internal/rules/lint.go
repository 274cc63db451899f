package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Finding is something odd about a rule.
type Finding struct {
	Rule  string `json:"rule"`
	Error bool   `json:"error"` // the rule does the opposite of what it says
	Text  string `json:"text"`
}

// lint finds rules that do nothing. One that denies and never gets to do so, or
// would allow what a broader rule refuses, is an error: what the policy says and
// what it does differ.
func (e *Engine) lint(now time.Time) (list []Finding) {
	for i := range e.rules {
		r := &e.rules[i]
		if !r.Until.IsZero() && !now.Before(r.Until) {
			list = append(list, Finding{r.Name, false, fmt.Sprintf("rule %s can no longer match: it ended at %s", r.Name, r.Until.Format(time.RFC3339))})
		}
		for j := range i {
			if by := &e.rules[j]; e.shadows(by, r) {
				list = append(list, shadowed(r, by))
				break
			}
		}
		for _, role := range r.Roles {
			if strings.Contains(role, ":") {
				continue
			}
			if names, ok := e.policy.Assign[role]; ok && len(names) == 0 {
				list = append(list, Finding{r.Name, false, fmt.Sprintf("rule %s: role %s is assigned to nobody", r.Name, role)})
			}
		}
	}
	return list
}

func shadowed(r, by *rule) Finding {
	if r.deny == by.deny {
		return Finding{r.Name, false, fmt.Sprintf("rule %s can never decide: rule %s before it matches whatever it matches, and does the same", r.Name, by.Name)}
	}
	does := Allow
	if by.deny {
		does = Deny
	}
	return Finding{r.Name, true, fmt.Sprintf("rule %s can never decide: rule %s before it matches whatever it matches, and says %s: change their order", r.Name, by.Name, does)}
}

// shadows reports whether a rule matches whatever a later one does. It may
// report false where that is so and hard to see.
func (e *Engine) shadows(a, b *rule) bool {
	return (!a.Shadow || b.Shadow) && // one that does not decide leaves the rest to others
		(a.CEL == "" || a.CEL == b.CEL && a.deny == b.deny) &&
		a.coversWho(b) && a.coversWhere(b) && a.coversWhen(b)
}

func (a *rule) coversWho(b *rule) bool {
	if a.known && !b.known {
		return false
	}
	if len(a.Roles) > 0 && (len(b.Roles) == 0 || !subset(b.Roles, a.Roles)) {
		return false
	}
	if len(a.wilds) > 0 {
		if len(b.wilds) == 0 {
			return false
		}
		for i, name := range b.Principals {
			if !has(a.Principals, name) && (len(b.wilds[i]) > 1 || !a.named(name)) {
				return false
			}
		}
	}
	for _, c := range a.Claims {
		if !slices.ContainsFunc(b.Claims, func(o Claim) bool {
			return o.Name == c.Name && (len(c.Values) == 0 || len(o.Values) > 0 && subset(o.Values, c.Values))
		}) {
			return false
		}
	}
	return true
}

func subset(of, in []string) bool {
	for _, s := range of {
		if !has(in, s) {
			return false
		}
	}
	return true
}

func (a *rule) coversWhere(b *rule) bool {
	if len(a.Methods) > 0 {
		if len(b.Methods) == 0 {
			return false
		}
		for _, m := range b.Methods {
			if !has(a.Methods, m) && (m != "HEAD" || !has(a.Methods, "GET")) {
				return false
			}
		}
	}
	return coversAll(a.patterns, b.patterns, func(p, q *pattern) bool { return p.covers(q) }) &&
		coversAll(a.hosts, b.hosts, func(p, q *hostPattern) bool { return p.covers(q) }) &&
		coversAll(a.nets, b.nets, func(p, q *netip.Prefix) bool { return p.Bits() <= q.Bits() && p.Contains(q.Addr()) })
}

// coversAll reports whether each of b is covered by one of a. No condition
// covers everything.
func coversAll[T any](a, b []T, covers func(a, b *T) bool) bool {
	if len(a) == 0 {
		return true
	}
	if len(b) == 0 {
		return false
	}
	for i := range b {
		if !slices.ContainsFunc(a, func(p T) bool { return covers(&p, &b[i]) }) {
			return false
		}
	}
	return true
}

func (a *rule) coversWhen(b *rule) bool {
	if !a.From.IsZero() && (b.From.IsZero() || b.From.Before(a.From)) ||
		!a.Until.IsZero() && (b.Until.IsZero() || b.Until.After(a.Until)) {
		return false
	}
	if len(a.windows) == 0 {
		return true
	}
	if len(b.windows) == 0 {
		return false
	}
	for _, w := range b.windows {
		if !slices.Contains(a.windows, w) {
			return false
		}
	}
	return true
}
