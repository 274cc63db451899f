package apikey

import (
	"fmt"
	"net/http"
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

// covers reports whether a request is in the scope. A path that is not in its one
// plain form, with dot segments, empty segments, or slashes that are escaped, is
// in none: what serves it may take it for another.
func (s scope) covers(r *http.Request) bool {
	if len(s.methods) > 0 && !slices.Contains(s.methods, r.Method) {
		return false
	}
	p := r.URL.Path
	if p == "" || p[0] != '/' || strings.ContainsAny(p, "\\;\x00") || strings.Contains(strings.ToLower(r.URL.RawPath), "%2f") {
		return false
	}
	if clean := path.Clean(p); clean != p && clean+"/" != p {
		return false
	}
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
