//go:build !unix

package durable

import (
	"errors"
	"io/fs"
)

// ErrLocked is returned when another lock holds a directory.
var ErrLocked = errors.New("directory is locked")

// Lock is an exclusive claim on a directory.
type Lock struct{}

// LockDir always fails: without flock(2) a log has no protection against a
// second writer, and a log with two writers loses records.
func LockDir(string) (*Lock, error) {
	return nil, errors.New("the audit log needs flock(2), which this operating system does not have")
}

// Stat always fails.
func (*Lock) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }

// Unlock does nothing.
func (*Lock) Unlock() error { return nil }
