package upstreams

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/availability"
)

// The states of an upstream, as records have them.
const (
	stateUp      = "up"
	stateDown    = "down"
	stateUnknown = "unknown"
	stateGone    = "gone"
)

// What told of a state.
const (
	causeActive   = "active"   // the active health check
	causePassive  = "passive"  // failed requests, by the rules of the passive health check
	causeTraffic  = "traffic"  // the last request, or that there was none for long
	causeSample   = "sample"   // a circuit breaker
	causeConfig   = "config"   // the configuration
	causeStart    = "start"    // the process or the log has begun
	causeStop     = "stop"     // the process ends
	causeInterval = "interval" // nothing: the state goes on
)

// id identifies an upstream.
type id struct {
	endpoint
	handler int // which of the server's ways to watch it, from 2 on; 0 for the first
}

// observation is what one look at an upstream shows.
type observation struct {
	id       id
	check    string
	active   bool      // an active health check watches it
	settled  time.Time // when that has had its say, for a configuration that is new
	healthy  bool      // as Caddy has it
	cause    string    // of that, if it is not healthy
	fails    int64
	requests int64
}

// entry is what is known of an upstream.
type entry struct {
	id    id
	check string
	state string
	since time.Time // of the state

	heard    time.Time // when a request last showed whether it answers
	answered bool      // and whether it did

	told           string // state that the log has; empty: none
	stale          bool   // the log has ended and begun again since
	toldAt         time.Time
	toldSince      time.Time // of that state
	served, failed int64     // requests that the log has
	dynamic        bool      // it is not in the configuration, but requests go there
}

// table is what is known of all upstreams. It outlives configurations.
type table struct {
	counters counters
	entries  map[id]*entry
	window   time.Duration // for which a request shows how an upstream is
	began    bool          // a configuration was looked at before
}

// maxUpstreams is how many upstreams of the configuration are watched at most,
// maxDynamic how many others.
const (
	maxUpstreams = 4096
	maxDynamic   = 256
)

// dynamicIdle is how long an upstream that is not in the configuration is kept
// without requests. Caddy keeps its state as long.
const dynamicIdle = time.Hour

// observe takes one look at all upstreams over, and returns the records of what
// has changed. With fresh set it is the first look at a configuration: then
// what is not in it is gone.
func (t *table) observe(now time.Time, seen []observation, dynamic func(server string) bool, fresh bool) []*entryChange {
	var changes []*entryChange
	here := make(map[id]bool, len(seen))
	for i := range seen {
		o := &seen[i]
		here[o.id] = true
		e := t.entries[o.id]
		if e == nil {
			e = t.add(o.id, now, false)
		}
		e.check, e.dynamic = o.check, false
		changes = append(changes, t.look(e, o, now, fresh)...)
	}
	t.addDynamic(now, here, dynamic)
	for _, k := range slices.SortedFunc(maps.Keys(t.entries), compare) {
		e := t.entries[k]
		switch {
		case here[k]:
		case e.dynamic && dynamic(k.server) && now.Sub(e.heard) < dynamicIdle:
			changes = append(changes, t.look(e, &observation{id: k, healthy: true}, now, fresh)...)
		case fresh || e.dynamic:
			changes = append(changes, t.change(e, stateGone, causeConfig, now))
		}
	}
	t.began = t.began || fresh
	return changes
}

func compare(a, b id) int {
	return cmp.Or(cmp.Compare(a.server, b.server), cmp.Compare(a.address, b.address), cmp.Compare(a.handler, b.handler))
}

func (t *table) add(k id, now time.Time, dynamic bool) *entry {
	e := &entry{id: k, since: now, dynamic: dynamic}
	if t.entries == nil {
		t.entries = map[id]*entry{}
	}
	t.entries[k] = e
	if k.handler == 0 {
		t.counters.of(k.endpoint, true)
	}
	return e
}

// addDynamic finds upstreams that are not in the configuration by the requests
// that went there. Counters that belong to nothing are removed.
func (t *table) addDynamic(now time.Time, here map[id]bool, dynamic func(server string) bool) {
	n := 0
	for _, e := range t.entries {
		if e.dynamic {
			n++
		}
	}
	var old []endpoint
	for ep, c := range t.counters.all() {
		k := id{endpoint: ep}
		if here[k] || t.entries[k] != nil {
			continue
		}
		at, _ := c.heard()
		switch {
		case at.IsZero():
		case !dynamic(ep.server) || now.Sub(at) >= dynamicIdle:
			old = append(old, ep)
		case n < maxDynamic:
			n++
			t.add(k, now, true).heard = at
		}
	}
	t.counters.forget(old)
}

