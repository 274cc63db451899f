package tlsfloor

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"
)

// Below says in what a connection is below the floor. The zero value is: in
// nothing.
type Below uint8

// In what a connection can be below the floor.
const (
	BelowVersion Below = 1 << iota
	BelowSuite
	BelowGroup
	BelowClientCert // no verified client certificate, where one is asked for
)

const belowAll = BelowVersion | BelowSuite | BelowGroup | BelowClientCert

// belowNames are the names of records, in the order of the bits.
var belowNames = [...]string{"version", "cipher", "group", "client_cert"}

// belowLists has the names for each value of Below, so that a request needs no
// list of its own.
var belowLists = func() (lists [belowAll + 1][]string) {
	for b := range lists {
		for i, name := range belowNames {
			if b&(1<<i) != 0 {
				lists[b] = append(lists[b], name)
			}
		}
	}
	return lists
}()

// Names are the names of the members of a record's tls that are below the
// floor: version, cipher, group, client_cert. It must not be changed.
func (b Below) Names() []string { return belowLists[b&belowAll] }

// Floor holds connections against rules. It is safe for concurrent use.
type Floor struct {
	version uint16
	suites  []uint16
	groups  []tls.CurveID
	all     bool     // of all hosts a client certificate is asked
	hosts   []string // of which a client certificate is asked
	under   []string // suffixes, with their dot, under which hosts are likewise
}

// Floor prepares the rules, which have to be in order, for connections.
func (r *Rules) Floor() *Floor {
	f := &Floor{version: r.minVersion(), suites: r.suites()}
	for _, name := range r.groups() {
		f.groups = append(f.groups, groupByOption[name])
	}
	for _, host := range r.ClientAuth {
		switch suffix, wild := strings.CutPrefix(host, "*"); {
		case host == "*":
			f.all = true
		case wild:
			f.under = append(f.under, suffix)
		default:
			f.hosts = append(f.hosts, host)
		}
	}
	return f
}

// Below reports in what a connection is below the floor. host is that of the
// request, with or without a port. A connection without TLS, a nil state, was
// not negotiated and is below in nothing: that a host can be reached so is a
// matter of the configuration (HSTS). It does not allocate.
func (f *Floor) Below(state *tls.ConnectionState, host string) (b Below) {
	if state == nil {
		return 0
	}
	if state.Version < f.version {
		b |= BelowVersion
	}
	if !slices.Contains(f.suites, state.CipherSuite) {
		b |= BelowSuite
	}
	if !slices.Contains(f.groups, state.CurveID) {
		b |= BelowGroup
	}
	if len(state.VerifiedChains) == 0 && (f.all || f.asks(state.ServerName) || f.asks(host)) {
		b |= BelowClientCert
	}
	return b
}

// asks reports whether a host asks for a verified client certificate.
func (f *Floor) asks(host string) bool {
	if len(f.hosts) == 0 && len(f.under) == 0 || host == "" {
		return false
	}
	if strings.LastIndexByte(host, ':') >= 0 {
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
	}
	host = strings.TrimSuffix(host, ".")
	for _, h := range f.hosts {
		if strings.EqualFold(h, host) {
			return true
		}
	}
	for _, suffix := range f.under {
		if n := len(host) - len(suffix); n > 0 && strings.EqualFold(host[n:], suffix) && strings.IndexByte(host[:n], '.') < 0 {
			return true
		}
	}
	return false
}
