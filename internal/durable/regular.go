package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrIrregular means that a name leads to a pipe, a device or a socket where a
// file was expected.
var ErrIrregular = errors.New("not a regular file")

// openRegular opens a file, but never waits for the other end of a pipe: who
// puts one in the place of a file must not stop its reader or writer.
func openRegular(name string, flag int, perm fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(name, flag|nonblock, perm)
	if err != nil {
		if info, serr := os.Stat(name); serr == nil && irregular(info) { // a pipe that nobody reads is not opened for writing
			return nil, fmt.Errorf("%s: %w: %w", name, ErrIrregular, err)
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && irregular(info) {
		err = fmt.Errorf("%s: %w", name, ErrIrregular)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// irregular reports whether opening a file could wait. Opening a directory does
// not, and what follows fails.
func irregular(info fs.FileInfo) bool { return !info.Mode().IsRegular() && !info.IsDir() }

// ReadFile reads a file of a log. A pipe, a device or a socket is ErrIrregular,
// and never waited for.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if n == len(b) {
		err = nil
	}
	return b[:n], err
}

// DirFS is os.DirFS, but what is neither a regular file nor a directory is
// ErrIrregular when it is opened, and never waited for.
func DirFS(dir string) fs.FS { return dirFS{os.DirFS(dir), dir} }

type dirFS struct {
	fs.FS
	dir string
}

// Open implements fs.FS.
func (d dirFS) Open(name string) (fs.File, error) {
	info, err := fs.Stat(d.FS, name) // checks the name, too
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return d.FS.Open(name)
	}
	f, err := openRegular(filepath.Join(d.dir, filepath.FromSlash(name)), os.O_RDONLY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f, nil
}

// ReadDir implements fs.ReadDirFS.
func (d dirFS) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(d.FS, name) }

// Stat implements fs.StatFS.
func (d dirFS) Stat(name string) (fs.FileInfo, error) { return fs.Stat(d.FS, name) }

// Lstat, with ReadLink, implements fs.ReadLinkFS.
func (d dirFS) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(d.FS, name) }

// ReadLink implements fs.ReadLinkFS.
func (d dirFS) ReadLink(name string) (string, error) { return fs.ReadLink(d.FS, name) }
