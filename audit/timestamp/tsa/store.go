package tsa

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/timestamp"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Store keeps the stamped checkpoints of a log. One goroutine at a time puts.
type Store struct {
	FS  durable.FS
	Dir string // of the log
}

// Put keeps a checkpoint and the response that stamps it, durably. The checkpoint
// is written first, so that a crash leaves no time stamp without what it stamps.
// A size is stamped once: a second stamp says less, as it is later, and is
// refused with fs.ErrExist.
func (s Store) Put(note, response []byte) error {
	h, err := checkpoint.Peek(note)
	if err != nil {
		return fmt.Errorf("keeping a time stamp: %w", err)
	}
	if err := s.put(h.Size, note, response); err != nil {
		return fmt.Errorf("keeping the time stamp over %d records: %w", h.Size, err)
	}
	return nil
}

func (s Store) put(size int64, note, response []byte) error {
	folder := filepath.Join(s.Dir, timestamp.Folder)
	if err := s.FS.MkdirAll(folder, durable.DirMode); err != nil {
		return err
	}
	if err := s.FS.SyncDir(s.Dir); err != nil {
		return err
	}
	// Under a stamp that is there nothing may change. A crash may have come
	// before its name was durable.
	switch _, err := s.FS.ReadFile(s.file(timestamp.ResponsePath(size))); {
	case err == nil:
		return errors.Join(fs.ErrExist, s.FS.SyncDir(folder))
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := durable.WriteFile(s.FS, s.file(timestamp.CheckpointPath(size)), note); err != nil {
		return err
	}
	return durable.NewFile(s.FS, s.file(timestamp.ResponsePath(size)), response)
}

func (s Store) file(name string) string { return filepath.Join(s.Dir, filepath.FromSlash(name)) }

// List returns the sizes of the checkpoints that are stamped, in order.
func (s Store) List() ([]int64, error) {
	files, err := s.FS.ReadDir(filepath.Join(s.Dir, timestamp.Folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the time stamps: %w", err)
	}
	var sizes []int64
	for _, f := range files {
		if size, stamp, ok := timestamp.ParsePath(timestamp.Folder + "/" + f.Name()); ok && stamp {
			sizes = append(sizes, size)
		}
	}
	slices.Sort(sizes)
	return sizes, nil
}

// Get returns the checkpoint of a size and the response that stamps it.
func (s Store) Get(size int64) (note, response []byte, err error) {
	if note, err = s.FS.ReadFile(s.file(timestamp.CheckpointPath(size))); err == nil {
		response, err = s.FS.ReadFile(s.file(timestamp.ResponsePath(size)))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the time stamp over %d records: %w", size, err)
	}
	return note, response, nil
}

// Newest returns the stamped checkpoint of the largest tree. ok is false if
// there is none.
func (s Store) Newest() (note, response []byte, ok bool, err error) {
	sizes, err := s.List()
	if err != nil || len(sizes) == 0 {
		return nil, nil, false, err
	}
	note, response, err = s.Get(sizes[len(sizes)-1])
	return note, response, err == nil, err
}
