package timestamp

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // ESSCertID of RFC 2634 names a certificate by SHA-1; it is not what proves it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/digitorus/timestamp"
)

// Limits that keep the work on a hostile token small.
const (
	maxCertificates = 16
	maxRSABits      = 8192
)

// Object identifiers.
var (
	oidSignedData     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}         // RFC 5652 section 5.1
	oidTSTInfo        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}  // RFC 3161 section 2.4.2
	oidContentType    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}         // RFC 5652 section 11.1
	oidSigningCert    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12} // RFC 2634 section 5.4
	oidSigningCertV2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47} // RFC 5035 section 3
	oidExtKeyUsage    = asn1.ObjectIdentifier{2, 5, 29, 37}                       // RFC 5280 section 4.2.1.12
	signatureDigests  = map[string]crypto.Hash{"2.16.840.1.101.3.4.2.1": crypto.SHA256, "2.16.840.1.101.3.4.2.2": crypto.SHA384, "2.16.840.1.101.3.4.2.3": crypto.SHA512}
	defaultESSCertAlg = "2.16.840.1.101.3.4.2.1" // RFC 5035 section 4
)

// tokenOf takes the token out of a response.
func tokenOf(response []byte) ([]byte, error) {
	if len(response) > MaxResponse {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrMalformed, MaxResponse)
	}
	if err := wellFormed(response); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var r struct {
		Status struct {
			Status int
			Text   []asn1.RawValue `asn1:"optional"`
			Fail   asn1.BitString  `asn1:"optional"`
		}
		Token asn1.RawValue `asn1:"optional"`
	}
	if rest, err := asn1.Unmarshal(response, &r); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: it is not a TimeStampResp", ErrMalformed)
	}
	if s := timestamp.Status(r.Status.Status); s != timestamp.Granted && s != timestamp.GrantedWithMods {
		why := []string{s.String()}
		for _, t := range r.Status.Text {
			why = append(why, fmt.Sprintf("%q", t.Bytes))
		}
		for bit := range r.Status.Fail.BitLength {
			if r.Status.Fail.At(bit) == 1 {
				why = append(why, timestamp.FailureInfo(bit).String())
			}
		}
		return nil, fmt.Errorf("%w: %s", ErrRefused, strings.Join(why, ": "))
	}
	if len(r.Token.FullBytes) == 0 {
		return nil, fmt.Errorf("%w: it has no token", ErrMalformed)
	}
	return r.Token.FullBytes, nil
}

// token is a parsed token. Its signature agrees with its own certificate, which
// proves nothing until the certificate is trusted.
type token struct {
	cms    *pkcs7.PKCS7
	info   *timestamp.Timestamp
	signer *x509.Certificate
}

// parsing is held while the library parses: it counts in a variable of its
// package (pkcs7, encodeIndent).
var parsing sync.Mutex

// holdsTSTInfo reports whether a token is a SignedData over a TSTInfo.
func holdsTSTInfo(der []byte) bool {
	var outer struct {
		Type    asn1.ObjectIdentifier
		Content struct {
			Version int
			Digests asn1.RawValue
			Encap   struct {
				Type    asn1.ObjectIdentifier
				Content asn1.RawValue `asn1:"optional"`
			}
		} `asn1:"explicit,tag:0"`
	}
	_, err := asn1.Unmarshal(der, &outer)
	return err == nil && outer.Type.Equal(oidSignedData) && outer.Content.Encap.Type.Equal(oidTSTInfo)
}

