// Package lockout counts failed logins by principal and by network, and locks
// out those with too many. What it knows lies in a table of fixed size that all
// sites of the process share and that outlives reloads.
//
// A principal that is locked out can still log in from a network from which it
// lately did, so that strangers cannot lock it out of its own desk. Failures
// from there count for that pair alone. While such a network is locked out, the
// principal has one try there: one guesser does not lock out all who share an
// address, and learns no more than that.
package lockout

import (
	"sync"
	"time"
)

// Policy says when somebody is locked out.
type Policy struct {
	Failures        int           // of a principal in Window that lock it out
	NetworkFailures int           // of a network in Window
	Window          time.Duration //
	Duration        time.Duration // of the first lock; each that follows within a day is twice as long
	Longest         time.Duration // that a lock can get
}

// The default policy.
const (
	DefaultFailures        = 5
	DefaultNetworkFailures = 20
	DefaultWindow          = 15 * time.Minute
	DefaultDuration        = 15 * time.Minute
	DefaultLongest         = 24 * time.Hour

	// DefaultEntries is the size of the table.
	DefaultEntries = 1 << 16
)

// What is locked out.
const (
	Principal = "principal"
	Network   = "network"
	pair      = "pair"  // principal and network
	trust     = "trust" // of a pair that logged in
)

// The times for which something is remembered.
const (
	trusted = 30 * 24 * time.Hour // that a principal logged in from a network
	memory  = 24 * time.Hour      // that it was locked out before
)

// Key is what is counted.
type Key struct {
	What    string
	Realm   string // accounts of one site are others than those of another
	Subject string
}

// Event is what the table did.
type Event struct {
	Key
	Action   string // lock, extend, unlock, expire
	Attempts int64
	Window   time.Duration
	Until    time.Time
	At       time.Time
}

// entry is a slot of the table.
type entry struct {
	key   Key
	count int64
	since time.Time // begin of the window
	until time.Time // locked out, if in the future
	begun time.Time // of that lock
	locks int       // that it had
	seen  time.Time
	told  bool // its lock is recorded, its end is not
}

// Table counts failures.
type Table struct {
	now  func() time.Time
	size int
	tell func(Event) // is called without the lock

	mu      sync.Mutex // guards the fields below
	slots   []entry
	index   map[Key]int32
	next    uint32 // where to look for a victim
	evicted int64
}

// New makes a table of so many entries. What happens is told.
func New(entries int, now func() time.Time, tell func(Event)) *Table {
	return &Table{now: now, size: entries, tell: tell, index: make(map[Key]int32)}
}

// Locked returns until when a principal, which may be empty, may not log in from
// a network; the zero time if it may.
func (t *Table) Locked(realm, principal, network string) time.Time {
	now := t.now()
	t.mu.Lock()
	var ended []Event
	until := t.lockedUntil(Key{Network, "", network}, now, &ended)
	if until.IsZero() && principal != "" {
		until = t.lockedUntil(t.counted(realm, principal, network, now), now, &ended)
	} else if !until.IsZero() && t.mayTry(realm, principal, network, now) {
		until = time.Time{}
	}
	t.mu.Unlock()
	t.tellAll(ended)
	return until
}

// counted is the key under which failures of a principal at a network count.
func (t *Table) counted(realm, principal, network string, now time.Time) Key {
	own := realm + "\x00" + network
	if e := t.get(Key{trust, own, principal}); e != nil && now.Sub(e.seen) < trusted {
		return Key{pair, own, principal}
	}
	return Key{Principal, realm, principal}
}

// mayTry reports whether a principal may try at a network that is locked out: it
// lately logged in there, and did not fail since the lock began.
func (t *Table) mayTry(realm, principal, network string, now time.Time) bool {
	key := t.counted(realm, principal, network, now)
	lock := t.get(Key{Network, "", network})
	if principal == "" || key.What != pair || lock == nil {
		return false
	}
	e := t.get(key)
	return e == nil || e.until.IsZero() && e.seen.Before(lock.begun)
}

// lockedUntil returns the end of a lock that is in force, and notes one that has
// ended.
func (t *Table) lockedUntil(key Key, now time.Time, ended *[]Event) time.Time {
	e := t.get(key)
	if e == nil || e.until.IsZero() {
		return time.Time{}
	}
	if now.Before(e.until) {
		return e.until
	}
	t.end(e, "expire", now, ended)
	return time.Time{}
}

// end ends a lock.
func (t *Table) end(e *entry, action string, now time.Time, events *[]Event) {
	if e.told {
		*events = append(*events, Event{Key: e.key, Action: action, Attempts: e.count, Until: e.until, At: now})
	}
	e.until, e.count, e.told = time.Time{}, 0, false
}

