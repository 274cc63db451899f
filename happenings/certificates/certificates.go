// Package certificates records what happens to the certificates of the server:
// obtained, renewed, failed, revoked, near their end, expired. It hears of that
// by Caddy's events, and compares what it heard with the certificates that
// really are in Caddy's cache and storage: those that no event announced are
// recorded as loaded.
//
// Of a certificate only public parts are recorded. The data of Caddy's events
// has private keys among it.
package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// Options say what is recorded of certificates.
type Options struct {
	// Expiring is how long before its end it is recorded that a certificate
	// expires; once for each of the times. No time is longer than a third of the
	// certificate's lifetime, or a sixth if the server renews it, which it does
	// when a third is left. Default: 14d. Minimum: 1m.
	Expiring []caddy.Duration `json:"expiring,omitempty"`
}

const (
	defaultExpiring = 14 * 24 * time.Hour
	minExpiring     = time.Minute
	maxThresholds   = 16
)

// SetDefaults fills in and checks the options.
func (o *Options) SetDefaults() error {
	if len(o.Expiring) == 0 {
		o.Expiring = []caddy.Duration{caddy.Duration(defaultExpiring)}
	}
	if len(o.Expiring) > maxThresholds {
		return fmt.Errorf("soc2: certificates expiring: %d times are given, and %d are enough", len(o.Expiring), maxThresholds)
	}
	for _, d := range o.Expiring {
		if time.Duration(d) < minExpiring {
			return fmt.Errorf("soc2: certificates expiring %s: it must be at least %s", time.Duration(d), minExpiring)
		}
	}
	return nil
}

// watcher is what the process knows of its certificates.
type watcher struct {
	// owner is the monitor of the configuration that runs.
	owner atomic.Pointer[Monitor]

	mu        sync.Mutex // guards the fields below
	inventory inventory
	log       *audit.Log // that has what is in inventory
	inUse     []audit.Certificate
	swept     bool // inUse is known

	names nameSet
}

// nameSet holds the names for which events said that there is a certificate.
type nameSet struct {
	mu   sync.Mutex
	list map[string]*nameState
}

type nameState struct {
	managed bool
	missing int // sweeps in a row that found no certificate
}

func (n *nameSet) add(names []string, managed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.list == nil {
		n.list = map[string]*nameState{}
	}
	for _, name := range names {
		if s := n.list[name]; s != nil {
			*s = nameState{managed: managed}
		} else if len(n.list) < maxKnown {
			n.list[name] = &nameState{managed: managed}
		}
	}
}

var process watcher

// Current returns the figures of this process.
func Current() Figures {
	process.mu.Lock()
	defer process.mu.Unlock()
	f := process.inventory.figures
	f.Sites, f.Served = maps.Clone(f.Sites), maps.Clone(f.Served)
	return f
}

// InUse returns the certificates in Caddy's cache, as the last look found them.
// It reports false if there was none yet.
func InUse() ([]audit.Certificate, bool) {
	process.mu.Lock()
	defer process.mu.Unlock()
	return process.inUse, process.swept
}

// Monitor watches the certificates of one configuration.
type Monitor struct {
	options Options
	watcher *watcher
	book    func() ledger.Book
	now     func() time.Time
	gather  func(context.Context) []held // what is in the cache and in the storage
	load    func(ctx context.Context, path string) ([]byte, error)
	scrub   func(message string) string // without secrets

	wake  chan struct{}
	stop  context.CancelFunc
	ended chan struct{} // closed when run has returned; nil before Start

	mu      sync.Mutex // guards the fields below
	queue   []event
	lost    int  // events that did not fit in the queue
	started bool // the configuration runs
	changed bool // a certificate came into the cache
}

// maxQueue is how many events may wait. What is lost is found by a sweep.
const maxQueue = 4096

// New returns a monitor for a configuration that is being provisioned. The
// errors of issuers may quote the address or the credentials of a DNS provider:
// scrub takes secrets out of them.
func New(ctx caddy.Context, o Options, scrub func(message string) string) *Monitor {
	m := &Monitor{options: o, watcher: &process, book: ledger.Current, now: time.Now, wake: make(chan struct{}, 1), scrub: scrub}
	m.gather = func(c context.Context) []held { return gather(c, ctx, &m.watcher.names) }
	m.load = func(c context.Context, path string) ([]byte, error) { return ctx.Storage().Load(c, path) }
	return m
}

// Handle implements caddyevents.Handler. It only takes a note, and no event is
// stopped. A certificate that was obtained is read from the storage at once: the
// next one, which takes its place there, has to wait for the end of its event.
func (m *Monitor) Handle(ctx context.Context, e caddy.Event) error {
	v := read(e)
	if v.name == eventObtained {
		v.obtained = m.stored(ctx, v.path)
	}
	m.mu.Lock()
	switch v.name {
	case eventStarted:
		m.started, m.changed = true, true
		m.watcher.owner.Store(m)
	case eventManaged, eventUnmanaged:
		m.changed = true
		m.watcher.names.add(v.names, v.name == eventManaged)
	default:
		m.changed = true
		if len(m.queue) < maxQueue {
			m.queue = append(m.queue, v)
		} else {
			m.lost++
		}
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return nil
}

// loadTime is how long the storage may take to give a certificate.
const loadTime = 10 * time.Second

// stored returns a certificate of the storage, or nil: the next sweep finds it.
func (m *Monitor) stored(ctx context.Context, path string) *x509.Certificate {
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	chain, err := m.load(ctx, path)
	if err != nil {
		return nil
	}
	c, err := leaf(chain)
	if err != nil {
		return nil
	}
	return c
}

// Start begins to watch.
func (m *Monitor) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	m.stop, m.ended = cancel, make(chan struct{})
	go m.run(ctx)
}

