package rollup

import (
	"cmp"
	"fmt"
	"slices"
)

// Count is a counter with a name. The name is the text of the records, with
// their escapes.
type Count struct {
	Name string
	N    int64
}

// Total is the sum of rollups.
type Total struct {
	Segments    int64
	First, Next int64  // the records that are counted lie in this range
	From, To    string // times of the first and the last of them
	Records     int64
	Bytes       int64
	SealedBytes int64
	Uncounted   int64 // records in segments whose rollups have no requests, as those of the first version

	Requests, ResponseBytes, Authenticated, Mended int64

	kinds, status, duration, other table
	tables                         [tables]table
	principals                     Sketch
}

// Add sums a rollup up.
func (t *Total) Add(r *Rollup) error { return t.add(r) }

// add sums a rollup up.
func (t *Total) add(r *Rollup) error {
	if t.Segments == 0 || r.First < t.First {
		t.First, t.From = r.First, r.From
	}
	if next := r.First + r.Records; next > t.Next {
		t.Next, t.To = next, r.To
	}
	t.Segments++
	t.Records = sum(t.Records, r.Records)
	t.Bytes = sum(t.Bytes, r.Bytes)
	t.SealedBytes = sum(t.SealedBytes, r.SealedBytes)
	if r.Members.Requests == nil {
		t.Uncounted = sum(t.Uncounted, r.Records)
	}
	c := cursor{b: r.Members.Kinds}
	if c.b != nil {
		c.counts(&t.kinds)
	}
	if c.bad || !t.addRequests(r.Members.Requests) {
		return fmt.Errorf("rollup record %d: %w: its counters cannot be read", r.Seq, ErrRollup)
	}
	return nil
}

func (c *cursor) counts(t *table) {
	c.object(func(name []byte) { t.add(name, c.number()) })
}

func (t *Total) addRequests(b []byte) bool {
	if b == nil {
		return true
	}
	c := cursor{b: b}
	c.object(func(name []byte) {
		switch string(name) {
		case "total":
			t.Requests = sum(t.Requests, c.number())
		case "bytes":
			t.ResponseBytes = sum(t.ResponseBytes, c.number())
		case "authenticated":
			t.Authenticated = sum(t.Authenticated, c.number())
		case "mended":
			t.Mended = sum(t.Mended, c.number())
		case "status":
			c.counts(&t.status)
		case "duration_ns":
			c.counts(&t.duration)
		case "other":
			c.counts(&t.other)
		case "principals":
			if text := c.text(); !t.principals.mergeText(text) {
				c.bad = true
			}
		default:
			for i := range layout {
				if layout[i].name == string(name) {
					c.counts(&t.tables[i])
					return
				}
			}
			c.skip()
		}
	})
	return !c.bad
}

// Kinds returns the number of records by kind, most first.
func (t *Total) Kinds() []Count { return t.kinds.counts() }

// By returns the number of requests by host, upstream, method, proto, tls,
// access, limit, cache, end, level, status, or duration_ns (the lower bound of
// the bucket), most first, and how many are counted under no name.
func (t *Total) By(what string) (counts []Count, other int64) {
	for _, e := range t.other.list {
		if e.name == what {
			other = e.n
		}
	}
	switch what {
	case "status":
		return t.status.counts(), other
	case "duration_ns":
		return t.duration.counts(), other
	}
	for i := range layout {
		if layout[i].name == what {
			return t.tables[i].counts(), other
		}
	}
	return nil, 0
}

// Principals estimates how many different principals there were.
func (t *Total) Principals() int64 { return t.principals.Estimate() }

func (t *table) counts() []Count {
	var list []Count
	for _, e := range t.list {
		list = append(list, Count{e.name, e.n})
	}
	slices.SortFunc(list, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name))
	})
	return list
}
