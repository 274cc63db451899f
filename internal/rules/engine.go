package rules

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
)

// MaxRules is how many rules a policy can have.
const MaxRules = 1024

// set is a set of rules, by their place in the policy. Only the first words that
// the engine needs are used.
type set [MaxRules / 64]uint64

func (s *set) add(i int) { s[i>>6] |= 1 << (i & 63) }

func trailing(word uint64) int { return bits.TrailingZeros64(word) }

// Engine decides by a policy. It is safe for concurrent use.
type Engine struct {
	policy   *Policy
	rules    []rule
	words    int
	tolerate int

	open     set               // rules for requests without a principal
	anyone   set               // rules that ask for no role and no principal by name
	byRole   []map[string]*set // rules that ask for a role, by source and role
	byName   map[string]*set   // rules that ask for a principal, or for a role it is assigned
	wildName set               // rules that ask for a principal by a pattern
	methods  map[string]*set   // rules for a method that some rule names
	others   set               // rules for all other methods
	paths    *node
	assigned map[string][]string // roles by principal

	findings []Finding
}

// rule is a rule that is ready to be evaluated.
type rule struct {
	*Rule
	deny     bool
	known    bool // needs a principal
	patterns []pattern
	hosts    []hostPattern
	nets     []netip.Prefix
	wilds    []wild
	windows  []window
	program  cel.Program
	sources  []string // of roles
}

// UserSource is the first source of roles: the authentication.
const UserSource = "user"

// New compiles a policy. sources are the names of the sources of roles, by their
// place in Request.Roles; the first is UserSource. What is wrong in rules is all
// told, each with the rule's name.
func New(p *Policy, sources []string, now time.Time) (*Engine, error) {
	e := &Engine{
		policy: p, rules: make([]rule, len(p.Rules)), words: (len(p.Rules) + 63) / 64,
		byRole: make([]map[string]*set, len(sources)), byName: map[string]*set{}, methods: map[string]*set{}, paths: &node{},
	}
	if len(p.Rules) > MaxRules {
		return nil, fmt.Errorf("there are %d rules: at most %d are possible", len(p.Rules), MaxRules)
	}
	if e.words == 0 {
		e.words = 1
	}
	for _, name := range p.Tolerate {
		flag, ok := tolerable[name]
		if !ok {
			return nil, fmt.Errorf("tolerate %q: choose among encoded_slash, backslash, semicolon, percent and delimiter", name)
		}
		e.tolerate |= flag
	}
	var errs []error
	names := map[string]bool{}
	for i, r := range p.Rules {
		if r == nil || !nameable(r.Name) {
			errs = append(errs, fmt.Errorf("rule %d: it needs a name of at most 64 letters, digits, dots, dashes and underscores", i+1))
			continue
		}
		if names[r.Name] {
			errs = append(errs, fmt.Errorf("rule %s is given twice", r.Name))
		}
		names[r.Name] = true
		if err := e.rules[i].compile(r, sources); err != nil {
			errs = append(errs, fmt.Errorf("rule %s: %w", r.Name, err))
		}
	}
	errs = append(errs, checkAssigned(p, sources))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	e.assigned = map[string][]string{}
	for _, role := range slices.Sorted(maps.Keys(p.Assign)) {
		for _, name := range p.Assign[role] {
			e.assigned[name] = append(e.assigned[name], role)
		}
	}
	e.index(sources)
	e.findings = e.lint(now)
	return e, nil
}

