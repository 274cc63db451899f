package headers

import "net/http"

// limitStorage applies the cache rule to Cache-Control.
func (e *enforcement) limitStorage(h http.Header, c content) {
	f := &fields[cacheControl]
	if e.nonced { // a nonce that somebody stores is no nonce
		e.set(h, cacheControl, privateNoStore)
		e.limitOthers(h, false)
		return
	}
	if e.stored {
		return
	}
	theirs := without(noStore, h[f.name])
	explicit := len(theirs) > 0
	switch e.policy.cache {
	case noStoreAuthenticated:
		if !e.authenticated(h) || hasDirective(theirs, "public") || c.static && explicit {
			return
		}
	case noStoreDynamic:
		if c.static && explicit {
			return
		}
	case noStoreNever:
		return
	}
	e.limitOthers(h, e.policy.only.cache)
	if hasDirective(theirs, noStore) {
		return
	}
	if explicit || e.policy.only.cache {
		e.find(f.rule, e.policy.only.cache, f.name, first(theirs))
	}
	if !e.policy.only.cache {
		e.set(h, cacheControl, noStore)
	}
}

// limitOthers removes fields that are for some caches in the place of Cache-Control
// (RFC 9213).
func (e *enforcement) limitOthers(h http.Header, report bool) {
	for _, name := range targeted {
		if sent := h[name]; len(sent) > 0 {
			e.find(fields[cacheControl].rule, report, name, sent[0])
			if !report {
				delete(h, name)
			}
		}
	}
}

// targeted are those fields.
var targeted = []string{
	"Cdn-Cache-Control", "Cloudflare-Cdn-Cache-Control", "Netlify-Cdn-Cache-Control", "Vercel-Cdn-Cache-Control", "Akamai-Cache-Control",
	"Surrogate-Control",
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// authenticated tells whether the response is for somebody in particular.
func (e *enforcement) authenticated(h http.Header) bool {
	return e.authorized || len(h["Set-Cookie"]) > 0 || e.event != nil && e.event.User != ""
}
