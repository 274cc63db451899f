//go:build unix

package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked is returned when another open lock, of this process or of another,
// holds a directory.
var ErrLocked = errors.New("directory is locked")

// Lock is an exclusive claim on a directory. The kernel drops it when the
// process ends, however it ends.
type Lock struct{ dir *os.File }

// LockDir claims a directory. It uses flock(2) on the directory itself: unlike
// fcntl locks it excludes a second opener in the same process too, and it
// leaves no file behind.
func LockDir(name string) (*Lock, error) {
	d, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder := lockHolder(d)
		_ = d.Close()
		return nil, fmt.Errorf("%w by %s", ErrLocked, holder)
	}
	if err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	return &Lock{d}, nil
}

// Stat describes the directory that is locked, whatever its name holds now.
func (l *Lock) Stat() (fs.FileInfo, error) { return l.dir.Stat() }

// Unlock gives the claim up.
func (l *Lock) Unlock() error { return l.dir.Close() }
