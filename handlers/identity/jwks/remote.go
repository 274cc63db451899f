package jwks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Remote is the key set of an issuer. It is asked
//
//   - when the first token comes,
//   - in the background when its answer is older than Refresh,
//   - when a token names a key that is not in the set, but not more often than
//     every Retry, whatever names clients make up.
//
// While it cannot be reached, or answers nonsense, the set that was last had is
// used until it is older than Stale.
type Remote struct {
	Issuer  string // is discovered, unless URL is given
	URL     string // of the key set
	Client  *http.Client
	Refresh time.Duration // default: 15m; what the answer's Cache-Control says counts between 1m and 1h
	Stale   time.Duration // default: 24h
	Retry   time.Duration // default: 10s
	Now     func() time.Time
	Warn    func(error) // told of each failure

	set  atomic.Pointer[fetched]
	once sync.Mutex // is held while the issuer is asked

	mu        sync.Mutex // guards the fields below
	tried     time.Time
	failing   bool // when it was last asked
	refreshes bool // one runs in the background
	closed    bool
	discovery *Discovery
	running   sync.WaitGroup
	stop      context.CancelFunc
	ctx       context.Context //nolint:containedctx // of what Close ends
}

type fetched struct {
	set   *Set
	at    time.Time
	until time.Time // when to ask again
}

// The defaults and the bounds of Remote.
const (
	DefaultRefresh = 15 * time.Minute
	DefaultStale   = 24 * time.Hour
	DefaultRetry   = 10 * time.Second

	minRefresh = time.Minute
	maxRefresh = time.Hour
)

// ErrUnavailable means that there is no key set that could be used.
var ErrUnavailable = errors.New("the issuer's keys cannot be had")

// Open fills in the defaults. The issuer is not asked yet.
func (r *Remote) Open() {
	if r.Refresh == 0 {
		r.Refresh = DefaultRefresh
	}
	if r.Stale == 0 {
		r.Stale = DefaultStale
	}
	if r.Retry == 0 {
		r.Retry = DefaultRetry
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
}

// Close ends what the issuer is asked, and waits for what runs in the background.
func (r *Remote) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.running.Wait()
	r.Client.CloseIdleConnections()
}

// Current is the set that is in force, or nil. It too has the issuer asked again
// when that is due: where all tokens are remembered, nothing else does.
func (r *Remote) Current() *Set {
	f := r.usable()
	if f == nil {
		return nil
	}
	if !r.Now().Before(f.until) {
		r.refresh()
	}
	return f.set
}

// usable returns what was fetched, unless it is too old.
func (r *Remote) usable() *fetched {
	f := r.set.Load()
	if f == nil || r.Now().Sub(f.at) > r.Stale {
		return nil
	}
	return f
}

// State is how an issuer does.
type State struct {
	Asked   bool      // it was asked for its keys
	Failing bool      // when that was last tried
	At      time.Time // when the keys were had that are in force; zero if there are none
}

// State says how the issuer does. It is not asked for that.
func (r *Remote) State() State {
	var s State
	if f := r.usable(); f != nil {
		s.At = f.at
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Asked, s.Failing = !r.tried.IsZero(), r.failing
	return s
}

// Find returns the keys of a name. See jwt.Keys.
func (r *Remote) Find(_ context.Context, kid string, quiet bool) ([]Key, error) {
	f := r.usable()
	if f == nil {
		if err := r.ask(); err != nil {
			return nil, err
		}
		if f = r.usable(); f == nil {
			return nil, ErrUnavailable
		}
	} else if !r.Now().Before(f.until) {
		r.refresh()
	}
	keys := f.set.Find(kid)
	if len(keys) > 0 || quiet {
		return keys, nil
	}
	if err := r.ask(); err != nil {
		return nil, nil //nolint:nilerr // the set that is in force has no such key
	}
	return r.set.Load().set.Find(kid), nil
}

// refresh asks the issuer in the background, once at a time.
func (r *Remote) refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refreshes || r.closed || r.Now().Sub(r.tried) < r.Retry {
		return
	}
	r.refreshes = true
	r.running.Go(func() {
		_ = r.ask()
		r.mu.Lock()
		r.refreshes = false
		r.mu.Unlock()
	})
}

// ask asks the issuer, unless that was tried a moment ago. Those that come while
// it is being asked wait for the same answer.
func (r *Remote) ask() error {
	before := r.set.Load()
	r.once.Lock()
	defer r.once.Unlock()
	if r.set.Load() != before {
		return nil // another one asked
	}
	r.mu.Lock()
	now := r.Now()
	if wait := r.Retry - now.Sub(r.tried); !r.tried.IsZero() && wait > 0 {
		r.mu.Unlock()
		return fmt.Errorf("%w: it was asked less than %s ago", ErrUnavailable, r.Retry)
	}
	r.tried = now
	r.mu.Unlock()
	// The client that waits may leave; others want the answer all the same.
	f, err := r.fetch(r.ctx)
	r.mu.Lock()
	r.failing = err != nil
	r.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		if r.Warn != nil {
			r.Warn(err)
		}
		return err
	}
	r.set.Store(f)
	return nil
}

func (r *Remote) fetch(ctx context.Context) (*fetched, error) {
	address := r.URL
	if address == "" {
		d, err := Discover(ctx, r.Client, r.Issuer)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		r.discovery = d
		r.mu.Unlock()
		address = d.JWKS
	}
	data, keep, err := get(ctx, r.Client, address, maxSetBytes)
	if err != nil {
		return nil, err
	}
	set, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	if keep == 0 {
		keep = r.Refresh
	}
	now := r.Now()
	return &fetched{set: set, at: now, until: now.Add(min(max(keep, minRefresh), maxRefresh))}, nil
}

// Discovered returns what the issuer last said of itself, and asks it if it never
// did.
func (r *Remote) Discovered() (*Discovery, error) {
	if d := r.lastDiscovery(); d != nil {
		if f := r.set.Load(); f != nil && !r.Now().Before(f.until) {
			r.refresh()
		}
		return d, nil
	}
	if err := r.ask(); err != nil {
		return nil, err
	}
	if d := r.lastDiscovery(); d != nil {
		return d, nil
	}
	return nil, ErrUnavailable
}

func (r *Remote) lastDiscovery() *Discovery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.discovery
}
