// Package wal writes the open segment of a log.
//
// The file is kept longer than its records: a reserve of zeros is written
// ahead, so that a commit overwrites blocks that exist and its sync has no
// metadata to write. Close cuts the reserve off.
package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// reserve is how far the file is extended at a time.
const reserve = 1 << 20

var zeros [reserve]byte

// Writer appends frames to a segment. It belongs to one goroutine. After an
// error of Append or Sync the segment must not be written again: what is on
// disk is known only after it was read back.
type Writer struct {
	file  durable.File
	name  string
	first int64 // index of the first record
	size  int64 // bytes of frames
	limit int64 // bytes of the file: frames and reserve
}

// Create makes the segment that begins with record first.
func Create(fsys durable.FS, dir string, first int64) (*Writer, error) {
	name := filepath.Join(dir, segment.Name(first, false))
	f, err := durable.CreateFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("creating segment: %w", err)
	}
	return &Writer{file: f, name: name, first: first}, nil
}

// Open opens a segment that holds frames, which were read from it, and cuts off
// what follows. After a failure they are written again: a sync that failed may
// have left them in memory only, where reading finds them and the next sync
// does not.
func Open(fsys durable.FS, dir string, first int64, frames []byte, rewrite bool) (*Writer, error) {
	name := filepath.Join(dir, segment.Name(first, false))
	f, err := fsys.OpenFile(name, os.O_RDWR, durable.FileMode)
	if err != nil {
		return nil, fmt.Errorf("opening segment: %w", err)
	}
	w := &Writer{file: f, name: name, first: first, size: int64(len(frames))}
	if rewrite {
		_, err = f.WriteAt(frames, 0)
	}
	if err == nil {
		err = w.Cut()
	}
	if err == nil {
		err = fsys.SyncDir(dir) // its name may not have been durable either
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("opening segment: %w", err)
	}
	return w, nil
}

// First is the index of the segment's first record.
func (w *Writer) First() int64 { return w.first }

// Size is the number of bytes of frames.
func (w *Writer) Size() int64 { return w.size }

// Name is the path of the segment's file.
func (w *Writer) Name() string { return w.name }

// Stat describes the open file, whatever its name holds now.
func (w *Writer) Stat() (fs.FileInfo, error) { return w.file.Stat() }

// ReadAt reads the open file, whatever its name holds now. It implements
// io.ReaderAt.
func (w *Writer) ReadAt(p []byte, off int64) (int, error) { return w.file.ReadAt(p, off) }

// Append writes frames, without making them durable.
func (w *Writer) Append(frames []byte) error {
	if _, err := w.file.WriteAt(frames, w.size); err != nil {
		return fmt.Errorf("writing %s: %w", w.name, err)
	}
	w.size += int64(len(frames))
	if w.size <= w.limit {
		return nil
	}
	if _, err := w.file.WriteAt(zeros[:], w.size); err != nil {
		return fmt.Errorf("reserving space in %s: %w", w.name, err)
	}
	w.limit = w.size + reserve
	return nil
}

// Sync makes all appended frames durable.
func (w *Writer) Sync() error {
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", w.name, err)
	}
	return nil
}

// Close cuts off the reserve and closes the file.
func (w *Writer) Close() error {
	return errors.Join(w.Cut(), w.file.Close())
}

// Abandon closes the file, leaving it as it is.
func (w *Writer) Abandon() { _ = w.file.Close() }

// Cut cuts the reserve off.
func (w *Writer) Cut() error {
	if err := w.file.Truncate(w.size); err != nil {
		return fmt.Errorf("cutting the reserve of %s: %w", w.name, err)
	}
	w.limit = w.size
	return w.Sync()
}
