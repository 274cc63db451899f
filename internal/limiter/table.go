package limiter

import (
	"math/bits"
	"runtime"
	"sync/atomic"
)

// ways is how many slots a bucket has: a bucket is two cache lines.
const ways = 8

// Capacities of a table, in slots of 16 bytes.
const (
	MinCapacity     = 64
	DefaultCapacity = 1 << 16
	MaxCapacity     = 1 << 26
)

// slot is what is known of one key. Nothing in it is a pointer, so the garbage
// collector never looks at a table.
//
// fp is the key's hash without its lowest bit, 0 if the slot is free. In the
// first slot of a bucket the lowest bit is the bucket's lock. All that is
// written to a bucket is written under its lock; reading needs none.
type slot struct {
	fp  atomic.Uint64
	tat atomic.Int64 // or whatever the table is of: the lowest goes first
}

const lockBit = 1

type bucket [ways]slot

// lock takes the bucket. It is held for tens of nanoseconds: who finds it taken
// tries again, and lets others run if its owner seems not to.
func (b *bucket) lock() {
	for tries := 1; ; tries++ {
		v := b[0].fp.Load()
		if v&lockBit == 0 && b[0].fp.CompareAndSwap(v, v|lockBit) {
			return
		}
		if tries%32 == 0 {
			runtime.Gosched()
		}
	}
}

func (b *bucket) unlock() { b[0].fp.Store(b[0].fp.Load() &^ lockBit) }

// set gives a slot of a locked bucket to a key, or frees it.
func (b *bucket) set(i int, fp uint64, tat int64) {
	if i == 0 {
		fp |= lockBit
	}
	// A reader that finds the key finds the time that belongs to it.
	b[i].fp.Store(b[i].fp.Load() & lockBit)
	b[i].tat.Store(tat)
	b[i].fp.Store(fp)
}

// find returns the slot of a key, or -1.
func (b *bucket) find(fp uint64) int {
	if b[0].fp.Load()&^lockBit == fp {
		return 0
	}
	for i := 1; i < ways; i++ {
		if b[i].fp.Load() == fp {
			return i
		}
	}
	return -1
}

// victim is the slot of a locked bucket that goes first: a free one, or else
// the one with the lowest TAT.
func (b *bucket) victim() (i int, tat int64, free bool) {
	for j := range b {
		if b[j].fp.Load()&^lockBit == 0 {
			return j, 0, true
		}
		if t := b[j].tat.Load(); j == 0 || t < tat {
			i, tat = j, t
		}
	}
	return i, tat, false
}

// table is a set-associative array of slots whose size never changes.
type table struct{ buckets []bucket }

// newTable makes a table for capacity keys, rounded up to whole buckets.
func newTable(capacity int) *table {
	return &table{buckets: make([]bucket, (max(capacity, MinCapacity)+ways-1)/ways)}
}

// index is the bucket of a hash or of its fingerprint: as far along as the hash
// is among all hashes.
func (t *table) index(hash uint64) int {
	n, _ := bits.Mul64(hash&^lockBit, uint64(len(t.buckets)))
	return int(n)
}

func (t *table) bucket(hash uint64) *bucket { return &t.buckets[t.index(hash)] }

// slots is how many keys the table holds at most.
func (t *table) slots() int { return len(t.buckets) * ways }

// fingerprint is the part of a hash that a slot keeps.
func fingerprint(hash uint64) uint64 {
	if hash &^= lockBit; hash != 0 {
		return hash
	}
	return 2
}

// peek reads what a slot says of a key, without the lock.
func (t *table) peek(hash uint64) (tat int64, found bool) {
	b, fp := t.bucket(hash), fingerprint(hash)
	for {
		i := b.find(fp)
		if i < 0 {
			return 0, false
		}
		tat = b[i].tat.Load()
		if b[i].fp.Load()&^lockBit == fp { // the slot did not change hands in between
			return tat, true
		}
	}
}

// claim finds room in a locked bucket for a key that will have a TAT. It
// returns -1 if every key of the bucket has more to lose than that one. lost
// reports that a key that had something to lose at time now, that one or
// another, is not kept.
func (b *bucket) claim(fp uint64, now, tat int64) (i int, lost bool) {
	i, lowest, free := b.victim()
	switch {
	case free:
	case lowest > tat:
		return -1, tat > now
	default:
		lost = lowest > now
	}
	b.set(i, fp, tat)
	return i, lost
}

// each calls fn with each used slot under its bucket's lock. If fn returns
// false the slot is freed.
func (t *table) each(fn func(index int, fp uint64, tat *int64) (keep bool)) {
	for n := range t.buckets {
		b := &t.buckets[n]
		b.lock()
		for i := range b {
			fp := b[i].fp.Load() &^ lockBit
			if fp == 0 {
				continue
			}
			tat := b[i].tat.Load()
			was := tat
			if !fn(n*ways+i, fp, &tat) {
				b.set(i, 0, 0)
			} else if tat != was {
				b[i].tat.Store(tat)
			}
		}
		b.unlock()
	}
}
