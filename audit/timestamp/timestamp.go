// Package timestamp verifies RFC 3161 time stamps over the checkpoints of a
// log: it shares with the writer of the log only the definition of the format.
// Package tsa gets them from a time-stamping authority and keeps them.
//
// A time stamp is evidence for that a checkpoint, and so every record under it,
// was there at a time which somebody else than the log's host attests. Whoever
// holds the log's key can write another history, but cannot have had it stamped
// back then.
//
// # On disk
//
// A log keeps its stamped checkpoints beside its segments. The number is the size
// of the tree, in 20 digits:
//
//	anchors/00000000000000286403.checkpoint   signed note, the bytes that were stamped
//	anchors/00000000000000286403.tsr          TimeStampResp in DER (RFC 3161 section 2.4.2)
//
//	TimeStampResp
//	├─ PKIStatusInfo                granted
//	└─ ContentInfo                  SignedData (RFC 5652)
//	   ├─ TSTInfo                   genTime, policy, nonce
//	   │  └─ messageImprint         SHA-256 of all bytes of the .checkpoint file
//	   ├─ certificates              of the authority and those above it
//	   └─ SignerInfo                signature over all this, ESSCertID of the certificate
//
// A .checkpoint without .tsr is left from a crash, or from an authority that did
// not answer, and says nothing. "openssl ts -verify" reads both files as they are
// (docs/timestamps.md).
//
// Only DER is read, as RFC 3161 has it, of bounded length and depth: what an
// authority, or somebody between, sends is not trusted before it was checked.
package timestamp

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/digitorus/timestamp"
)

// MaxResponse is the longest response that is looked at, in bytes. Responses
// with a chain of certificates have 3 to 8 KiB.
const MaxResponse = 64 << 10

// Errors of Verify.
var (
	ErrMalformed = errors.New("the time stamp is malformed")
	ErrRefused   = errors.New("the authority gave no time stamp")
	ErrUntrusted = errors.New("the time stamp is not by a trusted authority")
	ErrMismatch  = errors.New("the time stamp is not the one that was asked for")
)

// Stamp is what a verified time stamp says.
type Stamp struct {
	Time     time.Time     // when the authority made it, UTC
	Accuracy time.Duration // by how much Time may be off; 0 if the authority does not say
	TSA      string        // subject of the authority's certificate
	Policy   string        // OID of the policy under which it was made
	Serial   string        // number of the time stamp, decimal, unique at the authority
}

// Want is what a time stamp is verified against.
type Want struct {
	Note   []byte                // the bytes that were stamped
	Roots  *x509.CertPool        // whom to trust; needed
	Policy asn1.ObjectIdentifier // the policy, unless nil
	Nonce  *big.Int              // the nonce of the request, unless nil
}

// Verify verifies the response of an authority over the exact bytes of a note,
// as Want.Verify does.
func Verify(response, note []byte, roots *x509.CertPool) (Stamp, error) {
	return Want{Note: note, Roots: roots}.Verify(response)
}

// Verify verifies a TimeStampResp in DER. The signature must be by a certificate
// that the token brings along and identifies (ESSCertID, RFC 5816), whose only
// extended key usage is time stamping, marked critical (RFC 3161 section 2.3),
// and which led to one of the roots at the time that the stamp says: a stamp
// stays valid when the certificate expires. Whether a certificate was revoked is
// not looked up.
func (w Want) Verify(response []byte) (Stamp, error) {
	if w.Roots == nil { // the library takes no roots for no check
		return Stamp{}, fmt.Errorf("%w: no root certificate is given: give that of the authority", ErrUntrusted)
	}
	der, err := tokenOf(response)
	if err != nil {
		return Stamp{}, err
	}
	t, err := parseToken(der)
	if err != nil {
		return Stamp{}, err
	}
	if err := t.trusted(w.Roots); err != nil {
		return Stamp{}, err
	}
	if err := w.matches(t.info); err != nil {
		return Stamp{}, err
	}
	return Stamp{
		Time: t.info.Time.UTC(), Accuracy: t.info.Accuracy,
		TSA: t.signer.Subject.String(), Policy: t.info.Policy.String(), Serial: t.info.SerialNumber.String(),
	}, nil
}

// matches compares a token with what was asked for.
func (w Want) matches(info *timestamp.Timestamp) error {
	sum := sha256.Sum256(w.Note)
	switch {
	case info.HashAlgorithm != crypto.SHA256:
		return fmt.Errorf("%w: it is over a hash by %v, not by SHA-256", ErrMismatch, info.HashAlgorithm)
	case !bytes.Equal(info.HashedMessage, sum[:]):
		return fmt.Errorf("%w: it is over other bytes than the checkpoint's", ErrMismatch)
	case w.Nonce != nil && (info.Nonce == nil || info.Nonce.Cmp(w.Nonce) != 0):
		return fmt.Errorf("%w: it does not have the nonce of the request, so it may be an old one", ErrMismatch)
	case w.Policy != nil && !w.Policy.Equal(info.Policy):
		return fmt.Errorf("%w: it was made under the policy %v, not %v", ErrMismatch, info.Policy, w.Policy)
	}
	return nil
}
