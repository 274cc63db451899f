package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// compile checks a rule and makes it ready.
func (r *rule) compile(from *Rule, sources []string) error {
	r.Rule, r.sources = from, sources
	switch from.Effect {
	case "", Allow:
	case Deny:
		r.deny = true
	default:
		return fmt.Errorf("effect %q: choose allow or deny", from.Effect)
	}
	r.known = !r.deny && !from.Anonymous || len(from.Roles)+len(from.Principals) > 0
	return errors.Join(
		r.checkWho(sources), r.compileWhere(), r.compileWhen(), r.checkClaims(), r.compileCEL(), r.checkRequire(),
	)
}

func (r *rule) checkWho(sources []string) error {
	if r.Anonymous {
		switch {
		case r.deny:
			return errors.New("a rule that denies is for requests without a principal anyway: leave out anonymous")
		case len(r.Roles)+len(r.Principals)+len(r.Claims) > 0:
			return errors.New("it can never match a request without a principal, because it asks for a role, a principal or a claim: leave out anonymous or those")
		}
	}
	for _, role := range r.Roles {
		if err := checkRole(role, sources); err != nil {
			return err
		}
	}
	for _, name := range r.Principals {
		if name == "" {
			return errors.New("principal: a name is empty")
		}
		r.wilds = append(r.wilds, parseWild(name))
	}
	return nil
}

// checkRole checks that a role can be had from a source.
func checkRole(role string, sources []string) error {
	if role == "" || strings.ContainsAny(role, ", \t\r\n") {
		return fmt.Errorf("role %q: a role has no comma and no space", role)
	}
	prefix, _, qualified := strings.Cut(role, ":")
	if !qualified {
		return nil
	}
	if slices.Contains(sources, prefix) {
		return nil
	}
	return fmt.Errorf("role %q: there is no source of roles %q: there are %s; a role with a colon in its name is written %s:%s", role, prefix, strings.Join(sources, ", "), UserSource, role)
}

func (r *rule) compileWhere() error {
	for _, s := range r.Paths {
		p, err := parsePattern(s)
		if err != nil {
			return err
		}
		r.patterns = append(r.patterns, p)
	}
	for _, s := range r.Hosts {
		h, err := parseHost(s)
		if err != nil {
			return err
		}
		r.hosts = append(r.hosts, h)
	}
	for _, s := range r.Networks {
		p, err := parseNetwork(s)
		if err != nil {
			return err
		}
		r.nets = append(r.nets, p)
	}
	for _, m := range r.Methods {
		if m == "" || m != strings.ToUpper(m) || strings.ContainsAny(m, " ,*") {
			return fmt.Errorf("method %q: a method is one word in capitals", m)
		}
	}
	return nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("network %q: it is neither an address nor a range like 192.0.2.0/24", s)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("network %q: it has bits beyond its length: write %s", s, p.Masked())
	}
	return p, nil
}

func (r *rule) compileWhen() error {
	if !r.From.IsZero() && !r.Until.IsZero() && !r.From.Before(r.Until) {
		return fmt.Errorf("it can never match: it begins at %s and ends at %s", r.From.Format(time.RFC3339), r.Until.Format(time.RFC3339))
	}
	for _, t := range r.Times {
		w, err := parseWindow(t)
		if err != nil {
			return err
		}
		r.windows = append(r.windows, w)
	}
	return nil
}

func (r *rule) checkClaims() error { return checkClaims(r.Claims) }

func checkClaims(list []Claim) error {
	for i, c := range list {
		if c.Name == "" {
			return errors.New("claim: a name is empty")
		}
		if has(c.Values, "") {
			return fmt.Errorf("claim %s: a value is empty, and an empty claim counts as none", c.Name)
		}
		for _, o := range list[:i] {
			if o.Name == c.Name && len(o.Values) > 0 && len(c.Values) > 0 && disjoint(o.Values, c.Values) {
				return fmt.Errorf("it can never match: claim %s would need two values", c.Name)
			}
		}
	}
	return nil
}

func disjoint(a, b []string) bool {
	for _, s := range a {
		if has(b, s) {
			return false
		}
	}
	return true
}

func (r *rule) checkRequire() error {
	need := r.Require
	if need == nil {
		return nil
	}
	switch {
	case r.deny:
		return errors.New("require is for rules that allow")
	case r.Anonymous:
		return errors.New("a request without a principal never has what it requires: leave out anonymous or require")
	case need.MaxTokenAge < 0:
		return fmt.Errorf("max_token_age %s: it must be more than nothing", need.MaxTokenAge)
	}
	return checkClaims(need.Claims)
}
