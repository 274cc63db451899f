package export

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// Selection says which records are exported: those from From to, not
// including, To, of the kinds. Its zero value selects all.
type Selection struct {
	From  Bound    `json:"from"`
	To    Bound    `json:"to"`
	Kinds []string `json:"kinds"` // default: all
}

// Bound is a place in the log: the index of a record, or a time, which is
// compared with the member "time" of records. Its zero value is no bound.
type Bound struct {
	set   bool
	index int64
	time  time.Time // not zero: the bound is a time
}

// At returns the bound at a time.
func At(t time.Time) Bound { return Bound{set: true, time: t} }

// Index returns the bound at a record.
func Index(n int64) Bound { return Bound{set: true, index: n} }

// ParseBound reads the index of a record, or a time as RFC 3339. The empty
// text is no bound.
func ParseBound(s string) (Bound, error) {
	if s == "" {
		return Bound{}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
		return Index(n), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.IsZero() {
		return Bound{}, fmt.Errorf("%q is neither the index of a record nor a time like 2026-01-31T00:00:00Z", s)
	}
	return At(t), nil
}

// String is the inverse of ParseBound.
func (b Bound) String() string {
	switch {
	case !b.set:
		return ""
	case b.time.IsZero():
		return strconv.FormatInt(b.index, 10)
	}
	return b.time.UTC().Format(time.RFC3339Nano)
}

// MarshalJSON implements json.Marshaler: a number, a time or null.
func (b Bound) MarshalJSON() ([]byte, error) {
	switch {
	case !b.set:
		return []byte("null"), nil
	case b.time.IsZero():
		return json.Marshal(b.index)
	}
	return json.Marshal(b.String())
}

// late is how much earlier than its neighbors a record can say that it was
// appended: clocks are put right, and disks stall. It is that of populations
// (package evidence/population): one period has one set of records.
const late = time.Hour

// run returns the indexes between which the selected records are. A record
// has the time at which what it tells of began, and is appended when that has
// ended, so all records that came after a time are looked at, however late, and
// those of an hour before it.
func (s Selection) run(ctx context.Context, dir records.Dir, size int64) (from, to int64, err error) {
	from, err = dir.First()
	if err != nil {
		return 0, 0, err
	}
	to = size
	if s.To.set && s.To.time.IsZero() {
		to = min(to, s.To.index)
	}
	switch {
	case s.From.set && s.From.time.IsZero():
		from = s.From.index
	case s.From.set:
		from, err = since(ctx, dir, s.From.time.Add(-late))
	}
	return min(from, to), to, err
}

// since returns the first record of the oldest segment that has records of a
// time or later. A segment is passed over if it and the one after it begin
// earlier, whatever the others do: the clock may have been put back between
// them.
func since(ctx context.Context, dir records.Dir, t time.Time) (seq int64, err error) {
	list, err := dir.Segments()
	if err != nil || len(list) == 0 {
		return 0, err
	}
	earlier := make([]bool, len(list)+1)
	for i, s := range list {
		_, err := dir.Range(ctx, s.First, s.First+1, func(_ int64, record []byte) error {
			at, err := records.Appended(record)
			earlier[i] = at.Before(t)
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	for i, s := range list {
		if !earlier[i] || !earlier[i+1] {
			return s.First, nil
		}
	}
	return list[len(list)-1].First, nil
}

// Each calls fn for the selected records of a log in order, up to its end, also
// those that no checkpoint signs yet. The record is valid only during the call.
func (s Selection) Each(ctx context.Context, dir records.Dir, fn func(seq int64, record []byte) error) error {
	from, to, err := s.run(ctx, dir, math.MaxInt64)
	if err != nil {
		return err
	}
	chosen := s.filter()
	_, err = dir.Range(ctx, from, to, func(seq int64, record []byte) error {
		if !chosen(record) {
			return nil
		}
		return fn(seq, record)
	})
	return err
}

// Has reports whether a record is selected.
func (s Selection) Has(seq int64, record []byte) bool {
	if s.From.set && s.From.time.IsZero() && seq < s.From.index || s.To.set && s.To.time.IsZero() && seq >= s.To.index {
		return false
	}
	return s.filter()(record)
}

// filter returns whether a record that run covers is selected.
func (s Selection) filter() func(record []byte) bool {
	from, to := s.From.text(), s.To.text()
	return func(record []byte) bool {
		if len(s.Kinds) > 0 && !slices.Contains(s.Kinds, string(records.Kind(record))) {
			return false
		}
		if from == nil && to == nil {
			return true
		}
		at := records.Time(record)
		return (from == nil || bytes.Compare(at, from) >= 0) && (to == nil || bytes.Compare(at, to) < 0)
	}
}

// text is a time as records hold it, or nil.
func (b Bound) text() []byte {
	if b.time.IsZero() {
		return nil
	}
	return b.time.UTC().AppendFormat(nil, "2006-01-02T15:04:05.000000000Z")
}
