package rules

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

type patternKind uint8

const (
	patternAll patternKind = iota
	patternExact
	patternSubtree // text and what is below it
	patternPrefix
	patternSuffix
	patternContains
	patternGlob        // text has stars that stand for no slash
	patternGlobSubtree // the same, and what is below it
)

// pattern is a compiled pattern of paths.
type pattern struct {
	kind patternKind
	text string
	deep int // slashes in text, for globs
}

func parsePattern(s string) (pattern, error) {
	switch {
	case s == "*" || s == "/*":
		return pattern{kind: patternAll}, nil
	case s == "":
		return pattern{}, fmt.Errorf("path %q: it is empty", s)
	case s[0] != '/' && s[0] != '*':
		return pattern{}, fmt.Errorf("path %q: it must begin with / or *", s)
	case strings.ContainsAny(s, "%;\\?#[]{}"):
		return pattern{}, fmt.Errorf("path %q: a pattern is decoded text with no other wildcard than *; it has none of %% ; \\ ? # [ ] { }", s)
	case strings.Contains(s, "**"):
		return pattern{}, fmt.Errorf("path %q: one * after another means no more than one", s)
	case strings.Contains(s, "//") || hasDots(s):
		return pattern{}, fmt.Errorf("path %q: it can never match, because paths are compared without // and dot segments", s)
	}
	s = fold(s)
	if s != "/" {
		s = strings.TrimSuffix(s, "/")
	}
	stars := strings.Count(s, "*")
	subtree, isSubtree := strings.CutSuffix(s, "/*")
	switch {
	case stars == 0:
		return pattern{kind: patternExact, text: s}, nil
	case stars == 1 && isSubtree:
		return pattern{kind: patternSubtree, text: subtree}, nil
	case stars == 1 && strings.HasSuffix(s, "*"):
		return pattern{kind: patternPrefix, text: s[:len(s)-1]}, nil
	case stars == 1 && s[0] == '*':
		return pattern{kind: patternSuffix, text: s[1:]}, nil
	case stars == 2 && s[0] == '*' && s[len(s)-1] == '*':
		return pattern{kind: patternContains, text: s[1 : len(s)-1]}, nil
	case s[0] == '*':
		return pattern{}, fmt.Errorf("path %q: a * at the beginning goes with no other but one at the end", s)
	case isSubtree:
		return pattern{kind: patternGlobSubtree, text: subtree, deep: strings.Count(subtree, "/")}, nil
	}
	return pattern{kind: patternGlob, text: s}, nil
}

// hasDots reports whether a path has a segment . or ...
func hasDots(s string) bool {
	for seg := range strings.SplitSeq(s, "/") {
		if seg == "." || seg == ".." {
			return true
		}
	}
	return false
}

func (p *pattern) match(s string) bool {
	switch p.kind {
	case patternAll:
		return true
	case patternExact:
		return s == p.text
	case patternSubtree:
		return strings.HasPrefix(s, p.text) && (len(s) == len(p.text) || s[len(p.text)] == '/')
	case patternPrefix:
		return strings.HasPrefix(s, p.text)
	case patternSuffix:
		return strings.HasSuffix(s, p.text)
	case patternContains:
		return strings.Contains(s, p.text)
	case patternGlobSubtree:
		s = upTo(s, p.deep)
	}
	ok, _ := path.Match(p.text, s) // the pattern's form was checked
	return ok
}

// upTo is the path up to its nth slash and the segment behind it.
func upTo(s string, n int) string {
	for i := 0; i < len(s); i++ {
		if s[i] == '/' {
			if n--; n < 0 {
				return s[:i]
			}
		}
	}
	return s
}

// literal are the segments that a path must begin with to match.
func (p *pattern) literal() []string {
	switch p.kind {
	case patternAll, patternSuffix, patternContains:
		return nil
	}
	list := strings.Split(strings.TrimPrefix(p.text, "/"), "/")
	if p.kind == patternPrefix { // its last segment is only the beginning of one
		return list[:len(list)-1]
	}
	if i := slices.IndexFunc(list, func(s string) bool { return strings.Contains(s, "*") }); i >= 0 {
		return list[:i]
	}
	return list
}

// covers reports whether whatever matches q matches p. It may report false
// where that is so and hard to see.
func (p *pattern) covers(q *pattern) bool {
	switch {
	case p.kind == patternAll || *p == *q:
		return true
	case q.kind == patternExact:
		return p.match(q.text)
	}
	switch p.kind {
	case patternSubtree:
		return (q.kind == patternSubtree || q.kind == patternGlobSubtree || q.kind == patternGlob) && !strings.Contains(upTo(q.text, strings.Count(p.text, "/")), "*") && p.match(q.text) ||
			q.kind == patternPrefix && strings.HasPrefix(q.text, p.text+"/")
	case patternPrefix:
		return (q.kind == patternPrefix || q.kind == patternSubtree) && strings.HasPrefix(q.text, p.text)
	case patternSuffix:
		return q.kind == patternSuffix && strings.HasSuffix(q.text, p.text)
	case patternContains:
		return (q.kind == patternContains || q.kind == patternSuffix || q.kind == patternPrefix) && strings.Contains(q.text, p.text)
	}
	return false
}

// wild is text with stars, each for any text.
type wild []string

func parseWild(s string) wild { return strings.Split(s, "*") }

func (w wild) match(s string) bool {
	if len(w) == 1 {
		return s == w[0]
	}
	first, last := w[0], w[len(w)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range w[1 : len(w)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}

// hostPattern is a host name, or *. and the name below which one label is free.
type hostPattern struct {
	name string
	wild bool
}

func parseHost(s string) (hostPattern, error) {
	name, isWild := strings.CutPrefix(s, "*.")
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if name == "" || strings.ContainsAny(name, "*/%{} ") || strings.Contains(name, ":") && strings.Count(name, ":") < 2 {
		return hostPattern{}, fmt.Errorf("host %q: it must be a name or an address without a port, or *. and a name", s)
	}
	return hostPattern{strings.Trim(name, "[]"), isWild}, nil
}

func (h *hostPattern) match(host string) bool {
	if !h.wild {
		return host == h.name
	}
	label, rest, ok := strings.Cut(host, ".")
	return ok && label != "" && rest == h.name
}

func (h *hostPattern) covers(o *hostPattern) bool { return *h == *o || !o.wild && h.match(o.name) }
