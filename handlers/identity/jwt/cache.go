package jwt

import (
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwks"
)

// Cache holds tokens that were verified, so that the signature of each is
// verified once. It is bounded, and finds a token only if every byte is the
// same. A token that is out of date, revoked, or signed by a key that the issuer
// no longer has, is not found.
type Cache struct {
	size   int // entries in a shard
	shards [shards]shard
}

const shards = 16

type shard struct {
	mu sync.RWMutex
	m  map[string]*entry
}

// entry is a verified token.
type entry struct {
	user    caddyauth.User // is shared: nobody changes it
	claims  Claims
	expires int64 // unix nanoseconds
	key     string
	set     *jwks.Set // in which the key was seen
	list    *Revoked  // in which the token was not
}

// NewCache makes a cache of so many tokens.
func NewCache(entries int) *Cache {
	c := &Cache{size: max(entries/shards, 1)}
	for i := range c.shards {
		c.shards[i].m = map[string]*entry{}
	}
	return c
}

// shardOf spreads tokens by their ends, which are signatures.
func (c *Cache) shardOf(token string) *shard {
	var h byte
	for i := max(len(token)-6, 0); i < len(token); i++ {
		h = h*31 + token[i]
	}
	return &c.shards[h%shards]
}

// find returns what is kept of a token, if it still holds.
func (c *Cache) find(token string, now time.Time, set *jwks.Set, list *Revoked) (*entry, bool) {
	s := c.shardOf(token)
	s.mu.RLock()
	e := s.m[token]
	s.mu.RUnlock()
	if e == nil {
		return nil, false
	}
	if now.UnixNano() < e.expires && e.set == set && e.list == list {
		return e, true
	}
	if now.UnixNano() >= e.expires || set == nil || !set.Has(e.key) || list.has(e.claims) {
		s.mu.Lock()
		delete(s.m, token)
		s.mu.Unlock()
		return nil, false
	}
	fresh := *e
	fresh.set, fresh.list = set, list
	s.mu.Lock()
	s.m[strings.Clone(token)] = &fresh
	s.mu.Unlock()
	return &fresh, true
}

// keep adds a token. If the shard is full, some other goes: one out of date if
// a few looks find one.
func (c *Cache) keep(token string, e *entry, now time.Time) {
	s := c.shardOf(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.m[token]; !there && len(s.m) >= c.size {
		victim, looks := "", 0
		for k, old := range s.m { // begins anywhere
			victim = k
			if looks++; looks == 8 || now.UnixNano() >= old.expires {
				break
			}
		}
		delete(s.m, victim)
	}
	s.m[strings.Clone(token)] = e
}

// Len is the number of tokens in the cache.
func (c *Cache) Len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		n += len(s.m)
		s.mu.RUnlock()
	}
	return n
}
