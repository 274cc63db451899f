package headers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CSP changes a Content-Security-Policy, or gives one from scratch.
type CSP struct {
	// Replace begins with no directives. Default: begin with those of the
	// profile and of the instances outside.
	Replace bool `json:"replace,omitempty"`

	// ReportOnly sends the outcome as Content-Security-Policy-Report-Only,
	// beside the policy that holds, to see what it would break.
	ReportOnly bool `json:"report_only,omitempty"`

	// Directives in the order in which they are sent.
	Directives []Directive `json:"directives,omitempty"`
}

// Directive is a change to one directive of a policy (CSP level 3, section 2.3).
type Directive struct {
	// Name of the directive, such as script-src.
	Name string `json:"name"`

	// Sources, or whatever the directive takes. The source 'nonce' stands for
	// the nonce of each response.
	Sources []string `json:"sources,omitempty"`

	// Merge is add to keep the sources that the directive has, or remove to
	// send it no more. Default: the sources take the place of those it has.
	Merge string `json:"merge,omitempty"`
}

// The ways to merge a directive.
const (
	mergeAdd    = "add"
	mergeRemove = "remove"
)

// nonceSource is the source that becomes the response's own nonce.
const nonceSource = "'nonce'"

// noSource allows nothing.
const noSource = "'none'"

// check finds mistakes in the change.
func (c *CSP) check() error {
	seen := map[string]bool{}
	for _, d := range c.Directives {
		switch {
		case d.Merge != "" && d.Merge != mergeAdd && d.Merge != mergeRemove:
			return fmt.Errorf("csp: %s: unknown merge %q: there are add and remove", d.Name, d.Merge)
		case d.Merge == mergeRemove && len(d.Sources) > 0:
			return fmt.Errorf("csp: %s: what is removed takes no sources", d.Name)
		case seen[d.Name]:
			return fmt.Errorf("csp: %s is given twice: browsers ignore the second", d.Name)
		}
		seen[d.Name] = true
		if d.Merge == mergeRemove {
			if directives[d.Name] == 0 {
				return unknownDirective(d.Name)
			}
			continue
		}
		if d.Merge == mergeAdd && containsFold(d.Sources, noSource) {
			return fmt.Errorf("csp: %s: 'none' cannot be added: %[1]s 'none', without the plus, takes the place of the other sources", d.Name)
		}
		if err := checkDirective(d.Name, d.Sources); err != nil {
			return err
		}
	}
	return nil
}

// policyText is a policy as the list of its directives.
type policyText []Directive

// parseCSP reads one policy as a header has it, and finds mistakes.
func parseCSP(s string) (policyText, error) {
	var p policyText
	for part := range strings.SplitSeq(s, ";") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		name := strings.ToLower(words[0])
		if p.index(name) >= 0 {
			return nil, fmt.Errorf("csp: %s is given twice: browsers ignore the second", name)
		}
		if err := checkDirective(name, words[1:]); err != nil {
			return nil, err
		}
		p = append(p, Directive{Name: name, Sources: words[1:]})
	}
	if len(p) == 0 {
		return nil, errors.New("csp: the policy has no directive")
	}
	return p, nil
}

func (p policyText) index(name string) int {
	return slices.IndexFunc(p, func(d Directive) bool { return d.Name == name })
}

// apply returns p with the change.
func (p policyText) apply(c *CSP) policyText {
	next := slices.Clone(p)
	if c.Replace {
		next = nil
	}
	for _, d := range c.Directives {
		i := next.index(d.Name)
		switch d.Merge {
		case mergeRemove:
			if i >= 0 {
				next = slices.Delete(next, i, i+1)
			}
			continue
		case mergeAdd:
			d.Sources = next.with(d.Name, d.Sources)
		}
		if i >= 0 {
			next[i].Sources = d.Sources
		} else {
			next = append(next, Directive{Name: d.Name, Sources: d.Sources})
		}
	}
	return next
}

// with returns the sources that name has, or gets from the directive that it falls
// back to, and more.
func (p policyText) with(name string, more []string) []string {
	sources, ok := p.effective(name)
	if !ok {
		return more
	}
	all := slices.DeleteFunc(slices.Clone(sources), func(s string) bool { return strings.EqualFold(s, noSource) })
	for _, s := range more {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// effective returns the sources that hold for a directive, which another one
// may give, and whether any do.
func (p policyText) effective(name string) ([]string, bool) {
	for _, n := range append([]string{name}, fallbacks(name)...) {
		if i := p.index(n); i >= 0 {
			return p[i].Sources, true
		}
	}
	return nil, false
}

// fallbacks are the directives that speak for one that is missing, in their
// order (CSP level 3, section 6.8.3).
func fallbacks(name string) []string {
	switch name {
	case "script-src-elem", "script-src-attr":
		return []string{"script-src", "default-src"}
	case "style-src-elem", "style-src-attr":
		return []string{"style-src", "default-src"}
	case "worker-src":
		return []string{"child-src", "script-src", "default-src"}
	case "frame-src":
		return []string{"child-src", "default-src"}
	}
	if fallsBack(name) {
		return []string{"default-src"}
	}
	return nil
}

// fallsBack tells whether default-src speaks for a directive that is missing
// (CSP level 3, section 6.8.3).
func fallsBack(name string) bool { return directives[name] == fetching && name != "default-src" }

// text writes the policy. Without a nonce the sources 'nonce' are left out.
func (p policyText) text(nonce bool) string {
	var b strings.Builder
	for _, d := range p {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(d.Name)
		n := 0
		for _, s := range d.Sources {
			if s == nonceSource && !nonce {
				continue
			}
			b.WriteByte(' ')
			b.WriteString(s)
			n++
		}
		if n == 0 && len(d.Sources) > 0 {
			b.WriteString(" 'none'")
		}
	}
	return b.String()
}

// without returns p without one directive.
func (p policyText) without(name string) policyText {
	return slices.DeleteFunc(slices.Clone(p), func(d Directive) bool { return d.Name == name })
}

// reportingTo returns p with reports going to the endpoint of that name, and
// from browsers without the Reporting API to its path.
func (p policyText) reportingTo(path string) policyText {
	if path == "" || p.index("report-to") >= 0 || p.index("report-uri") >= 0 {
		return p
	}
	return append(slices.Clone(p), Directive{Name: "report-uri", Sources: []string{path}},
		Directive{Name: "report-to", Sources: []string{reportingGroup}})
}

// needsNonce tells whether a source is the response's nonce.
func (p policyText) needsNonce() bool {
	return slices.ContainsFunc(p, func(d Directive) bool { return slices.Contains(d.Sources, nonceSource) })
}

// template is a policy's text, cut where the nonce belongs.
type template []string

func newTemplate(p policyText) template {
	return strings.Split(p.text(true), nonceSource)
}

// with returns the text with the nonce.
func (t template) with(nonce string) string {
	return strings.Join(t, "'nonce-"+nonce+"'")
}
