package process

import (
	"math"
	"runtime/debug"
	"runtime/metrics"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// The limits of resources that are looked at.
const (
	limitFiles   = "files"         // open file descriptors of the process
	limitMemory  = "memory"        // of the Go runtime, against GOMEMLIMIT
	limitControl = "cgroup_memory" // of the control group, against its limit
	limitDisk    = "disk"          // free on the file system of the log
)

// limit is how much of a resource is in use, or is free.
type limit struct {
	name  string
	value int64
	bound int64 // how much there may be, or of a free resource has to be
	free  bool
}

// A limit is reached at nine tenths, and over when there is some room again: so
// that what goes up and down at the limit is no news each time.
const (
	reachedPart = 0.90
	overPart    = 0.85
	overFree    = 1.25
)

// Limits are the names of all limits.
func Limits() []string { return []string{limitFiles, limitMemory, limitControl, limitDisk} }

func (l limit) isReached() bool {
	if l.free {
		return l.value < l.bound
	}
	return float64(l.value) >= reachedPart*float64(l.bound)
}

func (l limit) isOver() bool {
	if l.free {
		return float64(l.value) > overFree*float64(l.bound)
	}
	return float64(l.value) < overPart*float64(l.bound)
}

// look records which limits were reached since the last look, and which are
// over.
func (r *Recorder) look() {
	r.alive.renew(r.now())
	list := r.limits()
	if book := r.book(); book != nil {
		if l, ok := disk(book.Log().Dir()); ok {
			list = append(list, l)
		}
	}
	for _, l := range list {
		if l.bound <= 0 {
			continue
		}
		state := r.passed(l)
		if state == "" {
			continue
		}
		p := r.record(audit.KindProcessLimit)
		p.Limit, p.Value, p.Bound, p.State = l.name, l.value, l.bound, state
		r.write(&p)
	}
}

// passed notes whether a limit is reached, and returns what has become of it:
// nothing, reached or over.
func (r *Recorder) passed(l limit) string {
	r.reachedMu.Lock()
	defer r.reachedMu.Unlock()
	switch was := r.reached[l.name]; {
	case !was && l.isReached():
		if r.reached == nil {
			r.reached = map[string]bool{}
		}
		r.reached[l.name] = true
		return "reached"
	case was && l.isOver():
		r.reached[l.name] = false
		return "over"
	}
	return ""
}

// sample looks at all limits but that of the disk.
func sample() []limit {
	var list []limit
	if n, most, ok := openFiles(); ok {
		list = append(list, limit{name: limitFiles, value: n, bound: most})
	}
	if most := debug.SetMemoryLimit(-1); most < math.MaxInt64 {
		s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		metrics.Read(s)
		if s[0].Value.Kind() == metrics.KindUint64 && s[1].Value.Kind() == metrics.KindUint64 {
			list = append(list, limit{name: limitMemory, value: int64(s[0].Value.Uint64() - s[1].Value.Uint64()), bound: most})
		}
	}
	if n, most, ok := controlGroup(readSmall); ok {
		list = append(list, limit{name: limitControl, value: n, bound: most})
	}
	return list
}

// Free space is low below a twentieth of the file system, but no more than this.
const (
	lowDiskPart = 20
	lowDiskMost = 1 << 30
)

// lowDisk makes a limit of the size of a file system and what is free there.
func lowDisk(size, free int64) limit {
	return limit{name: limitDisk, value: free, bound: min(size/lowDiskPart, lowDiskMost), free: true}
}
