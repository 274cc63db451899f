package limits

import (
	"time"
	"unsafe"

	_ "github.com/mholt/caddy-ratelimit" // is measured
)

// What caddy-ratelimit decides with is not exported. The linker finds it.

//go:linkname newRings github.com/mholt/caddy-ratelimit.newRateLimiterMap
func newRings() unsafe.Pointer

//go:linkname getRing github.com/mholt/caddy-ratelimit.(*rateLimitersMap).getOrInsert
func getRing(rings unsafe.Pointer, key string, maxEvents int, window time.Duration) unsafe.Pointer

//go:linkname whenRing github.com/mholt/caddy-ratelimit.(*ringBufferRateLimiter).When
func whenRing(ring unsafe.Pointer) time.Duration

// openRing decides as its handler does: it finds the key's ring and asks it.
func openRing(int) (decider, error) {
	rings := newRings()
	return func(key string) bool { return whenRing(getRing(rings, key, limitN, limitWindow)) == 0 }, nil
}
