package review

import (
	"slices"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/export"
	"github.com/caddy-soc2/caddy-soc2/internal/rules"
)

// Grants is what a configuration grants, described without the server that it is
// of.
type Grants struct {
	Configuration Configuration
	Policies      []Policy
	Accounts      []Account

	// Resolved are the periods of pseudonyms, such as 2026-11, whose keys were at
	// hand when the aliases of accounts were made.
	Resolved []string
}

// Configuration is where grants come from.
type Configuration struct {
	Source string   `json:"source"`          // file, recorded, running, none
	Name   string   `json:"name,omitempty"`  // of the file
	SHA256 string   `json:"sha256"`          // of the file; of one that was recorded or runs, as config.change has it
	Files  []File   `json:"files"`           // that it names, in which principals are
	Notes  []string `json:"notes,omitempty"` // what of it could not be told
}

// File is a file that a configuration names.
type File struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256,omitempty"` // absent: it was not there
}

// Policy is a policy of soc2_access. Sites whose policies have the same rules have
// one: records tell policies apart by their hash.
type Policy struct {
	Names      []string // that it goes by
	Sites      []string // hosts; none: all, or not known
	Hash       string   // as in the member access.policy of records
	Mode       string   // enforce, shadow, or both
	Rules      []Rule
	Assign     map[string][]string // principals by role
	BreakGlass []string            // principals for whom it can be opened
}

// Rule is a rule of a policy.
type Rule struct {
	Name       string
	Deny       bool
	Shadow     bool // does not decide
	Anonymous  bool // is for requests without a principal too
	Roles      []string
	Principals []string // with * for any text
	Conditions []string // all that it asks for, as it is configured, one a line
}

// The kinds of accounts.
const (
	APIKey   = "api_key"  // a key of a program
	Password = "password" // an account of soc2_auth
	Basic    = "basic"    // an account of Caddy's basic_auth
	MTLS     = "mtls"     // a name in the file of roles of client certificates
	Listed   = "listed"   // a name in a rule or in assign
	Pattern  = "pattern"  // a name with * in a rule
	Glass    = "glass"    // a name in break_glass
)

// Account is a principal that the configuration itself names. Those of one kind
// and name are one: records cannot tell them apart.
type Account struct {
	Kind    string
	Name    string
	Sources []string // files, policies and rules that have it
	Roles   []string
	Limits  []string  // scopes, networks and the like, as they are configured
	Expires time.Time // zero: does not
	Aliases []string  // pseudonyms under which records may have it
}

// methodOf is the method of authentication that records have of a kind's
// requests. Names that are listed may come in any way.
var methodOf = map[string]string{APIKey: "api_key", Password: "password", MTLS: "mtls", Basic: ""}

// uses reports whether a request was made with the account.
func (a *Account) uses(method string) bool {
	want, fixed := methodOf[a.Kind]
	return !fixed || method == want
}

// Merge puts accounts of one kind and name together, and policies of one hash,
// and sorts them.
func (g *Grants) Merge() {
	slices.SortStableFunc(g.Accounts, func(a, b Account) int {
		if c := strings.Compare(a.Kind, b.Kind); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	var accounts []Account
	for _, a := range g.Accounts {
		if n := len(accounts); n > 0 && accounts[n-1].Kind == a.Kind && accounts[n-1].Name == a.Name {
			accounts[n-1].join(&a)
			continue
		}
		a.Sources, a.Roles, a.Limits, a.Aliases = sorted(a.Sources), sorted(a.Roles), sorted(a.Limits), sorted(a.Aliases)
		accounts = append(accounts, a)
	}
	g.Accounts = accounts
	var policies []Policy
	for _, p := range g.Policies {
		i := slices.IndexFunc(policies, func(o Policy) bool { return o.Hash == p.Hash })
		if i < 0 {
			p.Names, p.Sites = sorted(p.Names), sorted(p.Sites)
			policies = append(policies, p)
			continue
		}
		o := &policies[i]
		o.Names, o.Sites = sorted(append(o.Names, p.Names...)), sorted(append(o.Sites, p.Sites...))
		o.BreakGlass = sorted(append(o.BreakGlass, p.BreakGlass...))
		if o.Mode != p.Mode {
			o.Mode = "both"
		}
	}
	g.Policies = policies
	slices.SortFunc(g.Configuration.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	g.Configuration.Files = slices.Compact(g.Configuration.Files)
	g.Configuration.Notes = sorted(g.Configuration.Notes)
}

func (a *Account) join(b *Account) {
	a.Sources, a.Roles = sorted(append(a.Sources, b.Sources...)), sorted(append(a.Roles, b.Roles...))
	a.Limits, a.Aliases = sorted(append(a.Limits, b.Limits...)), sorted(append(a.Aliases, b.Aliases...))
	if b.Expires.IsZero() || !a.Expires.IsZero() && b.Expires.After(a.Expires) {
		a.Expires = b.Expires // the one that can be used longest
	}
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

// may reports whether a rule could allow an account, as far as roles and names
// tell: what else the rule asks for is not looked at, nor what rules before it
// refuse.
func (r *Rule) may(p *Policy, a *Account) bool {
	if r.Deny || r.Shadow {
		return false
	}
	named := len(r.Principals) == 0 || slices.ContainsFunc(r.Principals, func(pattern string) bool {
		return pattern == a.Name || a.Kind != Pattern && rules.Named(pattern, a.Name)
	})
	return named && (len(r.Roles) == 0 || slices.ContainsFunc(r.Roles, func(role string) bool { return a.has(p, role) }))
}

// has reports whether an account has a role that a rule asks for, by its source or
// by the policy.
func (a *Account) has(p *Policy, role string) bool {
	role = strings.TrimPrefix(role, rules.UserSource+":")
	return slices.Contains(a.Roles, role) || slices.Contains(p.Assign[role], a.Name)
}

// ruleID names a rule as a grant. Policies that share a name are told apart by
// their hash.
func (g *Grants) ruleID(p *Policy, r *Rule) string {
	name := strings.Join(p.Names, "+")
	for i := range g.Policies {
		if o := &g.Policies[i]; o.Hash != p.Hash && strings.Join(o.Names, "+") == name {
			name += "#" + p.Hash[:min(8, len(p.Hash))]
			break
		}
	}
	return export.Visible("rule:" + name + "/" + r.Name)
}

func (a *Account) id() string { return export.Visible(a.Kind + ":" + a.Name) }
