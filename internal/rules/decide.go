package rules

import (
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// Reason says in one word why a decision is as it is.
type Reason string

// The reasons.
const (
	ByRule           Reason = "rule"              // the rule says so
	NoRule           Reason = "no_rule"           // none matches
	NotAuthenticated Reason = "not_authenticated" // none matches a request without a principal
	ExpressionFailed Reason = "expression_failed" // the CEL expression of a rule that denies

	MFARequired     Reason = "mfa_required"
	TokenTooOld     Reason = "token_too_old"
	TokenAgeUnknown Reason = "token_age_unknown"
	MethodRequired  Reason = "auth_method_required"
	ClaimRequired   Reason = "claim_required"

	MethodForm       Reason = "method_form" // too many methods
	PathForm         Reason = "path_form"   // no path, or one with too many readings
	PathInvalid      Reason = "path_invalid_utf8"
	PathControl      Reason = "path_control_character"
	PathDots         Reason = "path_dot_segment"
	PathEncodedSlash Reason = "path_encoded_slash"
	PathBackslash    Reason = "path_backslash"
	PathPercent      Reason = "path_double_encoding"
	PathSemicolon    Reason = "path_semicolon"
	PathDelimiter    Reason = "path_delimiter"
)

// Claims gives what is known of the principal.
type Claims interface {
	// Claim returns a claim's value, and whether there is one.
	Claim(name string) (string, bool)
}

// Request is what is to be decided. It is read only.
type Request struct {
	Principal  string // empty: not authenticated
	AuthMethod string
	Roles      []string // lists of roles, separated by commas, by source as given to New
	Claims     Claims   // may be nil
	MFA        bool
	IssuedAt   time.Time // of the credential; zero if not known

	Client  netip.Addr // invalid if not known
	Methods []string   // that the request may be taken to have; usually one
	Host    string     // as sent, with or without a port
	Path    string     // decoded once
	RawPath string     // as escaped, if that is not the usual way (url.URL.RawPath)
	Query   string     // raw; for CEL
	Header  http.Header
	Now     time.Time
}

// Decision is what became of a request.
type Decision struct {
	Allow   bool
	Rule    string // that decided; empty if none did
	Reason  Reason
	Require *Require // of the rule, if it is what refused

	// Shadow is what the rules that do not decide yet would have made of it.
	Shadow *Decision
}

// Decide decides on a request. Of several readings of it the one that is refused
// counts.
func (e *Engine) Decide(q *Request) Decision {
	if len(q.Methods) > MaxMethods {
		return Decision{Reason: MethodForm}
	}
	var paths [4]string
	all, reason := readings(paths[:0], q.Path, q.RawPath, e.tolerate)
	if reason != "" {
		return Decision{Reason: reason}
	}
	s := subject{Request: q, host: canonicalHost(q.Host), assigned: e.assigned[q.Principal]}
	e.subjectSet(&s)
	var first Decision
	for i, path := range all {
		for j, method := range q.Methods {
			d := e.decide(&s, method, path)
			if i+j == 0 {
				first = d
				continue
			}
			if !d.Allow {
				return d
			}
			if first.Shadow == nil {
				first.Shadow = d.Shadow
			}
		}
	}
	return first
}

// subject is a request with what all its readings share.
type subject struct {
	*Request
	host     string
	assigned []string // roles
	rules    set      // that the principal and its roles leave
}

// decide decides on one reading.
func (e *Engine) decide(s *subject, method, path string) Decision {
	candidates := e.paths.find(path)
	methods := e.methodSet(method)
	var shadow *Decision
	for w := range e.words {
		for bits := s.rules[w] & candidates[w] & methods[w]; bits != 0; bits &= bits - 1 {
			r := &e.rules[w<<6+trailing(bits)]
			failed, matched := r.match(s, method, path)
			if !matched {
				continue
			}
			d := r.outcome(s, failed)
			if !r.Shadow {
				d.Shadow = shadow
				return d
			}
			if shadow == nil {
				would := d // not &d, which would put every decision on the heap
				shadow = &would
			}
		}
	}
	d := Decision{Reason: NoRule, Shadow: shadow}
	if s.Principal == "" {
		d.Reason = NotAuthenticated
	}
	return d
}

// match reports whether the rest of a rule's conditions hold: those that the sets
// do not answer. failed says that its expression could not be evaluated.
func (r *rule) match(s *subject, method, path string) (failed, matched bool) {
	if len(r.patterns) > 0 && !anyPattern(r.patterns, path) ||
		len(r.hosts) > 0 && !r.onHost(s.host) ||
		len(r.nets) > 0 && !r.inNetwork(s.Client) ||
		len(r.wilds) > 0 && !r.named(s.Principal) ||
		!claimsHold(r.Claims, s.Claims) ||
		!r.alive(s.Now) {
		return false, false
	}
	if r.program == nil {
		return false, true
	}
	ok, err := r.evaluate(s, method, path)
	if err != nil {
		return true, r.deny
	}
	return false, ok
}

// outcome is the decision of a rule that matches.
func (r *rule) outcome(s *subject, failed bool) Decision {
	switch {
	case failed:
		return Decision{Rule: r.Name, Reason: ExpressionFailed}
	case r.deny:
		return Decision{Rule: r.Name, Reason: ByRule}
	case r.Require != nil:
		if lacks := r.Require.lacks(s.Request); lacks != "" {
			return Decision{Rule: r.Name, Reason: lacks, Require: r.Require}
		}
	}
	return Decision{Allow: true, Rule: r.Name, Reason: ByRule}
}

// leeway is how far in the future a credential may have been issued.
const leeway = time.Minute

// lacks is the first requirement that a request does not meet.
func (need *Require) lacks(q *Request) Reason {
	if need.MFA && !q.MFA {
		return MFARequired
	}
	if need.MaxTokenAge > 0 {
		if q.IssuedAt.IsZero() {
			return TokenAgeUnknown
		}
		if age := q.Now.Sub(q.IssuedAt); age > need.MaxTokenAge || age < -leeway {
			return TokenTooOld
		}
	}
	if len(need.Methods) > 0 && !has(need.Methods, q.AuthMethod) {
		return MethodRequired
	}
	if !claimsHold(need.Claims, q.Claims) {
		return ClaimRequired
	}
	return ""
}

func has(list []string, s string) bool { return slices.Contains(list, s) }

func anyPattern(list []pattern, path string) bool {
	for i := range list {
		if list[i].match(path) {
			return true
		}
	}
	return false
}

func (r *rule) onHost(host string) bool {
	for i := range r.hosts {
		if r.hosts[i].match(host) {
			return true
		}
	}
	return false
}

func (r *rule) inNetwork(a netip.Addr) bool {
	for i := range r.nets {
		if r.nets[i].Contains(a) {
			return true
		}
	}
	return false
}

// named reports whether a rule names a principal, also by a pattern.
func (r *rule) named(principal string) bool {
	for i := range r.wilds {
		if r.wilds[i].match(principal) {
			return true
		}
	}
	return false
}

func claimsHold(list []Claim, claims Claims) bool {
	for i := range list {
		if claims == nil {
			return false
		}
		v, ok := claims.Claim(list[i].Name)
		if !ok || v == "" || len(list[i].Values) > 0 && !has(list[i].Values, v) {
			return false
		}
	}
	return true
}

// alive reports whether a rule applies at a time.
func (r *rule) alive(now time.Time) bool {
	if !r.From.IsZero() && now.Before(r.From) || !r.Until.IsZero() && !now.Before(r.Until) {
		return false
	}
	if len(r.windows) == 0 {
		return true
	}
	for i := range r.windows {
		if r.windows[i].holds(now) {
			return true
		}
	}
	return false
}
