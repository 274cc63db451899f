// Package reload reads files of the operator that may change while the server
// runs: lists of keys, revoked certificates, accounts.
package reload

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

// Interval is how old the last look at a file may be.
const Interval = 2 * time.Second

// MaxBytes is the size of the largest file that is read (64 MiB).
const MaxBytes = 64 << 20

// File is a file with what was read from it. A change is seen at the first Get
// that comes Interval after the last look. A file that cannot be read, or has an
// error, leaves what was read before in force; Get tells since when.
type File[T any] struct {
	name  string // in errors
	path  string
	parse func([]byte) (T, error)
	now   func() time.Time
	warn  func(error) // told once of each failure

	value  atomic.Pointer[T]
	looked atomic.Int64 // unix nanoseconds

	mu    sync.Mutex // guards the fields below
	stamp stamp
	last  string // failure that was told
}

// stamp is what changes when a file does.
type stamp struct {
	info    os.FileInfo
	changed time.Time
	size    int64
}

func (s stamp) same(t stamp) bool {
	return s.info != nil && t.info != nil && os.SameFile(s.info, t.info) && s.changed.Equal(t.changed) && s.size == t.size
}

// Open reads a file. It is an error if there is none, or if parse refuses it.
// Failures of later looks are told to warn.
func Open[T any](path string, now func() time.Time, warn func(error), parse func([]byte) (T, error)) (*File[T], error) {
	return OpenAs(path, path, now, warn, parse)
}

// OpenAs is Open with the name that errors give the file in place of its path,
// which may have come from a placeholder and be no path but a secret.
func OpenAs[T any](name, path string, now func() time.Time, warn func(error), parse func([]byte) (T, error)) (*File[T], error) {
	f := &File[T]{name: name, path: path, parse: parse, now: now, warn: warn}
	if err := f.read(); err != nil {
		return nil, err
	}
	f.looked.Store(now().UnixNano())
	return f, nil
}

// Get returns what the file says, and never nil. The pointer changes when the
// file does.
func (f *File[T]) Get() *T {
	now := f.now().UnixNano()
	looked := f.looked.Load()
	if age := now - looked; (age >= int64(Interval) || age < 0) && f.looked.CompareAndSwap(looked, now) {
		f.look()
	}
	return f.value.Load()
}

// look reads the file again if it changed.
func (f *File[T]) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.refresh()
	said := ""
	if err != nil {
		said = err.Error()
	}
	if said != "" && said != f.last && f.warn != nil {
		f.warn(fmt.Errorf("%w; what was read before stays in force", err))
	}
	f.last = said
}

func (f *File[T]) refresh() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return f.wrong(err)
	}
	if f.stamp.same(stampOf(info)) {
		return nil
	}
	return f.read()
}

func stampOf(info os.FileInfo) stamp { return stamp{info, info.ModTime(), info.Size()} }

func (f *File[T]) read() error {
	in, err := os.Open(f.path)
	if err != nil {
		return f.wrong(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return f.wrong(err)
	}
	if !info.Mode().IsRegular() {
		return f.wrong(errors.New("it is not a regular file"))
	}
	data, err := io.ReadAll(io.LimitReader(in, MaxBytes+1))
	if err != nil {
		return f.wrong(err)
	}
	if len(data) > MaxBytes {
		return f.wrong(fmt.Errorf("the file is larger than %d bytes", MaxBytes))
	}
	if len(data) == 0 {
		return f.wrong(secret.ErrEmpty)
	}
	value, err := f.parse(data)
	if err != nil {
		return f.wrong(err)
	}
	f.value.Store(&value)
	f.stamp = stampOf(info)
	return nil
}

// wrong says of which file an error is.
func (f *File[T]) wrong(err error) error {
	return fmt.Errorf("%s: %w", f.name, secret.Cause(err))
}
