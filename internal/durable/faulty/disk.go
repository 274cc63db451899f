package faulty

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Disk is a file system over a real directory that writes a journal of all
// that changes the directory. From the journal it makes, for any moment of the
// past, the directories that a power cut at that moment could have left behind.
//
// What it takes for certain is what POSIX promises: the bytes of a file after
// its sync, a name after the sync of its directory, and that a rename replaces
// a name as a whole. Nothing else is certain: of what was not synced any part
// may be there and any part missing, in any order.
type Disk struct {
	Unsynced

	root string

	mu      sync.Mutex
	names   map[string]*node // by path under root, as they are now
	journal []event
}

// node is a file or a directory, whatever names it has.
type node struct{ dir bool }

// event is one entry of the journal.
type event struct {
	kind eventKind
	node *node  // file that was written, cut or synced, or got the name
	dir  string // directory whose names changed or were synced
	name string // that leads to node now; empty: none
	gone string // name that leads nowhere now; empty: none
	off  int64  // of a write; the size for a cut
	data []byte // that were written; nil: zeros
	size int64  // of the data
}

type eventKind int

const (
	wrote eventKind = iota
	cut
	synced
	named
	syncedDir
)

// NewDisk returns a disk whose directory is root. What is there already counts
// as synced. Names outside of root are not journaled.
func NewDisk(root string) (*Disk, error) {
	d := &Disk{root: root, names: map[string]*node{".": {dir: true}}}
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == root {
			return err
		}
		path, _ := d.path(name)
		n := d.create(path, e.IsDir())
		if !e.IsDir() {
			b, err := os.ReadFile(name) //nolint:gosec // the directory is a test's own
			if err != nil {
				return err
			}
			d.add(event{kind: wrote, node: n, data: b, size: int64(len(b))})
			d.add(event{kind: synced, node: n})
		}
		d.add(event{kind: syncedDir, dir: filepath.Dir(path)})
		return nil
	})
	return d, err
}

// Len is the length of the journal: the moment now.
func (d *Disk) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.journal)
}

// path returns a name relative to root, if it is in there.
func (d *Disk) path(name string) (string, bool) {
	rel, err := filepath.Rel(d.root, name)
	return rel, err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// add writes to the journal.
func (d *Disk) add(e event) {
	d.mu.Lock()
	d.journal = append(d.journal, e)
	d.mu.Unlock()
}

// create makes a node and its first name.
func (d *Disk) create(path string, dir bool) *node {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := &node{dir: dir}
	d.names[path] = n
	d.journal = append(d.journal, event{kind: named, node: n, dir: filepath.Dir(path), name: filepath.Base(path)})
	return n
}

// lookup returns what a path leads to now.
func (d *Disk) lookup(path string) *node {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names[path]
}

// OpenFile implements durable.FS.
func (d *Disk) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := d.Unsynced.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	path, ok := d.path(name)
	if !ok {
		return f, nil
	}
	n := d.lookup(path)
	if n == nil {
		n = d.create(path, false)
	} else if flag&os.O_TRUNC != 0 {
		d.add(event{kind: cut, node: n})
	}
	return &diskFile{f, d, n}, nil
}

// MkdirAll implements durable.FS.
func (d *Disk) MkdirAll(name string, perm fs.FileMode) error {
	if err := d.OS.MkdirAll(name, perm); err != nil {
		return err
	}
	path, ok := d.path(name)
	if !ok || path == "." {
		return nil
	}
	made := ""
	for part := range strings.SplitSeq(path, string(filepath.Separator)) {
		if made = filepath.Join(made, part); d.lookup(made) == nil {
			d.create(made, true)
		}
	}
	return nil
}

// Rename implements durable.FS. Both names must be in one directory.
func (d *Disk) Rename(from, to string) error {
	return d.rename(from, to, true, d.OS.Rename)
}

// Link implements durable.FS. Both names must be in one directory.
func (d *Disk) Link(from, to string) error {
	return d.rename(from, to, false, d.OS.Link)
}

func (d *Disk) rename(from, to string, gone bool, run func(from, to string) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := run(from, to); err != nil {
		return err
	}
	old, _ := d.path(from)
	path, ok := d.path(to)
	if !ok {
		return nil
	}
	n := d.names[old]
	if n == nil || filepath.Dir(old) != filepath.Dir(path) {
		panic("faulty: " + from + " is not a file in the directory of " + to)
	}
	e := event{kind: named, node: n, dir: filepath.Dir(path), name: filepath.Base(path)}
	if gone {
		e.gone = filepath.Base(old)
		delete(d.names, old)
	}
	d.names[path] = n
	d.journal = append(d.journal, e)
	return nil
}

// Remove implements durable.FS.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.OS.Remove(name); err != nil {
		return err
	}
	if path, ok := d.path(name); ok {
		delete(d.names, path)
		d.journal = append(d.journal, event{kind: named, dir: filepath.Dir(path), gone: filepath.Base(path)})
	}
	return nil
}

// SyncDir implements durable.FS.
func (d *Disk) SyncDir(name string) error {
	if err := d.Unsynced.SyncDir(name); err != nil {
		return err
	}
	if path, ok := d.path(name); ok {
		d.add(event{kind: syncedDir, dir: path})
	}
	return nil
}

type diskFile struct {
	durable.File
	disk *Disk
	node *node
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	e := event{kind: wrote, node: f.node, off: off, size: int64(n)}
	if strings.Trim(string(p[:n]), "\x00") != "" {
		e.data = append(e.data, p[:n]...)
	}
	f.disk.add(e)
	return n, err
}

func (f *diskFile) Truncate(size int64) error {
	err := f.File.Truncate(size)
	if err == nil {
		f.disk.add(event{kind: cut, node: f.node, off: size})
	}
	return err
}

func (f *diskFile) Sync() error {
	err := f.File.Sync()
	f.disk.add(event{kind: synced, node: f.node})
	return err
}

var _ durable.FS = (*Disk)(nil)
