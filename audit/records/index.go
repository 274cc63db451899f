package records

import (
	"sync"

	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// indexed is how many segments an Index remembers: one is written, and few
// wait to be sealed.
const indexed = 16

// Index remembers where the bundles of segments that are not sealed begin, as
// readers come by: 8 bytes for 256 records. What it says is a hint, which
// reading checks. Its zero value is empty. It is safe for concurrent use.
type Index struct {
	mu       sync.Mutex
	segments map[int64][]int64 // by first record: where the segment's i-th bundle begins
}

// block is the number of the bundle of a record, counted from the first of a
// segment.
func block(first, seq int64) int { return int(seq/tree.Width - first/tree.Width) }

// start is the inverse of block: the first record of the i-th bundle, whole or
// in part, of a segment.
func start(first int64, i int) int64 {
	if i == 0 {
		return first
	}
	return first - first%tree.Width + int64(i)*tree.Width
}

// before returns the last known place at or before a record.
func (x *Index) before(first, seq int64) (at, offset int64) {
	if x == nil {
		return first, 0
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	offsets := x.segments[first]
	i := min(block(first, max(first, seq)), len(offsets)-1)
	if i <= 0 {
		return first, 0
	}
	return start(first, i), offsets[i]
}

// note remembers where record seq, the first of a bundle, lies.
func (x *Index) note(first, seq, offset int64) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if block(first, seq) != len(x.segments[first]) {
		return // known, or not the next one
	}
	if x.segments == nil {
		x.segments = map[int64][]int64{}
	}
	x.segments[first] = append(x.segments[first], offset)
	if len(x.segments) > indexed {
		oldest := first
		for f := range x.segments {
			oldest = min(oldest, f)
		}
		delete(x.segments, oldest)
	}
}

// forget drops what is known of a segment.
func (x *Index) forget(first int64) {
	if x != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.segments, first)
	}
}
