package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// faulty fails the operations whose names are in fail. A failed sync or rename
// has happened all the same if it persists.
type faulty struct {
	durable.OS
	fail     string
	persists bool
}

var errFault = errors.New("injected fault")

func (f faulty) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	file, err := f.OS.OpenFile(name, flag, perm)
	return faultyFile{file, f}, err
}

func (f faulty) Rename(from, to string) error {
	if f.fail == "rename" {
		if f.persists {
			return errors.Join(f.OS.Rename(from, to), errFault)
		}
		return errFault
	}
	return f.OS.Rename(from, to)
}

func (f faulty) SyncDir(name string) error {
	if f.fail == "syncdir" {
		return errFault
	}
	return f.OS.SyncDir(name)
}

type faultyFile struct {
	durable.File
	fs faulty
}

func (f faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if f.fs.fail == "write" {
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		return n, errFault
	}
	return f.File.WriteAt(p, off)
}

func (f faultyFile) Sync() error {
	if f.fs.fail == "sync" {
		return errFault
	}
	return f.File.Sync()
}

// TestWriteFileIsAtomic fails each operation: the name then holds the old
// contents or the new, never others, and nothing else is left.
func TestWriteFileIsAtomic(t *testing.T) {
	for _, fail := range []string{"", "write", "sync", "rename", "syncdir"} {
		for _, persists := range []bool{false, true} {
			dir := t.TempDir()
			name := filepath.Join(dir, "file")
			if err := durable.WriteFile(durable.OS{}, name, []byte("old contents")); err != nil {
				t.Fatal(err)
			}
			err := durable.WriteFile(faulty{fail: fail, persists: persists}, name, []byte("new contents"))
			if (err == nil) != (fail == "") || fail != "" && !errors.Is(err, errFault) {
				t.Errorf("%s: %v", fail, err)
			}
			got, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			renamed := fail == "" || fail == "syncdir" || fail == "rename" && persists
			if want := map[bool]string{true: "new contents", false: "old contents"}[renamed]; string(got) != want {
				t.Errorf("%s: the file holds %q, want %q", fail, got, want)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
				t.Errorf("%s: left behind: %v", fail, left)
			}
		}
	}
}

func TestNewFileIsWholeOrNotThere(t *testing.T) {
	for _, fail := range []string{"write", "sync", "rename"} {
		name := filepath.Join(t.TempDir(), "file")
		if err := durable.NewFile(faulty{fail: fail}, name, []byte("contents")); !errors.Is(err, errFault) {
			t.Errorf("%s: %v", fail, err)
		}
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the file is there: %v", fail, err)
		}
		if err := durable.NewFile(durable.OS{}, name, []byte("contents")); err != nil {
			t.Errorf("after a fault: %v", err)
		}
		if err := durable.NewFile(durable.OS{}, name, []byte("others")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("over a file: %v", err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != "contents" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := durable.WriteFile(durable.OS{}, name, nil); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

func TestCreateFileDoesNotReplace(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	f, err := durable.CreateFile(durable.OS{}, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := durable.CreateFile(durable.OS{}, name); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
}

func TestLockExcludesThisProcessToo(t *testing.T) {
	dir := t.TempDir()
	lock, err := durable.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := durable.LockDir(dir); !errors.Is(err, durable.ErrLocked) || !strings.Contains(err.Error(), "process") {
		t.Errorf("a second lock: %v", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	if lock, err = durable.LockDir(dir); err != nil {
		t.Fatalf("after unlocking: %v", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
}