// nameable reports whether a rule can have a name.
func nameable(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func checkAssigned(p *Policy, sources []string) error {
	for role := range p.Assign {
		if source, _, qualified := strings.Cut(role, ":"); qualified && slices.Contains(sources, source) {
			return fmt.Errorf("assign %q: a role that is assigned is written without a source", role)
		}
		if strings.ContainsAny(role, ", ") || role == "" {
			return fmt.Errorf("assign %q: a role has no comma and no space", role)
		}
	}
	return nil
}

// index fills in the sets.
func (e *Engine) index(sources []string) {
	for i := range e.byRole {
		e.byRole[i] = map[string]*set{}
	}
	everyMethod, paths := []int{}, map[int][]pattern{}
	for i := range e.rules {
		r := &e.rules[i]
		if !r.known {
			e.open.add(i)
		}
		e.indexWho(i, r, sources)
		if len(r.Methods) == 0 {
			everyMethod = append(everyMethod, i)
		}
		for _, m := range r.Methods {
			addTo(e.methods, m, i)
			if m == "GET" {
				addTo(e.methods, "HEAD", i)
			}
		}
		paths[i] = r.patterns
	}
	for _, i := range everyMethod {
		e.others.add(i)
		for m := range e.methods {
			addTo(e.methods, m, i)
		}
	}
	e.paths = newTree(len(e.rules), paths)
}

func addTo(m map[string]*set, key string, i int) {
	if m[key] == nil {
		m[key] = &set{}
	}
	m[key].add(i)
}

// indexWho enters a rule where the principals are that it can matter to. A rule
// that asks for a role and a principal is entered by its roles; match looks at
// the principal.
func (e *Engine) indexWho(i int, r *rule, sources []string) {
	if len(r.Roles) == 0 && len(r.wilds) == 0 {
		e.anyone.add(i)
		return
	}
	if len(r.Roles) == 0 {
		for j, name := range r.Principals {
			if len(r.wilds[j]) > 1 {
				e.wildName.add(i)
				continue
			}
			addTo(e.byName, name, i)
		}
		return
	}
	for _, role := range r.Roles {
		source, name := splitRole(role, sources)
		for s := range sources {
			if source < 0 || source == s {
				addTo(e.byRole[s], name, i)
			}
		}
		if source > 0 {
			continue
		}
		for _, principal := range e.policy.Assign[name] {
			addTo(e.byName, principal, i)
		}
	}
}

// splitRole finds the source that a role names, or -1 for any. A role of the
// source user includes those that are assigned.
func splitRole(role string, sources []string) (source int, name string) {
	if prefix, rest, ok := strings.Cut(role, ":"); ok {
		if i := slices.Index(sources, prefix); i >= 0 {
			return i, rest
		}
	}
	return -1, role
}

// subjectSet finds the rules that the principal and its roles leave.
func (e *Engine) subjectSet(s *subject) {
	if s.Principal == "" {
		s.rules = e.open
		for w := range e.words {
			s.rules[w] &= e.anyone[w]
		}
		return
	}
	for w := range e.words {
		s.rules[w] = e.anyone[w] | e.wildName[w]
	}
	if named := e.byName[s.Principal]; named != nil {
		e.unite(&s.rules, named)
	}
	for i, list := range s.Roles {
		if i < len(e.byRole) && len(e.byRole[i]) > 0 {
			e.addRoles(&s.rules, e.byRole[i], list)
		}
	}
}

func (e *Engine) unite(to, from *set) {
	for w := range e.words {
		to[w] |= from[w]
	}
}

// addRoles adds the rules for each role of a list.
func (e *Engine) addRoles(to *set, byRole map[string]*set, list string) {
	for list != "" {
		var role string
		role, list, _ = strings.Cut(list, ",")
		if found := byRole[strings.TrimSpace(role)]; found != nil {
			e.unite(to, found)
		}
	}
}

func (e *Engine) methodSet(method string) *set {
	if s := e.methods[method]; s != nil {
		return s
	}
	return &e.others
}

// canonicalHost is a host without port, brackets and the dot of the root, in
// small letters.
func canonicalHost(h string) string {
	if i := strings.LastIndexByte(h, ':'); i >= 0 && strings.IndexByte(h[i:], ']') < 0 && (strings.IndexByte(h, ':') == i || h[0] == '[') {
		h = h[:i]
	}
	h = strings.TrimSuffix(strings.Trim(h, "[]"), ".")
	return strings.ToLower(h)
}

// Hash names the policy in records.
func (e *Engine) Hash() string { return e.policy.Hash() }

// Findings are what is odd about the policy.
func (e *Engine) Findings() []Finding { return e.findings }

// RolesOf are the roles of a request's principal, from all sources and assigned.
func (e *Engine) RolesOf(q *Request) []string { return rolesOf(q, e.assigned[q.Principal]) }

func rolesOf(q *Request, assigned []string) []string {
	all := []string{}
	for _, list := range q.Roles {
		for list != "" {
			var role string
			role, list, _ = strings.Cut(list, ",")
			if role = strings.TrimSpace(role); role != "" {
				all = append(all, role)
			}
		}
	}
	return append(all, assigned...)
}
