package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Key signs the checkpoints of a log. Its name is the log's origin.
type Key struct {
	note.Signer
	private string
	public  string
}

// algEd25519 is the type of the only keys used here (C2SP signed-note).
const algEd25519 = 1

// NewKey makes an Ed25519 key for the log of the given origin.
func NewKey(origin string) (*Key, error) {
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, fmt.Errorf("making key %q: %w", origin, err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, fmt.Errorf("making key %q: a name has no spaces and no plus: %w", origin, err)
	}
	return &Key{signer, private, public}, nil
}

// ParseKey reads a private key in the form of golang.org/x/mod/sumdb/note,
// PRIVATE+KEY+name+hash+key.
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
	public, ok := ed25519.NewKeyFromSeed(data[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("not an Ed25519 key")
	}
	vkey, err := note.NewEd25519VerifierKey(signer.Name(), public)
	if err != nil {
		return nil, fmt.Errorf("not a private key: %w", err)
	}
	return &Key{signer, text, vkey}, nil
}

// Origin is the name of the log that the key signs for.
func (k *Key) Origin() string { return k.Name() }

// Public is the verifier key, NAME+HASH+KEY (C2SP signed-note): all that
// anybody needs to verify the log.
func (k *Key) Public() string { return k.public }

// Verifier checks the key's signatures.
func (k *Key) Verifier() (note.Verifier, error) { return note.NewVerifier(k.public) }

// Save writes the private key to a file that must not exist.
func (k *Key) Save(fsys durable.FS, name string) error {
	if err := fsys.MkdirAll(filepath.Dir(name), durable.DirMode); err != nil {
		return fmt.Errorf("saving key: %w", err)
	}
	if err := durable.NewFile(fsys, name, []byte(k.private+"\n")); err != nil {
		return fmt.Errorf("saving key: %w", err)
	}
	return nil
}

// LoadKey reads a private key from a file, which nobody but its owner may be
// able to read.
func LoadKey(name string) (*Key, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("reading key: %s has mode %04o, so others can read it: chmod 600 it", name, mode)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, fmt.Errorf("reading key: %s is empty", name)
	}
	k, err := ParseKey(string(b))
	if err != nil {
		return nil, fmt.Errorf("reading key: %s: %w", name, err)
	}
	return k, nil
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
