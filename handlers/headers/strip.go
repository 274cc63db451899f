package headers

import (
	"net/http"
	"strings"
)

// stopLeaks removes the fields of the leak list, as well as those that are
// to be sent as trailers.
func (e *enforcement) stopLeaks(h http.Header) {
	for key, values := range h {
		name := canonical(strings.TrimPrefix(key, http.TrailerPrefix))
		if e.stopLeak(h, key, name) || name == key {
			continue
		}
		if governed[name] && !strings.HasPrefix(key, http.TrailerPrefix) {
			// A handler chose another spelling, which would be sent beside
			// ours: field names are case-insensitive (RFC 9110 section 5.1).
			delete(h, key)
			h[name] = append(h[name], values...)
		}
	}
	e.stopAnnouncements(h)
}

// stopLeak removes key from h if name, which is canonical, is a leak, and
// tells whether it is.
func (e *enforcement) stopLeak(h http.Header, key, name string) bool {
	rule, leak := e.policy.leaks[name]
	if leak {
		delete(h, key)
		if rule != "" {
			e.mend(rule)
		}
	}
	return leak
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
			if !e.stopLeak(h, name, canonical(name)) {
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

// trailers removes leaks among what handlers put into the header map after
// it was sent: net/http sends trailers from there, once the handlers are done.
func (e *enforcement) trailers() {
	h := e.Header()
	before := len(e.mended)
	for key := range h {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			e.stopLeak(h, key, canonical(name))
		}
	}
	if len(e.mended) > before {
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
