package headers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// comparePolicies tells what the Content-Security-Policies that are sent allow
// beyond the one that is wanted. All that are sent hold (CSP level 3, section
// 8.1), so one that is strict enough about a directive will do.
func comparePolicies(sent []string, wanted string) []string {
	want := readPolicy(wanted)
	var policies []policyText
	for _, line := range sent {
		for text := range strings.SplitSeq(line, ",") {
			policies = append(policies, readPolicy(text))
		}
	}
	names := map[string]bool{}
	for _, p := range append([]policyText{want}, policies...) {
		for _, d := range p {
			names[d.Name] = true
		}
	}
	var details []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		wanted, limited := want.effective(name)
		if !limited {
			continue
		}
		var excess string
		for i, p := range policies {
			more := p.beyond(name, wanted)
			if more == "" {
				excess = ""
				break
			}
			if i == 0 {
				excess = more
			}
		}
		if excess != "" {
			details = append(details, excess)
		}
	}
	return details
}

// readPolicy reads a policy as browsers do: of directives with the same name the
// first counts.
func readPolicy(s string) policyText {
	var p policyText
	for part := range strings.SplitSeq(s, ";") {
		words := strings.Fields(part)
		if len(words) == 0 || p.index(strings.ToLower(words[0])) >= 0 {
			continue
		}
		p = append(p, Directive{Name: strings.ToLower(words[0]), Sources: words[1:]})
	}
	return p
}

// beyond says what p allows by a directive that wanted does not; empty if
// nothing.
func (p policyText) beyond(name string, wanted []string) string {
	sources, limited := p.effective(name)
	switch {
	case !limited && directives[name] == nothing:
		return name + " is missing"
	case !limited:
		return name + " is missing, so that everything is allowed"
	case directives[name] != fetching && directives[name] != places:
		return ""
	}
	var more []string
	for _, s := range sources {
		// A nonce and a hash admit what the site chose, one by one.
		lower := strings.ToLower(s)
		if lower == "'none'" || lower == "'report-sample'" || strings.HasPrefix(lower, "'nonce-") || isHash(s) || containsFold(wanted, s) {
			continue
		}
		more = append(more, s)
	}
	if len(more) == 0 {
		return ""
	}
	return fmt.Sprintf("%s allows %s", name, strings.Join(more, " "))
}

// unknownDirectives tells which directives no browser knows.
func unknownDirectives(sent []string) []string {
	var details []string
	for _, line := range sent {
		for text := range strings.SplitSeq(line, ",") {
			for _, d := range readPolicy(text) {
				if directives[d.Name] == 0 && !slices.Contains(retired, d.Name) {
					details = append(details, fmt.Sprintf("there is no directive %s", d.Name))
				}
			}
		}
	}
	return details
}

// retired are directives that browsers once knew.
var retired = []string{"block-all-mixed-content", "navigate-to", "plugin-types", "prefetch-src", "referrer", "reflected-xss", "require-sri-for"}

// comparePermissions tells which features a Permissions-Policy leaves open that
// the wanted one closes.
func comparePermissions(sent []string, wanted string) []string {
	have := readPermissions(strings.Join(sent, ","))
	want := readPermissions(wanted)
	var details []string
	for _, feature := range slices.Sorted(maps.Keys(want)) {
		list, ok := have[feature]
		switch {
		case !ok:
			details = append(details, feature+" is missing")
		case slices.ContainsFunc(list, func(s string) bool { return !slices.Contains(want[feature], s) }):
			details = append(details, fmt.Sprintf("%s allows %s", feature, strings.Join(list, " ")))
		}
	}
	return details
}

// readPermissions reads the features with their allowlists (RFC 9651, section
// 3.2: of features with the same name the last counts).
func readPermissions(s string) map[string][]string {
	m := map[string][]string{}
	for part := range strings.SplitSeq(s, ",") {
		if name, list, ok := strings.Cut(strings.TrimSpace(part), "="); ok {
			m[name] = strings.Fields(strings.Trim(list, "()"))
		}
	}
	return m
}
