package audit_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// powerFS is a directory in memory that forgets at a power cut what was not
// synced: the bytes of a file without Sync, and the making, renaming and removing
// of names without SyncDir, of which any part may have reached the disk. Its
// fail-th operation and all that follow fail; the first of them has its effect
// all the same if persist is set.
type powerFS struct {
	durable.FS // panics where something else is used
	names      map[string]*powerFile
	disk       map[string]*powerFile
	pending    []func(map[string]*powerFile)
	ops, fail  int
	persist    bool
}

type powerFile struct{ data, synced []byte }

func newPowerFS(files map[string]string) *powerFS {
	p := &powerFS{names: map[string]*powerFile{}}
	for name, data := range files {
		p.names[name] = &powerFile{[]byte(data), []byte(data)}
	}
	p.disk = maps.Clone(p.names)
	return p
}

func (p *powerFS) op(do func() error) error {
	p.ops++
	switch {
	case p.fail == 0 || p.ops < p.fail:
		return do()
	case p.ops == p.fail && p.persist:
		return errors.Join(do(), errFault)
	}
	return errFault
}

// change makes a change of names, now and perhaps on the disk.
func (p *powerFS) change(f func(map[string]*powerFile)) {
	f(p.names)
	p.pending = append(p.pending, f)
}

func (p *powerFS) OpenFile(name string, flag int, _ fs.FileMode) (file durable.File, err error) {
	if flag&os.O_CREATE == 0 {
		if f := p.names[name]; f != nil {
			return &openPowerFile{p, f}, nil
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	err = p.op(func() error {
		f := &powerFile{}
		p.change(func(m map[string]*powerFile) { m[name] = f })
		file = &openPowerFile{p, f}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return file, nil
}

func (p *powerFS) ReadFile(name string) ([]byte, error) {
	if f := p.names[name]; f != nil {
		return f.data, nil
	}
	return nil, fs.ErrNotExist
}

func (p *powerFS) MkdirAll(string, fs.FileMode) error { return nil }

// Stat finds every directory: the model has but one.
func (*powerFS) Stat(string) (fs.FileInfo, error) { return nil, nil } //nolint:nilnil // nobody looks

func (p *powerFS) Rename(from, to string) error {
	return p.op(func() error {
		f := p.names[from]
		if f == nil {
			return fs.ErrNotExist
		}
		p.change(func(m map[string]*powerFile) { delete(m, from); m[to] = f })
		return nil
	})
}

func (p *powerFS) Link(from, to string) error {
	return p.op(func() error {
		f := p.names[from]
		if f == nil {
			return fs.ErrNotExist
		}
		if p.names[to] != nil {
			return fs.ErrExist
		}
		p.change(func(m map[string]*powerFile) { m[to] = f })
		return nil
	})
}

func (p *powerFS) Remove(name string) error {
	if p.names[name] == nil {
		return fs.ErrNotExist
	}
	return p.op(func() error {
		p.change(func(m map[string]*powerFile) { delete(m, name) })
		return nil
	})
}

func (p *powerFS) SyncDir(string) error {
	return p.op(func() error {
		p.disk, p.pending = maps.Clone(p.names), nil
		return nil
	})
}

type openPowerFile struct {
	p *powerFS
	f *powerFile
}

func (o *openPowerFile) ReadAt(b []byte, off int64) (int, error) {
	n := copy(b, o.f.data[min(int(off), len(o.f.data)):])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (o *openPowerFile) WriteAt(b []byte, off int64) (int, error) {
	err := o.p.op(func() error { o.f.data = append(o.f.data[:off:off], b...); return nil })
	return len(b), err
}

func (o *openPowerFile) Sync() error {
	return o.p.op(func() error { o.f.synced = o.f.data; return nil })
}

func (o *openPowerFile) Truncate(int64) error { return errors.ErrUnsupported }
func (o *openPowerFile) Close() error         { return nil }
func (o *openPowerFile) Stat() (fs.FileInfo, error) {
	return fs.Stat(fstest.MapFS{"f": {Mode: 0o600}}, "f")
}

// after returns each state in which the directory may be found: as the process
// left it, and after a power cut with any part of the pending changes of names.
func (p *powerFS) after() (states []map[string]string) {
	add := func(m map[string]*powerFile, data func(*powerFile) []byte) {
		s := map[string]string{}
		for name, f := range m {
			s[name] = string(data(f))
		}
		if !slices.ContainsFunc(states, func(o map[string]string) bool { return maps.Equal(o, s) }) {
			states = append(states, s)
		}
	}
	add(p.names, func(f *powerFile) []byte { return f.data })
	for mask := range 1 << len(p.pending) {
		m := maps.Clone(p.disk)
		for i, f := range p.pending {
			if mask>>i&1 == 1 {
				f(m)
			}
		}
		add(m, func(f *powerFile) []byte { return f.synced })
	}
	return states
}

// rotation is a key, the next one, and their private texts.
type rotation struct {
	dir, name       string
	old, next       *audit.Key
	oldText, newTxt string
}

func newRotation(t *testing.T) rotation {
	t.Helper()
	r := rotation{dir: t.TempDir()}
	r.name = filepath.Join(r.dir, "log.key")
	r.old, r.oldText = savedKey(t, filepath.Join(t.TempDir(), "a"))
	r.next, r.newTxt = savedKey(t, filepath.Join(t.TempDir(), "b"))
	return r
}

// put lays a state out in a directory of its own and returns the key's name.
func put(t *testing.T, state map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range state {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "log.key")
}

// texts are the contents of the files in a directory, by name.
func texts(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		m[e.Name()] = string(b)
	}
	return m
}

// everyCrash runs op on the given files with a crash at each of its operations
// and none, and looks at each state that may be found after it.
func everyCrash(t *testing.T, files map[string]string, op func(durable.FS) error, look func(what string, err error, state map[string]string)) {
	t.Helper()
	states, last := 0, 0
	for fail := 1; ; fail++ {
		for _, persist := range []bool{false, true} {
			p := newPowerFS(files)
			p.fail, p.persist = fail, persist
			err := op(p)
			for _, state := range p.after() {
				look(fmt.Sprintf("crash at operation %d (with effect: %v)", fail, persist), err, state)
				states++
			}
			last = p.ops
		}
		if fail > last { // nothing failed
			t.Logf("%d operations, %d states", last, states)
			if last < 2 {
				t.Error("nothing was done")
			}
			return
		}
	}
}

// TestRotateSurvivesEveryCrash finds after a crash at any operation the old key
// in use and the new one there whole, or not at all; a second call mends it.
func TestRotateSurvivesEveryCrash(t *testing.T) {
	r := newRotation(t)
	var made *audit.Key
	rotate := func(fsys durable.FS) (err error) { made, err = audit.Rotate(fsys, r.name); return err }
	everyCrash(t, map[string]string{r.name: r.oldText}, rotate, func(what string, err error, state map[string]string) {
		name := put(t, state)
		set, lerr := source(t, name).LoadSet()
		if lerr != nil || set.Key.Public() != r.old.Public() {
			t.Fatalf("%s: %v, %v", what, set, lerr)
		}
		if err == nil && (set.Next == nil || set.Next.Public() != made.Public()) {
			t.Fatalf("%s: done, but the next key is %v", what, set.Next)
		}
		next, rerr := audit.Rotate(durable.OS{}, name)
		if rerr != nil || next.Origin() != r.old.Origin() || next.Public() == r.old.Public() || set.Next != nil && set.Next.Public() != next.Public() {
			t.Fatalf("%s: called again: %v, %v", what, next, rerr)
		}
		if files := slices.Sorted(maps.Keys(texts(t, filepath.Dir(name)))); !slices.Equal(files, []string{"log.key", "log.key.next"}) {
			t.Fatalf("%s: called again it leaves %q", what, files)
		}
	})
}

// TestPromoteSurvivesEveryCrash finds after a crash at any operation a key set
// that can open the log, and both private keys; a second call ends the work.
func TestPromoteSurvivesEveryCrash(t *testing.T) {
	r := newRotation(t)
	retired := fmt.Sprintf("log.key.retired-%08x", r.old.KeyHash())
	newest, err := checkpoint.Sign(checkpoint.Head{Origin: r.old.Origin(), Size: 7}, r.old, r.next)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{r.name: r.oldText, r.name + ".next": r.newTxt, r.name + ".next.tmp": r.newTxt}
	promote := func(fsys durable.FS) error {
		name, err := audit.Promote(fsys, r.name, newest)
		if err == nil && filepath.Base(name) != retired {
			t.Errorf("the retired key is in %s", name)
		}
		return err
	}
	everyCrash(t, files, promote, func(what string, err error, state map[string]string) {
		name := put(t, state)
		set, lerr := source(t, name).LoadSet()
		if lerr != nil {
			t.Fatalf("%s: %v", what, lerr)
		}
		before := set.Key.Public() == r.old.Public() && set.Next != nil && set.Next.Public() == r.next.Public()
		done := set.Key.Public() == r.next.Public() && set.Next == nil
		if !before && !done || err == nil && !done {
			t.Fatalf("%s: the keys are %v", what, set)
		}
		there := slices.Collect(maps.Values(state))
		if !slices.Contains(there, r.oldText) || !slices.Contains(there, r.newTxt) {
			t.Fatalf("%s: a private key is lost", what)
		}
		if _, err := audit.Promote(durable.OS{}, name, newest); err != nil && (before || !errors.Is(err, audit.ErrNotRotated)) {
			t.Fatalf("%s: called again: %v", what, err)
		}
		want := map[string]string{"log.key": r.newTxt, retired: r.oldText}
		if got := texts(t, filepath.Dir(name)); before && !maps.Equal(got, want) {
			t.Fatalf("%s: called again it leaves %q", what, slices.Collect(maps.Keys(got)))
		}
	})
}

func TestPromoteNeedsTheNextKeysSignature(t *testing.T) {
	r := newRotation(t)
	name := put(t, map[string]string{"log.key": r.oldText, "log.key.next": r.newTxt})
	newest, err := checkpoint.Sign(checkpoint.Head{Origin: r.old.Origin(), Size: 7}, r.old)
	if err != nil {
		t.Fatal(err)
	}
	before := texts(t, filepath.Dir(name))
	if _, err := audit.Promote(durable.OS{}, name, newest); !errors.Is(err, checkpoint.ErrKey) || !strings.Contains(err.Error(), "restart") {
		t.Errorf("%v", err)
	}
	if !maps.Equal(texts(t, filepath.Dir(name)), before) {
		t.Error("the files were changed")
	}
	if _, err := audit.Promote(durable.OS{}, name, nil); err != nil { // no log yet
		t.Error(err)
	}
}

func TestRetiredKeysAreNotOverwritten(t *testing.T) {
	r := newRotation(t)
	retired := fmt.Sprintf("log.key.retired-%08x", r.old.KeyHash())
	name := put(t, map[string]string{"log.key": r.oldText, "log.key.next": r.newTxt, retired: "another"})
	if _, err := audit.Promote(durable.OS{}, name, nil); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("%v", err)
	}
	if _, err := audit.Promote(durable.OS{}, filepath.Join(t.TempDir(), "log.key"), nil); !errors.Is(err, audit.ErrNotRotated) {
		t.Errorf("%v", err)
	}
	if _, err := audit.Rotate(durable.OS{}, filepath.Join(t.TempDir(), "log.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
