package records

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// Bundle returns the first width records of an entry bundle as C2SP tlog-tiles
// frames them.
func (d Dir) Bundle(ctx context.Context, index int64, width int) ([]byte, error) {
	from := index * tree.Width
	to := from + int64(width)
	var out []byte
	want := from
	next, err := d.Range(ctx, from, to, func(seq int64, record []byte) error {
		if seq != want {
			return errEnough
		}
		want++
		out = append(out, byte(len(record)>>8), byte(len(record)))
		out = append(out, record...)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if err != nil || next != to {
		return nil, fmt.Errorf("record %d: %w", want, ErrNotFound)
	}
	return out, nil
}

// Newest calls fn for the records of the log from the newest to the oldest,
// until fn returns false.
func (d Dir) Newest(fn func(seq int64, record []byte) bool) error {
	d = d.indexed()
	list, err := d.Segments()
	if err != nil {
		return err
	}
	for i, s := range slices.Backward(list) {
		blocks, err := d.blocks(context.Background(), s)
		if err != nil && (i < len(list)-1 || !isBad(err)) {
			return err
		}
		for b := blocks - 1; b >= 0; b-- {
			all, err := d.blockOf(s, b)
			if err != nil && (i < len(list)-1 || b < blocks-1 || !isBad(err)) {
				return err
			}
			for j, record := range slices.Backward(all) {
				if !fn(start(s.First, b)+int64(j), record) {
					return nil
				}
			}
		}
	}
	return nil
}

// indexed is the directory with an index, if only for the call at hand.
func (d Dir) indexed() Dir {
	if d.Index == nil {
		d.Index = new(Index)
	}
	return d
}

// blocks is the number of bundles, whole or in part, of a segment.
func (d Dir) blocks(ctx context.Context, s Segment) (int, error) {
	f, err := d.open(s)
	if err != nil {
		return 0, err
	}
	if f.segment.Sealed {
		defer func() { _ = f.Close() }() // it was only read
		table, err := f.table()
		if err != nil {
			return 0, err
		}
		return table.Bundles(), nil
	}
	_ = f.Close()
	next, err := d.walk(ctx, s, math.MaxInt64, math.MaxInt64, nil)
	if next == s.First {
		return 0, err
	}
	return block(s.First, next-1) + 1, err
}

// blockOf returns the records of the i-th bundle of a segment.
func (d Dir) blockOf(s Segment, i int) (all [][]byte, err error) {
	_, err = d.walk(context.Background(), s, start(s.First, i), start(s.First, i+1), func(_ int64, record []byte) error {
		all = append(all, slices.Clone(record))
		return nil
	})
	return all, err
}

// Search returns the index of a record to begin with in order to see all
// records for which before does not hold, if the log's records are in an order
// such that those for which it holds come first. It reads the first records of
// about as many bundles as the logarithm of their number says.
func (d Dir) Search(ctx context.Context, before func(record []byte) (bool, error)) (seq int64, err error) {
	d = d.indexed()
	list, err := d.Segments()
	if err != nil || len(list) == 0 {
		return 0, err
	}
	holds := func(s Segment, seq int64) bool {
		if err != nil {
			return false
		}
		record, rerr := d.recordIn(ctx, s, seq)
		if errors.Is(rerr, ErrNotFound) { // a segment that has no record yet
			return false
		}
		var ok bool
		if err = rerr; err == nil {
			ok, err = before(record)
		}
		return ok
	}
	i := sort.Search(len(list), func(i int) bool { return !holds(list[i], list[i].First) }) - 1
	if err != nil || i < 0 {
		return list[0].First, err
	}
	s := list[i]
	blocks, err := d.blocks(ctx, s)
	if isBad(err) { // the end of what can be read
		err = nil
	}
	b := sort.Search(blocks, func(b int) bool { return !holds(s, start(s.First, b)) }) - 1
	return start(s.First, max(b, 0)), err
}
