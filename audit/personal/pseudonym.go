package personal

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"net/netip"
	"strings"
	"sync"
)

// The members of a record that pseudonyms can stand in for.
const (
	ClientIP = "client.ip"
	Peer     = "client.peer"
	User     = "auth.user"
)

// pseudonymBytes is how much of an HMAC a pseudonym shows: 128 bits, so that
// two values share one only by a chance that need not be reckoned with.
const pseudonymBytes = 16

// pseudonymKey makes the pseudonyms of a period.
type pseudonymKey struct {
	period Period
	prefix string
	macs   sync.Pool // of *macState
}

// macState is an HMAC and its buffers, kept to be used again.
type macState struct {
	mac hash.Hash
	in  []byte
	out []byte
}

func newPseudonymKey(p Period, key []byte) *pseudonymKey {
	k := &pseudonymKey{period: p, prefix: "p:" + p.Name + ":"}
	own := derive(key, "pseudonym", p.Name)
	k.macs.New = func() any {
		return &macState{mac: hmac.New(sha256.New, own)}
	}
	return k
}

// pseudonym is p:PERIOD: and the base32 of 128 bits of an HMAC-SHA-256 over the
// member's name, a zero byte and the value: the same value has another
// pseudonym in another member.
func (k *pseudonymKey) pseudonym(member, value string) string {
	s, _ := k.macs.Get().(*macState)
	s.in = append(append(s.in[:0], member...), 0)
	s.in = appendNormal(s.in, member, value)
	s.mac.Reset()
	s.mac.Write(s.in)
	sum := s.mac.Sum(s.out[:0])
	s.out = encoding32.AppendEncode(append(sum, k.prefix...), sum[:pseudonymBytes])
	p := string(s.out[len(sum):])
	clear(s.in)
	k.macs.Put(s)
	return p
}

// appendNormal appends a value in the form that all its spellings share: an
// address without port and zone, IPv4 as IPv4.
func appendNormal(dst []byte, member, value string) []byte {
	if member == User {
		return append(dst, value...)
	}
	addr, err := netip.ParseAddr(value)
	if err != nil {
		host := value
		if i := strings.LastIndexByte(value, ':'); i >= 0 {
			host = strings.Trim(value[:i], "[]")
		}
		if addr, err = netip.ParseAddr(host); err != nil {
			return append(dst, value...)
		}
	}
	return addr.Unmap().WithZone("").AppendTo(dst)
}
