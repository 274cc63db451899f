// Package statement writes verdicts as signed statements, for builds that have no
// audit log beside them: an in-toto Statement v1 with the predicate test-result
// v0.1, in a DSSE v1 envelope. The subjects are the Dockerfiles by their hashes,
// so that whoever has one finds out what was said of it and by whom.
package statement

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/verdict"
)

// Types that the formats fix.
const (
	PayloadType   = "application/vnd.in-toto+json"
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://in-toto.io/attestation/test-result/v0.1"
)

// Statement says what was found (in-toto Statement v1).
type Statement struct {
	Type          string     `json:"_type"`
	Subject       []Resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     Predicate  `json:"predicate"`
}

// Resource is a file.
type Resource struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Predicate is a test result. Its last three members go beyond the published
// predicate, whose readers ignore what they do not know.
type Predicate struct {
	Result        string     `json:"result"` // PASSED, WARNED or FAILED
	Configuration []Resource `json:"configuration"`
	Passed        []string   `json:"passedTests"`
	Warned        []string   `json:"warnedTests"`
	Failed        []string   `json:"failedTests"`

	Time     time.Time          `json:"time"`
	Producer string             `json:"producer"`
	Verdicts []*verdict.Verdict `json:"verdicts"`
}

// New makes the statement of verdicts.
func New(list []*verdict.Verdict, producer string, now time.Time) *Statement {
	s := &Statement{
		Type: StatementType, PredicateType: PredicateType, Subject: []Resource{},
		Predicate: Predicate{
			Result: "PASSED", Configuration: []Resource{}, Passed: []string{}, Warned: []string{}, Failed: []string{},
			Time: now.UTC(), Producer: producer, Verdicts: list,
		},
	}
	worst := map[string]dockerfile.Severity{} // of what counts
	moot := map[string]bool{}                 // rules that were off, or whose findings were waived: they have not passed
	for _, v := range list {
		for i, in := range v.Inputs {
			r := Resource{in.Name, map[string]string{"sha256": in.SHA256}}
			if i == 0 {
				s.Subject = append(s.Subject, r)
			} else {
				s.Predicate.Configuration = append(s.Predicate.Configuration, r)
			}
		}
		for _, id := range v.Off {
			moot[id] = true
		}
		for _, f := range v.Findings {
			switch {
			case f.Severity == dockerfile.Info:
			case !f.Counts():
				moot[f.Rule] = true
			case worst[f.Rule] != dockerfile.Block:
				worst[f.Rule] = f.Severity
			}
		}
	}
	p := &s.Predicate
	for _, r := range dockerfile.Rules() {
		if worst[r.ID] == "" && !moot[r.ID] {
			p.Passed = append(p.Passed, r.ID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(worst)) { // those of BuildKit's linter too
		if worst[id] == dockerfile.Block {
			p.Failed = append(p.Failed, id)
		} else {
			p.Warned = append(p.Warned, id)
		}
	}
	switch {
	case len(p.Failed) > 0:
		p.Result = "FAILED"
	case len(p.Warned) > 0:
		p.Result = "WARNED"
	}
	return s
}

// Envelope is a signed payload (DSSE v1).
type Envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     string      `json:"payload"` // base64
	Signatures  []Signature `json:"signatures"`
}

// Signature is one of an envelope.
type Signature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"` // base64
}

// Signer signs. That of an audit log (C2SP signed-note) is one.
type Signer interface {
	ID() string
	Sign(message []byte) ([]byte, error)
}

// Sign puts a statement in an envelope.
func Sign(s *Statement, by Signer) ([]byte, error) {
	payload, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	sig, err := by.Sign(encode(PayloadType, payload))
	if err != nil {
		return nil, fmt.Errorf("signing the statement: %w", err)
	}
	e := Envelope{PayloadType, base64.StdEncoding.EncodeToString(payload), []Signature{{by.ID(), base64.StdEncoding.EncodeToString(sig)}}}
	data, err := json.MarshalIndent(e, "", "  ")
	return append(data, '\n'), err
}

// encode is the pre-authentication encoding: what is signed (DSSE v1, PAE).
func encode(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// MaxSize is the largest envelope that is read, in bytes.
const MaxSize = 16 << 20

// Open verifies an envelope with a key, and returns its statement.
func Open(data []byte, verify func(message, sig []byte) bool) (*Statement, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(data), MaxSize)
	}
	var e Envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("it is no DSSE envelope: %w", err)
	}
	if e.PayloadType != PayloadType {
		return nil, fmt.Errorf("it holds %q, not %s", e.PayloadType, PayloadType)
	}
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		return nil, fmt.Errorf("its payload: %w", err)
	}
	good := false
	for _, s := range e.Signatures {
		sig, err := base64.StdEncoding.DecodeString(s.Sig)
		good = good || err == nil && verify(encode(e.PayloadType, payload), sig)
	}
	if !good {
		return nil, errors.New("no signature of it is one of the key's: it was signed with another key, or changed")
	}
	s := new(Statement)
	if err := json.Unmarshal(payload, s); err != nil {
		return nil, fmt.Errorf("its statement: %w", err)
	}
	if s.Type != StatementType || s.PredicateType != PredicateType {
		return nil, fmt.Errorf("it is a %s about %s, not a %s about %s", s.Type, s.PredicateType, StatementType, PredicateType)
	}
	return s, nil
}

// keySigner signs with a key of the standard library.
type keySigner struct {
	crypto.Signer
	id string
}

func (k keySigner) ID() string { return k.id }

func (k keySigner) Sign(message []byte) ([]byte, error) {
	if _, ok := k.Public().(ed25519.PublicKey); ok {
		return k.Signer.Sign(rand.Reader, message, crypto.Hash(0))
	}
	sum := sha256.Sum256(message)
	return k.Signer.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// ParsePEM reads a private key in PEM, PKCS #8, Ed25519 or ECDSA. Its id is the
// SHA-256 of the public key.
func ParsePEM(data []byte) (Signer, error) {
	block, _ := pem.Decode(bytes.TrimSpace(data))
	if block == nil {
		return nil, errors.New("it holds no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is no private key in PKCS #8: make one with openssl genpkey -algorithm ed25519")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("keys of type %T do not sign", key)
	}
	switch signer.Public().(type) {
	case ed25519.PublicKey, *ecdsa.PublicKey:
	default:
		return nil, fmt.Errorf("keys of type %T are not taken: use Ed25519 or ECDSA", key)
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(public)
	return keySigner{signer, hex.EncodeToString(sum[:])}, nil
}

// VerifierPEM is the check of signatures with a public key in PEM.
func VerifierPEM(data []byte) (func(message, sig []byte) bool, error) {
	block, _ := pem.Decode(bytes.TrimSpace(data))
	if block == nil {
		return nil, errors.New("it holds no PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("it is no public key: %w", err)
	}
	switch key := key.(type) {
	case ed25519.PublicKey:
		return func(message, sig []byte) bool { return ed25519.Verify(key, message, sig) }, nil
	case *ecdsa.PublicKey:
		return func(message, sig []byte) bool {
			sum := sha256.Sum256(message)
			return ecdsa.VerifyASN1(key, sum[:], sig)
		}, nil
	}
	return nil, fmt.Errorf("keys of type %T are not taken: use Ed25519 or ECDSA", key)
}
