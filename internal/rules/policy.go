// Package rules decides who may do what: named rules of which the first that
// matches a request decides, and a refusal where none does.
//
// A Policy is what an operator writes. New checks it and compiles it into an
// Engine, whose Decide takes about as long for a hundred rules as for ten: for
// each role, method and piece of path the engine keeps the set of the rules that
// it can matter to, and looks closer only at the rules in all of these sets.
//
// Programs differ in how they read a path or a method: whether /a//b is /a/b,
// whether a semicolon ends a segment, whether %2f is a slash. What stands behind
// the proxy is not known, so a request that can be read in several ways is
// allowed only if it is allowed in each of them. See Reading in path.go.
package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// Policy is a list of rules and what they refer to. The zero value refuses
// everything.
type Policy struct {
	// Rules are tried in this order; the first that matches decides. A request
	// that none matches is refused.
	Rules []*Rule `json:"rules,omitempty"`

	// Assign gives roles to principals: the names of principals by role. They
	// have these roles besides those that their authentication gives.
	Assign map[string][]string `json:"assign,omitempty"`

	// Tolerate lists what a path may hold although programs read it differently:
	// encoded_slash (%2f), backslash, semicolon, percent (what remains encoded
	// after decoding once), delimiter (an encoded ? or #). Such a request is
	// judged by each way to read it. Default: a path with any of these is refused.
	Tolerate []string `json:"tolerate,omitempty"`
}

// Effects of rules.
const (
	Allow = "allow"
	Deny  = "deny"
)

// Rule says who may, or may not, do what. All conditions that are given must
// hold; of the values of one condition any is enough.
type Rule struct {
	// Name tells the rule apart, in records too.
	Name string `json:"name"`

	// Effect is allow or deny. Default: allow.
	Effect string `json:"effect,omitempty"`

	// Shadow says that the rule does not decide. What would have come of it is
	// recorded.
	Shadow bool `json:"shadow,omitempty"`

	// Anonymous says that the rule, which must allow, is for requests without a
	// principal too. Without it a rule that allows matches authenticated requests
	// only; one that denies matches either.
	Anonymous bool `json:"anonymous,omitempty"`

	// Roles are those of which the principal must have one, either NAME, from
	// whichever source, or SOURCE:NAME.
	Roles []string `json:"roles,omitempty"`

	// Principals are names of principals, with * for any text. They are compared
	// byte by byte.
	Principals []string `json:"principals,omitempty"`

	// Claims are what must be known of the principal; all must hold.
	Claims []Claim `json:"claims,omitempty"`

	// Networks are addresses or CIDR ranges of clients.
	Networks []string `json:"networks,omitempty"`

	// Methods are those of HTTP. GET includes HEAD.
	Methods []string `json:"methods,omitempty"`

	// Hosts are names without a port; *.example.com is for one label more.
	Hosts []string `json:"hosts,omitempty"`

	// Paths are patterns of decoded paths, without regard to case: /a/b is that
	// path, /a/* the path /a and all below it, /a* what begins so, *.php what
	// ends so, *x* what contains x. Elsewhere * stands for text without a slash.
	Paths []string `json:"paths,omitempty"`

	// Times are windows of the week.
	Times []Window `json:"times,omitempty"`

	// From and Until bound the rule's life. Default: no bound.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`

	// CEL is an expression that must be true. If it fails, a rule that allows
	// does not match, and one that denies does.
	CEL string `json:"cel,omitempty"`

	// Require is what a request that the rule allows must bring besides. If it
	// does not, it is refused, and no later rule is tried.
	Require *Require `json:"require,omitempty"`
}

// Claim is a condition on one claim of the principal.
type Claim struct {
	Name string `json:"name"`

	// Values are those of which the claim must have one. Without any the claim
	// must be there and not be empty.
	Values []string `json:"values,omitempty"`
}

// Window is a part of the week.
type Window struct {
	// Days are names or ranges of days, such as mon-fri. Default: all.
	Days []string `json:"days,omitempty"`

	// Begin and End are times of day, 15:04. The end is not part of the window;
	// one before the beginning is on the next day, and the days are those on
	// which the window begins. Default: the whole day.
	Begin string `json:"begin,omitempty"`
	End   string `json:"end,omitempty"`

	// Zone is the name of a time zone. Default: UTC.
	Zone string `json:"zone,omitempty"`
}

// Require is what a rule that allows asks for besides.
type Require struct {
	// MFA asks for an authentication with more than one factor.
	MFA bool `json:"mfa,omitempty"`

	// MaxTokenAge is how long ago the credential may have been issued, in
	// nanoseconds. One whose age is not known is too old. Default: any time.
	MaxTokenAge time.Duration `json:"max_token_age,omitempty"`

	// Methods are ways of authentication of which one must have been used.
	Methods []string `json:"methods,omitempty"`

	// Claims must hold.
	Claims []Claim `json:"claims,omitempty"`
}

// Hash is the name of a policy in records: the first 16 bytes, in hex, of the
// SHA-256 of its JSON.
func (p *Policy) Hash() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // there is nothing in it that can fail
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
