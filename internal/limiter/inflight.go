package limiter

import "sync/atomic"

// inflight counts what each key has under way: requests, or units that are set
// aside for them. A slot is freed when its count is back at 0, so that the table
// holds no more keys than there are requests under way; none of them is ever
// evicted.
//
// When a table is replaced, what it has moves to the next one. Who added to the
// old one in between takes off there, or what is not there from the next one:
// the sum of all is right at any time, so that no count stays behind.
type inflight struct {
	*table
	next atomic.Pointer[inflight]
}

func newInflight(capacity int) *inflight { return &inflight{table: newTable(capacity)} }

// add counts n more for a key whose bucket is locked. It reports false if there
// is no room for the key.
func (f *inflight) add(hash uint64, n int64) bool {
	b, fp := f.bucket(hash), fingerprint(hash)
	if i := b.find(fp); i >= 0 {
		b[i].tat.Store(b[i].tat.Load() + n)
		return true
	}
	i, _, free := b.victim()
	if free {
		b.set(i, fp, n)
	}
	return free
}

// count is what a key has under way.
func (f *inflight) count(hash uint64) int64 {
	if f == nil {
		return 0
	}
	n, _ := f.peek(hash)
	return n
}

// release counts n less, wherever they are by now.
func (f *inflight) release(hash uint64, n int64) {
	for ; f != nil && n > 0; f = f.next.Load() {
		n -= f.take(hash, n)
	}
}

// take takes up to n off a key's count, and returns how much it took.
func (f *inflight) take(hash uint64, n int64) int64 {
	b := f.bucket(hash)
	b.lock()
	defer b.unlock()
	i := b.find(fingerprint(hash))
	if i < 0 {
		return 0
	}
	has := b[i].tat.Load()
	if has > n {
		b[i].tat.Store(has - n)
		return n
	}
	b.set(i, 0, 0)
	return has
}

// carry returns the table for what was in another one; nil if there is none.
func (f *inflight) carry(was *inflight) *inflight {
	switch {
	case f == nil || was == nil:
		return f
	case f.slots() == was.slots():
		return was
	}
	was.next.Store(f)
	was.each(func(_ int, fp uint64, n *int64) bool {
		b := f.bucket(fp)
		b.lock()
		f.add(fp, *n)
		b.unlock()
		return false
	})
	return f
}
