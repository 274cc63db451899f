package evidence

import (
	"sync"
	"time"
)

// The limit of requests of one reader, and of how many readers there is a count.
const (
	defaultRate = 20 // requests a second
	burst       = 5  // times the rate at once
	tileTimes   = 25 // times the rate, of hash tiles
	maxReaders  = 4096
)

// buckets limit how many requests readers make: a bucket for each, which fills
// with the rate.
type buckets struct {
	rate float64
	now  func() time.Time

	mu  sync.Mutex
	all map[string]*bucket
}

type bucket struct {
	left float64
	at   time.Time
	told bool // a refusal was recorded since the last request that was let through
}

// take takes a request of a reader. If it is refused, first says whether it is
// the first one since one was let through.
func (b *buckets) take(key string) (ok, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	most := b.rate * burst
	u := b.all[key]
	if u == nil {
		b.room(now, most)
		u = &bucket{left: most, at: now}
		b.all[key] = u
	}
	u.left = min(most, u.left+max(0, now.Sub(u.at).Seconds())*b.rate)
	u.at = now
	if u.left < 1 {
		first = !u.told
		u.told = true
		return false, first
	}
	u.left--
	u.told = false
	return true, false
}

// room drops the buckets that are full again and, if all are in use, any: a
// reader then begins with a full one.
func (b *buckets) room(now time.Time, most float64) {
	if len(b.all) < maxReaders {
		return
	}
	for key, u := range b.all {
		if u.left+now.Sub(u.at).Seconds()*b.rate >= most {
			delete(b.all, key)
		}
	}
	for key := range b.all {
		if len(b.all) < maxReaders {
			break
		}
		delete(b.all, key)
	}
}
