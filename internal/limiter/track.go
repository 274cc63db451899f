package limiter

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// MaxTracked is how many keys a Tracker knows at a time.
const MaxTracked = 1024

// Tracker knows the keys that a zone refuses at the moment, for records of when
// that began and ended and how many requests it was. Its memory does not grow:
// of keys for which there is no room the refusals are counted together.
type Tracker struct {
	// Wake is called when a key is refused that was not before. It must not
	// block.
	Wake func()

	active atomic.Int64 // keys that are tracked, or refusals of others that were not told yet
	others atomic.Int64 // refusals of keys that have no room
	mu     sync.Mutex   // held by who claims or frees an entry
	keys   [MaxTracked]tracked
}

// tracked is one key. Everything is atomic: only who claims or frees it holds the
// mutex.
type tracked struct {
	hash    atomic.Uint64
	name    atomic.Pointer[string]
	verdict atomic.Uint32
	told    atomic.Bool
	from    atomic.Int64
	last    atomic.Int64 // refusal
	refused atomic.Int64
	allowed atomic.Int64
	until   atomic.Int64 // of a ban that was not told yet
}

// Refused is a key that is being refused.
type Refused struct {
	Hash       uint64  // 0: keys for which there is no room
	Name       string  // if the one who noted it had one
	Verdict    Verdict // of the first refusal
	From, Last int64   // of the first and of the last refusal
	Refused    int64   // requests since the first
	Allowed    int64   // requests since the first
	Until      int64   // end of a ban
}

// probes is how many entries are searched for a key.
const probes = 16

func (t *Tracker) find(hash uint64) *tracked {
	at := hash >> 32
	for i := range uint64(probes) {
		if k := &t.keys[(at+i)%MaxTracked]; k.hash.Load() == hash {
			return k
		}
	}
	return nil
}

// Refuse notes a refusal. name is asked for the key's name only if it was not
// refused before, and can be nil.
func (t *Tracker) Refuse(now int64, a *Ask, name func() string) {
	hash := fingerprint(a.Hash)
	k := t.find(hash)
	if k == nil {
		if k = t.claim(now, hash, a.Verdict, name); k == nil {
			if t.others.Add(1) == 1 {
				t.active.Add(1)
				t.Wake()
			}
			return
		}
	}
	k.refused.Add(1)
	k.last.Store(now)
	if a.Until != 0 {
		k.until.Store(a.Until)
		t.Wake()
	}
}

func (t *Tracker) claim(now int64, hash uint64, v Verdict, name func() string) *tracked {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.find(hash); k != nil {
		return k
	}
	var k *tracked
	at := hash >> 32
	for i := range uint64(probes) {
		if k = &t.keys[(at+i)%MaxTracked]; k.hash.Load() == 0 {
			break
		}
		k = nil
	}
	if k == nil {
		return nil
	}
	k.from.Store(now)
	k.last.Store(now)
	k.refused.Store(0)
	k.allowed.Store(0)
	k.until.Store(0)
	k.verdict.Store(uint32(v))
	k.told.Store(false)
	k.name.Store(nil)
	if name != nil {
		s := name()
		k.name.Store(&s)
	}
	k.hash.Store(hash)
	t.active.Add(1)
	t.Wake()
	return k
}

// Allow notes that a request was admitted.
func (t *Tracker) Allow(hash uint64) {
	if t.active.Load() == 0 {
		return
	}
	if k := t.find(fingerprint(hash)); k != nil {
		k.allowed.Add(1)
	}
}

// Active reports whether there is anything to sweep.
func (t *Tracker) Active() bool { return t.active.Load() != 0 }

func (k *tracked) read() Refused {
	r := Refused{
		Hash: k.hash.Load(), Verdict: Verdict(k.verdict.Load()), From: k.from.Load(), Last: k.last.Load(),
		Refused: k.refused.Load(), Allowed: k.allowed.Load(),
	}
	if s := k.name.Load(); s != nil {
		r.Name = *s
	}
	return r
}

// Sweep tells of keys that are refused since the last time, that were banned, and
// that were not refused for quiet nanoseconds, which it then forgets. Of
// those without room it tells an end.
func (t *Tracker) Sweep(now, quiet int64, begin, ban, end func(Refused)) {
	if n := t.others.Swap(0); n > 0 {
		t.active.Add(-1)
		end(Refused{From: now, Last: now, Refused: n})
	}
	for i := range t.keys {
		k := &t.keys[i]
		if k.hash.Load() == 0 {
			continue
		}
		if !k.told.Swap(true) {
			begin(k.read())
		}
		if until := k.until.Swap(0); until != 0 {
			r := k.read()
			r.Until = until
			ban(r)
		}
		if now-k.last.Load() >= quiet {
			t.mu.Lock()
			r := k.read()
			k.hash.Store(0)
			t.active.Add(-1)
			t.mu.Unlock()
			end(r)
		}
	}
}

// List are the keys that are being refused, those with most refusals first.
func (t *Tracker) List(n int) []Refused {
	var list []Refused
	for i := range t.keys {
		if t.keys[i].hash.Load() != 0 {
			list = append(list, t.keys[i].read())
		}
	}
	slices.SortFunc(list, func(a, b Refused) int { return cmp.Compare(b.Refused, a.Refused) })
	return list[:min(n, len(list))]
}
