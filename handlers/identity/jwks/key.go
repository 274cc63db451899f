// Package jwks has the public keys of an issuer of tokens (RFC 7517): from a
// file, or from the issuer, which is asked again as keys change and may be away
// for a while.
package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Key is one public key.
type Key struct {
	Kid        string // name; may be empty
	Thumbprint string // SHA-256 of the key (RFC 7638), base64url

	alg    string // the only algorithm that it is for; empty: any that fits
	public crypto.PublicKey
}

// minRSA is the length of the shortest modulus that is taken (RFC 7518, section
// 3.3), in bits.
const minRSA = 2048

// Fits reports whether the key is for an algorithm.
func (k Key) Fits(alg string) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return alg == "ES256"
		case elliptic.P384():
			return alg == "ES384"
		case elliptic.P521():
			return alg == "ES512"
		}
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// Verify reports whether the key made a signature. The algorithm must fit.
func (k Key) Verify(alg string, input, signature []byte) bool {
	if !k.Fits(alg) {
		return false
	}
	text := string(input) + "." + base64.RawURLEncoding.EncodeToString(signature)
	jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		return false
	}
	_, err = jws.Verify(k.public)
	return err == nil
}

// Set is a key set at one time.
type Set struct {
	keys []Key
}

// The bounds of a key set.
const (
	maxSetBytes = 512 << 10
	maxKeys     = 128
)

// Parse reads a key set. Keys that are not for verifying signatures, or of a kind
// that is not known, are left out; one that is private or too short is an error,
// and so is a set without any key.
func Parse(data []byte) (*Set, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if len(data) > maxSetBytes {
		return nil, fmt.Errorf("the key set is larger than %d bytes", maxSetBytes)
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, errors.New("the key set is no JSON object with keys (RFC 7517)")
	}
	if len(raw.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has more than %d keys", maxKeys)
	}
	set := new(Set)
	for i, text := range raw.Keys {
		key, ok, err := parseKey(text)
		if err != nil {
			return nil, fmt.Errorf("key %d of the set: %w", i+1, err)
		}
		if ok {
			set.keys = append(set.keys, key)
		}
	}
	if len(set.keys) == 0 {
		return nil, errors.New("the key set has no key that verifies signatures")
	}
	return set, nil
}

func parseKey(text []byte) (Key, bool, error) {
	var use struct {
		Use string   `json:"use"`
		Ops []string `json:"key_ops"`
		Kty string   `json:"kty"`
	}
	if err := json.Unmarshal(text, &use); err != nil {
		return Key{}, false, errors.New("it is no JSON Web Key")
	}
	if use.Use != "" && use.Use != "sig" || len(use.Ops) > 0 && !slices.Contains(use.Ops, "verify") {
		return Key{}, false, nil
	}
	if use.Kty == "oct" {
		return Key{}, false, errors.New("it is a secret (oct), which has no place in a public set")
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(text); err != nil {
		return Key{}, false, nil //nolint:nilerr // of a kind that is not known yet: others may be
	}
	if !jwk.IsPublic() {
		return Key{}, false, errors.New("it is a private key: whoever reads the set can sign")
	}
	if public, ok := jwk.Key.(*rsa.PublicKey); ok && public.N.BitLen() < minRSA {
		return Key{}, false, fmt.Errorf("it is an RSA key of %d bits: the least is %d", public.N.BitLen(), minRSA)
	}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return Key{}, false, nil //nolint:nilerr // as above
	}
	return Key{
		Kid: jwk.KeyID, Thumbprint: base64.RawURLEncoding.EncodeToString(sum), alg: jwk.Algorithm, public: jwk.Key,
	}, true, nil
}

// Find returns the keys of a name, or all if it is empty.
func (s *Set) Find(kid string) []Key {
	if kid == "" {
		return s.keys
	}
	var found []Key
	for _, key := range s.keys {
		if key.Kid == kid {
			found = append(found, key)
		}
	}
	return found
}

// Has reports whether a key is in the set.
func (s *Set) Has(thumbprint string) bool {
	for i := range s.keys {
		if s.keys[i].Thumbprint == thumbprint {
			return true
		}
	}
	return false
}
