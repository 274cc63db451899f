package policy

import (
	"errors"
	"net/url"
	"strings"
)

// segmentPattern is a pattern of Redact.PathSegments.
type segmentPattern struct {
	segments []string // with stars; of those that are hidden too
	hide     []bool
	rest     bool // all further segments are hidden: it ended in {**}
}

func compileSegments(s string) (p segmentPattern, err error) {
	inner, ok := strings.CutPrefix(s, "/")
	if !ok {
		return p, errors.New(`it must begin with "/"`)
	}
	hidden := false
	for part := range strings.SplitSeq(strings.TrimSuffix(inner, "/"), "/") {
		switch {
		case p.rest:
			return p, errors.New("{**} must be the last segment")
		case part == "":
			return p, errors.New("it has an empty segment")
		case part == "{**}":
			p.rest = true
		case part == "{*}":
			p.segments, p.hide = append(p.segments, star), append(p.hide, true)
			hidden = true
		case strings.ContainsAny(part, "{}%\\;"):
			return p, errors.New("a segment is {*}, {**} or decoded text, in which a star stands for any text")
		default:
			p.segments, p.hide = append(p.segments, part), append(p.hide, false)
		}
	}
	if !hidden && !p.rest {
		return p, errors.New("it hides nothing: mark a segment with {*}")
	}
	return p, nil
}

// span is a segment's place in a path, with what it means when decoded.
type span struct {
	from, to int
	text     string
}

// redact puts a star for each segment that the pattern hides. It looks at the
// segments as they are spelled and as they are once dots are followed: servers
// differ in which of the two they take.
func (p *segmentPattern) redact(s string) string {
	var spelled, followed [16]span
	all := splitPath(s, spelled[:0])
	kept := followed[:0]
	dots := false
	for _, sp := range all {
		switch sp.text {
		case ".":
			dots = true
		case "..":
			dots = true
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, sp)
		}
	}
	var hidden []span
	hidden = p.find(all, hidden)
	if dots {
		hidden = p.find(kept, hidden)
	}
	return cover(s, hidden)
}

// find appends the spans to hide.
func (p *segmentPattern) find(path, hidden []span) []span {
	if len(path) < len(p.segments) || p.rest && len(path) == len(p.segments) {
		return hidden
	}
	for i, want := range p.segments {
		if !wildcard(want, path[i].text, true) {
			return hidden
		}
	}
	for i, sp := range path {
		if i < len(p.segments) && p.hide[i] || i >= len(p.segments) && p.rest {
			hidden = append(hidden, sp)
		}
	}
	return hidden
}

// cover puts a star in the place of each span.
func cover(s string, spans []span) string {
	if len(spans) == 0 {
		return s
	}
	covered := make([]bool, len(s))
	for _, sp := range spans {
		for i := sp.from; i < sp.to; i++ {
			covered[i] = true
		}
	}
	var b strings.Builder
	for i := range len(s) {
		switch {
		case !covered[i]:
			b.WriteByte(s[i])
		case i == 0 || !covered[i-1]:
			b.WriteString(star)
		}
	}
	return b.String()
}

// splitPath divides a path at slashes and backslashes, escaped or not. Empty
// segments are left out.
func splitPath(s string, spans []span) []span {
	start := 0
	add := func(end int) {
		if end > start {
			spans = append(spans, span{start, end, meaning(s[start:end])})
		}
	}
	for i := 0; i < len(s); {
		n := separator(s[i:])
		if n == 0 {
			i++
			continue
		}
		add(i)
		i += n
		start = i
	}
	add(len(s))
	return spans
}

// separator returns the length of the separator that s begins with, or 0.
func separator(s string) int {
	switch {
	case s[0] == '/' || s[0] == '\\':
		return 1
	case len(s) >= 3 && (strings.EqualFold(s[:3], "%2f") || strings.EqualFold(s[:3], "%5c")):
		return 3
	}
	return 0
}

// meaning is a segment decoded and without its parameters (RFC 3986, section
// 3.3).
func meaning(s string) string {
	if strings.Contains(s, "%") {
		if decoded, err := url.PathUnescape(s); err == nil {
			s = decoded
		}
	}
	text, _, _ := strings.Cut(s, ";")
	return text
}
