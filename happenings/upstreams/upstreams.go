// Package upstreams records when upstreams of reverse proxies go up and down.
//
// A Monitor looks at the upstreams of a configuration on an interval and when
// Caddy says that a health check changed its mind. What it knows belongs to the
// process, not to the configuration: a reload, after which Caddy takes every
// upstream for healthy until a check has failed, ends no outage.
//
// An upstream is unknown when nothing watches it: when it has no active health
// check, and no request went there for a while.
package upstreams

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// Options say how upstreams are watched.
type Options struct {
	// Sample is how often the state of upstreams is looked at. Changes that an
	// active health check finds are recorded at once. Default: 1s. Minimum:
	// 100ms.
	Sample caddy.Duration `json:"sample,omitempty"`

	// Traffic is for how long a request shows that an upstream, which no active
	// health check watches, is up or down. After that it is unknown. Default:
	// 5m. Minimum: 1s.
	Traffic caddy.Duration `json:"traffic,omitempty"`
}

const (
	defaultSample  = time.Second
	minSample      = 100 * time.Millisecond
	defaultTraffic = 5 * time.Minute
	minTraffic     = time.Second
)

// SetDefaults fills in and checks the options.
func (o *Options) SetDefaults() error {
	if o.Sample == 0 {
		o.Sample = caddy.Duration(defaultSample)
	}
	if o.Traffic == 0 {
		o.Traffic = caddy.Duration(defaultTraffic)
	}
	if d := time.Duration(o.Sample); d < minSample {
		return fmt.Errorf("soc2: upstreams sample %s: it must be at least %s", d, minSample)
	}
	if d := time.Duration(o.Traffic); d < minTraffic {
		return fmt.Errorf("soc2: upstreams traffic %s: it must be at least %s", d, minTraffic)
	}
	return nil
}

// watcher is what the process knows of its upstreams.
type watcher struct {
	// owner is the monitor of the configuration that runs.
	owner atomic.Pointer[Monitor]

	table table // its counters may be used without mu

	mu  sync.Mutex // guards table but for its counters, and the field below
	log *audit.Log // that has the state of each upstream
}

var process watcher

// Count counts a request that was given to an upstream. It takes no lock.
func Count(ev *audit.Event) { process.table.counters.count(ev) }

// Figure is what is counted of an upstream of the configuration.
type Figure struct {
	Server  string
	Address string
	Handler int       // which of the server's ways to watch it, from 2 on; 0 for the first
	State   string    // up, down, unknown
	Since   time.Time // of the state
	Served  int64     // requests
	Failed  int64     // of those
}

// Current returns the figures of the upstreams that the configuration names, in
// order, and how many requests to others could not be counted.
func Current() (list []Figure, uncounted int64) { return process.figures() }

func (w *watcher) figures() (list []Figure, uncounted int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range slices.SortedFunc(maps.Keys(w.table.entries), compare) {
		e := w.table.entries[k]
		if e.dynamic {
			continue
		}
		f := Figure{Server: k.server, Address: k.address, Handler: k.handler, State: e.state, Since: e.since}
		if k.handler == 0 {
			n := w.table.counters.of(k.endpoint, true)
			f.Served, f.Failed = n.served.Load(), n.failed.Load()
		}
		list = append(list, f)
	}
	return list, w.table.counters.missed.Load()
}

// Monitor watches the upstreams of one configuration.
type Monitor struct {
	options Options
	ctx     caddy.Context
	watcher *watcher
	book    func() ledger.Book
	now     func() time.Time
	proxies func() []proxy // of the configuration

	started chan struct{}              // the configuration runs
	changed chan *reverseproxy.Handler // a health check changed its mind
	stop    context.CancelFunc
	ended   chan struct{} // closed when run has returned; nil before Start

	watches []*watch // of the configuration; nil before it runs
	dynamic map[string]bool
	began   time.Time
}

// maxEvents is how many events may wait. What is lost is seen at the next look.
const maxEvents = 256

// The names of Caddy's events.
const (
	eventStarted   = "started"
	eventHealthy   = "healthy"
	eventUnhealthy = "unhealthy"
)

// Events are the names of the events for Handle.
func Events() []string { return []string{eventStarted, eventHealthy, eventUnhealthy} }

// New returns a monitor for a configuration that is being provisioned.
func New(ctx caddy.Context, o Options) *Monitor {
	m := &Monitor{
		options: o, ctx: ctx, watcher: &process, book: ledger.Current, now: time.Now,
		started: make(chan struct{}, 1), changed: make(chan *reverseproxy.Handler, maxEvents),
	}
	m.proxies = m.configured
	return m
}

