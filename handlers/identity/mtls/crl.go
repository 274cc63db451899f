package mtls

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"
)

// List is a certificate revocation list (RFC 5280, section 5).
type List struct {
	list    *x509.RevocationList
	serials map[string]bool

	mu      sync.Mutex // guards the field below
	issuers []verdict
}

// verdict is whether a certificate signed the list.
type verdict struct {
	cert   []byte
	signed bool
}

// maxVerdicts bounds how many issuers are remembered.
const maxVerdicts = 16

// The reason removeFromCRL takes an entry back (RFC 5280, section 5.3.1).
const removeFromCRL = 8

// ParseList reads a list in PEM or DER. One without a time of its next update is
// an error: it would never be stale. So is one for only some certificates or
// reasons, or one that only lists changes.
func ParseList(data []byte) (*List, error) {
	if block, _ := pem.Decode(data); block != nil {
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("it is a PEM %q and no X509 CRL", block.Type)
		}
		data = block.Bytes
	}
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, errors.New("it is no certificate revocation list")
	}
	if list.NextUpdate.IsZero() {
		return nil, errors.New("the list does not say when it is replaced (nextUpdate)")
	}
	for _, ext := range list.Extensions {
		if ext.Critical {
			return nil, fmt.Errorf("the list has the critical extension %s, which limits what it says", ext.Id)
		}
	}
	l := &List{list: list, serials: make(map[string]bool, len(list.RevokedCertificateEntries))}
	for _, entry := range list.RevokedCertificateEntries {
		if entry.ReasonCode != removeFromCRL {
			l.serials[string(entry.SerialNumber.Bytes())] = true
		}
	}
	return l, nil
}

func (l *List) stale(now time.Time) bool { return now.After(l.list.NextUpdate) }

func (l *List) has(cert *x509.Certificate) bool {
	return l.serials[string(cert.SerialNumber.Bytes())]
}

// from reports whether an authority made the list: by its name, and by its
// signature, which is verified once.
func (l *List) from(issuer *x509.Certificate) bool {
	if !bytes.Equal(l.list.RawIssuer, issuer.RawSubject) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.issuers {
		if bytes.Equal(v.cert, issuer.Raw) {
			return v.signed
		}
	}
	v := verdict{issuer.Raw, l.list.CheckSignatureFrom(issuer) == nil}
	if len(l.issuers) < maxVerdicts {
		l.issuers = append(l.issuers, v)
	}
	return v.signed
}
