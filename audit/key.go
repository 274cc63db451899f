package audit

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Key signs the checkpoints of a log, with Ed25519 (RFC 8032) in the form of
// C2SP signed-note. Its name is the log's origin. Printed in any way, it shows
// its public half. It is a note.Signer.
type Key struct {
	verifier note.Verifier
	raw      ed25519.PublicKey
	public   string
	secret   *secret
}

// secret is behind a pointer, which printing does not follow.
type secret struct {
	signer crypto.Signer
	text   string // PRIVATE+KEY+…, or empty if the signer keeps it to itself
}

// algEd25519 is the type of the only keys used here (C2SP signed-note).
const algEd25519 = 1

// NewKey makes an Ed25519 key for the log of the given origin.
func NewKey(origin string) (*Key, error) {
	private, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, fmt.Errorf("making key %q: %w", origin, err)
	}
	k, err := ParseKey(private)
	if err != nil {
		return nil, fmt.Errorf("making key %q: a name has no spaces and no plus: %w", origin, err)
	}
	return k, nil
}

// NewKeyFrom makes a key for the log of the given name out of a signer that may
// keep the private key to itself, as those of HSMs and key management services
// do. Its public key must be an ed25519.PublicKey. It is asked for plain Ed25519
// signatures over the message, not over a hash, by one goroutine at a time. Each
// signature is verified before it is used. While the signer does not answer the
// log takes no records, so it must have a timeout of its own, and an error of it
// fails the log.
func NewKeyFrom(name string, s crypto.Signer) (*Key, error) {
	raw, ok := s.Public().(ed25519.PublicKey)
	if !ok || len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("key %q: its signer has a public key of type %T: checkpoints are signed with Ed25519, so make it an Ed25519 key", name, s.Public())
	}
	public, err := note.NewEd25519VerifierKey(name, raw)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", name, err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		return nil, fmt.Errorf("key %q: a name has no spaces and no plus: %w", name, err)
	}
	return &Key{v, raw, public, &secret{signer: s}}, nil
}

// ParseKey reads a private key in the form of golang.org/x/mod/sumdb/note,
// PRIVATE+KEY+name+hash+key. No error holds any of the text.
func ParseKey(text string) (*Key, error) {
	text = strings.TrimSpace(text)
	signer, err := note.NewSigner(text)
	if err != nil {
		return nil, errors.New("not a private key: it must read PRIVATE+KEY+name+hash+key")
	}
	// The base64 alphabet has a plus of its own: only the first four divide.
	data, err := base64.StdEncoding.DecodeString(strings.SplitN(text, "+", 5)[4])
	if err != nil || len(data) != 1+ed25519.SeedSize || data[0] != algEd25519 {
		return nil, errors.New("not an Ed25519 private key")
	}
	k, err := NewKeyFrom(signer.Name(), ed25519.NewKeyFromSeed(data[1:]))
	if err != nil {
		return nil, fmt.Errorf("not a private key: %w", err)
	}
	k.secret.text = text
	return k, nil
}

// Name implements note.Signer.
func (k *Key) Name() string { return k.verifier.Name() }

// KeyHash implements note.Signer.
func (k *Key) KeyHash() uint32 { return k.verifier.KeyHash() }

// Sign implements note.Signer. A signature that does not verify is an error: a
// checkpoint that carried it would keep the log from being opened.
func (k *Key) Sign(msg []byte) ([]byte, error) {
	sig, err := k.secret.signer.Sign(rand.Reader, msg, crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("key %s cannot sign: %w", k.ID(), err)
	}
	if !ed25519.Verify(k.raw, msg, sig) {
		return nil, fmt.Errorf("the signer of key %s gave something that is not its Ed25519 signature", k.ID())
	}
	return sig, nil
}

// Origin is the name of the log that the key signs for.
func (k *Key) Origin() string { return k.Name() }

// Public is the verifier key, NAME+HASH+KEY (C2SP signed-note): all that
// anybody needs to verify the log.
func (k *Key) Public() string { return k.public }

// ID is the short form of Public, NAME+HASH. Keys of one log differ in the hash.
func (k *Key) ID() string { return fmt.Sprintf("%s+%s", k.Name(), k.hash()) }

// hash is the key hash in hexadecimal.
func (k *Key) hash() string { return fmt.Sprintf("%08x", k.KeyHash()) }

// Verifier checks the key's signatures.
func (k *Key) Verifier() (note.Verifier, error) { return note.NewVerifier(k.public) }

// Format implements fmt.Formatter. Whatever the verb, it prints Public, so that
// no log or error can show the private key.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.public) }

// Save writes the private key to a file that must not exist.
func (k *Key) Save(fsys durable.FS, name string) error {
	if k.secret.text == "" {
		return fmt.Errorf("saving key %s: its private key is not in this process, so it stays where it is", k.ID())
	}
	if err := durable.MakeDir(fsys, filepath.Dir(name)); err != nil {
		return fmt.Errorf("saving key: %w", err)
	}
	if err := durable.NewFile(fsys, name, []byte(k.secret.text+"\n")); err != nil {
		return fmt.Errorf("saving key: %w", err)
	}
	return nil
}

// EnsureKey reads a private key, or makes one if the file does not exist.
func EnsureKey(fsys durable.FS, name, origin string) (*Key, error) {
	k, err := LoadKey(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if k, err = NewKey(origin); err != nil {
		return nil, err
	}
	return k, k.Save(fsys, name)
}
