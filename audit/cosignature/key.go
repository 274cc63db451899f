package cosignature

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Key is the key of a witness. It must be used for nothing else: what it signs
// does not name the witness, so two witnesses must not share it, and a log must
// not sign its checkpoints with it (C2SP tlog-cosignature, "Ed25519 signed
// message").
type Key struct {
	verifier *Verifier
	signer   crypto.Signer
	private  string
}

// NewKey makes a key for the witness of the given name, which should be a URL
// without its scheme, such as w.example.com/soc2.
func NewKey(name string) (*Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails
	k, err := fromSeed(name, seed)
	if err != nil {
		return nil, fmt.Errorf("making witness key %q: %w", name, err)
	}
	return k, nil
}

// FromSigner makes a key whose private part is kept elsewhere, such as in an
// HSM. The signer must be of type Ed25519.
func FromSigner(name string, signer crypto.Signer) (*Key, error) {
	public, ok := signer.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("witness key %q: the signer is not of type Ed25519", name)
	}
	v, err := newVerifier(name, public)
	if err != nil {
		return nil, fmt.Errorf("witness key: %w", err)
	}
	return &Key{verifier: v, signer: signer}, nil
}

func fromSeed(name string, seed []byte) (*Key, error) {
	k, err := FromSigner(name, ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return nil, err
	}
	k.private = fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, k.verifier.hash, base64.StdEncoding.EncodeToString(append([]byte{alg}, seed...)))
	return k, nil
}

// ParseKey reads a private key, PRIVATE+KEY+name+hash+key. The form is that of
// golang.org/x/mod/sumdb/note, the type that of cosignatures. Its errors do not
// repeat the text.
func ParseKey(text string) (*Key, error) {
	text = strings.TrimSpace(text)
	parts := strings.SplitN(text, "+", 5)
	if len(parts) != 5 || parts[0] != "PRIVATE" || parts[1] != "KEY" {
		return nil, errors.New("not a witness's private key: it must read PRIVATE+KEY+name+hash+key")
	}
	seed, err := decodeKey(parts[4], ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("not a witness's private key: %w", err)
	}
	k, err := fromSeed(parts[2], seed)
	if err != nil {
		return nil, fmt.Errorf("not a witness's private key: %w", err)
	}
	if k.private != text {
		return nil, errors.New("not a witness's private key: its hash does not belong to its name and key")
	}
	return k, nil
}

// Name is the witness's name.
func (k *Key) Name() string { return k.verifier.name }

// Private is the text that ParseKey reads. It is empty for a key of FromSigner.
func (k *Key) Private() string { return k.private }

// Public is the verifier key, NAME+HASH+KEY.
func (k *Key) Public() string { return k.verifier.String() }

// Verifier checks the key's cosignatures.
func (k *Key) Verifier() *Verifier { return k.verifier }

// At returns a signer of cosignatures that were made at the time t, in whole
// seconds. The text it signs must be that of a checkpoint.
func (k *Key) At(t time.Time) note.Signer { return signer{k, t.Unix()} }

type signer struct {
	key  *Key
	time int64
}

func (s signer) Name() string    { return s.key.verifier.name }
func (s signer) KeyHash() uint32 { return s.key.verifier.hash }

func (s signer) Sign(text []byte) ([]byte, error) {
	if s.time <= 0 || s.time > lastTime {
		return nil, fmt.Errorf("cosigning at %d seconds after 1970: set the clock", s.time)
	}
	sig, err := s.key.signer.Sign(rand.Reader, message(uint64(s.time), text), crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("cosigning as %s: %w", s.Name(), err)
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(s.time)), sig...), nil
}
