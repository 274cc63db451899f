package controls

import (
	"strings"
)

func redirects(e *eval) {
	v := e.config()
	written := v.redirectsByHand()
	for i := range v.servers {
		s := &v.servers[i]
		if s.onlyHTTP(v) || len(s.hosts) == 0 && len(s.policies) == 0 {
			continue
		}
		e.examined++
		auto := member(s.raw, "automatic_https")
		switch {
		case flag(auto, "disable") && len(s.policies) == 0:
			e.bad(s.pointer+"/automatic_https/disable", "is set: its sites have no HTTPS")
		case (flag(auto, "disable") || flag(auto, "disable_redirects")) && !written:
			e.bad(s.pointer+"/automatic_https", "has no redirects from HTTP, and no route has them")
		}
	}
	e.conclude("servers with sites")
}

// redirectsByHand reports whether a server on the HTTP port has a route that
// redirects to HTTPS.
func (v *view) redirectsByHand() bool {
	for i := range v.servers {
		s := &v.servers[i]
		if !s.onlyHTTP(v) {
			continue
		}
		for _, h := range s.have("static_response") {
			for _, to := range texts(member(h.raw, "headers")["Location"]) {
				if strings.HasPrefix(to, "https://") {
					return true
				}
			}
		}
	}
	return false
}

func plaintext(e *eval) {
	e.sighted(SeenPlain, e.server().Traffic.Requests, "requests")
}

// cached looks at what handlers of caches say of responses. This project has no
// such handler, and others do not say what they served.
func cached(e *eval) {
	v := e.config()
	handlers := v.all("soc2_cache", "cache", "souin")
	t := Traffic{}
	if e.s.Server != nil {
		t = e.s.Server.Traffic
	}
	if t.CacheHits == 0 && len(t.Sightings[SeenCached]) == 0 {
		if len(handlers) == 0 {
			e.end(NotApplicable, "there is no handler that is known as a cache")
		}
		e.server()
		e.end(Unknown, "%s is a cache that has not said of any response whether it was served from it", handlers[0].pointer)
	}
	e.sighted(SeenCached, t.CacheHits, "responses from the cache")
}
