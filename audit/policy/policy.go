// Package policy decides how much detail the record of a request carries, and
// hides in it what must not be kept.
//
// Rules are tried in order and the first that matches gives the level, as in
// the audit policy of Kubernetes, with two differences. A request without a
// record is counted, and the counts become records: no request leaves the log
// without a trace. And what an auditor asks for first, denials and failures, no
// rule can take out.
package policy

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// Level is an amount of detail. The greater, the more.
type Level int

// The levels, from the least detail to the most. See Rule.
const (
	None Level = iota
	Minimal
	Metadata
	Headers
)

var levelNames = [...]string{None: "none", Minimal: "minimal", Metadata: "metadata", Headers: "headers"}

// String returns the level's name.
func (l Level) String() string { return levelNames[l] }

// ParseLevel reads the name of a level.
func ParseLevel(name string) (Level, error) {
	for l, n := range levelNames {
		if n == name {
			return Level(l), nil
		}
	}
	return 0, fmt.Errorf("level %q: it must be none, minimal, metadata or headers", name)
}

// Policy is a Config made ready for requests. It does not change, and is safe
// for concurrent use.
type Policy struct {
	// KeepClient leaves the client's address in records of the level minimal.
	// Set it only if a pseudonym takes its place before the record is written.
	KeepClient bool

	rules    []rule
	redact   redaction
	networks bool // some rule matches client networks
	headers  bool // some rule has the level headers
}

// rule is a Rule made ready.
type rule struct {
	name    string
	level   Level
	match   match
	omitted *atomic.Int64 // at the level none
}

// Compile checks a config and makes it ready. Requests at the level none are
// counted in counters, which outlives a policy that a reload replaces.
func Compile(c Config, counters *Counters) (*Policy, error) {
	p := &Policy{}
	names := map[string]bool{}
	for i, rc := range c.Rules {
		r, err := compileRule(rc, counters)
		switch {
		case err != nil:
		case names[r.name]:
			err = errors.New("name: another rule has it")
		case r.match.all() && i < len(c.Rules)-1:
			err = fmt.Errorf("it has no matcher, so rule %q after it never decides: add one, or make it the last", c.Rules[i+1].Name)
		}
		if err != nil {
			return nil, fmt.Errorf("audit policy: rule %d %q: %w", i+1, rc.Name, err)
		}
		names[r.name] = true
		p.rules = append(p.rules, r)
		p.networks = p.networks || len(r.match.clients) > 0
		p.headers = p.headers || r.level == Headers
	}
	var err error
	if p.redact, err = compileRedact(c.Redact); err != nil {
		return nil, fmt.Errorf("audit policy: redact: %w", err)
	}
	return p, nil
}

func compileRule(c Rule, counters *Counters) (r rule, err error) {
	if r.name = c.Name; !validName(r.name) {
		return r, errors.New("name: it needs 1 to 64 letters, digits, dots, underscores or hyphens")
	}
	if r.level, err = ParseLevel(c.Level); err != nil {
		return r, err
	}
	if len(c.Reason) > 256 {
		return r, fmt.Errorf("reason: it has %d bytes; 256 are allowed", len(c.Reason))
	}
	if r.level == None {
		if strings.TrimSpace(c.Reason) == "" {
			return r, errors.New("reason: the level none needs one, which the log repeats with the number of requests left out")
		}
		r.omitted = counters.counter(r.name, c.Reason)
	}
	r.match, err = compileMatch(c)
	return r, err
}

func validName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// WantsHeaders reports whether some rule records header fields: whether the
// request's must be kept until its end, in the state in which it arrived.
func (p *Policy) WantsHeaders() bool { return p.headers }

// Apply decides on a completed event, brings it to the level decided and
// redacts it. At the level None it is counted, and left as it was: the caller
// drops it. The header fields are those of the request as it arrived and of the
// response; both may be nil unless WantsHeaders.
//
// It must run before pseudonyms and sealing, for it reads what they replace,
// and once for an event.
func (p *Policy) Apply(ev *audit.Event, request, response http.Header) Level {
	level, r := p.decide(ev)
	if r != nil {
		if level == None {
			r.omitted.Add(1)
			return None
		}
		ev.Rule = r.name
	}
	ev.Level = levelNames[level]
	switch level {
	case Minimal:
		minimize(ev, p.KeepClient)
	case Headers:
		p.redact.event(ev)
		ev.RequestHeaders = p.redact.headers(ev, "request.headers.", request)
		ev.ResponseHeaders = p.redact.headers(ev, "response.headers.", response)
	default:
		p.redact.event(ev)
	}
	return level
}

// Ahead is Apply for a record that is written before the request is served, as
// of an intent. Whether the request will have a record is not known then, so it
// is recorded, with little if a rule wants little.
func (p *Policy) Ahead(ev *audit.Event) {
	level, r := p.decide(ev)
	if r != nil {
		ev.Rule = r.name
	}
	if level < Metadata {
		ev.Level = levelNames[Minimal]
		minimize(ev, p.KeepClient)
		return
	}
	p.redact.event(ev)
}

// decide returns the level of an event and the rule that matched it, if any.
func (p *Policy) decide(ev *audit.Event) (Level, *rule) {
	s := subject{ev: ev}
	if p.networks {
		addr, _ := netip.ParseAddr(ev.ClientIP)
		s.client = addr.Unmap().WithZone("")
	}
	for i := range p.rules {
		r := &p.rules[i]
		if !r.match.matches(&s) {
			continue
		}
		if r.level < Metadata && matters(ev) {
			return Metadata, r
		}
		return r.level, r
	}
	return Metadata, nil
}

// matters reports whether a request is recorded at the level metadata at
// least: denied or limited by us or by the upstream, failed, panicked, or
// broken off.
func matters(ev *audit.Event) bool {
	switch ev.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusTooManyRequests:
		return true
	}
	return ev.Status >= 500 || ev.End == audit.EndPanicked || ev.End == audit.EndDropped || adverse(ev.Access) || adverse(ev.Limit)
}

// adverse reports whether a decision went against the request. An outcome that
// is not known here counts as one that did.
func adverse(d audit.Decision) bool { return d.Outcome != "" && d.Outcome != "allow" }

// minimize leaves in an event what the level minimal keeps. It names what
// stays, so that a member that is added to Event is left out until somebody
// decides on it here.
func minimize(ev *audit.Event, keepClient bool) {
	kept := audit.Event{
		Start: ev.Start, Duration: ev.Duration, ID: ev.ID,
		Server: ev.Server, Listener: ev.Listener,
		TLS:   audit.TLS{Version: ev.TLS.Version, Cipher: ev.TLS.Cipher, Group: ev.TLS.Group},
		Proto: ev.Proto, Method: ev.Method, Host: ev.Host,
		Access:       audit.Decision{Outcome: ev.Access.Outcome, Rule: ev.Access.Rule},
		AccessPolicy: ev.AccessPolicy, AccessShadow: ev.AccessShadow,
		Limit:   audit.Decision{Outcome: ev.Limit.Outcome, Rule: ev.Limit.Rule},
		Cache:   ev.Cache,
		Profile: ev.Profile, Mended: ev.Mended, Reported: ev.Reported, Refused: ev.Refused, Upstream: ev.Upstream,
		Status: ev.Status, Bytes: ev.Bytes, End: ev.End, Error: ev.Error,
		Level: ev.Level, Rule: ev.Rule,
	}
	if keepClient {
		kept.ClientIP = ev.ClientIP
	}
	*ev = kept
}
