package controls

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// limit is a zone of a rate limiter, with the paths that it is for: all of the
// lists have to match. A zone without lists is for all requests.
type limit struct{ paths [][]string }

// limiters returns the limits of a server.
func (s *server) limiters() (list []limit) {
	s.limits(s.raw["routes"], nil, 0, func(l limit) { list = append(list, l) })
	return list
}

func (s *server) limits(routes any, outer [][]string, depth int, found func(limit)) {
	if depth > maxDepth {
		return
	}
	for _, r := range objects(routes) {
		paths := restrict(outer, r["match"])
		for _, h := range objects(r["handle"]) {
			switch text(h, "handler") {
			case "subroute":
				s.limits(h["routes"], paths, depth+1, found)
			case "invoke":
				s.limits([]any{member(s.raw, "named_routes")[text(h, "name")]}, paths, depth+1, found)
			case "soc2_rate_limit":
				for _, z := range objects(h["zones"]) {
					if text(z, "mode") != "shadow" {
						found(limit{restrict(paths, z["match"])})
					}
				}
			case "rate_limit":
				zones := member(h, "rate_limits")
				for _, name := range slices.Sorted(maps.Keys(zones)) {
					z, _ := zones[name].(object)
					found(limit{restrict(paths, z["match"])})
				}
			}
		}
	}
}

// restrict adds the paths of sets of matchers, if every set has some.
func restrict(outer [][]string, sets any) [][]string {
	var all []string
	for _, set := range objects(sets) {
		paths := texts(set["path"])
		if len(paths) == 0 {
			return outer
		}
		all = append(all, paths...)
	}
	if len(all) == 0 {
		return outer
	}
	return append(slices.Clone(outer), all)
}

func (l *limit) covers(path string) bool {
	for _, list := range l.paths {
		if !pathMatches(list, path) {
			return false
		}
	}
	return true
}

func rateLimits(e *eval) {
	v := e.config()
	for i := range v.servers {
		s := &v.servers[i]
		if len(s.have("reverse_proxy")) == 0 {
			continue
		}
		e.examined++
		list := s.limiters()
		if !slices.ContainsFunc(list, func(l limit) bool { return len(l.paths) == 0 }) {
			e.bad(s.pointer, "has no rate limit for all requests")
		}
		for _, p := range e.texts("paths") {
			if !slices.ContainsFunc(list, func(l limit) bool { return len(l.paths) > 0 && l.covers(sample(p)) }) {
				e.bad(s.pointer, "has no rate limit of its own for %s", p)
			}
		}
	}
	e.conclude("servers that proxy")
}

func rateLimiterWorks(e *eval) {
	v := e.config()
	if len(v.all("soc2_rate_limit", "rate_limit")) == 0 {
		e.end(NotApplicable, "there is no rate limit")
	}
	e.history()
	s := e.server()
	age := e.duration("age")
	for _, seen := range s.Traffic.Sightings[SeenLimited] {
		if e.within2(seen.Time, age) {
			e.examined += int(seen.Count)
		}
	}
	for _, r := range s.Reviews {
		if r.Kind == "drill" && r.Subject == "limit" && r.Verdict == "passed" && e.within2(r.Time, age) {
			e.examined++
		}
	}
	switch {
	case e.examined > 0:
		e.end(Pass, "%d refusals and drills in the last %s", e.examined, e.text("age"))
	case e.s.Time.Sub(s.Traffic.Since) < age && e.s.Time.Sub(s.Log.Oldest) < age:
		e.wake(s.Log.Oldest.Add(age))
		e.end(Unknown, "no request was refused yet, and there are no records of the last %s", e.text("age"))
	}
	e.end(Fail, "no request was refused in the last %s, and there was no drill", e.text("age"))
}

func requestBounds(e *eval) {
	v := e.config()
	for i := range v.servers {
		s := &v.servers[i]
		if len(s.have("reverse_proxy")) == 0 {
			continue
		}
		e.examined++
		if d := period(s.raw, "read_header_timeout"); d < 0 || d > e.duration("header_timeout") {
			e.bad(s.pointer+"/read_header_timeout", "is %s, and %s are enough", d, e.text("header_timeout"))
		}
		if n := number(s.raw, "max_header_bytes"); n > e.number("header_bytes") {
			e.bad(s.pointer+"/max_header_bytes", "is %.0f, and %s are enough", n, e.text("header_bytes"))
		}
		if !slices.ContainsFunc(s.have("request_body"), func(h handler) bool { return number(h.raw, "max_size") > 0 }) {
			e.bad(s.pointer, "has no request_body with max_size: bodies have no bound")
		}
	}
	e.conclude("servers that proxy")
}

func healthChecks(e *eval) {
	for _, h := range e.config().proxies {
		if asksFirst(h.raw) {
			continue
		}
		e.examined++
		if len(member(h.raw, "health_checks", "active")) == 0 {
			e.bad(h.pointer, "has no active health check")
		}
	}
	e.conclude("reverse proxies")
}

func upstreamTLS(e *eval) {
	for _, h := range e.config().proxies {
		tls, encrypted := member(h.raw, "transport")["tls"].(object)
		if flag(tls, "insecure_skip_verify") {
			e.examined++
			e.bad(h.pointer+"/transport/tls/insecure_skip_verify", "is set: anybody can be the upstream")
		}
		for i, u := range objects(h.raw["upstreams"]) {
			e.examined++
			if dial := text(u, "dial"); !encrypted && external(dial) {
				e.bad(jsonpatch.Pointer(h.pointer+"/upstreams", strconv.Itoa(i)), "is %s, which is outside, and the connection is not encrypted", dial)
			}
		}
	}
	e.conclude("upstreams")
}

func upstreamCount(e *eval) {
	for _, h := range e.config().proxies {
		if asksFirst(h.raw) {
			continue
		}
		e.examined++
		if n := len(objects(h.raw["upstreams"])); h.raw["dynamic_upstreams"] == nil && float64(n) < e.number("least") {
			e.bad(h.pointer, "has %d upstreams, and %s are needed", n, e.text("least"))
		}
	}
	e.conclude("reverse proxies")
}

// The states of an upstream.
const (
	stateUp   = "up"
	stateDown = "down"
)

func availability(e *eval) {
	e.history()
	begin, rto := e.begin(), e.duration("rto")
	for _, u := range e.server().Upstreams {
		var up, down float64
		phases := slices.Clone(u.Phases)
		phases = append(phases, Phase{u.State, u.Since, e.s.Time})
		for _, p := range phases {
			if !p.To.After(begin) {
				continue
			}
			lasted := p.To.Sub(p.From)
			if p.From.Before(begin) {
				lasted = p.To.Sub(begin)
			}
			switch p.State {
			case stateUp:
				up += lasted.Seconds()
			case stateDown:
				down += lasted.Seconds()
				if lasted > rto {
					e.add(Evidence{Where: u.Name, What: "was down for " + lasted.Round(1e9).String(), Time: p.From})
				}
			}
		}
		if u.State == stateDown {
			e.wake(u.Since.Add(rto).Add(1e9))
		}
		if up+down == 0 {
			continue // nobody looked
		}
		e.examined++
		if percent := 100 * up / (up + down); percent < e.number("slo") {
			e.bad(u.Name, "was available for %s %% of the time", strings.TrimSuffix(strconv.FormatFloat(percent, 'f', 3, 64), "0"))
		}
	}
	e.conclude("upstreams that were watched")
}
