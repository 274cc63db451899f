package headers

import (
	"maps"
	"slices"
	"strings"
)

// reportingGroup is the name of our endpoint for browsers' reports (Reporting
// API, section 3.3).
const reportingGroup = "soc2"

// compile makes the policy that layers, outermost first, say together.
//
// A profile that a layer names takes the place of the profile and of the
// Content-Security-Policy of the layers outside. All else adds up; what a layer
// says about a field takes the place of what those outside say about it.
func compile(layers []*Handler) *policy {
	first := 0
	for i, h := range layers {
		if h.Profile != "" {
			first = i
		}
	}
	profile := layers[first].profile
	s := &settings{cache: -1, reporting: map[string]bool{}}
	for _, h := range layers {
		s.add(h)
	}
	p := presets[profile](s.policies(profile, layers[first:]))
	p.layers = layers
	s.shape(p)
	return p
}

// settings are those of several layers.
type settings struct {
	rules     []Rule
	bounds    []Bound
	cors      *CORS
	cookies   Cookies
	cache     cacheRule
	reportsTo string
	nonce     bool // responses have one
	rewrite   bool // those that are rewritten
	reporting map[string]bool
}

func (s *settings) add(h *Handler) {
	for i := range h.Rules {
		r := h.Rules[i]
		s.rules = slices.DeleteFunc(s.rules, func(old Rule) bool {
			return old.name == r.name && (r.When.always() || old.When.same(&r.When))
		})
		s.rules = append(s.rules, r)
	}
	if len(h.Bounds) > 0 {
		s.bounds = slices.DeleteFunc(s.bounds, func(old Bound) bool {
			return slices.ContainsFunc(h.Bounds, func(b Bound) bool { return b.name == old.name })
		})
		s.bounds = append(s.bounds, h.Bounds...)
	}
	if h.CORS != nil {
		s.cors = h.CORS
	}
	if h.Cookies != nil {
		s.cookies.merge(h.Cookies)
	}
	if h.NoStore != "" {
		s.cache = cacheRules[h.NoStore]
	}
	if h.ReportsTo != "" {
		s.reportsTo = h.ReportsTo
	}
	s.nonce = s.nonce || h.Nonces != nil
	s.rewrite = s.rewrite || h.Nonces != nil && h.Nonces.Rewrite
	for _, name := range h.Report {
		s.reporting[name] = true
	}
	for _, name := range h.Enforce {
		if name == everyRule {
			clear(s.reporting)
			continue
		}
		s.reporting[name] = false
	}
}

// everyRule stands for all rules in report and enforce.
const everyRule = "all"

// reports tells whether the rule of that name only reports.
func (s *settings) reports(name string) bool {
	if v, ok := s.reporting[name]; ok {
		return v
	}
	return s.reporting[everyRule]
}

// policies makes the Content-Security-Policies from those of a profile and the
// changes of layers.
func (s *settings) policies(profile string, layers []*Handler) policies {
	base := presetCSP[profile]
	plain, nonced := base[0], base[1]
	var only, onlyNonced policyText
	var c policies
	whole := false
	for _, h := range layers {
		if h.CSP != "" {
			plain, whole, c.site = h.text, true, true
			nonced = plain
		}
		for i := range h.Policies {
			change := &h.Policies[i]
			if change.ReportOnly {
				only, onlyNonced = plain.apply(change), nonced.apply(change)
				continue
			}
			plain, nonced, c.site = plain.apply(change), nonced.apply(change), true
			whole = whole || change.Replace
		}
	}
	if only == nil && profile == Baseline && !c.site && s.reportsTo != "" {
		only, onlyNonced = presetCSP[Strict][0], presetCSP[Strict][1]
	}
	s.nonce = s.nonce || plain.needsNonce() || only.needsNonce()
	c.enforced = s.cspRule(plain, nonced, whole)
	if only != nil {
		// Upgrading is not possible there (Upgrade Insecure Requests section 3.1).
		c.report = s.cspRule(only.without(upgradeDirective), onlyNonced.without(upgradeDirective), true)
	}
	return c
}

const upgradeDirective = "upgrade-insecure-requests"

