// Package cosignature signs and verifies what a witness says of a checkpoint:
// C2SP tlog-cosignature, of the Ed25519 kind, in C2SP signed-note lines.
//
//	cosignature/v1                                what is signed
//	time 1679315147                               seconds since 1970
//	edge-1/soc2                                   the checkpoint's text
//	286403
//	CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//
// The line's base64 holds the key ID (4 bytes), the time (8 bytes, big-endian)
// and the signature (64 bytes).
//
// The package knows nothing of HTTP or of files, so that an auditor's verifier
// can use it.
package cosignature

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// Part of the format (C2SP tlog-cosignature, "Format"); do not change.
const (
	alg      = 0x04 // type byte of keys
	timeLen  = 8
	idLen    = 4
	size     = timeLen + ed25519.SignatureSize
	lastTime = 253402300799 // the end of the year 9999, the last that RFC 3339 can write
)

// Verifier checks the cosignatures of one witness. It is a note.Verifier.
type Verifier struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

// NewVerifier reads a verifier key, NAME+HASH+KEY (C2SP signed-note, "Verifier
// keys") whose type is that of Ed25519 cosignatures.
func NewVerifier(vkey string) (*Verifier, error) {
	vkey = strings.TrimSpace(vkey)
	parts := strings.SplitN(vkey, "+", 3) // base64 has a plus of its own
	if len(parts) != 3 {
		return nil, fmt.Errorf("%q is not a witness's verifier key: it must read NAME+HASH+KEY", vkey)
	}
	key, err := decodeKey(parts[2], ed25519.PublicKeySize)
	if err != nil {
		return nil, fmt.Errorf("verifier key %q: %w", vkey, err)
	}
	v, err := newVerifier(parts[0], key)
	if err != nil {
		return nil, fmt.Errorf("verifier key %q: %w", vkey, err)
	}
	if v.String() != vkey {
		return nil, fmt.Errorf("verifier key %q: its hash does not belong to its name and key, or it is spelled otherwise: copy it again from the witness", vkey)
	}
	return v, nil
}

// decodeKey reads the last part of a key text: the type and n bytes.
func decodeKey(text string, n int) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("its key is not base64")
	}
	if len(b) > 0 && b[0] != alg {
		return nil, fmt.Errorf("it is of type %#02x; a witness's Ed25519 key has type %#02x", b[0], alg)
	}
	if len(b) != 1+n {
		return nil, fmt.Errorf("its key has %d bytes, not %d", len(b), 1+n)
	}
	return b[1:], nil
}

func newVerifier(name string, key ed25519.PublicKey) (*Verifier, error) {
	if !validName(name) {
		return nil, fmt.Errorf("%q is not the name of a key: it has no spaces, no plus and no control characters, and is not empty", name)
	}
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write([]byte{alg})
	h.Write(key)
	return &Verifier{name, binary.BigEndian.Uint32(h.Sum(nil)), key}, nil
}

// validName is the rule of C2SP signed-note, "Format".
func validName(name string) bool {
	return name != "" && utf8.ValidString(name) && !strings.ContainsRune(name, '+') &&
		!strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || r < ' ' })
}

// Name is the witness's name.
func (v *Verifier) Name() string { return v.name }

// KeyHash is the key ID, SHA-256(name, newline, 0x04, key)[:4].
func (v *Verifier) KeyHash() uint32 { return v.hash }

// String is the verifier key, NAME+HASH+KEY.
func (v *Verifier) String() string {
	return fmt.Sprintf("%s+%08x+%s", v.name, v.hash, base64.StdEncoding.EncodeToString(append([]byte{alg}, v.key...)))
}

// Verify reports whether sig, without its key ID, is the witness's cosignature
// of the text of a checkpoint. A time of zero or after the year 9999 is none.
func (v *Verifier) Verify(text, sig []byte) bool {
	if len(sig) != size {
		return false
	}
	t := binary.BigEndian.Uint64(sig)
	return t > 0 && t <= lastTime && ed25519.Verify(v.key, message(t, text), sig[timeLen:])
}

func message(t uint64, text []byte) []byte {
	b := make([]byte, 0, len("cosignature/v1\ntime \n")+20+len(text))
	b = append(b, "cosignature/v1\ntime "...)
	b = strconv.AppendUint(b, t, 10)
	b = append(b, '\n')
	return append(b, text...)
}

// Time returns the time of a cosignature, which must have been verified: it is
// what the witness's clock showed, in whole seconds.
func Time(sig note.Signature) (time.Time, error) {
	b, err := base64.StdEncoding.DecodeString(sig.Base64)
	if err != nil || len(b) != idLen+size {
		return time.Time{}, fmt.Errorf("the signature of %q is not an Ed25519 cosignature", sig.Name)
	}
	t := binary.BigEndian.Uint64(b[idLen:])
	if t == 0 || t > lastTime {
		return time.Time{}, fmt.Errorf("the cosignature of %q has no possible time", sig.Name)
	}
	return time.Unix(int64(t), 0).UTC(), nil
}
