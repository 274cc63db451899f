package apikey

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// scope is what a key is for, written
//
//	METHOD[,METHOD…] PATH
//
// where METHOD may be * for all and PATH may end in /* for all that is below it.
type scope struct {
	methods []string // empty: all
	path    string
	below   bool
}

func parseScope(text string) (scope, error) {
	methods, where, ok := strings.Cut(text, " ")
	s := scope{path: where}
	if methods != "*" {
		s.methods = strings.Split(methods, ",")
	}
	s.path, s.below = strings.CutSuffix(where, "/*")
	if s.path == "" && s.below {
		s.path = "/"
	}
	if !ok || s.path == "" || s.path[0] != '/' || path.Clean(s.path) != s.path || slices.Contains(s.methods, "") || strings.ToUpper(methods) != methods {
		return scope{}, fmt.Errorf("the scope %q is not written: GET,POST /path/*", text)
	}
	return s, nil
}

// covers reports whether a path is in the scope by each of its readings, with
// each of the methods that it may be asked with. One that is not in its one plain
// form, with dot segments or empty segments, is in none.
func (s scope) covers(plain string, methods, readings []string) bool {
	for _, m := range methods {
		if len(s.methods) > 0 && !slices.Contains(s.methods, m) {
			return false
		}
	}
	if clean := path.Clean(plain); clean != plain && clean+"/" != plain {
		return false
	}
	lower := scope{path: strings.ToLower(s.path), below: s.below}
	return s.holds(plain) && !slices.ContainsFunc(readings, func(p string) bool { return !lower.holds(p) })
}

func (s scope) holds(p string) bool {
	switch {
	case p == s.path:
		return true
	case !s.below:
		return false
	case s.path == "/":
		return true
	}
	return strings.HasPrefix(p, s.path+"/")
}
