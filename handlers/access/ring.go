package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"github.com/go-jose/go-jose/v4"
)

// How long keys live. A key is published before it signs, so that who has the
// older set of keys has time to fetch the newer one, and after it signed, until
// whatever it signed has expired.
const (
	keyLife   = 30 * 24 * time.Hour
	keyAhead  = 24 * time.Hour
	keyAfter  = 2 * time.Hour
	ringFresh = time.Minute // how long a ring believes what it read
)

// ring is a set of signing keys in Caddy's storage, which instances share.
type ring struct {
	storage certmagic.Storage
	name    string

	once sync.Mutex // is held while the storage is asked

	mu   sync.Mutex // guards the fields below
	keys []ringKey
	read time.Time // when the keys were read
}

// ringKey is a key in storage.
type ringKey struct {
	JWK   jose.JSONWebKey `json:"jwk"`
	From  time.Time       `json:"from"`  // when it begins to sign
	Until time.Time       `json:"until"` // when it ceases to
}

func checkKeyName(s string) error {
	if s == "" || len(s) > 64 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return fmt.Errorf("key %q: a name has letters, digits, dashes and underscores, at most 64", s)
	}
	return nil
}

func openRing(ctx caddy.Context, name string) *ring { return &ring{storage: ctx.Storage(), name: name} }

func (g *ring) file() string { return path.Join("soc2", "access", "keys", g.name+".json") }

// signing is the key that signs now.
func (g *ring) signing(ctx context.Context, now time.Time) (jose.JSONWebKey, error) {
	keys, err := g.current(ctx, now)
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	for _, k := range slices.Backward(keys) {
		if !now.Before(k.From) && now.Before(k.Until) {
			return k.JWK, nil
		}
	}
	return jose.JSONWebKey{}, errors.New("no signing key is valid now")
}

// public are the keys that are published.
func (g *ring) public(ctx context.Context, now time.Time) (set jose.JSONWebKeySet, err error) {
	keys, err := g.current(ctx, now)
	for _, k := range keys {
		if now.Before(k.Until.Add(keyAfter)) {
			set.Keys = append(set.Keys, k.JWK.Public())
		}
	}
	return set, err
}

// current reads the keys if that is due, and makes one if none will do. While the
// storage fails, keys that were read and are still valid are used; while it is
// slow, one request waits for it.
func (g *ring) current(ctx context.Context, now time.Time) ([]ringKey, error) {
	keys, fresh := g.known(now)
	if fresh {
		return keys, nil
	}
	if !g.once.TryLock() {
		if usable(keys, now) {
			return keys, nil
		}
		g.once.Lock()
	}
	defer g.once.Unlock()
	if keys, fresh = g.known(now); fresh { // another one asked
		return keys, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	read, err := g.load(ctx)
	if err == nil && due(read, now) {
		read, err = g.extend(ctx, now)
	}
	switch {
	case err == nil:
	case usable(keys, now):
		read = keys // until it is tried again
	default:
		return nil, fmt.Errorf("keys %s: %w", g.name, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys, g.read = read, now
	return read, nil
}

// known are the keys that were read, and whether that was a moment ago.
func (g *ring) known(now time.Time) (keys []ringKey, fresh bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	since := now.Sub(g.read)
	return g.keys, len(g.keys) > 0 && since >= 0 && since < ringFresh
}

// usable reports whether the last of some keys has not ended.
func usable(keys []ringKey, now time.Time) bool {
	return len(keys) > 0 && now.Before(keys[len(keys)-1].Until)
}

// due reports whether another key is needed soon.
func due(keys []ringKey, now time.Time) bool {
	return len(keys) == 0 || !now.Before(keys[len(keys)-1].Until.Add(-keyAhead))
}

func (g *ring) load(ctx context.Context) (keys []ringKey, err error) {
	b, err := g.storage.Load(ctx, g.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	if err := json.Unmarshal(b, &keys); err != nil {
		return nil, fmt.Errorf("the file in storage is damaged: remove %s, and new keys are made: %w", g.file(), err)
	}
	for _, k := range keys {
		if _, ok := k.JWK.Key.(*ecdsa.PrivateKey); !ok || !k.JWK.Valid() {
			return nil, fmt.Errorf("the file in storage is damaged: remove %s, and new keys are made", g.file())
		}
	}
	return keys, nil
}

// extend makes the next key, unless another instance did meanwhile.
func (g *ring) extend(ctx context.Context, now time.Time) (keys []ringKey, err error) {
	lock := g.file()
	if err := g.storage.Lock(ctx, lock); err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	defer func() { err = errors.Join(err, g.storage.Unlock(context.WithoutCancel(ctx), lock)) }()
	if keys, err = g.load(ctx); err != nil || !due(keys, now) {
		return keys, err
	}
	from := now
	if n := len(keys); n > 0 && keys[n-1].Until.After(now) {
		from = keys[n-1].Until
	}
	key, err := newKey(from)
	if err != nil {
		return nil, err
	}
	var kept []ringKey
	for _, k := range keys {
		if now.Before(k.Until.Add(keyAfter)) {
			kept = append(kept, k)
		}
	}
	kept = append(kept, key)
	b, err := json.Marshal(kept)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	if err := g.storage.Store(ctx, g.file(), b); err != nil {
		return nil, fmt.Errorf("writing: %w", err)
	}
	return kept, nil
}

// newKey makes a key that signs from a time on. Its id is random, so that no two
// keys ever share one.
func newKey(from time.Time) (ringKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return ringKey{}, fmt.Errorf("making a key: %w", err)
	}
	return ringKey{
		JWK:  jose.JSONWebKey{Key: private, KeyID: rand.Text(), Algorithm: string(jose.ES256), Use: "sig"},
		From: from, Until: from.Add(keyLife),
	}, nil
}
