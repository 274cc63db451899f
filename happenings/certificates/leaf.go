package certificates

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// leaf reads the first certificate of a chain in PEM.
func leaf(chain []byte) (*x509.Certificate, error) {
	for {
		block, rest := pem.Decode(chain)
		if block == nil {
			return nil, errors.New("it holds no certificate")
		}
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
		chain = rest
	}
}

// sum is the SHA-256 of a certificate.
type sum [sha256.Size]byte

func sumOf(c *x509.Certificate) sum { return sha256.Sum256(c.Raw) }

// describe makes a record of a certificate.
func describe(c *x509.Certificate, now time.Time) audit.Certificate {
	s := sumOf(c)
	r := audit.Certificate{
		Time: now, Names: namesOf(c), Issuer: c.Issuer.String(), SHA256: hex.EncodeToString(s[:]), KeyType: keyType(c),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), Remaining: c.NotAfter.Sub(now),
	}
	if c.SerialNumber != nil {
		r.Serial = fmt.Sprintf("%02x", c.SerialNumber.Bytes())
	}
	return r
}

func namesOf(c *x509.Certificate) []string {
	var list []string
	list = append(list, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			list = append(list, a.Unmap().String())
		}
	}
	list = append(list, c.EmailAddresses...)
	for _, u := range c.URIs {
		list = append(list, u.String())
	}
	if len(list) == 0 && c.Subject.CommonName != "" {
		list = []string{c.Subject.CommonName}
	}
	return list[:min(len(list), maxNames)]
}

func keyType(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "ecdsa-" + strings.ToLower(strings.ReplaceAll(key.Curve.Params().Name, "-", ""))
	case *rsa.PublicKey:
		return fmt.Sprint("rsa-", key.N.BitLen())
	case ed25519.PublicKey:
		return "ed25519"
	}
	return strings.ToLower(c.PublicKeyAlgorithm.String())
}
