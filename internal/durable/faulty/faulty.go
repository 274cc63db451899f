// Package faulty is test support: file systems that fail as disks do.
//
//   - FS makes chosen operations of another file system fail.
//   - Disk remembers what was synced, and makes the directories that a power
//     cut could leave behind.
//   - Unsynced is the operating system's file system without its syncs, for
//     tests that open a log thousands of times.
//
// All work on a real directory, because the log reads its files with package
// os too.
package faulty

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Op is a kind of operation.
type Op string

// The operations of durable.FS and durable.File. Closing a file and asking for
// its size are none: they are not numbered and do not fail.
const (
	Open     Op = "open"
	Read     Op = "read"
	List     Op = "list"
	Stat     Op = "stat"
	Mkdir    Op = "mkdir"
	Rename   Op = "rename"
	Link     Op = "link"
	Remove   Op = "remove"
	SyncDir  Op = "syncdir"
	Write    Op = "write"
	Sync     Op = "sync"
	Truncate Op = "truncate"
)

// Changing are the operations that fail on a file system that is read-only.
var Changing = []Op{Open, Mkdir, Rename, Link, Remove, Write, Truncate, Sync, SyncDir}

// Growing are the operations that can fail on a file system that is full.
var Growing = []Op{Open, Mkdir, Rename, Link, Write, Sync, SyncDir}

// Fault says which operation fails and how.
type Fault struct {
	At      int64 // number of the operation, from 1; if its kind is not in Ops, the next one that is
	Ops     []Op  // kinds that can fail; nil: all
	Lasting bool  // all later ones fail too
	Done    bool  // the first takes effect all the same
	Short   bool  // if the first is a write, its first half takes effect
	Err     error // what the operation returns
}

// FS passes operations on to another file system and makes some of them fail.
// It is safe for concurrent use.
type FS struct {
	durable.FS

	mu    sync.Mutex
	fault Fault
	armed bool
	hit   string
	n     int64
}

// Arm counts operations from 1 again and lets a fault happen.
func (f *FS) Arm(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.armed, f.hit, f.n = fault, true, "", 0
}

// Disarm lets no more faults happen.
func (f *FS) Disarm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
}

// Ops is the number of operations since Arm.
func (f *FS) Ops() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// Hit names the first operation that failed since Arm. It is empty if none did.
func (f *FS) Hit() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit
}

// outcome is what becomes of an operation.
type outcome struct {
	err   error // nil: it takes place as if nothing were
	done  bool
	short bool
}

// next counts an operation and tells what becomes of it.
func (f *FS) next(op Op, name string) outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if !f.armed || f.n < f.fault.At || f.fault.Ops != nil && !slices.Contains(f.fault.Ops, op) {
		return outcome{}
	}
	err := &fs.PathError{Op: string(op), Path: name, Err: f.fault.Err}
	if f.hit != "" {
		if f.fault.Lasting {
			return outcome{err: err}
		}
		return outcome{}
	}
	f.hit = fmt.Sprintf("operation %d: %s %s", f.n, op, name)
	return outcome{err, f.fault.Done, f.fault.Short}
}

// do runs an operation, or not.
func (f *FS) do(op Op, name string, run func() error) error {
	o := f.next(op, name)
	if o.err == nil {
		return run()
	}
	if o.done {
		if err := run(); err != nil {
			return err
		}
	}
	return o.err
}

// OpenFile implements durable.FS.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	op := Open
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE) == 0 {
		op = Read
	}
	var under durable.File
	err := f.do(op, name, func() (err error) {
		under, err = f.FS.OpenFile(name, flag, perm)
		return err
	})
	if err != nil {
		if under != nil {
			_ = under.Close()
		}
		return nil, err
	}
	return &file{under, f, name}, nil
}

// ReadFile implements durable.FS.
func (f *FS) ReadFile(name string) (b []byte, err error) {
	err = f.do(Read, name, func() error { b, err = f.FS.ReadFile(name); return err })
	return b, err
}

// ReadDir implements durable.FS.
func (f *FS) ReadDir(name string) (list []fs.DirEntry, err error) {
	err = f.do(List, name, func() error { list, err = f.FS.ReadDir(name); return err })
	return list, err
}

// Stat implements durable.FS.
func (f *FS) Stat(name string) (info fs.FileInfo, err error) {
	err = f.do(Stat, name, func() error { info, err = f.FS.Stat(name); return err })
	return info, err
}

// MkdirAll implements durable.FS.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	return f.do(Mkdir, name, func() error { return f.FS.MkdirAll(name, perm) })
}

// Rename implements durable.FS.
func (f *FS) Rename(from, to string) error {
	return f.do(Rename, to, func() error { return f.FS.Rename(from, to) })
}

// Link implements durable.FS.
func (f *FS) Link(from, to string) error {
	return f.do(Link, to, func() error { return f.FS.Link(from, to) })
}

// Remove implements durable.FS.
func (f *FS) Remove(name string) error {
	return f.do(Remove, name, func() error { return f.FS.Remove(name) })
}

// SyncDir implements durable.FS.
func (f *FS) SyncDir(name string) error {
	return f.do(SyncDir, name, func() error { return f.FS.SyncDir(name) })
}

type file struct {
	durable.File
	fs   *FS
	name string
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	o := f.fs.next(Write, f.name)
	switch {
	case o.err == nil:
		return f.File.WriteAt(p, off)
	case o.short:
		p = p[:len(p)/2]
	case !o.done:
		return 0, o.err
	}
	n, err := f.File.WriteAt(p, off)
	if err != nil {
		return n, err
	}
	return n, o.err
}

func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.fs.do(Read, f.name, func() error { n, err = f.File.ReadAt(p, off); return err })
	return n, err
}

func (f *file) Sync() error { return f.fs.do(Sync, f.name, f.File.Sync) }

func (f *file) Truncate(size int64) error {
	return f.fs.do(Truncate, f.name, func() error { return f.File.Truncate(size) })
}

// Unsynced is the file system of the operating system, whose syncs do nothing.
type Unsynced struct{ durable.OS }

// OpenFile implements durable.FS.
func (u Unsynced) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := u.OS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

// SyncDir implements durable.FS.
func (u Unsynced) SyncDir(name string) error {
	_, err := os.Stat(name)
	return err
}

type unsyncedFile struct{ durable.File }

func (unsyncedFile) Sync() error { return nil }

var (
	_ durable.FS = (*FS)(nil)
	_ durable.FS = Unsynced{}
)