// Stop ends the watching and waits for it. The events that came are recorded.
func (m *Monitor) Stop() {
	if m.ended == nil {
		return
	}
	m.stop()
	<-m.ended
	m.watcher.owner.CompareAndSwap(m, nil)
}

const (
	// sweepEvery is how often the certificates that there are are looked at.
	sweepEvery = time.Hour
	// settle is how long after an event: it may come before its certificate is
	// in the cache.
	settle = time.Second
)

func (m *Monitor) run(ctx context.Context) {
	defer close(m.ended)
	timer := time.NewTimer(sweepEvery)
	defer timer.Stop()
	soon := false // the timer is set for a sweep after an event
	for {
		select {
		case <-ctx.Done():
			m.take()
			return
		case <-m.wake:
			m.take()
			if m.due() && !soon {
				soon = true
				timer.Reset(settle)
			}
		case <-timer.C:
			soon = false
			timer.Reset(m.sweep(ctx))
		}
	}
}

// take records the events that wait.
func (m *Monitor) take() {
	m.mu.Lock()
	queue, lost := m.queue, m.lost
	m.queue, m.lost = nil, 0
	m.mu.Unlock()
	if lost > 0 {
		caddy.Log().Named("soc2").Warn("there were too many events of certificates at once; what came of them is found later", zap.Int("events", lost))
	}
	for _, e := range queue {
		m.record(e)
	}
}

// due reports, once, whether the certificates are to be looked at.
func (m *Monitor) due() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.changed || !m.started {
		return false
	}
	m.changed = false
	return true
}

func (m *Monitor) record(e event) {
	w := m.watcher
	switch e.name {
	case eventObtained:
		w.mu.Lock()
		defer w.mu.Unlock()
		m.begin()
		m.write(w.inventory.obtained(e))
	case eventFailed:
		e.err = m.scrub(e.err)
		w.mu.Lock()
		defer w.mu.Unlock()
		m.begin()
		if r, ok := w.inventory.failed(e); ok {
			m.write(r)
		}
	case eventRevoked:
		w.mu.Lock()
		defer w.mu.Unlock()
		m.begin()
		m.write(w.inventory.revocation(e))
	}
}

// sweepTime is how long looking at all certificates may take.
const sweepTime = 5 * time.Minute

// sweep looks at the certificates that there are, and returns when to look
// again. Where a later configuration runs, that one looks.
func (m *Monitor) sweep(ctx context.Context) (after time.Duration) {
	w := m.watcher
	m.mu.Lock()
	started := m.started
	m.mu.Unlock()
	if started {
		w.owner.CompareAndSwap(nil, m) // a later configuration was withdrawn
	}
	if w.owner.Load() != m {
		return sweepEvery
	}
	gathering, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	list := m.gather(gathering)
	if ctx.Err() != nil {
		return sweepEvery
	}
	m.take() // a certificate is announced before it comes into the cache
	w.mu.Lock()
	defer w.mu.Unlock()
	m.begin()
	now := m.now()
	thresholds := make([]time.Duration, len(m.options.Expiring))
	for i, d := range m.options.Expiring {
		thresholds[i] = time.Duration(d)
	}
	records, next := w.inventory.sweep(list, thresholds, now)
	w.inUse, w.swept = used(list, now), true
	if r, ok := w.inventory.others(now); ok {
		records = append(records, r)
	}
	m.write(records...)
	if next.IsZero() {
		return sweepEvery
	}
	return max(settle, min(sweepEvery, next.Sub(now)))
}

// used describes the certificates that are in the cache.
func used(list []held, now time.Time) (certs []audit.Certificate) {
	for _, h := range list {
		if h.source == sourceCache {
			c := describe(h.leaf, now)
			c.Managed = h.managed
			certs = append(certs, c)
		}
	}
	slices.SortFunc(certs, func(a, b audit.Certificate) int { return strings.Compare(a.SHA256, b.SHA256) })
	return certs
}

// begin makes sure that what is known is in the log at hand: another log, or
// one that was opened again, gets all of it. The caller holds the watcher's
// lock.
func (m *Monitor) begin() {
	book := m.book()
	if book == nil || m.watcher.log == book.Log() {
		return
	}
	m.watcher.log = book.Log()
	m.watcher.inventory.known = nil
}

// write appends records. The caller holds the watcher's lock.
func (m *Monitor) write(list ...audit.Certificate) {
	if len(list) == 0 {
		return
	}
	for i := range list {
		if len(list[i].Names) > 0 { // those of others() are counted
			m.watcher.inventory.figures.count(list[i].Kind)
		}
	}
	book := m.book()
	if book == nil || !book.Hold() {
		return
	}
	defer book.Release()
	for i := range list {
		if err := book.Write(&list[i], false); err != nil {
			caddy.Log().Named("soc2").Warn("what happened to a certificate could not be recorded", zap.String("kind", string(list[i].Kind)), zap.Error(err))
		}
	}
}
