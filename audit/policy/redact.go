package policy

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// star stands in a record for what was hidden.
const star = "*"

// maxSearched is the most bytes of a text that patterns search.
const maxSearched = 16 << 10

// redaction is a Redact made ready.
type redaction struct {
	headerNames []string
	cookies     []string
	query       queryRules
	segments    []segmentPattern
	inPath      []*regexp.Regexp
	inAgent     []*regexp.Regexp
	inHeaders   []*regexp.Regexp
}

func compileRedact(c Redact) (d redaction, err error) {
	for _, list := range []struct {
		name string
		from []string
	}{{"headers", c.Headers}, {"cookies", c.Cookies}, {"show_query", c.ShowQuery}, {"hide_query", c.HideQuery}} {
		for _, s := range list.from {
			if s == "" || strings.ContainsAny(s, " \t\r\n&=;,") {
				return d, fmt.Errorf("%s: %q is no name", list.name, s)
			}
			if list.name == "show_query" && strings.Contains(s, star) {
				return d, fmt.Errorf("show_query: %q: name each key: a star could show more than is meant", s)
			}
		}
	}
	d.headerNames, d.cookies = c.Headers, c.Cookies
	d.query = queryRules{show: c.ShowQuery, hide: c.HideQuery}
	for _, s := range c.PathSegments {
		p, err := compileSegments(s)
		if err != nil {
			return d, fmt.Errorf("path_segments: %q: %w", s, err)
		}
		d.segments = append(d.segments, p)
	}
	for i, p := range c.Patterns {
		if err := d.addPattern(p); err != nil {
			return d, fmt.Errorf("patterns: %d %q: %w", i+1, p.Regexp, err)
		}
	}
	return d, nil
}

func (d *redaction) addPattern(p Pattern) error {
	re, err := regexp.Compile(p.Regexp)
	if err != nil {
		return err
	}
	if re.MatchString("") {
		return errors.New("it matches the empty text, so it would hide everything: make it need at least one character")
	}
	in := p.In
	if len(in) == 0 {
		in = []string{"path", "agent", "headers"}
	}
	for _, where := range in {
		switch where {
		case "path":
			d.inPath = append(d.inPath, re)
		case "agent":
			d.inAgent = append(d.inAgent, re)
		case "headers":
			d.inHeaders = append(d.inHeaders, re)
		default:
			return fmt.Errorf("in: %q: it must be path, agent or headers", where)
		}
	}
	return nil
}

// event redacts the texts of an event, except header fields.
func (d *redaction) event(ev *audit.Event) {
	if len(d.segments) > 0 || len(d.inPath) > 0 {
		if s := d.path(ev.Path); s != ev.Path {
			ev.Path = s
			note(ev, "request.path")
		}
	}
	if !d.query.empty() && ev.Query != "" {
		ev.Query = d.query.redact(ev.Query)
		note(ev, QueryMember)
	}
	if len(d.inAgent) > 0 {
		if s := search(d.inAgent, ev.Agent); s != ev.Agent {
			ev.Agent = s
			note(ev, "request.agent")
		}
	}
}

// note lists a member as redacted.
func note(ev *audit.Event, member string) {
	if !slices.Contains(ev.Redacted, member) {
		ev.Redacted = append(ev.Redacted, member)
	}
}

// path hides segments, then what patterns match. A pattern that matches only
// the decoded path hides all of it, for its place in the escaped one is not
// known.
func (d *redaction) path(s string) string {
	for _, p := range d.segments {
		s = p.redact(s)
	}
	if len(d.inPath) == 0 {
		return s
	}
	s = search(d.inPath, s)
	if !strings.Contains(s, "%") {
		return s
	}
	decoded, err := url.PathUnescape(s)
	if err == nil && search(d.inPath, decoded) != decoded {
		return star
	}
	return s
}

// search puts a star for each match.
func search(list []*regexp.Regexp, s string) string {
	if len(list) == 0 {
		return s
	}
	if len(s) > maxSearched {
		return star // a cut text could end in the middle of what a pattern needs to see whole
	}
	for _, re := range list {
		s = re.ReplaceAllLiteralString(s, star)
	}
	return s
}
