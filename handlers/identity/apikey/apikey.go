// Package apikey takes the keys of programs. A key is
//
//	soc2k_ID_SECRET
//
// where ID is public and SECRET is 32 random bytes in base64url. The server has
// the SHA-256 of the whole key. A secret of 256 random bits cannot be guessed
// from that, so a slow hash, which passwords need, would only cost the server.
package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/reload"
	"github.com/caddy-soc2/caddy-soc2/internal/rules"
)

// Why a key is refused.
const (
	Malformed principal.Reason = "api_key_malformed"
	Unknown   principal.Reason = "api_key_unknown" // no such id, or a wrong secret
	Expired   principal.Reason = "api_key_expired"
	NotYet    principal.Reason = "api_key_not_yet_valid"
	Network   principal.Reason = "api_key_network"
	Scope     principal.Reason = "api_key_scope"
)

// prefix begins each key, so that scanners for leaked secrets know it.
const prefix = "soc2k_"

const secretBytes = 32

// Key is what the server has of a key.
type Key struct {
	ID        string    `json:"id"`   // small letters, digits and hyphens; also the name of the principal
	Hash      string    `json:"hash"` // sha256: and the SHA-256 of the key in hex
	Roles     []string  `json:"roles,omitempty"`
	Scopes    []string  `json:"scopes,omitempty"`   // what it is for: see scope; none means everything
	Networks  []string  `json:"networks,omitempty"` // prefixes of the clients; none means all
	NotBefore time.Time `json:"not_before"`         // RFC 3339
	Expires   time.Time `json:"expires"`            // RFC 3339; is required
	Comment   string    `json:"comment,omitempty"`

	sum      [sha256.Size]byte
	scopes   []scope
	networks []netip.Prefix
	user     caddyauth.User
}

// Keys are keys by id.
type Keys map[string]*Key

// Parse reads a list of keys in JSON.
func Parse(data []byte) (Keys, error) {
	var list []*Key
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil || d.More() {
		return nil, errors.New("the keys are no JSON list of objects with id, hash, roles, scopes, networks, not_before, expires and comment")
	}
	keys := Keys{}
	for i, key := range list {
		if key == nil {
			return nil, fmt.Errorf("key %d is null", i+1)
		}
		if err := key.check(); err != nil {
			return nil, fmt.Errorf("key %d (%q): %w", i+1, key.ID, err)
		}
		if keys[key.ID] != nil {
			return nil, fmt.Errorf("key %d (%q): the id is there twice", i+1, key.ID)
		}
		keys[key.ID] = key
	}
	return keys, nil
}

func (k *Key) check() error {
	if !validID(k.ID) {
		return errors.New("the id is not of small letters, digits and hyphens, at most 64")
	}
	text, ok := strings.CutPrefix(k.Hash, "sha256:")
	n, err := hex.Decode(k.sum[:], []byte(clip(text)))
	if !ok || err != nil || n != len(k.sum) || len(text) != 2*len(k.sum) {
		return errors.New("the hash is not sha256: and 64 hex digits")
	}
	if k.Expires.IsZero() {
		return errors.New("it never expires: give expires, like 2027-01-31T00:00:00Z")
	}
	for _, role := range k.Roles {
		if !principal.Role(role) {
			return fmt.Errorf("%q cannot be a role", role)
		}
	}
	for _, text := range k.Scopes {
		s, err := parseScope(text)
		if err != nil {
			return err
		}
		k.scopes = append(k.scopes, s)
	}
	for _, text := range k.Networks {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("%q is not a network like 10.0.0.0/8", text)
		}
		k.networks = append(k.networks, p.Masked())
	}
	p := principal.Principal{ID: k.ID, Method: principal.APIKey, Roles: principal.Clean(k.Roles), IssuedAt: k.NotBefore, Claims: map[string]string{}}
	if len(k.Scopes) > 0 {
		p.Claims["scope"] = strings.Join(k.Scopes, ",")
	}
	k.user = p.User()
	return nil
}

