// Package session keeps the login of a browser in an encrypted cookie.
//
// A cookie is base64url of: 4 bytes that name the key, then what AES-256-GCM
// makes of the contents with a random nonce. The key that encrypts is derived
// (HKDF, RFC 5869) from a key of the operator and from what the cookie is for,
// so that a cookie of one site, or of one purpose, is none of another.
package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// keyBytes is the length of a key.
const keyBytes = 32

// maxSealKeys is how many keys are known at a time.
const maxSealKeys = 16

// Keys are keys of the operator, the one in use first. The others still open what
// they sealed.
type Keys struct{ list [][]byte }

// ParseKeys reads keys, one a line, each 32 random bytes in base64. The first
// line is the key in use. Empty lines and those that begin with # say nothing.
func ParseKeys(data []byte) (*Keys, error) {
	k := new(Keys)
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("line %d is not 32 bytes in base64: make a key with openssl rand -base64 32", n)
		}
		k.list = append(k.list, key)
	}
	switch {
	case len(k.list) == 0:
		return nil, errors.New("there is no key: make one with openssl rand -base64 32")
	case len(k.list) > maxSealKeys:
		return nil, fmt.Errorf("there are more than %d keys: take out those whose sessions have all ended", maxSealKeys)
	}
	return k, nil
}

// Box seals and opens the cookies of one purpose.
type Box struct {
	keys []boxKey
}

type boxKey struct {
	id   [4]byte
	aead cipher.AEAD
}

// Box makes the box of a purpose.
func (k *Keys) Box(purpose string) (*Box, error) {
	b := new(Box)
	for _, key := range k.list {
		derived, err := hkdf.Key(sha256.New, key, nil, "soc2 cookie "+purpose, keyBytes+4)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(derived[:keyBytes])
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		b.keys = append(b.keys, boxKey{[4]byte(derived[keyBytes:]), aead})
	}
	return b, nil
}

var encoding = base64.RawURLEncoding.Strict()

// Seal encrypts. What is bound must be given again to open it.
func (b *Box) Seal(plain []byte, bound string) string {
	key := &b.keys[0]
	return encoding.EncodeToString(key.aead.Seal(key.id[:], nil, plain, []byte(bound))) //nolint:gosec // the nonce is random: NewGCMWithRandomNonce
}

// ErrForged means that a box was not sealed here, or with a key that is gone.
var ErrForged = errors.New("it was not sealed here")

// Open decrypts what Seal made.
func (b *Box) Open(text, bound string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, ErrForged
	}
	data, err := encoding.DecodeString(text)
	if err != nil || len(data) < 4 {
		return nil, ErrForged
	}
	for i := range b.keys {
		if key := &b.keys[i]; key.id == [4]byte(data[:4]) {
			plain, err := key.aead.Open(nil, nil, data[4:], []byte(bound))
			if err == nil {
				return plain, nil
			}
		}
	}
	return nil, ErrForged
}