// Handle implements caddyevents.Handler. It only takes a note: events are
// emitted by whoever is waiting for them.
func (m *Monitor) Handle(_ context.Context, e caddy.Event) error {
	if e.Name() == eventStarted {
		m.watcher.owner.Store(m) // now: the configuration before stops next, and must not take it for the end
		select {
		case m.started <- struct{}{}:
		default:
		}
		return nil
	}
	origin, _ := e.Origin().(*reverseproxy.Handler)
	select {
	case m.changed <- origin:
	default:
	}
	return nil
}

// Start begins to watch. Nothing is looked at before the configuration runs.
func (m *Monitor) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	m.stop, m.ended = cancel, make(chan struct{})
	go m.run(ctx)
}

// Stop ends the watching and waits for it. If no later configuration watches,
// the upstreams are recorded as unknown.
func (m *Monitor) Stop() {
	if m.ended == nil {
		return
	}
	m.stop()
	<-m.ended
	w := m.watcher
	if !w.owner.CompareAndSwap(m, nil) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	cause := causeConfig
	if caddy.Exiting() {
		cause = causeStop
	}
	w.log = nil
	m.write(w.table.end(m.now(), cause))
}

func (m *Monitor) run(ctx context.Context) {
	defer close(m.ended)
	tick := time.NewTicker(time.Duration(m.options.Sample))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.started:
			m.adopt(m.proxies())
		case h := <-m.changed:
			m.find(h)
			m.look()
		case <-tick.C:
			m.look()
		}
	}
}

// configured returns the reverse proxies of the configuration.
func (m *Monitor) configured() []proxy {
	app, err := m.ctx.AppIfConfigured("http")
	if err != nil {
		return nil
	}
	http, ok := app.(*caddyhttp.App)
	if !ok {
		return nil
	}
	var list []proxy
	for name, srv := range http.Servers {
		if srv != nil {
			list = append(list, proxiesOf(name, srv)...)
		}
	}
	return list
}

// adopt makes the monitor's configuration the one that is watched.
func (m *Monitor) adopt(list []proxy) {
	var left int
	m.watches, m.dynamic, left = watchesOf(list)
	if m.watches == nil {
		m.watches = []*watch{}
	}
	if left > 0 {
		caddy.Log().Named("soc2").Warn("there are too many upstreams to watch; some are not recorded", zap.Int("left_out", left), zap.Int("watched", maxUpstreams))
	}
	m.take()
}

// take makes the first look at the monitor's configuration.
func (m *Monitor) take() {
	w := m.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.owner.Load() != m {
		return
	}
	m.began = m.now()
	w.table.window = time.Duration(m.options.Traffic)
	m.observe(true)
}

// find adds the upstreams of a handler that is nested in one of another
// project.
func (m *Monitor) find(h *reverseproxy.Handler) {
	if h == nil || m.watches == nil {
		return
	}
	for _, w := range m.watches {
		for _, member := range w.members {
			if slices.Contains(h.Upstreams, member.upstream) {
				return
			}
		}
	}
	more, _, _ := watchesOf([]proxy{{"", h}})
	if len(m.watches)+len(more) <= maxUpstreams {
		m.watches = append(m.watches, more...)
	}
}

// look takes a look at the upstreams, if the configuration runs. Where a later
// one ran and was withdrawn, it takes over again.
func (m *Monitor) look() {
	if m.watches == nil {
		return
	}
	w := m.watcher
	if w.owner.CompareAndSwap(nil, m) {
		m.take()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.owner.Load() == m {
		m.observe(false)
	}
}

// observe looks at the upstreams. The caller holds the watcher's lock.
func (m *Monitor) observe(fresh bool) {
	w := m.watcher
	if book := m.book(); book != nil && w.log != book.Log() {
		w.log = book.Log()
		w.table.retell()
	}
	seen := make([]observation, len(m.watches))
	for i, each := range m.watches {
		seen[i] = each.observe(m.began)
	}
	m.write(w.table.observe(m.now(), seen, func(server string) bool { return m.dynamic[server] }, fresh))
}

// write appends records. What cannot be written is written at a later look.
func (m *Monitor) write(changes []*entryChange) {
	if len(changes) == 0 {
		return
	}
	book := m.book()
	if book == nil || !book.Hold() {
		return
	}
	defer book.Release()
	for _, c := range changes {
		if book.Write(&c.record, false) == nil {
			c.written()
		}
	}
}
