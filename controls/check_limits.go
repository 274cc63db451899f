package controls

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// limit is a zone of a rate limiter, with the paths that it is for: all of the
// lists have to match, and none of the exceptions. A zone without lists is for
// all requests.
type limit struct {
	paths  [][]string
	except []string
}

// limiters returns the limits of a server.
func (s *server) limiters(e *eval) (list []limit) {
	s.limits(e, s.raw["routes"], limit{}, 0, func(l limit) { list = append(list, l) })
	return list
}

func (s *server) limits(e *eval, routes any, outer limit, depth int, found func(limit)) {
	if depth > maxDepth {
		return
	}
	for _, r := range objects(routes) {
		e.step()
		inner, ok := outer.restrict(r["match"])
		if !ok {
			continue // for some clients only, and nobody knows which
		}
		for _, h := range objects(r["handle"]) {
			e.step()
			switch text(h, "handler") {
			case "subroute":
				s.limits(e, h["routes"], inner, depth+1, found)
			case "invoke":
				named := member(s.raw, "named_routes", text(h, "name"))
				s.limits(e, []any{object{"handle": named["handle"]}}, inner, depth+1, found)
			default:
				for _, matchers := range zones(h) {
					if l, ok := inner.restrict(matchers); ok {
						found(l)
					}
				}
			}
		}
	}
}

// zones returns the matchers of the zones of a rate limiter that refuse
// requests.
func zones(h object) (matchers []any) {
	switch text(h, "handler") {
	case "soc2_rate_limit":
		for _, z := range objects(h["zones"]) {
			if !flag(z, "shadow") {
				matchers = append(matchers, z["match"])
			}
		}
	case "rate_limit":
		list := member(h, "rate_limits")
		for _, name := range slices.Sorted(maps.Keys(list)) {
			z, _ := list[name].(object)
			matchers = append(matchers, z["match"])
		}
	}
	return matchers
}

// restrict adds the paths of sets of matchers. It reports false if every set
// asks for something else too that a request may lack, such as a header field or
// an address.
func (l limit) restrict(sets any) (limit, bool) {
	list := objects(sets)
	if len(list) == 0 {
		return l, true
	}
	var all []string
	usable := false
	for _, set := range list {
		paths, except, ok := pathsOf(set)
		if !ok {
			continue
		}
		usable = true
		if len(paths) == 0 { // it is for all of them
			return limit{l.paths, append(slices.Clone(l.except), except...)}, true
		}
		all = append(all, paths...)
	}
	return limit{append(slices.Clone(l.paths), all), l.except}, usable
}

// pathsOf returns the paths that a set of matchers asks for, and those that it
// leaves out. It reports false if the set asks for anything else but the host,
// the method and the protocol.
func pathsOf(set object) (paths, except []string, ok bool) {
	for name, m := range set {
		switch name {
		case "path":
			paths = append(paths, texts(m)...)
		case "host", "method", "protocol":
		case "not":
			for _, inner := range objects(m) {
				if len(inner) != 1 || len(texts(inner["path"])) == 0 {
					return nil, nil, false
				}
				except = append(except, texts(inner["path"])...)
			}
		default:
			return nil, nil, false
		}
	}
	slices.Sort(except)
	return paths, except, true
}

// covers reports whether all requests for the paths of a pattern are limited.
func (l *limit) covers(pattern string) bool {
	for _, list := range l.paths {
		if !pathMatches(list, sample(pattern)) {
			return false
		}
	}
	return !slices.ContainsFunc(l.except, func(p string) bool { return overlap(p, pattern) })
}

func rateLimits(e *eval) {
	v := e.config()
	for i := range v.servers {
		s := &v.servers[i]
		if len(s.have("reverse_proxy")) == 0 {
			continue
		}
		e.examined++
		general := chain{
			e: e, server: s,
			is: func(h object) bool {
				return slices.ContainsFunc(zones(h), func(m any) bool { l, ok := limit{}.restrict(m); return ok && len(l.paths) == 0 })
			},
			each: func(h object, where string, passed bool) {
				if !passed && text(h, "handler") == "reverse_proxy" && !asksFirst(h) {
					e.bad(where, "has no rate limit for all requests before it")
				}
			},
		}
		general.follow(s.raw["routes"], s.pointer+"/routes", false, 0)
		list := s.limiters(e)
		for _, p := range e.texts("paths") {
			if !slices.ContainsFunc(list, func(l limit) bool { return len(l.paths) > 0 && l.covers(p) }) {
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
		bodies := chain{
			e: e, server: s,
			is: func(h object) bool { return text(h, "handler") == "request_body" && number(h, "max_size") > 0 },
			each: func(h object, where string, passed bool) {
				if !passed && text(h, "handler") == "reverse_proxy" && !asksFirst(h) {
					e.bad(where, "has no request_body with max_size before it: bodies have no bound")
				}
			},
		}
		bodies.follow(s.raw["routes"], s.pointer+"/routes", false, 0)
	}
	e.conclude("servers that proxy")
}

func healthChecks(e *eval) {
	for _, h := range e.config().proxies {
		if asksFirst(h.raw) {
			continue
		}
		e.examined++
		active := member(h.raw, "health_checks", "active")
		switch {
		case text(active, "uri") == "" && text(active, "path") == "" && number(active, "port") == 0: // Caddy makes none then
			e.bad(h.pointer, "has no active health check: it needs a URI or a port")
		case h.raw["dynamic_upstreams"] != nil:
			e.warn(h.pointer, "has dynamic upstreams, which active health checks do not look at")
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
		plain := texts(tls["except_ports"])
		for i, u := range objects(h.raw["upstreams"]) {
			e.examined++
			dial := text(u, "dial")
			where := jsonpatch.Pointer(h.pointer+"/upstreams", strconv.Itoa(i))
			_, port, _ := net.SplitHostPort(dial)
			switch {
			case encrypted && !slices.Contains(plain, port):
			case external(dial):
				e.bad(where, "is %s, which is outside, and the connection is not encrypted", dial)
			case strings.Contains(dial, "{"):
				e.warn(where, "is %s, which is known only at the time of a request, and the connection is not encrypted", dial)
			}
		}
		if dynamic := member(h.raw, "dynamic_upstreams"); dynamic != nil && !encrypted {
			e.examined++
			e.dynamic(h.pointer+"/dynamic_upstreams", dynamic)
		}
	}
	e.conclude("upstreams")
}

// dynamic looks at a source of upstreams that come from the DNS, to which
// connections are not encrypted.
func (e *eval) dynamic(where string, source object) {
	for i, inner := range objects(source["sources"]) { // of multi
		e.dynamic(where+"/sources/"+strconv.Itoa(i), inner)
	}
	switch name := text(source, "name"); {
	case len(objects(source["sources"])) > 0:
	case external(name):
		e.bad(where, "looks up %s, which is outside, and the connection is not encrypted", name)
	case name == "" || strings.Contains(name, "{"):
		e.warn(where, "finds upstreams that are known only at the time of a request, and the connection is not encrypted")
	}
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
	stateGone = "gone"
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
