// Package records reads the records of a log's directory, whether the log is
// open in some process or not. It changes nothing.
//
// No call holds more than a bundle of a sealed segment, or a chunk of one that
// is not sealed, in memory, whatever the size of the log.
package records

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sort"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// Folder is where a log keeps its segments, relative to the log. Part of the
// on-disk format; do not change.
const Folder = "segments"

// ErrNotFound means that the log holds no such record.
var ErrNotFound = errors.New("no such record in the log")

// Dir is a log's directory. The files of FS must implement io.ReaderAt.
type Dir struct {
	FS fs.FS

	// Index remembers where records lie in segments that are not sealed.
	// Without one each look-up in such a segment reads it from its beginning.
	Index *Index

	// List, if it is not nil, are the segments, which then are not listed again
	// for each look-up. What was sealed since is found, what was begun since is
	// not.
	List []Segment
}

// Segment is a segment file.
type Segment struct {
	First  int64
	Sealed bool
}

// Path is the segment's path relative to the log.
func (s Segment) Path() string { return Folder + "/" + segment.Name(s.First, s.Sealed) }

// Segments lists the segments in order. A segment that exists open and sealed,
// which it does for the moment between its sealing and the removal of the open
// file, is listed open.
func (d Dir) Segments() ([]Segment, error) {
	if d.List != nil {
		return d.List, nil
	}
	entries, err := fs.ReadDir(d.FS, Folder)
	if err != nil {
		return nil, fmt.Errorf("listing segments: %w", err)
	}
	var list []Segment
	for _, e := range entries {
		if first, sealed, ok := segment.ParseName(e.Name()); ok {
			list = append(list, Segment{first, sealed})
		}
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i], list[j]
		return a.First < b.First || a.First == b.First && !a.Sealed
	})
	kept := list[:0]
	for _, s := range list {
		if len(kept) == 0 || kept[len(kept)-1].First != s.First {
			kept = append(kept, s)
		}
	}
	return kept, nil
}

// First is the index of the oldest record that the directory holds: 0, unless
// older ones were removed.
func (d Dir) First() (int64, error) {
	list, err := d.Segments()
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0].First, nil
}

// Frames returns all the bytes of a segment, a sealed one decompressed and an
// open one with its reserve.
func (d Dir) Frames(s Segment) ([]byte, error) {
	b, err := fs.ReadFile(d.FS, s.Path())
	if err != nil {
		return nil, fmt.Errorf("reading segment: %w", err)
	}
	if !s.Sealed {
		return b, nil
	}
	frames, err := segment.Open(s.First, b)
	if err != nil {
		return frames, fmt.Errorf("%s: %w", s.Path(), err)
	}
	return frames, nil
}

// Scan is Range to the end of the log.
func (d Dir) Scan(from int64, fn func(seq int64, record []byte) error) (next int64, err error) {
	return d.Range(context.Background(), from, math.MaxInt64, fn)
}

// Inside returns the log in a directory that is none itself but has one, as the
// server's data directory has; or the empty text.
func Inside(dir string) string {
	const name = "log"
	if _, err := os.Stat(filepath.Join(dir, Folder)); err == nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(dir, name, Folder)); err != nil {
		return ""
	}
	return filepath.Join(dir, name)
}

// Range calls fn for each record from index from to, not including, to, in
// order, until the end of the log or an error. If the log no longer holds the
// first of them it begins with the oldest that it holds. In a log that is being
// written, a last record that is not yet whole counts as the end. The record is
// valid only during the call. Range returns the index after the last record
// seen.
func (d Dir) Range(ctx context.Context, from, to int64, fn func(seq int64, record []byte) error) (next int64, err error) {
	list, err := d.Segments()
	if err != nil {
		return from, err
	}
	next = from
	var stopped error
	visit := func(seq int64, record []byte) error {
		next = seq + 1
		stopped = fn(seq, record)
		return stopped
	}
	for i, s := range list {
		last := i == len(list)-1
		if s.First >= to {
			break
		}
		if !last && list[i+1].First <= from {
			continue
		}
		end, err := d.walk(ctx, s, from, to, visit)
		if stopped != nil {
			return next, stopped
		}
		if err != nil && (!last || !errors.Is(err, segment.ErrTorn) && !errors.Is(err, segment.ErrDamaged)) {
			return next, err
		}
		if !last && end < to && end != list[i+1].First {
			return next, fmt.Errorf("%s ends with record %d, but the next segment begins with %d", s.Path(), end-1, list[i+1].First)
		}
	}
	return next, nil
}

// errEnough ends a walk that has what it wanted.
var errEnough = errors.New("enough")

// Record returns one record.
func (d Dir) Record(seq int64) ([]byte, error) {
	return d.record(context.Background(), seq)
}

func (d Dir) record(ctx context.Context, seq int64) (found []byte, err error) {
	list, err := d.Segments()
	if err != nil {
		return nil, err
	}
	i := sort.Search(len(list), func(i int) bool { return list[i].First > seq }) - 1
	if i < 0 {
		return nil, fmt.Errorf("record %d: %w", seq, ErrNotFound)
	}
	return d.recordIn(ctx, list[i], seq)
}

// recordIn returns a record of a segment.
func (d Dir) recordIn(ctx context.Context, s Segment, seq int64) (found []byte, err error) {
	_, err = d.walk(ctx, s, seq, seq+1, func(_ int64, record []byte) error {
		found = append([]byte(nil), record...)
		return nil
	})
	if found == nil && (err == nil || errors.Is(err, segment.ErrTorn)) {
		return nil, fmt.Errorf("record %d: %w", seq, errors.Join(ErrNotFound, err))
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}
