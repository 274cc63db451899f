package headers

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Observed is a response as a client saw it.
type Observed struct {
	Host   string // that was asked
	Origin string // that the request named; empty for none
	TLS    bool
	Status int
	Header http.Header
}

// State is what a profile says of a field.
type State string

// The states of a field.
const (
	OK      State = "ok"      // as the profile wants it, or stronger
	Missing State = "missing" // the profile adds it
	Weaker  State = "weaker"  // the profile changes it
	Leak    State = "leak"    // the profile removes it
)

// Judgment is one field of a response beside what a profile makes of it.
type Judgment struct {
	Field string `json:"field"`
	Rule  string `json:"rule"` // the name that records and metrics have for it
	State State  `json:"state"`

	// Sent are the values; of a cookie it is the name.
	Sent []string `json:"sent,omitempty"`

	// Profile is what the profile sends. Empty: it removes the field.
	Profile string `json:"profile,omitempty"`

	// Details are the parts that make the field weaker.
	Details []string `json:"details,omitempty"`

	Advice string `json:"advice,omitempty"`
}

// Examine compares a response with a profile, which must be Known. It judges as
// the handler does, except that policies are compared by what they allow and not
// by their text: a site may have said more than its profile.
func Examine(profile string, o Observed) []Judgment {
	e := newEnforcement(compile([]*Handler{{Profile: profile, profile: profile}}))
	after := o.Header.Clone()
	if after == nil {
		after = http.Header{}
	}
	e.ResponseWriter = headerOnly(after)
	e.secure, e.method, e.host, e.origin = o.TLS, http.MethodGet, o.Host, o.Origin
	e.apply(o.Status)

	x := examination{enforcement: e, before: o.Header, after: after, content: classify(o.Status, o.Header["Content-Type"])}
	for f := range fields {
		x.judgeField(field(f))
	}
	x.judgeCookies()
	x.judgeOrigins()
	x.judgeRest()
	return x.list
}

// headerOnly is a writer that has nothing but a header.
type headerOnly http.Header

func (h headerOnly) Header() http.Header       { return http.Header(h) }
func (headerOnly) Write(b []byte) (int, error) { return len(b), nil }
func (headerOnly) WriteHeader(int)             {}

// examination compares a header with what became of it.
type examination struct {
	*enforcement

	before, after http.Header
	content       content
	list          []Judgment
}

func (x *examination) add(j Judgment) {
	if j.State != OK {
		j.Advice = advice[j.Rule]
	}
	x.list = append(x.list, j)
}

// judgeField compares a field that profiles send.
func (x *examination) judgeField(f field) {
	name := fields[f].name
	sent, kept := x.before[name], x.after[name]
	if len(sent) == 0 && len(kept) == 0 {
		return // not for this response
	}
	j := Judgment{Field: name, Rule: fields[f].rule, State: OK, Sent: sent, Profile: x.wanted(f)}
	switch {
	case len(sent) == 0:
		j.State = Missing
	case f == csp || f == permissions:
		compare := comparePolicies
		if f == permissions {
			compare = comparePermissions
		}
		if !slices.Equal(sent, kept) {
			j.Details = compare(sent, j.Profile)
		}
		if f == csp {
			j.Details = append(j.Details, unknownDirectives(sent)...)
		}
		if len(j.Details) > 0 {
			j.State = Weaker
		}
	case !slices.Equal(sent, kept):
		j.State = Weaker
		if len(sent) > 1 && !fields[f].list {
			j.Details = []string{fmt.Sprintf("it is sent %d times", len(sent))}
		}
	}
	x.add(j)
}

// wanted is what the profile sends for a field of this response.
func (x *examination) wanted(f field) string {
	for i := range x.policy.rules {
		if r := &x.policy.rules[i]; r.field == f && (r.scope == anything || r.scope&x.content.scope != 0) {
			return x.value(r)
		}
	}
	if f == cacheControl && x.policy.cache != noStoreNever {
		return noStore
	}
	return ""
}

// judgeCookies tells of each cookie what it lacks.
func (x *examination) judgeCookies() {
	rules := &x.policy.cookies
	for _, line := range x.before[setCookie] {
		c := parseCookie(line)
		j := Judgment{Field: setCookie, Rule: cookieRule, State: OK, Sent: []string{c.name}}
		lacks := func(missing bool, what string) {
			if missing {
				j.State, j.Details = Weaker, append(j.Details, what)
			}
		}
		lacks(rules.report, "the profile expects no cookies")
		lacks(x.secure && !c.secure, "no Secure")
		lacks(!c.sameSite, "no SameSite")
		lacks(rules.httpOnly && !c.httpOnly && !isToken(c.name), "no HttpOnly")
		lacks(c.breaksPrefix(), "the attributes break what the prefix of the name promises")
		x.add(j)
	}
}

// judgeOrigins tells what other origins may do.
func (x *examination) judgeOrigins() {
	open := slices.Contains(x.reported, "cors:origin") // for all that is sent
	for _, o := range []struct{ name, rule string }{{allowOrigin, "cors:origin"}, {allowCredentials, "cors:credentials"}} {
		sent := x.before[o.name]
		if len(sent) == 0 {
			continue
		}
		j := Judgment{Field: o.name, Rule: o.rule, State: OK, Sent: sent}
		if open || x.after[o.name] == nil || slices.Contains(x.reported, o.rule) {
			j.State = Weaker
			if o.name == allowOrigin && x.origin != "" && sent[0] == x.origin {
				j.Details = []string{"it repeats whatever origin asks"}
			}
		}
		x.add(j)
	}
}

// judgeRest lists what is removed, and values that may not be passed on.
func (x *examination) judgeRest() {
	judged := map[string]bool{setCookie: true, allowOrigin: true, allowCredentials: true}
	for i := range fields {
		judged[fields[i].name] = true
	}
	for _, name := range slices.Sorted(keys(x.before)) {
		sent, kept := x.before[name], x.after[name]
		if _, leak := x.policy.leaks[name]; leak && name != "X-Xss-Protection" {
			x.add(Judgment{Field: name, Rule: leaksRule, State: Leak, Sent: sent})
		} else if !leak && !judged[name] && !slices.Equal(sent, kept) {
			x.add(Judgment{Field: name, Rule: valuesRule, State: Weaker, Sent: sent, Profile: strings.Join(kept, ", ")})
		}
	}
}

func keys(h http.Header) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name := range h {
			if !yield(name) {
				return
			}
		}
	}
}
