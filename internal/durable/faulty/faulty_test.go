package faulty_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
	"github.com/caddy-soc2/caddy-soc2/internal/durable/faulty"
)

// TestEveryOperationCanFail replaces a file, and fails each of the operations
// that this takes, in each flavor.
func TestEveryOperationCanFail(t *testing.T) {
	// of durable.WriteFile: open, write, sync, rename, syncdir
	for _, c := range []struct {
		fault faulty.Fault
		hit   string
		want  string // what the file then holds
	}{
		{faulty.Fault{At: 1}, "open", "old"},
		{faulty.Fault{At: 2}, "write", "old"},
		{faulty.Fault{At: 3}, "sync", "old"},
		{faulty.Fault{At: 3, Done: true}, "sync", "old"},
		{faulty.Fault{At: 4}, "rename", "old"},
		{faulty.Fault{At: 4, Done: true}, "rename", "new contents"},
		{faulty.Fault{At: 5}, "syncdir", "new contents"},
		{faulty.Fault{At: 1, Ops: []faulty.Op{faulty.Rename}}, "rename", "old"},
		{faulty.Fault{At: 6}, "", "new contents"},
	} {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		c.fault.Err = syscall.EIO
		fsys := &faulty.FS{FS: durable.OS{}}
		fsys.Arm(c.fault)
		err := durable.WriteFile(fsys, name, []byte("new contents"))
		if errors.Is(err, syscall.EIO) != (c.hit != "") || !strings.Contains(fsys.Hit(), c.hit) {
			t.Errorf("%+v: %v; hit %q", c.fault, err, fsys.Hit())
		}
		if b, err := os.ReadFile(name); err != nil || string(b) != c.want {
			t.Errorf("%+v: the file holds %q, %v", c.fault, b, err)
		}
	}
}

func TestShortWriteLeavesHalf(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	fsys := &faulty.FS{FS: durable.OS{}}
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	fsys.Arm(faulty.Fault{At: 1, Short: true, Lasting: true, Err: syscall.ENOSPC})
	if n, err := f.WriteAt([]byte("12345678"), 0); n != 4 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := f.WriteAt([]byte("12345678"), 4); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the fault lasts: %d, %v", n, err)
	}
	if b, _ := os.ReadFile(name); string(b) != "1234" {
		t.Errorf("%q", b)
	}
}

// states cuts the power at a moment many times and returns the different
// directories that this leaves, each as its names and contents.
func states(t *testing.T, d *faulty.Disk, moment int) []string {
	t.Helper()
	r := rand.New(rand.NewPCG(1, uint64(moment)))
	var all []string
	for i := range 120 {
		loss := faulty.RandomLoss(r)
		switch i {
		case 0:
			loss = faulty.Nothing
		case 1:
			loss = faulty.Everything
		}
		to := t.TempDir()
		if err := d.Cut(moment, loss, r, to); err != nil {
			t.Fatal(err)
		}
		var s strings.Builder
		err := filepath.WalkDir(to, func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(name)
			s.WriteString(e.Name() + "=" + string(b) + ";")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(all, s.String()) {
			all = append(all, s.String())
		}
	}
	slices.Sort(all)
	return all
}

// TestPowerCutKeepsWhatWasSynced follows a file through its life and compares
// what a power cut can leave with what POSIX allows.
func TestPowerCutKeepsWhatWasSynced(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a"), []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := faulty.NewDisk(root)
	if err != nil {
		t.Fatal(err)
	}
	want := func(list ...string) {
		t.Helper()
		slices.Sort(list)
		if got := states(t, d, d.Len()); !slices.Equal(got, list) {
			t.Errorf("a power cut leaves %q, want %q", got, list)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want("a=1;")
	f, err := d.OpenFile(filepath.Join(root, "b"), os.O_RDWR|os.O_CREATE, 0o600)
	must(err)
	want("a=1;", "a=1;b=;")
	_, err = f.WriteAt([]byte("2"), 0)
	must(err)
	want("a=1;", "a=1;b=2;", "a=1;b=;")
	must(f.Sync())
	want("a=1;", "a=1;b=2;")
	must(d.Rename(filepath.Join(root, "b"), filepath.Join(root, "a")))
	want("a=1;", "a=1;b=2;", "a=2;")
	must(d.SyncDir(root))
	want("a=2;")
	must(f.Truncate(0))
	want("a=2;", "a=;")
	must(d.Link(filepath.Join(root, "a"), filepath.Join(root, "c")))
	must(f.Sync())
	want("a=;", "a=;c=;")
	must(d.Remove(filepath.Join(root, "a")))
	want("", "a=;", "a=;c=;", "c=;")
	must(f.Close())
}

// TestPowerCutTearsAtSectors writes three sectors at an odd place.
func TestPowerCutTearsAtSectors(t *testing.T) {
	root := t.TempDir()
	name := filepath.Join(root, "a")
	if err := os.WriteFile(name, make([]byte, 2048), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := faulty.NewDisk(root)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.OpenFile(name, os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte("x"), 1000), 500); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	all := states(t, d, d.Len())
	if len(all) != 8 {
		t.Errorf("%d states, want 8", len(all))
	}
	for _, s := range all {
		b := s[len("a=") : len(s)-1]
		for _, part := range []string{b[500:512], b[512:1024], b[1024:1500]} {
			if strings.Trim(part, "x") != "" && strings.Trim(part, "\x00") != "" {
				t.Error("a sector was torn")
			}
		}
	}
}
