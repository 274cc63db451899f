package pack

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
)

// PayloadType is that of an in-toto statement (in-toto attestation, Statement
// v1). Part of the format.
const PayloadType = "application/vnd.in-toto+json"

// The types of the statement (in-toto attestation). Part of the format.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://github.com/caddy-soc2/caddy-soc2/evidence-pack/v1"
)

// Envelope is a DSSE envelope (DSSE 1.0).
type Envelope struct {
	Payload     string      `json:"payload"` // base64
	PayloadType string      `json:"payloadType"`
	Signatures  []Signature `json:"signatures"`
}

// Signature is one of an envelope.
type Signature struct {
	KeyID string `json:"keyid"` // NAME+HASH of the log's verifier key
	Sig   string `json:"sig"`   // base64
}

// Statement is an in-toto statement.
type Statement struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Predicate `json:"predicate"`
}

// Subject is a file that a statement is about.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Predicate is what a statement says of a pack.
type Predicate struct {
	Schema string  `json:"schema"`
	PackID string  `json:"pack_id"`
	Period Period  `json:"period"`
	Logs   []Heads `json:"logs"`
}

// Heads is the head of a log in a pack.
type Heads struct {
	Origin string `json:"origin"`
	Size   int64  `json:"tree_size"`
	Root   string `json:"root"` // base64
}

// PAE is the pre-authentication encoding, which is what is signed (DSSE,
// "Signature Definition").
func PAE(payloadType string, payload []byte) []byte {
	b := append([]byte("DSSEv1 "), strconv.Itoa(len(payloadType))...)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}

// KeyID is how signatures name a key: NAME+HASH.
func KeyID(name string, hash uint32) string { return fmt.Sprintf("%s+%08x", name, hash) }

// Seal signs the manifest of a pack, by all keys.
func Seal(m *Manifest, manifest []byte, signers []note.Signer) ([]byte, error) {
	payload, err := json.Marshal(m.statement(manifest))
	if err != nil {
		return nil, fmt.Errorf("signing the pack: %w", err)
	}
	e := Envelope{Payload: base64.StdEncoding.EncodeToString(payload), PayloadType: PayloadType}
	for _, s := range signers {
		sig, err := s.Sign(PAE(PayloadType, payload))
		if err != nil {
			return nil, fmt.Errorf("signing the pack: %w", err)
		}
		e.Signatures = append(e.Signatures, Signature{KeyID(s.Name(), s.KeyHash()), base64.StdEncoding.EncodeToString(sig)})
	}
	b, err := json.MarshalIndent(e, "", "  ")
	return append(b, '\n'), err
}

// statement is what is signed of a pack.
func (m *Manifest) statement(manifest []byte) Statement {
	s := Statement{
		Type: StatementType, PredicateType: PredicateType,
		Predicate: Predicate{Schema: m.Schema, PackID: m.PackID, Period: m.Period, Logs: []Heads{}},
	}
	for _, l := range m.Logs {
		s.Predicate.Logs = append(s.Predicate.Logs, l.Heads)
	}
	for _, f := range m.Files {
		s.Subject = append(s.Subject, Subject{f.Path, map[string]string{"sha256": f.SHA256}})
	}
	sum := sha256.Sum256(manifest)
	s.Subject = append(s.Subject, Subject{ManifestFile, map[string]string{"sha256": hex.EncodeToString(sum[:])}})
	return s
}

// Unseal verifies an envelope: that it is one of the manifest, and that for each
// log of it one of the keys of that log has signed. It returns the ids of those.
func Unseal(b []byte, m *Manifest, manifest []byte, keys []note.Verifier) (by []string, err error) {
	var e Envelope
	if err := decode(b, &e); err != nil {
		return nil, fmt.Errorf("it is not a DSSE envelope: %w", err)
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	if err != nil || e.PayloadType != PayloadType {
		return nil, fmt.Errorf("it is not an envelope with a payload of the type %s", PayloadType)
	}
	want, err := json.Marshal(m.statement(manifest))
	if err != nil {
		return nil, err
	}
	signed := map[string]bool{}
	for _, s := range e.Signatures {
		for _, k := range keys {
			if KeyID(k.Name(), k.KeyHash()) != s.KeyID || retired(k, m) {
				continue
			}
			sig, err := base64.StdEncoding.Strict().DecodeString(s.Sig)
			if err != nil || len(sig) != ed25519.SignatureSize || !k.Verify(PAE(PayloadType, payload), sig) {
				return nil, fmt.Errorf("its signature by %s does not verify", s.KeyID)
			}
			signed[k.Name()] = true
			by = append(by, s.KeyID)
		}
	}
	for _, l := range m.Logs {
		if !signed[l.Origin] {
			return nil, fmt.Errorf("it has no signature by a key that was given of the log %q", l.Origin)
		}
	}
	if len(by) == 0 {
		return nil, errors.New("it has no signature by a key that was given")
	}
	if !bytes.Equal(payload, want) {
		return nil, fmt.Errorf("what is signed is not the statement on this %s", ManifestFile)
	}
	return by, nil
}

// retired reports whether a key was retired before a log was of the size that it
// has in the pack: who stole it cannot sign one.
func retired(k note.Verifier, m *Manifest) bool {
	size, ok := checkpoint.LimitOf(k)
	return ok && slices.ContainsFunc(m.Logs, func(l LogEntry) bool { return l.Origin == k.Name() && l.Size > size })
}
