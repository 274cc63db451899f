// Package review makes reviews of access from a log alone and a description of
// what the configuration grants: who could, who did, which grants nobody used,
// who was refused and why, and what was let past the rules.
//
// A review stands on a tree of the log, which is of a size and has a root that a
// checkpoint signs: two reviews of one period, configuration and tree are the
// same bytes. It has no other time of its making. It says what it cannot know.
//
//	who did       request records whose access decision allowed them
//	refused       those with the outcome deny
//	shadow        those with shadow_deny, and those with the member access.shadow
//	break-glass   records access.break_glass, and requests with that outcome
//	lockouts      records access.lockout
//	signed        records access.review
//
// Memory is bounded by the number of principals, of which no more are kept than
// Options says; what is left out is counted.
package review

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Title and Version of the document. The version changes when a member gets
// another meaning.
const (
	Title   = "caddy-soc2 access review"
	Version = 1
)

// Document is a review. Text that came from outside is written so that it shows:
// what would not, and backslashes, is \xHH, as in records.
type Document struct {
	Title   string `json:"title"`
	Version int    `json:"version"`

	Period        Period        `json:"period"`
	Log           Log           `json:"log"`
	Configuration Configuration `json:"configuration"`

	Policies []PolicyReview  `json:"policies"` // who could: rules, and what they decided
	Accounts []AccountReview `json:"accounts"` // who could: principals that the configuration names

	Principals []Principal `json:"principals"` // who did
	Anonymous  Tally       `json:"anonymous"`  // requests of nobody
	Sealed     Tally       `json:"sealed"`     // requests whose principal is sealed, or who had none

	Dormant Dormant `json:"dormant"` // grants that nobody used

	Elsewhere []Elsewhere `json:"other_policies"` // rules that decided and are not in the configuration

	Refused  []Refusal    `json:"refused"`             // by reason and rule
	Refusals []RefusedWho `json:"refused_by_who"`      // by principal, reason and rule
	Shadow   []Refusal    `json:"shadow"`              // what would have been refused
	Glass    []GlassUse   `json:"break_glass"`         // opened past the rules
	Lockouts []LockoutUse `json:"lockouts"`            //
	Signed   []Signed     `json:"signed_in_period"`    // reviews
	LeftOut  []LeftOut    `json:"left_out"`            // what is beyond the bounds of this document
	Unknown  []string     `json:"what_it_cannot_know"` //
}

// Period is from its first moment to before its end.
type Period struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Log is what the document stands on.
type Log struct {
	Origin   string    `json:"origin"`
	Size     int64     `json:"tree_size"`
	Root     string    `json:"tree_root"`     // base64
	Oldest   int64     `json:"oldest_seq"`    // first record that the log still has
	First    *int64    `json:"first_seq"`     // first record of the period; null if there is none
	Last     *int64    `json:"last_seq"`      // and the last
	Records  int64     `json:"records"`       // of the period
	Requests int64     `json:"requests"`      // of them
	Ends     time.Time `json:"newest_record"` // of the tree
}

// Tally is how often something was, and when.
type Tally struct {
	Allowed    int64     `json:"allowed"`
	Refused    int64     `json:"refused"`
	Shadow     int64     `json:"shadow_denied"`
	Glass      int64     `json:"break_glass"`
	Undecided  int64     `json:"undecided"` // no policy was asked
	First      time.Time `json:"first,omitzero"`
	Last       time.Time `json:"last,omitzero"`
	FirstSeq   *int64    `json:"first_seq,omitempty"`
	LastSeq    *int64    `json:"last_seq,omitempty"`
	LastUse    time.Time `json:"last_use,omitzero"` // the last that was not refused
	LastUseSeq *int64    `json:"last_use_seq,omitempty"`
}

// PolicyReview is a policy with what its rules decided.
type PolicyReview struct {
	Names      []string     `json:"names"`
	Sites      []string     `json:"sites"`
	Hash       string       `json:"hash"`
	Mode       string       `json:"mode"`
	Rules      []RuleReview `json:"rules"`
	BreakGlass []string     `json:"break_glass,omitempty"`
}

// RuleReview is a rule with what it decided.
type RuleReview struct {
	Grant      string   `json:"grant,omitempty"` // id, if it allows
	Rule       string   `json:"rule"`
	Effect     string   `json:"effect"`
	Shadow     bool     `json:"in_shadow,omitempty"`
	Conditions []string `json:"conditions"`
	Status     string   `json:"status"`
	Principals int64    `json:"principals"` // that it allowed, of those that are listed
	Tally
	ShadowRule int64 `json:"would_have_refused,omitempty"` // of a rule in shadow
	Otherwise  int64 `json:"by_another_version"`           // allowed by a rule of this name in a policy that is not in the configuration
}

// AccountReview is a principal that the configuration names, with what it did.
type AccountReview struct {
	Grant   string    `json:"grant"`
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	Sources []string  `json:"sources"`
	Roles   []string  `json:"roles"`
	Limits  []string  `json:"limits,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	Expired bool      `json:"expired_in_period,omitempty"` // or before it
	Rules   []string  `json:"rules"`                       // that could allow it, by roles and names alone
	Status  string    `json:"status"`
	Tally
}

// The states of a grant.
const (
	Used        = "used"
	RefusedOnly = "refused_only" // it was tried, and nothing was allowed
	NotUsed     = "dormant"
	NotKnown    = "unknown"   // names are pseudonyms or sealed, or a rule of the name was used by a policy that is not in the configuration
	NotDeciding = "in_shadow" // the rule is in shadow: what it would allow is not recorded
)

// Principal is who did something.
type Principal struct {
	Name      string    `json:"principal"`
	Method    string    `json:"method"`
	Pseudonym bool      `json:"pseudonym,omitempty"`
	Grants    []string  `json:"accounts,omitempty"` // ids of the accounts that it is
	Rules     []RuleUse `json:"rules"`              // that allowed it
	LeftOut   int64     `json:"requests_by_other_rules,omitempty"`
	Tally
}

// RuleUse is how often a rule allowed a principal.
type RuleUse struct {
	Grant  string    `json:"grant,omitempty"` // id, if the rule is in the configuration
	Policy string    `json:"policy,omitempty"`
	Rule   string    `json:"rule"`
	Count  int64     `json:"count"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
}

