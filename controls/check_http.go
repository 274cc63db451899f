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

func cached(e *eval) {
	v := e.config()
	if len(v.all("soc2_cache", "cache")) == 0 {
		e.end(NotApplicable, "there is no cache")
	}
	if e.s.Server == nil {
		e.end(Unknown, "only a running server can tell what was served from the cache")
	}
	e.sighted(SeenCached, e.server().Traffic.CacheHits, "responses from the cache")
}
