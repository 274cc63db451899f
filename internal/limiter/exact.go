package limiter

// logs are the times of the last units of each slot of a table, for mode Exact.
// They are read and written under the lock of the slot's bucket.
type logs struct {
	size  int     // times of a slot
	times []int64 // size of each slot: a ring, in the order of admission
	heads []uint8 // where in its ring each slot writes next
}

func newLogs(size, slots int) *logs {
	return &logs{size: size, times: make([]int64, size*slots), heads: make([]uint8, slots)}
}

// long ago: before each window that any clock can be in.
const longAgo = -maxHorizon

// reset empties the log of a slot that gets another key.
func (l *logs) reset(slot int) {
	ring := l.ring(slot)
	for i := range ring {
		ring[i] = longAgo
	}
	l.heads[slot] = 0
}

func (l *logs) ring(slot int) []int64 { return l.times[slot*l.size : (slot+1)*l.size] }

// newest returns the kth newest time of a slot; the newest is the 1st.
func (l *logs) newest(slot, k int) *int64 {
	i := int(l.heads[slot]) - k
	if i < 0 {
		i += l.size
	}
	return &l.ring(slot)[i]
}

// admits reports whether a cost is admitted under a rate beside units that are
// set aside, or how long it takes until it is; 0: that is not known. Each unit must
// come a window after the Nth before it. That is asked of all units because a
// clock may have gone back.
func (l *logs) admits(slot int, r *Rate, now, cost, aside int64) (ok bool, retry int64) {
	if cost > r.N {
		return false, Never
	}
	units := max(cost, 1) + aside
	if units > r.N {
		return false, 0
	}
	for j := range units {
		if wait := *l.newest(slot, int(r.N-j)) + int64(r.Window) - now; wait > retry {
			retry = wait
		}
	}
	return retry == 0, retry
}

// left is how many units of a rate are not spent, and how long it takes until
// there is one more; 0: all are there.
func (l *logs) left(slot int, r *Rate, now int64) (n, next int64) {
	for k := range r.N {
		wait := *l.newest(slot, int(k+1)) + int64(r.Window) - now
		switch {
		case wait <= 0:
			n++
		case next == 0 || wait < next:
			next = wait
		}
	}
	return n, next
}

// add notes units at a time.
func (l *logs) add(slot int, at, cost int64) {
	ring, head := l.ring(slot), int(l.heads[slot])
	for range min(cost, int64(l.size)) {
		ring[head] = at
		if head++; head == l.size {
			head = 0
		}
	}
	l.heads[slot] = uint8(head)
}

// take copies the newest times of a slot of other logs.
func (l *logs) take(slot int, from *logs, other int) {
	l.reset(slot)
	for k := min(l.size, from.size); k > 0; k-- {
		l.add(slot, *from.newest(other, k), 1)
	}
}
