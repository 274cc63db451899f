package limiter

import (
	"cmp"
	"slices"
	"time"
)

// Usage is what is known of one key.
type Usage struct {
	Hash   uint64
	Used   int64 // units spent that have not come back
	Left   int64 // units that it can spend
	Active int64 // requests under way
	Banned int64 // ns until its ban ends; 0: not banned
	Bans   int64 // bans in a row
}

// Usage looks a key up. rate is what applies to it; nil: the zone's.
func (z *Zone) Usage(hash uint64, rate *Rate) Usage {
	st, now := z.state.Load(), z.now()
	if rate == nil {
		rate = st.Rate
	}
	u := Usage{Hash: hash}
	if st.table.buckets != nil && rate != nil {
		tat, found := st.table.peek(hash)
		if !found {
			tat = now
		}
		u.Used, u.Left = spent(rate, tat, now), rate.left(tat, now)
		if st.logs != nil && rate.N <= int64(st.logs.size) {
			u.Left = st.leftOfLog(hash, rate, now)
			u.Used = rate.N - u.Left
		}
	}
	if st.inflight != nil {
		u.Active = st.inflight.count(hash)
	}
	u.Left = max(0, u.Left-st.aside.count(hash))
	if v, found := st.bans.table.peek(hash); found {
		until, count := unpackBan(v)
		u.Banned, u.Bans = max(0, until-now), count
	}
	return u
}

func (s *state) leftOfLog(hash uint64, rate *Rate, now int64) int64 {
	n := s.table.index(hash)
	b := &s.table.buckets[n]
	b.lock()
	defer b.unlock()
	if i := b.find(fingerprint(hash)); i >= 0 {
		left, _ := s.logs.left(n*ways+i, rate, now)
		return left
	}
	return rate.N
}

// spent is the number of units that have not come back.
func spent(r *Rate, tat, now int64) int64 {
	return (max(0, tat-now) + r.interval - 1) / r.interval
}

// Top are the keys that have spent most, by the zone's rate.
func (z *Zone) Top(n int) []Usage {
	st, now := z.state.Load(), z.now()
	if st.table.buckets == nil {
		return nil
	}
	type used struct {
		hash uint64
		tat  int64
	}
	var list []used
	most := func(a, b used) int { return cmp.Compare(b.tat, a.tat) }
	st.table.each(func(_ int, fp uint64, tat *int64) bool {
		if *tat > now {
			if list = append(list, used{fp, *tat}); len(list) > 4*n+64 {
				slices.SortFunc(list, most)
				list = list[:n]
			}
		}
		return true
	})
	slices.SortFunc(list, most)
	top := make([]Usage, 0, min(n, len(list)))
	for _, u := range list[:min(n, len(list))] {
		top = append(top, z.Usage(u.hash, nil))
	}
	return top
}

// Live counts the keys that have spent something which has not come back.
func (z *Zone) Live() int {
	st, now := z.state.Load(), z.now()
	return st.table.count(func(tat int64) bool { return tat > now })
}

// Banned counts the keys that are banned.
func (z *Zone) Banned() int {
	st, now := z.state.Load(), z.now()
	if !st.bans.any.Load() {
		return 0
	}
	return st.bans.table.count(func(v int64) bool { until, _ := unpackBan(v); return until > now })
}

// count counts slots, without a lock.
func (t *table) count(is func(v int64) bool) (n int) {
	for i := range t.buckets {
		for j := range t.buckets[i] {
			s := &t.buckets[i][j]
			if s.fp.Load()&^lockBit != 0 && is(s.tat.Load()) {
				n++
			}
		}
	}
	return n
}

// Reset gives a key all its units back, and reports whether it had spent any.
func (z *Zone) Reset(hash uint64) (was bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	st, now := z.state.Load(), z.now()
	if st.table.buckets == nil {
		return false
	}
	b := st.table.bucket(hash)
	b.lock()
	defer b.unlock()
	if i := b.find(fingerprint(hash)); i >= 0 {
		was = b[i].tat.Load() > now
		b.set(i, 0, 0)
	}
	return was
}

// ResetAll gives all keys all their units back.
func (z *Zone) ResetAll() (n int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := z.now()
	if st := z.state.Load(); st.table.buckets != nil {
		st.table.each(func(_ int, _ uint64, tat *int64) bool {
			if *tat > now {
				n++
			}
			return false
		})
	}
	return n
}

// Ban shuts a key out. It reports false if the zone has no room for it.
func (z *Zone) Ban(hash uint64, length time.Duration) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.state.Load().bans.put(z.now(), hash, length, &z.lost)
}

// Unban lets a key in again and forgets the bans it had. It reports whether it
// was banned.
func (z *Zone) Unban(hash uint64) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.state.Load().bans.lift(z.now(), hash)
}
