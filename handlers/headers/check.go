package headers

import (
	"fmt"
	"slices"
	"strings"
)

// prepare finds what is wrong with the configuration, without its matchers.
func (h *Handler) prepare() error {
	if err := h.preparePolicies(); err != nil {
		return err
	}
	for i := range h.Rules {
		r := &h.Rules[i]
		if err := r.provision(); err != nil {
			return err
		}
		for j := range h.Rules[:i] {
			if o := &h.Rules[j]; o.name == r.name && o.When.same(&r.When) {
				return fmt.Errorf("%s %s contradicts %s %s: one of them would never hold", r.Action, r.name, o.Action, o.name)
			}
		}
	}
	for i := range h.Bounds {
		if err := h.Bounds[i].provision(); err != nil {
			return err
		}
	}
	if err := h.prepareParts(); err != nil {
		return err
	}
	if err := h.checkNames(); err != nil {
		return err
	}
	return h.checkBounds()
}

func (h *Handler) preparePolicies() error {
	h.text = nil
	h.CSP = strings.Join(strings.Fields(h.CSP), " ")
	if h.CSP != "" {
		var err error
		if h.text, err = parseCSP(h.CSP); err != nil {
			return err
		}
	}
	seen := map[bool]bool{}
	for i := range h.Policies {
		c := &h.Policies[i]
		if err := c.check(); err != nil {
			return err
		}
		if seen[c.ReportOnly] || h.CSP != "" && !c.ReportOnly {
			return fmt.Errorf("csp is given twice: one says all")
		}
		seen[c.ReportOnly] = true
	}
	return nil
}

func (h *Handler) prepareParts() error {
	if h.Cookies != nil {
		if err := h.Cookies.check(); err != nil {
			return err
		}
	}
	if h.CORS != nil {
		if err := h.CORS.check(); err != nil {
			return err
		}
	}
	if h.Nonces != nil {
		if err := h.Nonces.check(); err != nil {
			return err
		}
	}
	if h.Request != nil {
		if err := h.Request.provision(); err != nil {
			return err
		}
	}
	if _, ok := cacheRules[h.NoStore]; h.NoStore != "" && !ok {
		return fmt.Errorf("no_store %q: there are %s", h.NoStore, sortedKeys(cacheRules))
	}
	if h.ReportsTo != "" && (h.ReportsTo[0] != '/' || strings.HasPrefix(h.ReportsTo, "//") || !isPath(h.ReportsTo)) {
		return fmt.Errorf("reports_to %q: it is no path on this site like /.well-known/soc2-reports", h.ReportsTo)
	}
	return nil
}

// isPath tells whether s can stand in a header between quotes, and in a policy.
func isPath(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`"\;,'?#`, c) })
}

// checkNames refuses names of rules that there are not.
func (h *Handler) checkNames() error {
	known := slices.Clone(ruleNames)
	for i := range h.Rules {
		known = append(known, h.Rules[i].rule)
	}
	for i := range h.Bounds {
		known = append(known, boundRule(h.Bounds[i].name))
	}
	for i, name := range slices.Concat(h.Report, h.Enforce) {
		if !slices.Contains(known, name) {
			return fmt.Errorf("there is no rule %q to report or enforce: there are %s", name, strings.Join(known, ", "))
		}
		if i < len(h.Report) && slices.Contains(h.Enforce, name) {
			return fmt.Errorf("rule %q is to report and to enforce", name)
		}
	}
	return nil
}

// checkBounds refuses values of this instance that break its own bounds. Those of
// the profile are brought into them.
func (h *Handler) checkBounds() error {
	for i := range h.Bounds {
		b := &h.Bounds[i]
		for j := range h.Rules {
			r := &h.Rules[j]
			if r.name == b.name && r.Action != actionRemove && !b.holds(r.Value) {
				return fmt.Errorf("bound %s contradicts %s %s %s: the value is out of bounds", b.name, r.Action, r.name, r.Value)
			}
		}
		if h.CSP != "" && b.name == fields[csp].name && !b.holds(h.CSP) {
			return fmt.Errorf("bound %s contradicts csp: the policy is out of bounds", b.name)
		}
		for j := range h.Policies {
			if p := policyText(nil).apply(&h.Policies[j]); b.name == fields[csp].name && !h.Policies[j].ReportOnly &&
				slices.ContainsFunc(b.Forbid, func(s string) bool { return b.has(p.text(true), s, false) }) {
				return fmt.Errorf("bound %s contradicts csp: a source or directive is forbidden", b.name)
			}
		}
	}
	return nil
}
