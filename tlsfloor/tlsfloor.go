// Package tlsfloor holds TLS against a floor: the least that the servers of a
// configuration may negotiate with clients, and that its reverse proxies may
// have with upstreams.
//
// It has two uses of the same rules, neither of which needs Caddy:
//
//	list, err := tlsfloor.Findings(config, rules) // Caddy's JSON: what is allowed
//	below := rules.Floor().Below(state, host)     // a connection: what was negotiated
//
// Findings is a pure function: it opens no file and asks no network. What a
// module does in its code alone, it does not see.
package tlsfloor

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Kind says what a finding is about.
type Kind string

// The kinds of findings.
const (
	// Version: a connection policy allows a version below the floor.
	Version Kind = "version"
	// Suites: a connection policy allows cipher suites of TLS 1.2 that the floor
	// has not. Those of TLS 1.3 cannot be chosen in Go; a request whose suite is
	// not of the floor is refused.
	Suites Kind = "suites"
	// Groups: a connection policy allows groups of the key exchange that the
	// floor has not.
	Groups Kind = "groups"
	// ClientAuth: a host that asks for verified client certificates can be
	// reached without one.
	ClientAuth Kind = "client_auth"
	// ClientPool: a connection policy verifies client certificates and names no
	// authorities, so that those of the system are trusted.
	ClientPool Kind = "client_pool"
	// SecretsLog: the keys of TLS sessions are written to a file.
	SecretsLog Kind = "secrets_log"
	// HSTS: a host whose responses say that it is reached over TLS alone (RFC
	// 6797) is served without TLS and not redirected.
	HSTS Kind = "hsts"
	// UpstreamVerify: the certificate of an upstream is not verified.
	UpstreamVerify Kind = "upstream_verify"
	// UpstreamVersion: the connection to an upstream may have a version below
	// the floor of upstreams.
	UpstreamVersion Kind = "upstream_version"
	// UpstreamPlain: an upstream that is not on this machine is spoken to
	// without TLS.
	UpstreamPlain Kind = "upstream_plain"
	// Expiring: a certificate in use ends soon, or has ended.
	Expiring Kind = "expiring"
	// FIPS: the FIPS 140-3 mode is not as asked.
	FIPS Kind = "fips"
)

// Kinds are all kinds that there are.
func Kinds() []Kind {
	return []Kind{
		Version, Suites, Groups, ClientAuth, ClientPool, SecretsLog, HSTS,
		UpstreamVerify, UpstreamVersion, UpstreamPlain, Expiring, FIPS,
	}
}

// Finding is one way in which something is below the floor.
type Finding struct {
	Kind    Kind   `json:"kind"`
	Server  string `json:"server,omitempty"`  // Caddy's name of the server
	Policy  int    `json:"policy"`            // index of the connection policy; -1 if the finding is about none
	Pointer string `json:"pointer,omitempty"` // where in the configuration (RFC 6901); of what automatic HTTPS adds, where it would be
	Have    string `json:"have"`
	Want    string `json:"want"`
	Remedy  string `json:"remedy"`
}

// String is the finding in a sentence: where, what, and how to mend it.
func (f Finding) String() string {
	where := ""
	if f.Server != "" {
		where = "server " + f.Server
		if f.Policy >= 0 {
			where += ", connection policy " + strconv.Itoa(f.Policy)
		}
		where += ": "
	}
	return fmt.Sprintf("%s%s: have %s, want %s: %s", where, f.Kind, f.Have, f.Want, f.Remedy)
}

// Findings holds a configuration of Caddy, in JSON, against rules. The order of
// the findings is that of the servers' names, and within a server that of the
// kinds. It has an error if the configuration is no JSON object, or has a member
// twice in different letters.
//
// What automatic HTTPS will add is taken into account: a connection policy
// where hosts are served and none is given, and redirects. Placeholders are not
// replaced: an address of a listener that has one is taken for neither the HTTP
// nor the HTTPS port, and an upstream that has one for one that may be anywhere.
func Findings(config []byte, r Rules) ([]Finding, error) {
	var doc map[string]any
	if err := json.Unmarshal(config, &doc); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if err := respell(doc, true); err != nil {
		return nil, err
	}
	servers := read(doc)
	var list []Finding
	for i := range servers {
		s := &servers[i]
		list = append(list, r.policies(s)...)
		list = append(list, r.clientAuth(s)...)
		list = append(list, plaintext(servers, s)...)
		if r.Upstream != nil {
			list = append(list, r.Upstream.check(s)...)
		}
	}
	list = append(list, r.openly(servers)...)
	return append(list, r.unserved(servers)...), nil
}
