// Package records reads the records of a log's directory, whether the log is
// open in some process or not. It changes nothing.
package records

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// Folder is where a log keeps its segments, relative to the log. Part of the
// on-disk format; do not change.
const Folder = "segments"

// ErrNotFound means that the log holds no such record.
var ErrNotFound = errors.New("no such record in the log")

// Dir is a log's directory.
type Dir struct{ FS fs.FS }

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

// present returns the frames of a segment in the form that it has now: it may
// have been sealed since it was listed.
func (d Dir) present(s Segment) (Segment, []byte, error) {
	frames, err := d.Frames(s)
	if errors.Is(err, fs.ErrNotExist) && !s.Sealed {
		s.Sealed = true
		frames, err = d.Frames(s)
	}
	return s, frames, err
}

// Scan calls fn for each record from index from on, in order, until the end of
// the log or an error. In a log that is being written, a last record that is
// not yet whole counts as the end. It returns the index after the last record
// seen.
func (d Dir) Scan(from int64, fn func(seq int64, record []byte) error) (next int64, err error) {
	list, err := d.Segments()
	if err != nil {
		return from, err
	}
	next = from
	for i, s := range list {
		if i+1 < len(list) && list[i+1].First <= from {
			continue
		}
		s, frames, err := d.present(s)
		if err != nil {
			return next, err
		}
		_, end, err := segment.Scan(frames, s.First, func(seq int64, record []byte) error {
			if seq < from {
				return nil
			}
			next = seq + 1
			return fn(seq, record)
		})
		last := i == len(list)-1
		if err != nil && (!last || !errors.Is(err, segment.ErrTorn) && !errors.Is(err, segment.ErrDamaged)) {
			return next, err
		}
		if !last && end != list[i+1].First {
			return next, fmt.Errorf("%s ends with record %d, but the next segment begins with %d", s.Path(), end-1, list[i+1].First)
		}
	}
	return next, nil
}

// Record returns one record.
func (d Dir) Record(seq int64) ([]byte, error) {
	b, first, err := d.bundle(seq)
	if err != nil {
		return nil, err
	}
	for ; first <= seq; first++ {
		var record []byte
		if record, b, err = segment.Next(b); err != nil || record == nil {
			return nil, fmt.Errorf("record %d: %w", seq, errors.Join(ErrNotFound, err))
		}
		if first == seq {
			return record, segment.Check(record, seq)
		}
	}
	return nil, fmt.Errorf("record %d: %w", seq, ErrNotFound)
}

// bundle returns frames that contain record seq, and the index of their first.
func (d Dir) bundle(seq int64) (frames []byte, first int64, err error) {
	list, err := d.Segments()
	if err != nil {
		return nil, 0, err
	}
	i := sort.Search(len(list), func(i int) bool { return list[i].First > seq }) - 1
	if i < 0 {
		return nil, 0, fmt.Errorf("record %d: %w", seq, ErrNotFound)
	}
	s := list[i]
	if s.Sealed {
		return d.sealedBundle(s, seq)
	}
	_, b, err := d.present(s)
	return b, s.First, err
}

func (d Dir) sealedBundle(s Segment, seq int64) ([]byte, int64, error) {
	f, err := d.FS.Open(s.Path())
	if err != nil {
		return nil, 0, fmt.Errorf("reading segment: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("reading segment: %w", err)
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil, 0, fmt.Errorf("%s: the file system cannot read at an offset", s.Path())
	}
	readAt := func(p []byte, off int64) error {
		_, err := at.ReadAt(p, off)
		return err
	}
	table, err := segment.ReadTable(s.First, info.Size(), readAt)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", s.Path(), err)
	}
	i, ok := table.Find(seq)
	if !ok {
		return nil, 0, fmt.Errorf("record %d: %w", seq, ErrNotFound)
	}
	off, size, first := table.Bundle(i)
	compressed := make([]byte, size)
	if err := readAt(compressed, off); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", s.Path(), err)
	}
	b, err := table.Unseal(i, compressed)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", s.Path(), err)
	}
	return b, first, nil
}

// Bundle returns the first width records of an entry bundle as C2SP tlog-tiles
// frames them.
func (d Dir) Bundle(index int64, width int) ([]byte, error) {
	from := index * tree.Width
	to := from + int64(width)
	var out []byte
	for seq := from; seq < to; {
		b, first, err := d.bundle(seq)
		if err != nil {
			return nil, err
		}
		before := seq
		for seq < to {
			record, rest, err := segment.Next(b)
			if err != nil {
				return nil, fmt.Errorf("record %d: %w", first, err)
			}
			if record == nil {
				break
			}
			if first == seq {
				out = append(out, b[:len(b)-len(rest)]...)
				seq++
			}
			b, first = rest, first+1
		}
		if seq == before {
			return nil, fmt.Errorf("record %d: %w", seq, ErrNotFound)
		}
	}
	return out, nil
}

// Newest calls fn for the records of the log from the newest to the oldest,
// until fn returns false.
func (d Dir) Newest(fn func(seq int64, record []byte) bool) error {
	list, err := d.Segments()
	if err != nil {
		return err
	}
	for i, s := range slices.Backward(list) {
		s, frames, err := d.present(s)
		if err != nil {
			return err
		}
		var all [][]byte
		_, _, err = segment.Scan(frames, s.First, func(_ int64, record []byte) error {
			all = append(all, record)
			return nil
		})
		if err != nil && i < len(list)-1 {
			return fmt.Errorf("%s: %w", s.Path(), err)
		}
		for j, a := range slices.Backward(all) {
			if !fn(s.First+int64(j), a) {
				return nil
			}
		}
	}
	return nil
}
