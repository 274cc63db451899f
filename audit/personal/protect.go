package personal

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/policy"
)

// Protector seals members and puts pseudonyms in their place, as far as each is
// wanted. A member with both can be joined by anybody who reads the log and read
// by the auditor.
type Protector struct {
	sealer     *Sealer
	pseudonyms *Pseudonyms
	members    []string // which have pseudonyms
}

// NewProtector returns a protector that seals with s and makes pseudonyms with
// p. Both may be nil. The members that get pseudonyms are of ClientIP, Peer and
// User; none are all of them. The caller closes s and p.
func NewProtector(s *Sealer, p *Pseudonyms, members []string) (*Protector, error) {
	all := []string{ClientIP, Peer, User}
	for _, m := range members {
		if !slices.Contains(all, m) {
			return nil, fmt.Errorf("member %q cannot have a pseudonym: it must be %s, %s or %s", m, ClientIP, Peer, User)
		}
	}
	if len(members) > 0 {
		all = slices.DeleteFunc(all, func(m string) bool { return !slices.Contains(members, m) })
	}
	return &Protector{s, p, all}, nil
}

// ClientPseudonym reports whether the client's address gets a pseudonym: what
// policy.Policy.KeepClient is to be.
func (p *Protector) ClientPseudonym() bool {
	return p.pseudonyms != nil && slices.Contains(p.members, ClientIP)
}

// Apply protects an event. It runs once for an event, after the policy. After
// an error the event holds nothing that was to be protected.
//
// In the records of a period whose key was destroyed, which are those of
// requests that lasted that long, the members are left out and named among
// those redacted.
func (p *Protector) Apply(ev *audit.Event) error {
	return p.apply(ev, ev.Level != policy.Minimal.String()) // that level keeps a pseudonym of the client at most
}

// Ahead is Apply for a record that precedes the request's own, when nobody is
// authenticated yet. With subject keys it has no box: it could only have the
// day's key, so that forgetting the user would not reach it. The members are in
// the box of the request's own record.
func (p *Protector) Ahead(ev *audit.Event) error {
	sealed := ev.Level != policy.Minimal.String()
	return p.apply(ev, sealed && (p.sealer == nil || p.sealer.settings.Load().maxSubjects == 0))
}

func (p *Protector) apply(ev *audit.Event, sealed bool) error {
	var errs []error
	var stands [3]string
	if p.pseudonyms != nil {
		for i, member := range p.members {
			value := *members[memberIndex(member)].at(ev)
			s, err := p.pseudonyms.Pseudonym(member, value, ev.Start)
			if errors.Is(err, ErrDestroyed) {
				ev.Redacted = append(ev.Redacted, member)
			} else if err != nil {
				errs = append(errs, err)
			}
			stands[i] = s
		}
	}
	switch {
	case p.sealer == nil:
	case !sealed:
		p.sealer.settings.Load().set.remove(ev)
	default:
		if err := p.sealer.Seal(ev); err != nil {
			errs = append(errs, err)
		}
	}
	if p.pseudonyms != nil {
		p.replace(ev, stands[:])
	}
	return errors.Join(errs...)
}

// replace puts pseudonyms where the members were. With the client's address
// goes its port, by which a provider could tell the subscriber.
func (p *Protector) replace(ev *audit.Event, stands []string) {
	for i, member := range p.members {
		*members[memberIndex(member)].at(ev) = stands[i]
		if stands[i] != "" {
			ev.Pseudonyms = append(ev.Pseudonyms, member)
			ev.Lookup = stands[i][len("p:"):strings.LastIndexByte(stands[i], ':')] // the period
		}
		if member == ClientIP {
			ev.ClientPort = ""
		}
		maskHeaders(ev, member)
	}
}
