package tsa_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/timestamp"
	"github.com/caddy-soc2/caddy-soc2/audit/timestamp/tsa"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// failingFS fails its n-th changing operation and all after it, as a crash does.
// The n-th has its effect all the same if persist is set.
type failingFS struct {
	durable.OS
	left    *int
	persist bool
}

var errFault = errors.New("injected fault")

func (f failingFS) fault(op func() error) error {
	*f.left--
	switch {
	case *f.left > 0:
		return op()
	case *f.left == 0 && f.persist:
		return errors.Join(op(), errFault)
	}
	return errFault
}

func (f failingFS) OpenFile(name string, flag int, perm fs.FileMode) (file durable.File, err error) {
	err = f.fault(func() (err error) { file, err = f.OS.OpenFile(name, flag, perm); return err })
	if err != nil {
		if file != nil {
			_ = file.Close()
		}
		return nil, err
	}
	return failingFile{file, f}, nil
}

func (f failingFS) MkdirAll(name string, perm fs.FileMode) error {
	return f.fault(func() error { return f.OS.MkdirAll(name, perm) })
}

func (f failingFS) Rename(from, to string) error {
	return f.fault(func() error { return f.OS.Rename(from, to) })
}

func (f failingFS) Link(from, to string) error {
	return f.fault(func() error { return f.OS.Link(from, to) })
}

func (f failingFS) Remove(name string) error {
	return f.fault(func() error { return f.OS.Remove(name) })
}

func (f failingFS) SyncDir(name string) error {
	return f.fault(func() error { return f.OS.SyncDir(name) })
}

type failingFile struct {
	durable.File
	fs failingFS
}

func (f failingFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.fs.fault(func() (err error) { n, err = f.File.WriteAt(p[:len(p)/2], off); return err })
	if err != nil {
		return n, err
	}
	return f.File.WriteAt(p, off)
}

func (f failingFile) Sync() error { return f.fs.fault(f.File.Sync) }

// TestPutSurvivesEveryCrash finds after a crash at any operation the anchor
// whole, or not at all, and puts it again.
func TestPutSurvivesEveryCrash(t *testing.T) {
	a := newAuthority(t, nil)
	signer, verifier := logKey(t)
	cp := signed(t, signer, 7)
	client := &tsa.Client{URL: a.start(), Roots: a.roots()}
	tok, err := client.Stamp(context.Background(), cp)
	if err != nil {
		t.Fatal(err)
	}
	check := func(dir string) *timestamp.Anchors {
		t.Helper()
		got, err := timestamp.Check(os.DirFS(dir), []note.Verifier{verifier}, a.roots())
		if err != nil || len(got.Problems) > 0 {
			t.Fatalf("%+v, %v", got, err)
		}
		return got
	}
	done := false
	for n := 1; !done; n++ {
		for _, persist := range []bool{false, true} {
			dir, left := t.TempDir(), n
			err := tsa.Store{FS: failingFS{left: &left, persist: persist}, Dir: dir}.Put(cp, tok.Response)
			done = err == nil
			got := check(dir)
			if err == nil && len(got.List) != 1 {
				t.Fatalf("operation %d: done, but not there", n)
			}
			s := tsa.Store{FS: durable.OS{}, Dir: dir}
			if err := s.Put(cp, tok.Response); errors.Is(err, fs.ErrExist) != (len(got.List) == 1) || err != nil && !errors.Is(err, fs.ErrExist) {
				t.Fatalf("operation %d: put again: %v", n, err)
			}
			if got := check(dir); len(got.List) != 1 {
				t.Fatalf("operation %d: put again, but not there", n)
			}
		}
		if n > 50 {
			t.Fatal("it never ends")
		}
	}
}

// TestFirstStampStays puts a second stamp over the same size, and another
// checkpoint of it.
func TestFirstStampStays(t *testing.T) {
	signer, _ := logKey(t)
	other, _ := logKey(t)
	s := tsa.Store{FS: durable.OS{}, Dir: t.TempDir()}
	first := signed(t, signer, 7)
	if err := s.Put(first, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(signed(t, other, 7), []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	cp, response, err := s.Get(7)
	if err != nil || !bytes.Equal(cp, first) || string(response) != "first" {
		t.Errorf("%q, %q, %v", cp, response, err)
	}
	if err := s.Put([]byte("no checkpoint"), nil); err == nil {
		t.Error("put what is no checkpoint")
	}
}

func TestNewestIsTheLargest(t *testing.T) {
	signer, _ := logKey(t)
	s := tsa.Store{FS: durable.OS{}, Dir: t.TempDir()}
	if _, _, ok, err := s.Newest(); ok || err != nil {
		t.Errorf("of none: %v, %v", ok, err)
	}
	for _, size := range []int64{900, 7, 1000} {
		if err := s.Put(signed(t, signer, size), []byte{byte(size)}); err != nil {
			t.Fatal(err)
		}
	}
	// A checkpoint whose stamp was never written does not count.
	if err := os.WriteFile(filepath.Join(s.Dir, timestamp.CheckpointPath(5000)), signed(t, signer, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if sizes, err := s.List(); err != nil || !slices.Equal(sizes, []int64{7, 900, 1000}) {
		t.Errorf("%v, %v", sizes, err)
	}
	cp, _, ok, err := s.Newest()
	if !ok || err != nil || !bytes.Equal(cp, signed(t, signer, 1000)) {
		t.Errorf("%q, %v, %v", cp, ok, err)
	}
	for name, want := range map[string]fs.FileMode{timestamp.Folder: fs.ModeDir | 0o700, timestamp.ResponsePath(7): 0o600, timestamp.CheckpointPath(7): 0o600} {
		if info, err := os.Stat(filepath.Join(s.Dir, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}
