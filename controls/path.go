package controls

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// sample is a path that a pattern matches, and that a pattern for fewer paths
// does not.
func sample(pattern string) string { return strings.ReplaceAll(pattern, "*", "\x01") }

// pathMatches reports whether one of Caddy's patterns of paths matches: the
// matcher path of caddyhttp, of a path that is decoded and cleaned.
func pathMatches(patterns []string, name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(patterns, func(p string) bool {
		p = strings.ToLower(p)
		head, star := strings.CutSuffix(p, "*")
		tail, front := strings.CutPrefix(p, "*")
		switch {
		case p == "*":
			return true
		case star && front:
			return strings.Contains(name, strings.TrimSuffix(tail, "*"))
		case star && !strings.Contains(head, "*"):
			return strings.HasPrefix(name, head)
		case front && !strings.Contains(tail, "*"):
			return strings.HasSuffix(name, tail)
		}
		match, err := path.Match(p, name)
		return name == p || err == nil && match
	})
}

// overlap reports whether there may be a path that two patterns match.
func overlap(a, b string) bool {
	if strings.ContainsAny(a+b, "?[\\") {
		return true // what path.Match makes of them
	}
	a, b = strings.ToLower(a), strings.ToLower(b)
	// row[j] is whether what was read of a and b[:j] overlap.
	row := make([]bool, len(b)+1)
	for i := range len(a) + 1 {
		diagonal := false // row[j-1] of the row before
		for j := range len(b) + 1 {
			was := row[j]
			switch {
			case i == 0 && j == 0:
				row[j] = true
			case i > 0 && a[i-1] == '*':
				row[j] = was || j > 0 && row[j-1]
			case j > 0 && b[j-1] == '*':
				row[j] = row[j-1] || i > 0 && was
			default:
				row[j] = i > 0 && j > 0 && diagonal && a[i-1] == b[j-1]
			}
			diagonal = was
		}
	}
	return row[len(b)]
}

// requestPath is the path of a request as Caddy's matchers see it: decoded, and
// without empty segments and dots.
func requestPath(escaped string) string {
	if !strings.Contains(escaped, "%") && !strings.Contains(escaped, "//") && !strings.Contains(escaped, "/.") {
		return escaped
	}
	name, err := url.PathUnescape(escaped)
	if err != nil {
		name = escaped
	}
	clean := path.Clean("/" + name)
	if strings.HasSuffix(name, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}
