package changes

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/peer"
)

// The headers in which a caller names itself, the ticket and the reason of a
// change. Nothing proves what they say.
const (
	headerActor  = "Soc2-Change-Actor"
	headerTicket = "Soc2-Change-Ticket"
	headerReason = "Soc2-Change-Reason"
)

// The longest values that are kept, in bytes.
const (
	maxClaim  = 256
	maxTicket = 128
	maxReason = 1024
)

// asserted returns what a header says, or the one of the same meaning that other
// programs use. Several values, control characters and bytes that are no UTF-8
// do not get through.
func asserted(h http.Header, name string, longest int) string {
	v := cmp.Or(h.Get(name), h.Get(strings.Replace(name, "Soc2-", "X-", 1)))
	v = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return -1 // would hide, break or reorder what a reader sees
		}
		return r
	}, v)
	for i := range v {
		if i > longest {
			return strings.TrimSpace(cut(v, longest))
		}
	}
	return strings.TrimSpace(v)
}

// cut returns the beginning of a text, of whole characters.
func cut(v string, longest int) string {
	if len(v) <= longest {
		return v
	}
	for longest > 0 && !utf8.RuneStart(v[longest]) {
		longest--
	}
	return v[:longest]
}

// The ways in which a name is known.
const (
	knownVerified = "verified"
	knownAsserted = "asserted"
	knownNone     = "none"
)

// ActorOf tells who makes a call of the admin API.
func ActorOf(r *http.Request) audit.Actor { return actorOf(r) }

// actorOf tells who makes a call of the admin API.
func actorOf(r *http.Request) audit.Actor {
	a := audit.Actor{Known: knownNone, How: "tcp", Address: r.RemoteAddr, Claim: asserted(r.Header, headerActor, maxClaim)}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local != nil && local.Network() == "unix" {
		a.How = "unix"
	}
	cred, isPeer := peer.From(r.Context())
	switch {
	case r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && len(r.TLS.VerifiedChains[0]) > 0:
		cert := r.TLS.VerifiedChains[0][0]
		sum := sha256.Sum256(cert.Raw)
		a.Name, a.Known, a.How = cut(cert.Subject.String(), maxClaim), knownVerified, "mtls"
		a.ClientCert = hex.EncodeToString(sum[:])
		if a.Name == "" && len(cert.DNSNames) > 0 {
			a.Name = cut(cert.DNSNames[0], maxClaim)
		}
	case isPeer:
		a.Name, a.Known, a.How = cred.String(), knownVerified, "peer"
	case a.Claim != "":
		a.Known = knownAsserted
	}
	return a
}