// Failed counts a failed login. The principal may be empty.
func (t *Table) Failed(p Policy, realm, principal, network string) {
	now := t.now()
	t.mu.Lock()
	var events []Event
	t.fail(Key{Network, "", network}, p, p.NetworkFailures, now, &events)
	if principal != "" {
		t.fail(t.counted(realm, principal, network, now), p, p.Failures, now, &events)
	}
	t.mu.Unlock()
	t.tellAll(events)
}

func (t *Table) fail(key Key, p Policy, most int, now time.Time, events *[]Event) {
	e := t.put(key, now, events)
	if !e.until.IsZero() && !now.Before(e.until) {
		t.end(e, "expire", now, events)
	}
	if now.Sub(e.seen) > memory {
		e.locks = 0
	}
	if now.Sub(e.since) > p.Window {
		e.since, e.count = now, 0
	}
	e.seen = now
	e.count++
	if e.count < int64(most) || now.Before(e.until) {
		return
	}
	length := p.Duration << min(e.locks, 16)
	if length > p.Longest || length <= 0 {
		length = p.Longest
	}
	action := "lock"
	if e.locks > 0 {
		action = "extend"
	}
	e.locks++
	e.begun, e.until, e.told = now, now.Add(length), true
	*events = append(*events, Event{Key: key, Action: action, Attempts: e.count, Window: p.Window, Until: e.until, At: now})
}

// Succeeded forgets the failures of a principal that logged in from a network,
// which are its own, and remembers the network as its own. Failures of the
// network stay: others may be behind it. So do those of the principal elsewhere,
// if the network was its own before: whoever guesses would else have as many
// tries as it has requests, since with HTTP Basic each of them is a login.
func (t *Table) Succeeded(realm, principal, network string) {
	now := t.now()
	t.mu.Lock()
	var events []Event
	own := realm + "\x00" + network
	key := t.counted(realm, principal, network, now)
	t.put(Key{trust, own, principal}, now, &events).seen = now
	if e := t.get(key); e != nil && e.until.IsZero() {
		t.drop(key)
	}
	t.mu.Unlock()
	t.tellAll(events)
}

// Unlock lets somebody in again, and reports how many locks that ended. What is
// Principal or Network; all realms are meant.
func (t *Table) Unlock(what, subject string) int {
	now := t.now()
	t.mu.Lock()
	n := 0
	for i := range t.slots {
		e := &t.slots[i]
		if e.key.Subject != subject || e.key.What != what && (what != Principal || e.key.What != pair) {
			continue
		}
		if now.Before(e.until) {
			n++
		}
		e.until, e.count, e.locks, e.told = time.Time{}, 0, 0, false
	}
	t.mu.Unlock()
	return n
}

// Lock is a lock that is in force.
type Lock struct {
	What     string    `json:"what"`
	Subject  string    `json:"subject"`
	Realm    string    `json:"realm,omitempty"`
	Attempts int64     `json:"attempts"`
	Locks    int       `json:"locks"`
	Until    time.Time `json:"until"`
}

// State is the table at one time.
type State struct {
	Locks   []Lock `json:"locks"`
	Entries int    `json:"entries"`
	Size    int    `json:"size"`
	Evicted int64  `json:"evicted"` // that had to make room while they still counted
}

// maxLocks is how many locks State lists.
const maxLocks = 1000

// State lists the locks that are in force.
func (t *Table) State() State {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := State{Locks: []Lock{}, Entries: len(t.index), Size: t.size, Evicted: t.evicted}
	for i := range t.slots {
		e := &t.slots[i]
		if now.Before(e.until) && len(s.Locks) < maxLocks {
			what, realm := e.key.What, e.key.Realm
			if what == pair {
				what, realm = Principal, ""
			}
			s.Locks = append(s.Locks, Lock{what, e.key.Subject, realm, e.count, e.locks, e.until.UTC()})
		}
	}
	return s
}

// Count is how much of the table is in use.
type Count struct {
	Principals, Networks int // that are locked out
	Entries, Size        int
	Evicted              int // that had to make room while they still counted
}

// Count counts the locks that are in force.
func (t *Table) Count() Count {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	c := Count{Entries: len(t.index), Size: t.size, Evicted: int(t.evicted)}
	for i := range t.slots {
		switch e := &t.slots[i]; {
		case !now.Before(e.until):
		case e.key.What == Network:
			c.Networks++
		default:
			c.Principals++
		}
	}
	return c
}

func (t *Table) tellAll(events []Event) {
	for _, ev := range events {
		if ev.What == pair {
			ev.What, ev.Realm = Principal, ""
		}
		if t.tell != nil {
			t.tell(ev)
		}
	}
}

// Trusted reports whether a principal lately logged in from a network.
func (t *Table) Trusted(realm, principal, network string) bool {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.get(Key{trust, realm + "\x00" + network, principal})
	return e != nil && now.Sub(e.seen) < trusted
}
