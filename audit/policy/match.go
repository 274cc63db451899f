package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// match holds the matchers of a rule, made ready. One that is empty holds for
// every request.
type match struct {
	hosts    []host
	paths    []pathPattern
	lessens  bool // the rule takes detail away: see Rule.Paths
	methods  []string
	statuses statusSet
	clients  []netip.Prefix
	user     presence
	denied   bool // outcomes of which one must hold; none: any
	limited  bool
}

// host is a name in lower case, or a suffix with its leading dot.
type host struct {
	name   string
	suffix bool
}

// statusSet has a bit for each status below 1024. Nil is every status.
type statusSet *[16]uint64

// presence says whether there must be a user.
type presence int

const (
	either presence = iota
	present
	absent
)

// subject is what matchers are held against, with what they derive from it.
type subject struct {
	ev     *audit.Event
	client netip.Addr

	spelled bool // plain and clean are set
	plain   bool // the path cannot mean another one
	clean   string
}

func (m *match) all() bool {
	return len(m.hosts) == 0 && len(m.paths) == 0 && len(m.methods) == 0 && m.statuses == nil &&
		len(m.clients) == 0 && m.user == either && !m.denied && !m.limited
}

// matches tries the cheap matchers first.
func (m *match) matches(s *subject) bool {
	ev := s.ev
	return (m.statuses == nil || m.hasStatus(ev.Status)) &&
		(m.user == either || (m.user == present) == (ev.User != "")) &&
		(!m.denied && !m.limited || m.denied && adverse(ev.Access) || m.limited && adverse(ev.Limit)) &&
		(len(m.methods) == 0 || slices.Contains(m.methods, ev.Method)) &&
		(len(m.hosts) == 0 || m.hasHost(ev.Host)) &&
		(len(m.paths) == 0 || m.hasPath(s)) &&
		(len(m.clients) == 0 || m.hasClient(s.client))
}

func (m *match) hasStatus(status int) bool {
	return status >= 0 && status < 1024 && m.statuses[status/64]>>(status%64)&1 == 1
}

func (m *match) hasHost(name string) bool {
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
		name = name[:i]
	}
	name = strings.TrimSuffix(name, ".")
	for _, h := range m.hosts {
		if h.suffix {
			if n := len(name) - len(h.name); n > 0 && strings.EqualFold(name[n:], h.name) {
				return true
			}
		} else if strings.EqualFold(name, h.name) {
			return true
		}
	}
	return false
}

func (m *match) hasPath(s *subject) bool {
	if !s.spelled {
		s.spelled = true
		if s.plain = isPlain(s.ev.Path); !s.plain {
			s.clean = cleanPath(s.ev.Path)
		}
	}
	if m.lessens && !s.plain {
		return false
	}
	for i := range m.paths {
		p := &m.paths[i]
		if p.matches(s.ev.Path, !m.lessens) || !s.plain && p.matches(s.clean, true) {
			return true
		}
	}
	return false
}

func (m *match) hasClient(a netip.Addr) bool {
	for _, n := range m.clients {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

func compileMatch(c Rule) (m match, err error) {
	m.lessens = c.Level == levelNames[None] || c.Level == levelNames[Minimal]
	if m.hosts, err = compileHosts(c.Hosts); err != nil {
		return m, err
	}
	for _, s := range c.Paths {
		p, err := compilePath(s)
		if err != nil {
			return m, fmt.Errorf("paths: %q: %w", s, err)
		}
		m.paths = append(m.paths, p)
	}
	for _, s := range c.Methods {
		if s == "" || s != strings.ToUpper(s) || strings.ContainsAny(s, " \t/,") {
			return m, fmt.Errorf("methods: %q is no method: write it in capitals, as in GET", s)
		}
		m.methods = append(m.methods, s)
	}
	if m.statuses, err = compileStatuses(c.Statuses); err != nil {
		return m, err
	}
	if m.clients, err = compileClients(c.Clients); err != nil {
		return m, err
	}
	switch c.User {
	case "":
	case "present":
		m.user = present
	case "absent":
		m.user = absent
	default:
		return m, fmt.Errorf("user: %q: it must be present or absent", c.User)
	}
	for _, s := range c.Outcomes {
		switch s {
		case "denied":
			m.denied = true
		case "limited":
			m.limited = true
		default:
			return m, fmt.Errorf("outcomes: %q: it must be denied or limited", s)
		}
	}
	return m, nil
}

func compileHosts(list []string) (hosts []host, err error) {
	for _, s := range list {
		name, suffix := strings.TrimSuffix(s, "."), false
		if rest, ok := strings.CutPrefix(name, "*."); ok && rest != "" {
			name, suffix = "."+rest, true
		}
		if name == "" || strings.ContainsAny(name, "*/ \t") || strings.Contains(name, ":") && !strings.HasPrefix(name, "[") {
			return nil, fmt.Errorf("hosts: %q: it must be a name without scheme and port, or *. and a name", s)
		}
		hosts = append(hosts, host{name, suffix})
	}
	return hosts, nil
}

func compileStatuses(list []string) (statusSet, error) {
	if len(list) == 0 {
		return nil, nil
	}
	set := new([16]uint64)
	for _, s := range list {
		from, to, ok := parseStatus(s)
		if !ok {
			return nil, fmt.Errorf("statuses: %q: it must be a code (404), a class (4xx) or a range (400-417), from 100 to 999", s)
		}
		for n := from; n <= to; n++ {
			set[n/64] |= 1 << (n % 64)
		}
	}
	return set, nil
}

func parseStatus(s string) (from, to int, ok bool) {
	if class, ok := strings.CutSuffix(s, "xx"); ok {
		n, err := strconv.Atoi(class)
		return n * 100, n*100 + 99, err == nil && n >= 1 && n <= 9
	}
	low, high, ranged := strings.Cut(s, "-")
	from, err := strconv.Atoi(low)
	if to = from; ranged && err == nil {
		to, err = strconv.Atoi(high)
	}
	return from, to, err == nil && from >= 100 && to <= 999 && from <= to
}

func compileClients(list []string) (nets []netip.Prefix, err error) {
	for _, s := range list {
		n, err := netip.ParsePrefix(s)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(s); err == nil && a.Zone() == "" {
				n = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
			}
		}
		if err != nil || !n.IsValid() {
			return nil, fmt.Errorf("clients: %q: it must be an address or a network, as in 10.0.0.0/8", s)
		}
		if n.Addr().Is4In6() {
			if n.Bits() < 96 {
				return nil, fmt.Errorf("clients: %q: write IPv4 networks as in 10.0.0.0/8", s)
			}
			n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
		}
		if n != n.Masked() {
			return nil, fmt.Errorf("clients: %q has bits set beyond its length: write %s", s, n.Masked())
		}
		nets = append(nets, n)
	}
	return nets, nil
}
