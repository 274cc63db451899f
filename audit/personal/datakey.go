package personal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"filippo.io/age"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// maxBoxes is how many boxes one key seals. With random nonces of 96 bits no
// more than 2^32 should be (NIST SP 800-38D, section 8.3).
const maxBoxes = 1 << 31

// dataKey seals the boxes of a day and run.
type dataKey struct {
	id       string
	day      int64 // days since 1970
	box      cipher.AEAD
	boxes    atomic.Int64
	subjects *subjects // nil without subject keys
}

// aead makes AES-256-GCM with a random nonce, which precedes what it seals.
func aead(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err == nil {
		var a cipher.AEAD
		if a, err = cipher.NewGCMWithRandomNonce(block); err == nil {
			return a
		}
	}
	panic(fmt.Sprintf("personal: %v", err)) // only for a key of a wrong size
}

// keyID names a data key: the day, and 64 random bits for the run. Part of the
// on-disk format.
//
//	2026-11-21-abcdefghijklm
const keyIDSize = len(time.DateOnly) + 1 + 13

func newKeyID(day int64) string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return dayName(day) + "-" + encoding32.EncodeToString(random[:])
}

func dayName(day int64) string { return time.Unix(day*86400, 0).UTC().Format(time.DateOnly) }

func dayOf(t time.Time) int64 {
	s := t.Unix()
	if s < 0 {
		s -= 86399
	}
	return s / 86400
}

// parseKeyID returns the day of a key's name.
func parseKeyID(id string) (time.Time, error) {
	if len(id) == keyIDSize && id[len(time.DateOnly)] == '-' {
		day, err := time.Parse(time.DateOnly, id[:len(time.DateOnly)])
		if err == nil && strings.Trim(id[len(time.DateOnly)+1:], "abcdefghijklmnopqrstuvwxyz234567") == "" {
			return day, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not the name of a key", id)
}

// parseKeyRef divides Event.PersonalKey: a key's name and, if a subject's key
// was used, a slash and its slot.
func parseKeyRef(ref string) (id string, slot int, err error) {
	id, digits, ofSubject := strings.Cut(ref, "/")
	slot = -1
	if _, err = parseKeyID(id); err == nil && ofSubject {
		slot, err = strconv.Atoi(digits)
		if err == nil && (len(digits) != slotDigits || slot < 0) {
			err = errors.New("wrong slot")
		}
	}
	if err != nil {
		return "", -1, fmt.Errorf("%q does not name a key of sealed members", ref)
	}
	return id, slot, nil
}

// appendAAD appends what a box is bound to: the request and the key.
func appendAAD(dst []byte, id audit.ID, ref string) []byte {
	dst = append(dst, "caddy-soc2 box v1\x00"...)
	dst = append(dst, id[:]...)
	return append(dst, ref...)
}

// wrapKey encrypts a data key to the recipients, as the age tool would. The
// plaintext is the text of a key file, so that what age -d prints says what it
// is.
func wrapKey(id string, key []byte, recipients []age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(formatKey(id, key)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// unwrapKey is the inverse of wrapKey.
func unwrapKey(id string, wrapped []byte, identities []age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(wrapped), identities...)
	if err != nil {
		if none := new(age.NoIdentityMatchError); errors.As(err, &none) {
			return nil, ErrIdentity
		}
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, 1024))
	if err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	return parseKey(text, id)
}

// newDataKey makes a key for a day. When it returns, the key can be had back by
// the recipients whatever happens.
func (s *Sealer) newDataKey(day int64) (*dataKey, error) {
	id, set := newKeyID(day), s.settings.Load()
	key := make([]byte, keySize)
	defer clear(key)
	_, _ = rand.Read(key) // never fails
	wrapped, err := wrapKey(id, key, set.recipients)
	if err != nil {
		return nil, fmt.Errorf("encrypting key %s with age: %w", id, err)
	}
	if err := durable.NewFile(s.fs, filepath.Join(s.dir, id+ageSuffix), wrapped); err != nil {
		return nil, err
	}
	k := &dataKey{id: id, day: day, box: aead(derive(key, "box", id))}
	if set.maxSubjects > 0 {
		k.subjects, err = newSubjects(s.fs, s.dir, id, key, s.index, set.maxSubjects)
	}
	return k, err
}

// ParseRecipients reads age recipients, as age-keygen prints them: X25519
// (age1…) and post-quantum hybrid (age1pq1…). age does not allow both kinds for
// one file.
func ParseRecipients(list []string) ([]age.Recipient, error) {
	var recipients []age.Recipient
	for i, s := range list {
		s = strings.TrimSpace(s)
		if strings.HasPrefix(s, "AGE-SECRET-KEY") {
			return nil, fmt.Errorf("recipient %d is a secret key: give the public key that belongs to it (age-keygen -y), and keep the secret away from here", i+1)
		}
		if strings.HasPrefix(s, "ssh-") {
			return nil, fmt.Errorf("recipient %q: SSH keys are not supported: make an age key (age-keygen)", s)
		}
		parsed, err := age.ParseRecipients(strings.NewReader(s))
		if err != nil || len(parsed) != 1 {
			return nil, fmt.Errorf("recipient %q is no age recipient: it must read age1…", s)
		}
		recipients = append(recipients, parsed[0])
	}
	if len(recipients) == 0 {
		return nil, errors.New("no recipient: name at least one, or nobody can read what is sealed")
	}
	if _, err := wrapKey("trial", make([]byte, keySize), recipients); err != nil {
		return nil, fmt.Errorf("recipients: %w", err)
	}
	return recipients, nil
}
