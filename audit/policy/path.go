package policy

import (
	"errors"
	"net/url"
	"path"
	"strings"
)

// pathPattern is a pattern of Rule.Paths.
type pathPattern struct {
	whole    string   // a pattern that begins with a star
	segments []string // one that begins with a slash, without it
	below    bool     // its last segment was a star: anything may follow
}

func compilePath(s string) (p pathPattern, err error) {
	switch {
	case strings.HasPrefix(s, "*"):
		return pathPattern{whole: s}, nil
	case !strings.HasPrefix(s, "/"):
		return p, errors.New(`it must begin with "/" or "*"`)
	case !isPlain(s):
		return p, errors.New("write it decoded and cleaned: without escapes, backslashes, semicolons, dot segments and empty ones")
	}
	p.segments = strings.Split(s[1:], "/")
	if n := len(p.segments) - 1; p.segments[n] == "*" {
		p.segments, p.below = p.segments[:n], true
	}
	return p, nil
}

// matches compares a path with the pattern.
func (p *pathPattern) matches(s string, fold bool) bool {
	if p.whole != "" {
		return wildcard(p.whole, s, fold)
	}
	rest, ok := strings.CutPrefix(s, "/")
	if !ok {
		return false
	}
	for i, want := range p.segments {
		segment, after, more := strings.Cut(rest, "/")
		if !wildcard(want, segment, fold) {
			return false
		}
		if !more {
			return i == len(p.segments)-1 && !p.below
		}
		rest = after
		if i == len(p.segments)-1 {
			return p.below
		}
	}
	return p.below // "/*" has no segments
}

// wildcard compares a text with a pattern whose stars stand for any text. Each
// star takes as little as it can: when a later one is reached no earlier need
// be tried again.
func wildcard(pattern, s string, fold bool) bool {
	i, star, back := 0, -1, 0
	for j := 0; j < len(s); {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, back = i, j
			i++
		case i < len(pattern) && (pattern[i] == s[j] || fold && lower(pattern[i]) == lower(s[j])):
			i++
			j++
		case star >= 0:
			back++
			i, j = star+1, back
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// isPlain reports whether a path can mean no other one to whoever decodes and
// cleans it.
func isPlain(s string) bool {
	for i := range len(s) {
		switch s[i] {
		case '%', '\\', ';':
			return false
		case '/':
			if i+1 == len(s) {
				return true
			}
			switch rest := s[i+1:]; {
			case rest[0] == '/', rest == ".", rest == "..", strings.HasPrefix(rest, "./"), strings.HasPrefix(rest, "../"):
				return false
			}
		}
	}
	return true
}

// cleanPath is what a path means to most who serve it.
func cleanPath(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		s = decoded
	}
	s = strings.ReplaceAll(s, `\`, "/")
	if !strings.HasPrefix(s, "/") {
		return s
	}
	c := path.Clean(s)
	if c != "/" && strings.HasSuffix(s, "/") {
		c += "/"
	}
	return c
}
