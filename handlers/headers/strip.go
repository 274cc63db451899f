package headers

import (
	"net/http"
	"strings"
)

// stopLeaks removes the fields of the leak list, as well as those that are
// to be sent as trailers.
func (e *enforcement) stopLeaks(h http.Header) {
	for key, values := range h {
		if !e.policy.suspect(key) && len(values) == 1 && passable(values) {
			continue
		}
		name := canonical(strings.TrimPrefix(key, http.TrailerPrefix))
		if e.stopLeak(h, key, name) {
			continue
		}
		if !passable(values) || len(values) > 1 && single[name] {
			values = e.stopValues(h, key, name, values)
		}
		if name == key || len(values) == 0 {
			continue
		}
		if strings.HasPrefix(key, http.TrailerPrefix) {
			continue
		}
		// A handler chose another spelling, which would be sent beside ours:
		// field names are case-insensitive (RFC 9110 section 5.1).
		if twice := single[name] && h[name] != nil; twice || governed[name] || e.policy.named[name] {
			delete(h, key)
			h[name] = append(h[name], values...)
			if twice {
				e.stopValues(h, name, name, h[name])
			}
		}
	}
	e.stopAnnouncements(h)
}

// suspect tells whether a key may be that of a leak or of a governed field in
// some spelling, or of a trailer. Most are not, by their length and first letter.
func (p *policy) suspect(key string) bool {
	if len(key) == 0 || len(key) >= 64 {
		return true
	}
	c := key[0]
	if c >= 'a' && c <= 'z' || p.named != nil && canonical(key) != key {
		return true // another spelling than ours
	}
	return suspects[c][len(key)] || c == 'T' && strings.HasPrefix(key, http.TrailerPrefix)
}

// suspects holds the first letters and lengths of leaks, and of governed fields
// in spellings that begin like ours but go on otherwise.
var suspects = func() (t [256][64]bool) {
	for name := range allLeaks {
		t[name[0]][len(name)] = true
	}
	for name := range governed {
		t[name[0]][len(name)] = true
	}
	return t
}()

// stopLeak removes key from h if name, which is canonical, is a leak, and
// tells whether it is.
func (e *enforcement) stopLeak(h http.Header, key, name string) bool {
	rule, leak := e.policy.leaks[name]
	if !leak {
		return false
	}
	if rule != "" {
		e.find(rule, e.policy.only.leaks, name, first(h[key]))
	}
	if !e.policy.only.leaks {
		delete(h, key)
	}
	return true
}

// maxValueLength is how many bytes the value of a field may have.
const maxValueLength = 16 << 10

// single are fields of which there can only be one line, where browsers and
// caches differ over which of several counts.
var single = map[string]bool{
	"Content-Type": true, "Content-Disposition": true, "Etag": true, "Last-Modified": true, "Location": true, "Retry-After": true,
}

// passable tells whether all values may be passed on: they have no control
// characters (RFC 9110 section 5.5) and no absurd size.
func passable(values []string) bool {
	for _, v := range values {
		if len(v) > maxValueLength {
			return false
		}
		for i := range len(v) {
			if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
				return false
			}
		}
	}
	return true
}

// stopValues removes those values of a field that may not be passed on, and all
// but the first of a single field. It returns what is left.
func (e *enforcement) stopValues(h http.Header, key, name string, values []string) []string {
	only := e.policy.only.values
	kept := make([]string, 0, len(values))
	for _, v := range values {
		switch {
		case !passable([]string{v}):
			// The value is not for the record either.
			e.find("values:unsafe", false, name, "")
		case len(kept) == 1 && single[name] && !only:
			e.find("values:duplicate", false, name, v)
		case len(kept) == 1 && single[name]:
			e.find("values:duplicate", true, name, v)
			kept = append(kept, v)
		default:
			kept = append(kept, v)
		}
	}
	if len(kept) == 0 {
		delete(h, key)
	} else {
		h[key] = kept
	}
	return kept
}

// stopAnnouncements removes leaks from Trailer. A trailer that is not
// announced is not sent, unless its key has the TrailerPrefix.
func (e *enforcement) stopAnnouncements(h http.Header) {
	lines := h["Trailer"]
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.TrimSpace(name)
			if !e.stopLeak(h, name, canonical(name)) || e.policy.only.leaks {
				kept = append(kept, name)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, "Trailer")
		return
	}
	h["Trailer"] = []string{strings.Join(kept, ", ")}
}

// trailers removes leaks and unsafe values among what handlers put into the header
// map after it was sent: net/http sends trailers from there, once the handlers are
// done.
func (e *enforcement) trailers() {
	h := e.Header()
	before := len(e.mended) + len(e.reported)
	announced := h["Trailer"]
	for key, values := range h {
		name, prefixed := strings.CutPrefix(key, http.TrailerPrefix)
		if !prefixed && (len(announced) == 0 || !hasDirective(announced, key)) {
			continue
		}
		if name = canonical(name); !e.stopLeak(h, key, name) && !e.removed(h, key, name) && !passable(values) {
			e.stopValues(h, key, name, values)
		}
	}
	if len(e.mended)+len(e.reported) > before {
		e.note()
	}
}

// canonical is http.CanonicalHeaderKey, but quick for the keys that are
// canonical, as nearly all are.
func canonical(key string) string {
	upper := true
	for i := range len(key) {
		c := key[i]
		if upper && 'a' <= c && c <= 'z' || !upper && 'A' <= c && c <= 'Z' {
			return http.CanonicalHeaderKey(key)
		}
		upper = c == '-'
	}
	return key
}