// look takes one look at an upstream over.
func (t *table) look(e *entry, o *observation, now time.Time, fresh bool) []*entryChange {
	if e.id.handler == 0 {
		if at, answered := t.counters.of(e.id.endpoint, true).heard(); !at.Before(e.heard) {
			e.heard, e.answered = at, answered
		}
	}
	if !o.healthy {
		e.heard, e.answered = now, false
	}
	state, cause, at := t.judge(e, o, now)
	if cause == causeTraffic && state == stateUnknown && (fresh || e.state == "") {
		cause = causeConfig
		if !t.began {
			cause = causeStart
		}
	}
	switch {
	case e.state == "" || e.state != state:
		c := t.change(e, state, cause, at)
		c.record.Fails, c.record.Requests = o.fails, o.requests
		return []*entryChange{c}
	case e.stale, e.told != state: // it could not be written
		if e.stale {
			cause = causeStart
		}
		return []*entryChange{t.again(e, cause, now)}
	case now.Sub(e.toldAt) >= availability.Repeat, now.Sub(e.toldAt) >= repeatBusy && t.hasNews(e):
		return []*entryChange{t.again(e, causeInterval, now)}
	}
	return nil
}

// repeatBusy is after how long the requests of an upstream are recorded although
// its state goes on.
const repeatBusy = 10 * time.Minute

func (t *table) hasNews(e *entry) bool {
	return e.id.handler == 0 && t.counters.of(e.id.endpoint, true).served.Load() != e.served
}

// judge says in which state an upstream is, what told so, and since when.
func (t *table) judge(e *entry, o *observation, now time.Time) (state, cause string, at time.Time) {
	recent := !e.heard.IsZero() && now.Sub(e.heard) < t.window
	switch {
	case !o.healthy:
		return stateDown, o.cause, now
	case o.active && !now.Before(o.settled):
		return stateUp, causeActive, now
	case o.active && recent && e.answered && e.state != stateUp:
		return stateUp, causeTraffic, e.changedAt()
	case o.active: // Caddy takes what it has not checked yet for healthy
		return cmp.Or(e.state, stateUnknown), causeTraffic, now
	case recent && e.answered:
		return stateUp, causeTraffic, e.changedAt()
	case recent:
		return stateDown, causeTraffic, e.changedAt()
	case e.heard.IsZero():
		return stateUnknown, causeTraffic, now
	}
	if at = e.heard.Add(t.window); at.Before(e.since) {
		at = now
	}
	return stateUnknown, causeTraffic, at
}

// changedAt is when the last request was heard of, but not before the state
// that it may end began.
func (e *entry) changedAt() time.Time {
	if e.heard.Before(e.since) {
		return e.since
	}
	return e.heard
}

// entryChange is a record that is to be written, and what to note when it was.
type entryChange struct {
	entry          *entry
	record         audit.UpstreamChange
	served, failed int64
}

// change brings an upstream into a state.
func (t *table) change(e *entry, state, cause string, at time.Time) *entryChange {
	before, since := e.told, e.toldSince
	e.state, e.since = state, at
	c := t.compose(e, cause, at)
	c.record.Before = before
	if before != "" {
		c.record.Lasted = max(0, at.Sub(since))
	}
	if state == stateGone {
		delete(t.entries, e.id)
		if e.id.handler == 0 {
			t.counters.forget([]endpoint{e.id.endpoint})
		}
	}
	return c
}

// again composes a record of a state that goes on.
func (t *table) again(e *entry, cause string, now time.Time) *entryChange {
	c := t.compose(e, cause, now)
	c.record.Before = e.told
	c.record.Lasted = max(0, now.Sub(e.since))
	return c
}

func (t *table) compose(e *entry, cause string, at time.Time) *entryChange {
	c := &entryChange{entry: e, served: e.served, failed: e.failed}
	if e.id.handler == 0 {
		n := t.counters.of(e.id.endpoint, true)
		c.served, c.failed = n.served.Load(), n.failed.Load()
	}
	c.record = audit.UpstreamChange{
		Time: at, Kind: audit.Kind("upstream." + e.state), Address: e.id.address, Server: e.id.server,
		Handler: e.id.handler, Check: e.check, Cause: cause,
		Served: c.served - e.served, Failed: c.failed - e.failed,
	}
	return c
}

// written notes that the log has a record.
func (c *entryChange) written() {
	e := c.entry
	e.told, e.toldAt, e.toldSince, e.stale = e.state, c.record.Time, e.since, false
	e.served, e.failed = c.served, c.failed
}

// retell makes the log get the state of each upstream again.
func (t *table) retell() {
	for _, e := range t.entries {
		e.stale = true
	}
}

// end leaves all upstreams unwatched.
func (t *table) end(now time.Time, cause string) []*entryChange {
	var changes []*entryChange
	for _, k := range slices.SortedFunc(maps.Keys(t.entries), compare) {
		if e := t.entries[k]; e.state != stateUnknown || t.hasNews(e) {
			changes = append(changes, t.change(e, stateUnknown, cause, now))
		}
	}
	t.entries = nil
	return changes
}
