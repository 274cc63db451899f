package records

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// ErrRead means that the file system failed: nothing is known of what the file
// holds. An error of a Stream that does not wrap it is about what it holds.
var ErrRead = errors.New("reading a segment")

// piece is how much of an open segment is read at a time.
const piece = 256 << 10

// Stream reads a segment from its beginning to its end and holds no more of it
// than one piece: a bundle of a sealed segment, which has at most 256 records,
// or 256 KiB of an open one. It belongs to one goroutine.
type Stream struct {
	file  fs.File
	at    io.ReaderAt
	size  int64
	first int64

	sum   hash.Hash // of the file, as far as it was read, if it is sealed
	read  int64     // bytes of it
	table *segment.Table
	next  int // bundle of a sealed segment

	compressed, spare []byte
}

// NewStream reads a segment from its open file, which it closes at the end of
// Close. The file must be a regular one.
func NewStream(f fs.File, s Segment) (*Stream, error) {
	st := &Stream{file: f, first: s.First, sum: sha256.New()}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRead, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", s.Path())
	}
	var ok bool
	if st.at, ok = f.(io.ReaderAt); !ok {
		return nil, fmt.Errorf("%w: the file system cannot read at an offset", ErrRead)
	}
	st.size = info.Size()
	if s.Sealed {
		st.table, err = segment.ReadTable(st.first, st.size, st.readAt)
	}
	return st, err
}

// readAt reads all of p. A file that became shorter meanwhile is damaged.
func (s *Stream) readAt(p []byte, off int64) error {
	n, err := s.at.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("it ends at byte %d, but had %d when it was opened", off+int64(n), s.size)
	default:
		return fmt.Errorf("%w: %w", ErrRead, err)
	}
}

// take reads the next bytes of the file.
func (s *Stream) take(p []byte) error {
	if err := s.readAt(p, s.read); err != nil {
		return err
	}
	s.sum.Write(p)
	s.read += int64(len(p))
	return nil
}

// Next appends the next piece of the segment's frames to dst, whole bundles if
// it is sealed. At the end it returns io.EOF.
func (s *Stream) Next(dst []byte) ([]byte, error) {
	if s.table == nil {
		n := min(piece, s.size-s.read)
		if n == 0 {
			return dst, io.EOF
		}
		return s.open(dst, int(n))
	}
	if s.next == s.table.Bundles() {
		return dst, s.rest()
	}
	_, size, _ := s.table.Bundle(s.next)
	if int64(cap(s.compressed)) < size {
		s.compressed = make([]byte, size+size/4)
	}
	s.compressed = s.compressed[:size]
	if err := s.take(s.compressed); err != nil {
		return dst, err
	}
	dst, err := s.table.AppendBundle(dst, s.next, s.compressed)
	s.next++
	return dst, err
}

// open reads the next bytes of an open segment. Its reserve may be cut off while
// it is read.
func (s *Stream) open(dst []byte, n int) ([]byte, error) {
	from := len(dst)
	dst = slices.Grow(dst, n)[:from+n]
	got, err := s.at.ReadAt(dst[from:], s.read)
	s.read += int64(got)
	if got < n {
		if !errors.Is(err, io.EOF) {
			return dst[:from], fmt.Errorf("%w: %w", ErrRead, err)
		}
		s.size = s.read
	}
	return dst[:from+got], nil
}

// rest reads what is behind the last bundle: the seek table.
func (s *Stream) rest() error {
	if s.spare == nil {
		s.spare = make([]byte, 4096)
	}
	for s.read < s.size {
		if err := s.take(s.spare[:min(int64(len(s.spare)), s.size-s.read)]); err != nil {
			return err
		}
	}
	return io.EOF
}

// Sum returns the size and the SHA-256 of the file of a sealed segment, of which
// Next has returned io.EOF.
func (s *Stream) Sum() (size int64, sum [sha256.Size]byte) {
	s.sum.Sum(sum[:0])
	return s.size, sum
}

// Close closes the file.
func (s *Stream) Close() { _ = s.file.Close() } // it was only read

// Read is how many bytes of the file were read.
func (s *Stream) Read() int64 { return s.read }
