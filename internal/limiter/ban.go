package limiter

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Ban shuts out a key that goes on although it is refused.
type Ban struct {
	// After is how many refusals in Within lead to a ban. 0: no bans.
	After  int64
	Within time.Duration // default: 1m

	// For is how long the first ban lasts. Each one that follows within Memory
	// of the last one's end is twice as long, up to Most.
	For    time.Duration // default: 10m
	Most   time.Duration // default: 24h, but no less than For
	Memory time.Duration // default: 24h
}

func (b Ban) withDefaults() Ban {
	if b.After == 0 {
		return Ban{}
	}
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&b.Within, time.Minute)
	set(&b.For, 10*time.Minute)
	set(&b.Most, max(24*time.Hour, b.For))
	set(&b.Memory, 24*time.Hour)
	return b
}

func (b Ban) check() error {
	if b.After < 0 {
		return fmt.Errorf("ban after %d: it must not be negative", b.After)
	}
	for _, d := range []time.Duration{b.Within, b.For, b.Most, b.Memory} {
		if d < 0 || d > MaxWindow {
			return fmt.Errorf("ban: %s: it must be longer than 0 and at most %s", d, shortDuration(MaxWindow))
		}
	}
	if b.Most < b.For {
		return errors.New("ban: the longest ban must not be shorter than the first")
	}
	return nil
}

// A banned key's slot holds the end of its last ban in milliseconds of the
// clock, above the number of bans that went before it.
const banBits = 6

// bansByHand is the capacity for bans of a zone that makes none by itself.
const bansByHand = 1024

type bans struct {
	table   *table
	strikes *table
	rate    *Rate // of strikes; nil: bans are made by hand only
	ban     Ban
	any     atomic.Bool // there was a ban, so there can be one
}

func (s *bans) init(b Ban, capacity int) (err error) {
	if b.After == 0 {
		s.table, s.strikes = newTable(min(capacity, bansByHand)), newTable(0)
		return nil
	}
	if s.rate, err = (Limit{N: b.After, Window: b.Within, Burst: b.After}).Rate(); err != nil {
		return fmt.Errorf("ban: %w", err)
	}
	s.table, s.strikes, s.ban = newTable(capacity), newTable(capacity), b
	return nil
}

func packBan(until int64, count int64) int64 {
	return until/int64(time.Millisecond)<<banBits | min(count, 1<<banBits-1)
}

func unpackBan(v int64) (until, count int64) {
	return (v >> banBits) * int64(time.Millisecond), v & (1<<banBits - 1)
}

// until is when a key's ban ends, or ended.
func (s *bans) until(hash uint64) int64 {
	if !s.any.Load() {
		return -maxHorizon
	}
	v, found := s.table.peek(hash)
	if !found {
		return -maxHorizon
	}
	until, _ := unpackBan(v)
	return until
}

// strike notes a refusal. It returns the end of the ban to which it led, or 0.
// Strikes fill a bucket of After that drains in Within.
func (s *bans) strike(now int64, hash uint64, lost *atomic.Int64) (until int64) {
	fp, b := fingerprint(hash), s.strikes.bucket(hash)
	b.lock()
	i, tat := b.find(fp), now
	if i >= 0 {
		tat = b[i].tat.Load()
	}
	next := max(tat, now) + s.rate.interval
	full := next-now > s.rate.tolerance-s.rate.interval
	switch {
	case full && i >= 0:
		b.set(i, 0, 0)
	case full:
	case i >= 0:
		b[i].tat.Store(next)
	default:
		b.claim(fp, now, next)
	}
	b.unlock()
	if !full {
		return 0
	}
	return s.escalate(now, hash, lost)
}

// escalate bans a key for twice as long as before.
func (s *bans) escalate(now int64, hash uint64, lost *atomic.Int64) int64 {
	fp, b := fingerprint(hash), s.table.bucket(hash)
	b.lock()
	defer b.unlock()
	i, count := b.find(fp), int64(0)
	if i >= 0 {
		var last int64
		if last, count = unpackBan(b[i].tat.Load()); last > now {
			return 0 // another request was faster
		}
		if now-last > int64(s.ban.Memory) {
			count = 0
		}
	}
	length := s.ban.Most
	if count < 32 && s.ban.For <= s.ban.Most>>count {
		length = s.ban.For << count
	}
	v := packBan(now+int64(length), count+1)
	s.any.Store(true)
	if i >= 0 {
		b[i].tat.Store(v)
	} else if !b.claimBan(fp, now, v, lost) {
		return 0
	}
	return now + int64(length)
}

// claimBan finds room for a ban. Where there is none but for the ban that ends
// first, that one goes, and is counted.
func (b *bucket) claimBan(fp uint64, now, v int64, lost *atomic.Int64) bool {
	i, gone := b.claim(fp, packBan(now, 1<<banBits-1), v)
	if gone {
		lost.Add(1)
	}
	return i >= 0
}

// put bans a key by hand.
func (s *bans) put(now int64, hash uint64, length time.Duration, lost *atomic.Int64) bool {
	fp, b := fingerprint(hash), s.table.bucket(hash)
	b.lock()
	defer b.unlock()
	i, count := b.find(fp), int64(0)
	if i >= 0 {
		_, count = unpackBan(b[i].tat.Load())
	}
	v := packBan(now+int64(length), count)
	s.any.Store(true)
	if i < 0 {
		return b.claimBan(fp, now, v, lost)
	}
	b[i].tat.Store(v)
	return true
}

// lift ends a key's ban, and forgets those before.
func (s *bans) lift(now int64, hash uint64) (was bool) {
	for _, t := range []*table{s.strikes, s.table} {
		b := t.bucket(hash)
		b.lock()
		if i := b.find(fingerprint(hash)); i >= 0 {
			until, _ := unpackBan(b[i].tat.Load())
			was = t == s.table && until > now
			b.set(i, 0, 0)
		}
		b.unlock()
	}
	return was
}