// Dormant are the ids of grants that nobody used.
type Dormant struct {
	Rules    []string `json:"rules"`
	Accounts []string `json:"accounts"`
}

// Elsewhere is a rule that decided and is not in the configuration.
type Elsewhere struct {
	Policy string `json:"policy,omitempty"` // hash
	Rule   string `json:"rule,omitempty"`
	Tally
}

// Refusal is how often a reason refused, or would have.
type Refusal struct {
	Policy    string `json:"policy,omitempty"` // hash
	Rule      string `json:"rule,omitempty"`
	Reason    string `json:"reason,omitempty"`
	By        string `json:"by,omitempty"` // shadow: policy or rule
	Count     int64  `json:"count"`
	Anonymous int64  `json:"of_nobody"` // of them
	Span
}

// RefusedWho is how often a principal was refused.
type RefusedWho struct {
	Name   string `json:"principal"`
	Method string `json:"method"`
	Policy string `json:"policy,omitempty"`
	Rule   string `json:"rule,omitempty"`
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
	Span
}

// Span is when something was, first and last.
type Span struct {
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	FirstSeq int64     `json:"first_seq"`
	LastSeq  int64     `json:"last_seq"`
}

// GlassUse is what was opened past the rules.
type GlassUse struct {
	Grant     string    `json:"id"`
	Policy    string    `json:"policy,omitempty"`
	Principal string    `json:"principal,omitempty"`
	By        string    `json:"by,omitempty"`
	Known     string    `json:"by_known,omitempty"` // how good that name is
	Claim     string    `json:"by_claim,omitempty"` // what who opened it said to be
	Reason    string    `json:"reason,omitempty"`
	Ticket    string    `json:"ticket,omitempty"`
	Opened    time.Time `json:"opened,omitzero"` // absent: before the period
	Until     time.Time `json:"until,omitzero"`
	Closed    time.Time `json:"closed,omitzero"`
	Requests  int64     `json:"requests"` // that it let in
	First     time.Time `json:"first,omitzero"`
	Last      time.Time `json:"last,omitzero"`
}

// LockoutUse is who was locked out.
type LockoutUse struct {
	What      string `json:"what"`
	Subject   string `json:"subject"`
	Pseudonym bool   `json:"pseudonym,omitempty"`
	Rule      string `json:"rule,omitempty"`
	Locked    int64  `json:"locked"`
	Extended  int64  `json:"extended"`
	Unlocked  int64  `json:"unlocked"`
	Expired   int64  `json:"expired"`
	Attempts  int64  `json:"attempts"` // the most that led to one
	Span
}

// Signed is a review that was signed.
type Signed struct {
	Review    string     `json:"review"`
	Reviewer  string     `json:"reviewer"`
	Actor     string     `json:"actor,omitempty"` // verified name of who called
	Known     string     `json:"actor_known,omitempty"`
	Time      time.Time  `json:"time"`
	Document  string     `json:"document_sha256"`
	From      time.Time  `json:"from"`
	To        time.Time  `json:"to"`
	Parts     int        `json:"parts"`
	Whole     bool       `json:"whole"` // all parts are there
	Grants    int64      `json:"grants"`
	Kept      int64      `json:"kept"`
	Revoked   int64      `json:"revoked"`
	Changed   int64      `json:"changed"`
	Reason    string     `json:"reason,omitempty"`
	Ticket    string     `json:"ticket,omitempty"`
	Seqs      []int64    `json:"records"`
	Decisions []Decision `json:"decisions,omitempty"`
}

// LeftOut is how many requests or records are not in a list, which has the first
// that the log has.
type LeftOut struct {
	List  string `json:"list"`
	Count int64  `json:"count"`
	Bound int    `json:"bound"` // of the list
}

// JSON returns the document as it is signed: its SHA-256 is over these bytes.
func (d *Document) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the review: %w", err)
	}
	return append(b, '\n'), nil
}

// Parse reads a document that JSON wrote.
func Parse(b []byte) (*Document, error) {
	d := new(Document)
	if err := json.Unmarshal(b, d); err != nil {
		return nil, fmt.Errorf("it is no review in JSON: %w", err)
	}
	if d.Title != Title {
		return nil, errors.New("it is no review of access: make one with caddy soc2 access review --json")
	}
	if d.Version != Version {
		return nil, fmt.Errorf("it has version %d, and this program reads version %d", d.Version, Version)
	}
	return d, nil
}

// Grants lists the ids of all grants that a reviewer decides on.
func (d *Document) Grants() (list []string) {
	for _, p := range d.Policies {
		for _, r := range p.Rules {
			if r.Grant != "" {
				list = append(list, r.Grant)
			}
		}
	}
	for _, a := range d.Accounts {
		list = append(list, a.Grant)
	}
	return list
}
