package records

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

const (
	maxFrame = 2 + segment.MaxRecord // a length and the largest record
	chunk    = 4 * maxFrame          // bytes of an open segment in memory
)

var chunks = sync.Pool{New: func() any { b := make([]byte, chunk); return &b }}

// file is an open segment file.
type file struct {
	fs.File
	at      io.ReaderAt
	segment Segment // in the form that it has now
}

// open opens a segment in the form that it has now: it may have been sealed
// since it was listed.
func (d Dir) open(s Segment) (*file, error) {
	f, err := d.FS.Open(s.Path())
	if errors.Is(err, fs.ErrNotExist) && !s.Sealed {
		s.Sealed = true
		f, err = d.FS.Open(s.Path())
	}
	if err != nil {
		return nil, fmt.Errorf("reading segment: %w", err)
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		_ = f.Close()
		return nil, fmt.Errorf("%s: the file system cannot read at an offset", s.Path())
	}
	return &file{f, at, s}, nil
}

func (f *file) readAt(p []byte, off int64) error {
	_, err := f.at.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// table reads the seek table of a sealed segment.
func (f *file) table() (*segment.Table, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading segment: %w", err)
	}
	table, err := segment.ReadTable(f.segment.First, info.Size(), f.readAt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.segment.Path(), err)
	}
	return table, nil
}

// walk calls fn for the records of a segment from index from to, not
// including, to. The record is valid only during the call. It returns the index
// after the last record read, and the first error: of a record, wrapping
// segment.ErrTorn or ErrDamaged, or of fn.
func (d Dir) walk(ctx context.Context, s Segment, from, to int64, fn func(seq int64, record []byte) error) (next int64, err error) {
	f, err := d.open(s)
	if err != nil {
		return s.First, err
	}
	defer func() { _ = f.Close() }() // it was only read
	if f.segment.Sealed {
		return f.walkSealed(ctx, from, to, fn)
	}
	at, offset := d.Index.before(s.First, from)
	w := openWalk{file: f, index: d.Index, seq: at, offset: offset}
	err = w.run(ctx, from, to, fn)
	if err != nil && offset > 0 && w.seq == at && isBad(err) { // the hint was wrong, or the record is
		d.Index.forget(s.First)
		w = openWalk{file: f, index: d.Index, seq: s.First}
		err = w.run(ctx, from, to, fn)
	}
	return w.seq, err
}

// isBad reports whether an error is of a record, not of reading it.
func isBad(err error) bool {
	return errors.Is(err, segment.ErrTorn) || errors.Is(err, segment.ErrDamaged)
}

// walkSealed reads one bundle after the other.
func (f *file) walkSealed(ctx context.Context, from, to int64, fn func(seq int64, record []byte) error) (next int64, err error) {
	next = f.segment.First
	table, err := f.table()
	if err != nil {
		return next, err
	}
	first, _ := table.Find(max(from, next))
	for i := max(first, 0); i < table.Bundles(); i++ {
		if err := ctx.Err(); err != nil {
			return next, fmt.Errorf("reading records: %w", err)
		}
		var frames []byte
		if frames, next, err = f.bundle(table, i); err != nil {
			return next, err
		}
		if next >= to {
			return to, nil
		}
		_, next, err = segment.Scan(frames, next, func(seq int64, record []byte) error {
			switch {
			case seq >= to:
				return errEnough
			case seq < from:
				return nil
			}
			return fn(seq, record)
		})
		switch {
		case errors.Is(err, errEnough):
			return to, nil
		case err != nil:
			return next, fmt.Errorf("%s: %w", f.segment.Path(), err)
		}
	}
	return next, nil
}

// bundle decompresses the i-th bundle of a sealed segment.
func (f *file) bundle(table *segment.Table, i int) (frames []byte, first int64, err error) {
	off, size, first := table.Bundle(i)
	compressed := make([]byte, size)
	if err := f.readAt(compressed, off); err != nil {
		return nil, first, fmt.Errorf("%s: %w", f.segment.Path(), err)
	}
	if frames, err = table.Unseal(i, compressed); err != nil {
		return nil, first, fmt.Errorf("%s: %w", f.segment.Path(), err)
	}
	return frames, first, nil
}

// openWalk reads a segment that is not sealed, a chunk at a time.
type openWalk struct {
	file   *file
	index  *Index
	seq    int64 // of the next record
	offset int64 // where it lies
	buf    []byte
	rest   []byte // of buf: what is not yet read as records
	eof    bool
}

func (w *openWalk) run(ctx context.Context, from, to int64, fn func(seq int64, record []byte) error) error {
	pooled, _ := chunks.Get().(*[]byte)
	defer chunks.Put(pooled)
	w.buf = *pooled
	first := w.file.segment.First
	for w.seq < to {
		if err := w.fill(ctx); err != nil {
			return err
		}
		record, rest, err := segment.Next(w.rest)
		if err == nil && record != nil {
			err = segment.Check(record, w.seq)
		}
		if err != nil {
			return fmt.Errorf("%s: record %d at byte %d: %w", w.file.segment.Path(), w.seq, w.offset, err)
		}
		if record == nil {
			return nil
		}
		if w.seq%tree.Width == 0 || w.seq == first {
			w.index.note(first, w.seq, w.offset)
		}
		w.offset += int64(len(w.rest) - len(rest))
		w.rest = rest
		w.seq++
		if w.seq > from {
			if err := fn(w.seq-1, record); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill reads the next chunk, unless a whole record is there.
func (w *openWalk) fill(ctx context.Context) error {
	if w.eof || len(w.rest) >= maxFrame {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("reading records: %w", err)
	}
	have := copy(w.buf, w.rest)
	n, err := w.file.at.ReadAt(w.buf[have:], w.offset+int64(have))
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading segment: %w", err)
	}
	w.eof = err != nil
	w.rest = w.buf[:have+n]
	return nil
}
