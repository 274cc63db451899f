package ratelimit

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
)

// pool has the zones of this process, by name. On a reload the new configuration
// joins them before the old one leaves.
var pool = caddy.NewUsagePool()

// What a zone counts, for metrics and the admin API.
const (
	countAllowed = iota // requests
	countQuota
	countConcurrency
	countBan
	countShadow // would have been refused
	countDenied // by the list, or for an empty key
	countExempt // allowed by the list
	countEmpty  // had an empty key; they are also counted by what became of them
	countKinds
)

var countNames = [countKinds]string{"allowed", "quota", "concurrency", "ban", "shadow", "denied", "exempt", "empty_key"}

// shared is a zone with its state, which configurations share.
type shared struct {
	name    string
	zone    *limiter.Zone
	tracker limiter.Tracker
	counts  [countKinds]atomic.Int64
	ids     cipher.Block // makes the pseudonyms of keys
	secret  []byte       // of the hashes and pseudonyms, if they are to outlive the process
	info    atomic.Pointer[info]

	issued  atomic.Int64 // versions of the zone's configuration
	mu      sync.Mutex   // guards what follows
	applied int64        // version of the one that is in force; 0: none was yet
	spec    string       // of the same
	claims  map[<-chan struct{}]*claim
	storage certmagic.Storage // of the configuration in force; nil: nothing is kept

	sweeping sync.Mutex // held by who tells what the tracker knows

	wake chan struct{}
	stop chan struct{}
	done chan struct{}
}

// info is what records and the admin API tell of the configuration in force.
type info struct {
	limit string
	mode  string
	show  bool
	quiet time.Duration // without a refusal until a key is said not to be limited any more
	key   *keyTemplate
	rates map[uint64]*limiter.Rate // of keys with limits of their own
}

// claim is what one configuration says of the zone.
type claim struct {
	spec  string
	count int
}

// join joins the zone's state, or makes it. What differs from the configuration
// in force is applied by the first request, which a configuration that is
// rejected never sees.
func (z *Zone) join(ctx caddy.Context) error {
	if z.Persist {
		z.storage = ctx.Storage()
	}
	v, _, err := pool.LoadOrNew(z.poolKey(), func() (caddy.Destructor, error) { return newShared(ctx, z) })
	if err != nil {
		return err
	}
	z.shared, _ = v.(*shared)
	z.joined = true
	z.version = z.shared.issued.Add(1)
	return z.shared.claim(z, ctx.Done())
}

func (z *Zone) poolKey() string {
	if z.Persist {
		return z.Name + " persistent" // its hashes are made in another way
	}
	return z.Name
}

func (z *Zone) leave() error {
	if !z.joined {
		return nil
	}
	z.joined = false
	z.shared.unclaim(z.claimant)
	_, err := pool.Delete(z.poolKey())
	return err
}

// spec is what handlers that name the same zone must agree on.
func (z *Zone) spec() string {
	return fmt.Sprintf("%v %d %d %s %d %s %d %+v %d %d %v %+v %v %v", z.key.parts, z.key.bits4, z.key.bits6, z.Limit, z.Burst, z.Mode,
		z.Concurrency, z.config.Ban, z.config.Capacity, z.config.Debt, z.config.Later, z.Overrides, z.ShowKeys, z.Shadow)
}

// claim notes what a configuration says of the zone. Two handlers of one
// configuration are told apart from those of two by the channel that ends it.
func (s *shared) claim(z *Zone, config <-chan struct{}) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	spec := z.spec()
	c := s.claims[config]
	if c != nil && c.spec != spec {
		return errors.New("another handler has a zone of this name with other settings: give one of them another name")
	}
	if c == nil {
		c = &claim{spec: spec}
		s.claims[config] = c
	}
	c.count++
	z.claimant = config
	return nil
}

func (s *shared) unclaim(config <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.claims[config]; c != nil {
		if c.count--; c.count == 0 {
			delete(s.claims, config)
		}
	}
}

