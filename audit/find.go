package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// clockSlack is how far the clock may have gone back without Find having to
// look twice.
const clockSlack = time.Minute

// Find returns the record of a request. It begins where the log was at the time
// that is in the id and goes on to the log's end, because a request's record is
// appended when the request has ended. If the record is not there, Find also
// reads those earlier parts of the log that have that time, as they do when the
// clock was put back.
func Find(ctx context.Context, dir records.Dir, id ID) (seq int64, record []byte, err error) {
	if dir.Index == nil {
		dir.Index = new(records.Index)
	}
	f := finder{dir: dir, id: id, needle: append([]byte(`"id":"`), id.String()...)}
	began := id.Time().Add(-clockSlack)
	from, err := dir.Search(ctx, func(r []byte) (bool, error) {
		at, err := records.Appended(r)
		return at.Before(began), err
	})
	if err == nil {
		err = f.look(ctx, from, math.MaxInt64)
	}
	if err == nil && f.record == nil {
		err = f.lookBefore(ctx, from, began)
	}
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("looking for request %s: %w", id, err)
	case f.record == nil:
		return 0, nil, fmt.Errorf("request %s: %w", id, records.ErrNotFound)
	}
	return f.seq, f.record, nil
}

type finder struct {
	dir    records.Dir
	id     ID
	needle []byte
	seq    int64
	record []byte // nil until it is found
}

var errFound = errors.New("found")

// look reads the records from one index to another.
func (f *finder) look(ctx context.Context, from, to int64) error {
	_, err := f.dir.Range(ctx, from, to, func(seq int64, r []byte) error {
		if !bytes.Contains(r, f.needle) {
			return nil
		}
		if h, err := ParseHeader(r); err != nil || h.ID != f.id.String() {
			return nil //nolint:nilerr // not the record that is looked for
		}
		f.seq, f.record = seq, bytes.Clone(r)
		return errFound
	})
	if errors.Is(err, errFound) {
		return nil
	}
	return err
}

// lookBefore reads the segments that begin before an index and whose clock
// showed the time in question or went back. It looks at the first record of
// each.
func (f *finder) lookBefore(ctx context.Context, index int64, began time.Time) error {
	list, err := f.dir.Segments()
	if err != nil {
		return err
	}
	var next time.Time // when the segment after the one at hand began
	for i := len(list) - 1; i >= 0 && f.record == nil; i-- {
		s := list[i]
		var first time.Time
		_, err := f.dir.Range(ctx, s.First, s.First+1, func(_ int64, r []byte) (err error) {
			first, err = records.Appended(r)
			return err
		})
		if err != nil {
			return err
		}
		wentBack := !next.IsZero() && next.Before(first.Add(-clockSlack))
		covers := first.Before(f.id.Time().Add(clockSlack)) && (next.IsZero() || next.After(began))
		if s.First < index && (wentBack || covers) {
			to := index
			if i+1 < len(list) {
				to = min(to, list[i+1].First)
			}
			if err := f.look(ctx, s.First, to); err != nil {
				return err
			}
		}
		next = first
	}
	return nil
}