// clip keeps a text from writing behind the sum.
func clip(text string) string { return text[:min(len(text), 2*sha256.Size)] }

func validID(id string) bool {
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return id != "" && len(id) <= 64
}

// New makes a key, and returns it and its hash.
func New(id string) (key, hash string, err error) {
	if !validID(id) {
		return "", "", errors.New("the id is not of small letters, digits and hyphens, at most 64")
	}
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails
	key = prefix + id + "_" + base64.RawURLEncoding.EncodeToString(secret)
	sum := sha256.Sum256([]byte(key))
	return key, "sha256:" + hex.EncodeToString(sum[:]), nil
}

// split returns the id of a key, if it is one.
func split(key string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	if !ok || len(key) > 256 {
		return "", false
	}
	id, secret, ok := strings.Cut(rest, "_")
	if !ok || !validID(id) {
		return "", false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(secret)
	return id, err == nil && len(raw) == secretBytes && !strings.ContainsAny(secret, "\r\n")
}

// Guard counts what a network fails at. It may be nil.
type Guard interface {
	// Locked returns how long the client is locked out, or 0.
	Locked(r *http.Request) time.Duration
	// Failed counts a failure of the client.
	Failed(r *http.Request)
}

// Source takes API keys from a header.
type Source struct {
	Header string // in its canonical form
	Keys   *reload.File[Keys]
	Guard  Guard
	Now    func() time.Time
}

// Authenticate implements principal.Source.
func (s *Source) Authenticate(_ http.ResponseWriter, r *http.Request) (*caddyauth.User, *principal.Refusal) {
	list := r.Header[s.Header]
	if len(list) == 0 {
		return nil, nil
	}
	refusal := &principal.Refusal{Reason: Malformed}
	if id, ok := split(list[0]); ok && len(list) == 1 {
		var user *caddyauth.User
		if user, refusal = s.admit(r, id, list[0]); refusal == nil {
			return user, nil
		}
	}
	if s.Guard == nil || refusal.Reason != Malformed && refusal.Reason != Unknown {
		return nil, refusal
	}
	// Only who has no key is locked out: a key cannot be guessed, so that others
	// who try to should not keep out who has one.
	if wait := s.Guard.Locked(r); wait > 0 {
		return nil, &principal.Refusal{Reason: principal.LockedOut, Status: http.StatusTooManyRequests, Retry: wait}
	}
	s.Guard.Failed(r)
	return nil, refusal
}

func (s *Source) admit(r *http.Request, id, text string) (*caddyauth.User, *principal.Refusal) {
	sum := sha256.Sum256([]byte(text))
	key := (*s.Keys.Get())[id]
	if key == nil || subtle.ConstantTimeCompare(sum[:], key.sum[:]) != 1 {
		return nil, principal.Refuse(Unknown)
	}
	refuse := func(why principal.Reason, status int) (*caddyauth.User, *principal.Refusal) {
		return nil, &principal.Refusal{Reason: why, Status: status, Candidate: id}
	}
	now := s.Now()
	switch {
	case !now.Before(key.Expires):
		return refuse(Expired, 0)
	case now.Before(key.NotBefore):
		return refuse(NotYet, 0)
	case !key.near(r):
		return refuse(Network, http.StatusForbidden)
	case !key.covers(r):
		return refuse(Scope, http.StatusForbidden)
	}
	return &key.user, nil
}

func (k *Key) near(r *http.Request) bool {
	if len(k.networks) == 0 {
		return true
	}
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	for _, network := range k.networks {
		if network.Contains(addr.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// covers reports whether a scope covers a request, in each way to read it.
func (k *Key) covers(r *http.Request) bool {
	if len(k.scopes) == 0 {
		return true
	}
	paths, ok := rules.Readings(r.URL.Path, r.URL.RawPath)
	methods := rules.MethodsOf(r)
	if !ok || len(methods) > rules.MaxMethods {
		return false
	}
	for _, s := range k.scopes {
		if s.covers(r.URL.Path, methods, paths) {
			return true
		}
	}
	return false
}

var _ principal.Source = (*Source)(nil)
