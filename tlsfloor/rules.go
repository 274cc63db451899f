package tlsfloor

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Rules are a floor. The zero value is TLS 1.2 with the suites that have forward
// secrecy and authenticated encryption, and all groups.
type Rules struct {
	// Min is the lowest version: "1.2" or "1.3". Default: 1.2.
	Min string

	// Suites are the cipher suites that may be negotiated, by their IANA names.
	// Default: those with forward secrecy and authenticated encryption.
	Suites []string

	// Groups are the groups of the key exchange that may be negotiated, by the
	// names that Caddy has for them, such as x25519mlkem768 and secp256r1.
	// Default: all that crypto/tls has.
	Groups []string

	// ClientAuth are the hosts for which a client certificate has to be
	// required and verified. "*" is all, "*.example.com" one more label. Default:
	// none.
	ClientAuth []string

	// Expiring is how much time a certificate in use has to have left. No more
	// is asked than a third of its lifetime, and a sixth if the server renews
	// it. Default: no such rule.
	Expiring time.Duration

	// FIPS is the mode of the FIPS 140-3 module that is asked for: "on" or
	// "only". Default: no such rule.
	FIPS string

	// Upstream is the floor for the connections to upstreams. Default: none.
	Upstream *Upstream

	// Fills says that connection policies of servers with the listener wrapper
	// soc2 get from the floor what they say nothing about: the lowest version,
	// suites and groups. The option's mode enforce does so.
	Fills bool
}

// Upstream is the floor for the connections to upstreams. With its zero value
// certificates are verified and there is no plaintext but on this machine.
type Upstream struct {
	// Min is the lowest version: "1.2" or "1.3". Caddy's transport has no option
	// for it: with HTTP/3 it is 1.3, otherwise Go's default, 1.2. Default: 1.2.
	Min string

	// Unverified are the hosts whose certificates need not be verified.
	Unverified []string

	// Plaintext are the hosts, and networks like 10.0.0.0/8, that may be spoken
	// to without TLS. Upstreams on this machine may always be.
	Plaintext []string
}

// Modes of FIPS 140-3 that can be asked for.
const (
	FIPSOn   = "on"
	FIPSOnly = "only"
)

// Check reports what is wrong with the rules themselves.
func (r *Rules) Check() error {
	if err := checkVersion(r.Min); err != nil {
		return fmt.Errorf("min %w", err)
	}
	if err := r.checkSuites(); err != nil {
		return err
	}
	for _, name := range r.Groups {
		if _, ok := groupByOption[name]; !ok {
			return fmt.Errorf("groups %q: choose of %s", name, strings.Join(groupOptions(), ", "))
		}
	}
	if r.FIPS != "" && r.FIPS != FIPSOn && r.FIPS != FIPSOnly {
		return fmt.Errorf("fips %q: choose on or only", r.FIPS)
	}
	for _, host := range r.ClientAuth {
		if host != "*" && strings.Contains(strings.TrimPrefix(host, "*."), "*") || host == "" {
			return fmt.Errorf("client_auth %q: write a host, *.example.com, or * for all", host)
		}
	}
	if r.Upstream == nil {
		return nil
	}
	if err := checkVersion(r.Upstream.Min); err != nil {
		return fmt.Errorf("upstream min %w", err)
	}
	for _, v := range r.Upstream.Plaintext {
		if _, err := netip.ParsePrefix(v); strings.Contains(v, "/") && err != nil {
			return fmt.Errorf("upstream plaintext %q: it is neither a host nor a network like 10.0.0.0/8", v)
		}
	}
	return nil
}

func checkVersion(v string) error {
	if v != "" && v != "1.2" && v != "1.3" {
		return fmt.Errorf("%q: choose 1.2 or 1.3", v)
	}
	return nil
}

func (r *Rules) checkSuites() error {
	if len(r.Suites) == 0 {
		return nil
	}
	var old, current int
	for _, name := range r.Suites {
		id, ok := suiteByName[name]
		switch {
		case !ok:
			return fmt.Errorf("suites %q: it is no suite that crypto/tls takes for secure; they have names like %s", name, suiteNames[tls.TLS_AES_128_GCM_SHA256])
		case isTLS13(id):
			current++
		case r.Min == "1.3":
			return fmt.Errorf("suites %q: it is of TLS 1.2, which min 1.3 never negotiates: leave it out", name)
		default:
			old++
		}
	}
	if current == 0 {
		return fmt.Errorf("suites: name one of TLS 1.3 too, such as %s: clients that speak it negotiate no other", suiteNames[tls.TLS_AES_128_GCM_SHA256])
	}
	if old == 0 && r.Min != "1.3" {
		return fmt.Errorf("suites: min 1.2 needs one of TLS 1.2, such as %s; or set min 1.3", suiteNames[tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256])
	}
	return nil
}

func (r *Rules) minVersion() uint16 {
	if r.Min == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// suites are the ids of the suites of the floor.
func (r *Rules) suites() []uint16 {
	if len(r.Suites) == 0 {
		return slices.Concat(defaultSuites[:], tls13Suites[:])
	}
	list := make([]uint16, 0, len(r.Suites))
	for _, name := range r.Suites {
		list = append(list, suiteByName[name])
	}
	return list
}

// groups are the names, as options have them, of the groups of the floor.
func (r *Rules) groups() []string {
	if len(r.Groups) == 0 {
		return groupOptions()
	}
	return r.Groups
}
