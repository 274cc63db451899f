// Package durable is the only place where this project writes files that must
// survive a crash.
//
// The rules, which every caller may rely on:
//
//   - File.Sync returns only when the data, and the size needed to read it
//     back, are on stable storage (fdatasync on Linux, fsync elsewhere).
//   - A new, renamed or removed name is durable only after SyncDir of its
//     directory. WriteFile and CreateFile do that themselves.
//   - After a failed Sync nothing is known about the file's unsynced bytes.
//     The caller must not retry: it abandons the handle and reads the file
//     back before it trusts any of it.
//
// All access goes through the FS interface, the seam at which tests make any
// write, sync or rename fail.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Modes of everything created here: the log is readable by its owner alone.
const (
	DirMode  fs.FileMode = 0o700
	FileMode fs.FileMode = 0o600
)

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes all written bytes durable. An error is final for the file.
	Sync() error
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
}

// FS is the part of a file system that the log needs.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	MkdirAll(name string, perm fs.FileMode) error
	Rename(oldName, newName string) error
	// Link gives a file a second name, which must not exist.
	Link(oldName, newName string) error
	Remove(name string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
}

// OS is the file system of the operating system.
type OS struct{}

// OpenFile implements FS. A pipe, a device or a socket is ErrIrregular,
// and never waited for.
func (OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := openRegular(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// ReadFile implements FS, of any file: a key may come through a pipe.
func (OS) ReadFile(name string) ([]byte, error) { return os.ReadFile(name) }

// ReadDir implements FS.
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// Stat implements FS.
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// MkdirAll implements FS.
func (OS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }

// Rename implements FS.
func (OS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

// Link implements FS.
func (OS) Link(oldName, newName string) error { return os.Link(oldName, newName) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir implements FS.
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

type osFile struct{ *os.File }

func (f osFile) Sync() error { return datasync(f.File) }

// TempSuffix ends the name of a file that is being written and was not yet
// renamed into place. A leftover of a crash is never read.
const TempSuffix = ".tmp"

// WriteFile replaces the file name by one with the given contents: after a
// crash at any moment the name holds either the old contents or the new.
func WriteFile(fsys FS, name string, data []byte) error {
	if err := ReplaceFile(fsys, name, data, true); err != nil {
		return err
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("syncing directory of %s: %w", name, err)
	}
	return nil
}

// ReplaceFile is WriteFile without the sync of the directory and, unless sync
// is set, of the file: whoever reads finds the old contents or the new, but a
// power cut may lose them or leave them empty. It is for files that can be
// made again from others.
func ReplaceFile(fsys FS, name string, data []byte, sync bool) error {
	tmp := name + TempSuffix
	f, err := fsys.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, FileMode)
	if errors.Is(err, ErrIrregular) && fsys.Remove(tmp) == nil { // nobody's but ours to make
		f, err = fsys.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, FileMode)
	}
	if err != nil {
		return fmt.Errorf("creating %s: %w", tmp, err)
	}
	_, err = f.WriteAt(data, 0)
	if err == nil && sync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		_ = fsys.Remove(tmp)
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// NewFile makes a file that must not exist: after a crash at any moment it is
// there whole, or not at all.
func NewFile(fsys FS, name string, data []byte) error {
	tmp := name + TempSuffix
	if err := ReplaceFile(fsys, tmp, data, true); err != nil {
		return err
	}
	err := fsys.Link(tmp, name)
	if rerr := fsys.Remove(tmp); err == nil {
		err = rerr
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("syncing directory of %s: %w", name, err)
	}
	return nil
}

// MakeDir makes a directory and those above it, and their names durable, each
// before it is used: a file is no safer than the names that lead to it. A
// directory that is there has its name synced, as whoever made it may have
// crashed before it did; unless the directory above is not ours to read.
func MakeDir(fsys FS, name string) error {
	above := filepath.Dir(name)
	_, err := fsys.Stat(name)
	switch {
	case err == nil:
		if err = fsys.SyncDir(above); errors.Is(err, fs.ErrPermission) {
			return nil
		}
	case errors.Is(err, fs.ErrNotExist) && above != name:
		if _, err = fsys.Stat(above); errors.Is(err, fs.ErrNotExist) {
			err = MakeDir(fsys, above)
		}
		if err == nil {
			err = fsys.MkdirAll(name, DirMode)
		}
		if err == nil {
			err = fsys.SyncDir(above)
		}
	}
	if err != nil {
		return fmt.Errorf("making directory %s: %w", name, err)
	}
	return nil
}

// CreateFile creates a file that must not exist and makes its name durable.
func CreateFile(fsys FS, name string) (File, error) {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, FileMode)
	if err != nil {
		return nil, err
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("syncing directory of %s: %w", name, err)
	}
	return f, nil
}

// Full reports whether an error says that the disk, or the owner's share of it,
// is full.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