// parseToken parses a token that is well formed.
func parseToken(der []byte) (t token, err error) {
	if !holdsTSTInfo(der) {
		return token{}, fmt.Errorf("%w: it does not hold a signed TSTInfo", ErrMalformed)
	}
	parsing.Lock()
	defer parsing.Unlock()
	if t.cms, err = pkcs7.Parse(der); err != nil {
		return token{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(t.cms.Signers) != 1 { // RFC 3161 section 2.4.2
		return token{}, fmt.Errorf("%w: it has %d signers", ErrMalformed, len(t.cms.Signers))
	}
	if err := bounded(t.cms.Certificates); err != nil {
		return token{}, err
	}
	// Without a certificate the library would not verify the signature.
	if t.signer = t.cms.GetOnlySigner(); t.signer == nil {
		return token{}, fmt.Errorf("%w: the certificate of the authority is not in it", ErrMalformed)
	}
	if err := t.cms.Verify(); err != nil {
		return token{}, fmt.Errorf("%w: its signature does not verify: %s", ErrUntrusted, oneLine(err))
	}
	if t.info, err = timestamp.Parse(der); err != nil {
		return token{}, fmt.Errorf("%w: its TSTInfo: %w", ErrMalformed, err)
	}
	if t.info.SerialNumber == nil || t.info.Accuracy < 0 || t.info.Accuracy > 24*time.Hour {
		return token{}, fmt.Errorf("%w: it has no serial number or an accuracy of %v", ErrMalformed, t.info.Accuracy)
	}
	for _, e := range t.info.Extensions {
		if e.Critical {
			return token{}, fmt.Errorf("%w: it has the critical extension %v, which is not known", ErrMalformed, e.Id)
		}
	}
	return t, nil
}

// bounded refuses certificates with which to compute would take long.
func bounded(certs []*x509.Certificate) error {
	if len(certs) > maxCertificates {
		return fmt.Errorf("%w: it has %d certificates, more than %d", ErrMalformed, len(certs), maxCertificates)
	}
	for _, c := range certs {
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
			return fmt.Errorf("%w: it has an RSA key of more than %d bits", ErrMalformed, maxRSABits)
		}
	}
	return nil
}

// trusted checks who signed a token.
func (t token) trusted(roots *x509.CertPool) error {
	if digest := t.cms.Signers[0].DigestAlgorithm.Algorithm.String(); signatureDigests[digest] == 0 {
		return fmt.Errorf("%w: it is signed over a hash by %s, which is not SHA-256, 384 or 512", ErrUntrusted, digest)
	}
	var content asn1.ObjectIdentifier
	if err := t.cms.UnmarshalSignedAttribute(oidContentType, &content); err != nil || !content.Equal(oidTSTInfo) {
		return fmt.Errorf("%w: its signed attributes do not say that it is a TSTInfo", ErrUntrusted)
	}
	if !t.identifies() {
		return fmt.Errorf("%w: its signed attributes do not name the certificate that signed it", ErrUntrusted)
	}
	if !stampsOnly(t.signer) {
		return fmt.Errorf("%w: the certificate of %s is not for time stamping alone (critical extended key usage id-kp-timeStamping)", ErrUntrusted, t.signer.Subject)
	}
	between := x509.NewCertPool()
	for _, c := range t.cms.Certificates {
		between.AddCert(c)
	}
	err := t.cms.VerifyWithOpts(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: t.info.Time,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	})
	if err != nil {
		return fmt.Errorf("%w: %s: %s", ErrUntrusted, t.signer.Subject, oneLine(err))
	}
	return nil
}

// oneLine is an error of the library, some of which have several lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// stampsOnly reports whether a certificate may be used for time stamps and for
// nothing else (RFC 3161 section 2.3).
func stampsOnly(c *x509.Certificate) bool {
	if len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageTimeStamping || len(c.UnknownExtKeyUsage) > 0 {
		return false
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(oidExtKeyUsage) {
			return e.Critical
		}
	}
	return false
}

// identifies reports whether the signed attributes hold the hash of the signer's
// certificate, so that no other certificate with its name and number can take its
// place (RFC 3161 section 2.4.1, RFC 5816).
func (t token) identifies() bool {
	var v2 struct {
		Certs []struct {
			Algorithm pkix.AlgorithmIdentifier `asn1:"optional"`
			Hash      []byte
			Issuer    asn1.RawValue `asn1:"optional"`
		}
		Policies asn1.RawValue `asn1:"optional"`
	}
	if err := t.cms.UnmarshalSignedAttribute(oidSigningCertV2, &v2); err == nil && len(v2.Certs) > 0 {
		alg := defaultESSCertAlg
		if a := v2.Certs[0].Algorithm.Algorithm; len(a) > 0 {
			alg = a.String()
		}
		hash := signatureDigests[alg]
		if hash == 0 {
			return false
		}
		h := hash.New()
		h.Write(t.signer.Raw)
		return bytes.Equal(h.Sum(nil), v2.Certs[0].Hash)
	}
	var v1 struct {
		Certs []struct {
			Hash   []byte
			Issuer asn1.RawValue `asn1:"optional"`
		}
		Policies asn1.RawValue `asn1:"optional"`
	}
	if err := t.cms.UnmarshalSignedAttribute(oidSigningCert, &v1); err != nil || len(v1.Certs) == 0 {
		return false
	}
	sum := sha1.Sum(t.signer.Raw) //nolint:gosec // see the import
	return bytes.Equal(sum[:], v1.Certs[0].Hash)
}
