package limiter

import "math/bits"

// Rate is a Limit that was checked. Its arithmetic is pure: all times are
// nanoseconds of one clock. The state of a key is its theoretical arrival time
// (TAT): when all that it spent will have come back.
type Rate struct {
	Limit

	interval  int64 // in which one unit comes back
	tolerance int64 // burst · interval: how far ahead the TAT may be
	burst     int64
}

// Never is the time to wait for what is never admitted.
const Never = int64(1<<63 - 1)

// Units is how many units a key can spend at once.
func (r *Rate) Units() int64 { return r.burst }

// spend is the TAT after a cost, if it is admitted beside units that are set
// aside; otherwise the one that it has with those. Of a cost of 0 it asks whether
// one unit is left.
func (r *Rate) spend(tat, now, cost, aside int64) (next int64, ok bool) {
	if aside > 0 {
		tat = max(tat, now) + min(aside, r.burst)*r.interval
	}
	if cost > r.burst {
		return tat, false
	}
	if base := max(tat, now); base+max(cost, 1)*r.interval-now <= r.tolerance {
		return base + cost*r.interval, true
	}
	return tat, false
}

// left is how many units a key can spend now.
func (r *Rate) left(tat, now int64) int64 {
	return max(0, (r.tolerance-max(0, tat-now))/r.interval)
}

// retry is how long it takes until a cost is admitted.
func (r *Rate) retry(tat, now, cost int64) int64 {
	if cost > r.burst {
		return Never
	}
	return max(0, max(tat, now)+max(cost, 1)*r.interval-now-r.tolerance)
}

// next is how long it takes until one more unit than now is there; 0 if all are.
func (r *Rate) next(tat, now int64) int64 {
	if tat <= now {
		return 0
	}
	if over := tat - now - r.tolerance; over > 0 { // in debt
		return over + r.interval
	}
	if d := (tat - now) % r.interval; d > 0 {
		return d
	}
	return r.interval
}

// owe is the TAT after a cost that is charged in any case, but leaves no more
// than debt units to be paid off before one is admitted again.
func (r *Rate) owe(tat, now, cost, debt int64) int64 {
	most := r.horizon(debt)
	base := max(tat, now)
	if most <= base-now {
		return base
	}
	if cost > (most-(base-now))/r.interval {
		return now + most
	}
	return base + cost*r.interval
}

// horizon is how far ahead of now a TAT can be.
func (r *Rate) horizon(debt int64) int64 {
	hi, lo := bits.Mul64(uint64(debt), uint64(r.interval))
	if hi != 0 || lo > uint64(maxHorizon) {
		return maxHorizon
	}
	return min(maxHorizon, r.tolerance+int64(lo))
}

// convert is the TAT that has the same number of units spent under this rate
// as a TAT had under another one, rounded up.
func (r *Rate) convert(tat, now int64, was *Rate, debt int64) int64 {
	if tat <= now {
		return tat
	}
	most := r.horizon(debt)
	hi, lo := bits.Mul64(uint64(tat-now), uint64(r.interval))
	lo, carry := bits.Add64(lo, uint64(was.interval-1), 0)
	hi += carry
	if hi >= uint64(was.interval) {
		return now + most
	}
	ahead, _ := bits.Div64(hi, lo, uint64(was.interval))
	return now + int64(min(ahead, uint64(most)))
}