// cspRule makes the rule for a policy. Over plaintext the policy of a profile
// does not have the browser ask for https, where a site that is served only over
// plaintext has nothing.
func (s *settings) cspRule(text, nonced policyText, whole bool) rule {
	text, nonced = text.reportingTo(s.reportsTo), nonced.reportingTo(s.reportsTo)
	overPlain, overPlainNonced := text, nonced
	if !whole {
		overPlain, overPlainNonced = text.without(upgradeDirective), nonced.without(upgradeDirective)
	}
	r := rule{value: text.text(false), plain: overPlain.text(false)}
	if s.nonce && nonced.needsNonce() {
		r.nonced, r.plainNonced = newTemplate(nonced), newTemplate(overPlainNonced)
	}
	return r
}

// shape gives the policy of a profile what the layers say besides.
func (s *settings) shape(p *policy) {
	p.custom, p.bounds = slices.Clone(s.rules), slices.Clone(s.bounds)
	p.named = s.named()
	p.rules = slices.DeleteFunc(p.rules, func(r rule) bool {
		return slices.ContainsFunc(p.custom, func(c Rule) bool { return c.field == r.field && c.When.always() })
	})
	p.always = 0
	for p.always < len(p.rules) && p.rules[p.always].always {
		p.always++
	}
	for i := range p.rules {
		p.rules[i].report = s.reports(fields[p.rules[i].field].rule)
	}
	for i := range p.custom {
		p.custom[i].report = s.reports(p.custom[i].rule)
	}
	for i := range p.bounds {
		b := &p.bounds[i]
		b.report = s.reports(boundRule(b.name))
		for j := range p.rules {
			if fields[p.rules[j].field].name == b.name && !b.report {
				p.rules[j].within(b)
			}
		}
	}
	p.only = reportOnly{
		leaks: s.reports(leaksRule), cookies: s.reports(cookieRule),
		cache: s.reports(fields[cacheControl].rule), values: s.reports(valuesRule),
	}
	if s.cors != nil {
		p.cors = s.cors.rules()
	}
	if v, ok := s.reporting[corsRule]; ok || s.reporting[everyRule] {
		p.cors.report = v || !ok
	}
	s.cookies.shape(&p.cookies)
	if s.cache >= 0 {
		p.cache = s.cache
	}
	p.reports = s.reports
	switch {
	case s.rewrite:
		p.nonce = nonceRewritten
	case s.nonce:
		p.nonce = nonceDocuments
	}
	if s.reportsTo != "" {
		p.endpoints = reportingGroup + `="` + s.reportsTo + `"`
	}
}

// within brings what the profile itself sends into the bounds, so that it is no
// finding of each response.
func (r *rule) within(b *Bound) {
	for _, v := range []*string{&r.value, &r.plain} {
		if *v != "" && !b.holds(*v) {
			*v = b.fit(*v)
		}
	}
	for _, t := range []*template{&r.nonced, &r.plainNonced} {
		if *t != nil {
			*t = strings.Split(b.fit(strings.Join(*t, nonceSource)), nonceSource)
		}
	}
}

// named are the fields that the site has rules or bounds for.
func (s *settings) named() map[string]bool {
	if len(s.rules)+len(s.bounds) == 0 {
		return nil
	}
	m := map[string]bool{}
	for i := range s.rules {
		m[s.rules[i].name] = true
	}
	for i := range s.bounds {
		m[s.bounds[i].name] = true
	}
	return m
}

// The rules that are not about one field.
const (
	leaksRule  = "leaks"
	cookieRule = "set-cookie"
	corsRule   = "cors"
	valuesRule = "values"
)

// ruleNames are the names that report and enforce know, without those of a
// site's own fields.
var ruleNames = func() []string {
	names := []string{everyRule, leaksRule, cookieRule, corsRule, valuesRule}
	for i := range fields {
		names = append(names, fields[i].rule)
	}
	return append(names, requestRules...)
}()

// same tells whether two conditions are written alike.
func (w *When) same(o *When) bool {
	return slices.Equal(w.Types, o.Types) && slices.Equal(w.Status, o.Status) && slices.Equal(w.Methods, o.Methods)
}

// cacheRules are the values of no_store.
var cacheRules = map[string]cacheRule{
	"authenticated": noStoreAuthenticated, "dynamic": noStoreDynamic, "all": noStoreAll, "never": noStoreNever,
}

func sortedKeys[V any](m map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