// apply puts the zone's configuration in force, with its first request.
func (z *Zone) apply() {
	s := z.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	defer z.applied.Store(true)
	if z.version <= s.applied {
		return
	}
	s.applied, s.storage = z.version, z.storage
	if spec := z.spec(); spec != s.spec {
		if err := s.zone.Apply(z.config); err != nil { // it was checked
			caddy.Log().Named("soc2").Error("applying a limit", zap.String("zone", s.name), zap.Error(err))
			return
		}
		s.spec = spec
	}
	s.info.Store(z.describe())
}

func (z *Zone) describe() *info {
	in := &info{limit: z.limitText, mode: z.Mode, show: z.ShowKeys, quiet: minQuiet, key: &z.key, rates: z.overrides}
	if z.config.Rate != nil {
		in.mode = z.config.Rate.Mode.String()
		in.quiet = max(minQuiet, min(maxQuiet, z.config.Rate.Window))
	} else {
		in.mode = "concurrency"
	}
	if z.Shadow {
		in.mode = "shadow"
	}
	return in
}

// How long a key is not refused until it is said not to be limited any more: the
// limit's period, within these bounds.
const (
	minQuiet = 10 * time.Second
	maxQuiet = time.Hour
)

func newShared(ctx caddy.Context, z *Zone) (*shared, error) {
	s := &shared{
		name: z.Name, spec: z.spec(), claims: make(map[<-chan struct{}]*claim),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	s.info.Store(z.describe())
	s.tracker.Wake = func() {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	if err := s.open(ctx, z); err != nil {
		return nil, err
	}
	go s.keep()
	return s, nil
}

// secretBytes are for the hashes of keys and for their pseudonyms.
const secretBytes = 32

// open makes the zone, from a snapshot if there is one.
func (s *shared) open(ctx caddy.Context, z *Zone) (err error) {
	hasher, snapshot := limiter.NewHasher(), []byte(nil)
	s.secret = make([]byte, secretBytes)
	_, _ = rand.Read(s.secret) // never fails
	if z.Persist {
		if z.storage != nil {
			snapshot = s.load(ctx, z.storage)
		}
		hasher = limiter.KeyedHasher(s.secret)
	}
	if s.ids, err = aes.NewCipher(s.secret[16:]); err != nil {
		return err
	}
	if s.zone, err = limiter.NewZone(z.config, hasher, nil); err != nil {
		return err
	}
	if snapshot != nil {
		if _, err := s.zone.Restore(snapshot, time.Now()); err != nil {
			caddy.Log().Named("soc2").Error("what keys had spent before the start is not known", zap.String("zone", s.name), zap.Error(err))
		}
	}
	return nil
}

// id is the pseudonym of a key: its hash, enciphered so that a reader learns
// nothing of the hashes.
func (s *shared) id(hash uint64) string {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[8:], hash&^1)
	s.ids.Encrypt(b[:], b[:])
	return hex.EncodeToString(b[:])
}

// hashOf is the hash of a pseudonym.
func (s *shared) hashOf(id string) (uint64, error) {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != aes.BlockSize {
		return 0, fmt.Errorf("%q is no id of a key", id)
	}
	s.ids.Decrypt(b, b)
	if binary.BigEndian.Uint64(b) != 0 {
		return 0, fmt.Errorf("%q is the id of a key of another zone, or from before the start", id)
	}
	return binary.BigEndian.Uint64(b[8:]), nil
}

// track notes that a key is refused, or would be.
func (z *Zone) track(r *http.Request, a *limiter.Ask, now int64) {
	if !z.ShowKeys {
		z.shared.tracker.Refuse(now, a, nil)
		return
	}
	z.shared.tracker.Refuse(now, a, func() string {
		var k keyed
		k.of(r)
		return z.key.show(&k)
	})
}
