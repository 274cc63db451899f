package rules

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/internal/field"
)

// methodLists saves a list for each request with a common method.
var methodLists = func() map[string][]string {
	m := map[string][]string{}
	for _, s := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"} {
		m[s] = []string{s}
	}
	return m
}()

// overrides are the fields, as field.Normal writes them, by which frameworks let
// a client change the method.
var overrides = []string{"x-http-method-override", "x-http-method", "x-method-override"}

// MaxMethods is how many methods a request may be taken to have. One with more
// cannot be judged.
const MaxMethods = 8

// MethodsOf are the methods that a request may be taken to have: its own, the
// same in capitals, and those that it names in fields or the query for a
// framework to use. One that only its body names cannot be seen here. If there
// are more than MaxMethods, the list has one more than that.
func MethodsOf(r *http.Request) []string {
	list := methodLists[r.Method]
	if list == nil {
		list = []string{r.Method}
		if up := strings.ToUpper(r.Method); up != r.Method {
			list = append(list, up)
		}
	}
	add := func(s string) {
		if s = strings.ToUpper(strings.TrimSpace(s)); s != "" && len(list) <= MaxMethods && !slices.Contains(list, s) {
			list = append(slices.Clip(list), s)
		}
	}
	for name, values := range r.Header {
		if len(name) < len(overrides[1]) || !field.IsOneOf(name, overrides) {
			continue
		}
		for _, v := range values {
			for s := range strings.SplitSeq(v, ",") {
				add(s)
			}
		}
	}
	if q := r.URL.RawQuery; strings.Contains(q, "_method") || strings.IndexByte(q, '%') >= 0 {
		values, _ := url.ParseQuery(strings.ReplaceAll(q, ";", "&")) // what can be read counts
		for _, v := range values["_method"] {
			add(v)
		}
	}
	return list
}
