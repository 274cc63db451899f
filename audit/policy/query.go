package policy

import (
	"net/url"
	"slices"
	"strings"
)

// QueryMember is the name of the query in a record. If it is in
// Event.Redacted, Event.Query was redacted by the policy and is written as it
// is. If not, the query is as received, and whoever writes it hides all values.
const QueryMember = "request.query"

// queryRules says what is to be seen of a query.
type queryRules struct{ show, hide []string }

func (q *queryRules) empty() bool { return len(q.show) == 0 && len(q.hide) == 0 }

// HideQuery returns the keys of a query with a star for each value, and for
// each part that has no key: a=1&b=2&xyz is a=*&b=*&*.
func HideQuery(raw string) string {
	var none queryRules
	return none.redact(raw)
}

// redact hides values, and the keys whose names are secret.
func (q *queryRules) redact(raw string) string {
	var b strings.Builder
	b.Grow(len(raw))
	for more := raw != ""; more; {
		var part string
		part, raw, more = strings.Cut(raw, "&")
		key, value, ok := strings.Cut(part, "=")
		switch {
		case !ok && part == "": // && stays as it is
		case !ok:
			b.WriteString(star)
		case q.shows(key, value):
			b.WriteString(part)
		case q.hides(key):
			b.WriteString("*=*")
		default:
			b.WriteString(key)
			b.WriteString("=*")
		}
		if more {
			b.WriteByte('&')
		}
	}
	return b.String()
}

// shows compares letter for letter: a key in another spelling stays hidden. To
// some servers a semicolon divides as & does, so that a value with one can have
// another key in it.
func (q *queryRules) shows(key, value string) bool {
	return slices.Contains(q.show, key) && !q.hides(key) && !strings.Contains(value, ";") && !strings.Contains(strings.ToLower(value), "%3b")
}

func (q *queryRules) hides(key string) bool {
	if len(q.hide) == 0 {
		return false
	}
	decoded, err := url.QueryUnescape(key)
	if err != nil {
		return true
	}
	return anyWildcard(q.hide, key) || anyWildcard(q.hide, decoded)
}

// anyWildcard reports whether one of the patterns matches, in whatever case.
func anyWildcard(patterns []string, s string) bool {
	for _, p := range patterns {
		if wildcard(p, s, true) {
			return true
		}
	}
	return false
}
