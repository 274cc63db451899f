package record

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"sync/atomic"
)

// fingerprints are those of the client certificates of the connections of late.
// A connection brings the same certificate, in the same place in memory, with
// each request.
var fingerprints certificateTable

// certificateTable keeps what was computed of certificates. Certificates that
// have one place in it put one another out, so that its size is fixed, whatever
// clients send.
type certificateTable [256]atomic.Pointer[fingerprint]

type fingerprint struct {
	certificate *x509.Certificate
	sum         string // SHA-256, hex
}

// of returns the SHA-256 of a certificate in hex.
func (t *certificateTable) of(c *x509.Certificate) string {
	var place byte
	if n := len(c.Raw); n > 0 {
		place = c.Raw[n-1] // of the signature, which is as good as random
	}
	if f := t[place].Load(); f != nil && f.certificate == c {
		return f.sum
	}
	sum := sha256.Sum256(c.Raw)
	f := &fingerprint{c, hex.EncodeToString(sum[:])}
	t[place].Store(f)
	return f.sum
}
