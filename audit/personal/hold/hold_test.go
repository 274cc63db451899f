package hold_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/personal"
	"github.com/caddy-soc2/caddy-soc2/audit/personal/hold"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

var _ personal.Hold = (*hold.Holds)(nil).Check

func open(t testing.TB, dir string) *hold.Holds {
	t.Helper()
	h, err := hold.Open(durable.OS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	h.Now = func() time.Time { return day(21) }
	return h
}

func day(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }

func set(t testing.TB, h *hold.Holds, o hold.Hold) {
	t.Helper()
	if err := h.Set(o); err != nil {
		t.Fatal(err)
	}
}

func TestHoldBlocksItsTimesUntilReleased(t *testing.T) {
	h := open(t, t.TempDir())
	if h.Blocks(day(30)) || h.Blocks(time.Time{}) {
		t.Error("nothing is held, but all is blocked")
	}
	set(t, h, hold.Hold{Name: "a", Reason: "r", By: "b", From: day(10), To: day(20)})
	for _, c := range []struct {
		from, to time.Time
		held     bool
	}{
		{day(1), day(10), false},
		{day(1), day(11), true},
		{day(12), day(13), true},
		{day(19), day(25), true},
		{day(20), day(25), false},
		{time.Time{}, day(10), false},
		{time.Time{}, day(30), true},
		{day(25), time.Time{}, false},
		{time.Time{}, time.Time{}, true},
	} {
		err := h.Check(c.from, c.to)
		if (err != nil) != c.held || c.held && (!errors.Is(err, hold.ErrHeld) || !strings.Contains(err.Error(), "hold a")) {
			t.Errorf("%v to %v: %v", c.from, c.to, err)
		}
	}
	if h.Blocks(day(10)) || !h.Blocks(day(11)) {
		t.Error("upto")
	}
	set(t, h, hold.Hold{Name: "all", Reason: "r", By: "b"})
	if err := h.Check(day(1), day(2)); !errors.Is(err, hold.ErrHeld) {
		t.Error(err)
	}
	for _, name := range []string{"a", "all"} {
		if err := h.Release(name, "settled", "c"); err != nil {
			t.Fatal(err)
		}
	}
	if h.Blocks(time.Time{}) {
		t.Error("released, but blocked")
	}
}

func TestHoldsOutliveTheProcessAndKeepTheirHistory(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	set(t, h, hold.Hold{Name: "a", Reason: "r", By: "b", From: day(1).In(time.FixedZone("x", 3600))})
	other := open(t, dir) // another process
	if !other.Blocks(day(2)) {
		t.Error("lost")
	}
	if err := other.Release("a", "settled", "c"); err != nil {
		t.Fatal(err)
	}
	if h.Blocks(day(2)) {
		t.Error("the release is not seen")
	}
	set(t, h, hold.Hold{Name: "a", Reason: "again", By: "b"})
	list, err := open(t, dir).List()
	if err != nil || len(list) != 2 || list[0].Released == nil || list[0].Released.By != "c" || list[1].Released != nil || !list[0].From.Equal(day(1)) || !list[0].At.Equal(day(21)) {
		t.Errorf("%+v, %v", list, err)
	}
	if info, err := os.Stat(filepath.Join(dir, hold.File)); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

func TestWrongOrdersAreRefused(t *testing.T) {
	h := open(t, t.TempDir())
	set(t, h, hold.Hold{Name: "a", Reason: "r", By: "b"})
	for want, o := range map[string]hold.Hold{
		"name:":        {Name: "a b", Reason: "r", By: "b"},
		"reason:":      {Name: "x", By: "b"},
		"by:":          {Name: "x", Reason: "r"},
		"is in force":  {Name: "a", Reason: "r", By: "b"},
		"is not befor": {Name: "x", Reason: "r", By: "b", From: day(2), To: day(2)},
		"to 1024":      {Name: "x", Reason: strings.Repeat("r", 2000), By: "b"},
	} {
		if err := h.Set(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	if err := h.Release("x", "r", "b"); err == nil || !strings.Contains(err.Error(), "no hold") {
		t.Error(err)
	}
	if err := h.Release("a", "", "b"); err == nil || !h.Blocks(day(1)) {
		t.Error("released without a reason", err)
	}
}

// TestDamagedFileBlocksEverything flips each bit and cuts at each byte.
func TestDamagedFileBlocksEverything(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	set(t, h, hold.Hold{Name: "a", Reason: "r", By: "b", From: day(1), To: day(2)})
	if err := h.Release("a", "settled", "c"); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, hold.File)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	try := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if !h.Blocks(day(1)) {
			t.Errorf("erasure goes on with %q", b)
		}
		if tried++; tried%32 != 0 {
			return
		}
		if err := h.Set(hold.Hold{Name: "x", Reason: "r", By: "b"}); err == nil {
			t.Error("a damaged file was replaced")
		}
	}
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			try(b)
		}
		try(good[:i])
	}
	try(append(bytes.Clone(good), ' '))
	if _, err := hold.Open(durable.OS{}, dir); err == nil || !strings.Contains(err.Error(), "nothing is erased") {
		t.Error(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if !h.Blocks(day(1)) {
		t.Error("the file is gone, and erasure goes on")
	}
	if err := os.WriteFile(name, good, 0o600); err != nil || h.Blocks(day(30)) {
		t.Error("restored, but blocked", err)
	}
}

// failing fails the n-th changing operation and those after it.
type failing struct {
	durable.OS
	left *int
}

var errFault = errors.New("injected fault")

func (f failing) fail() bool { *f.left--; return *f.left < 0 }

func (f failing) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if f.fail() {
		return nil, errFault
	}
	file, err := f.OS.OpenFile(name, flag, perm)
	return failingFile{file, f}, err
}

func (f failing) Rename(a, b string) error {
	if f.fail() {
		return errFault
	}
	return f.OS.Rename(a, b)
}

func (f failing) SyncDir(name string) error {
	if f.fail() {
		return errFault
	}
	return f.OS.SyncDir(name)
}

type failingFile struct {
	durable.File
	fs failing
}

func (f failingFile) WriteAt(p []byte, off int64) (int, error) {
	if f.fs.fail() {
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		return n, errFault
	}
	return f.File.WriteAt(p, off)
}

func (f failingFile) Sync() error {
	if f.fs.fail() {
		return errFault
	}
	return f.File.Sync()
}

func TestSettingSurvivesEveryFault(t *testing.T) {
	for n, done := 0, false; !done; n++ {
		dir := t.TempDir()
		set(t, open(t, dir), hold.Hold{Name: "a", Reason: "r", By: "b"})
		left := 1 << 30
		h, err := hold.Open(failing{left: &left}, dir)
		if err != nil {
			t.Fatal(err)
		}
		left = n
		err = h.Set(hold.Hold{Name: "b", Reason: "r", By: "b"})
		if done = err == nil; !done && !errors.Is(err, errFault) {
			t.Fatal(err)
		}
		list, err := open(t, dir).List()
		if err != nil || list[0].Name != "a" || len(list) > 2 || done && len(list) != 2 {
			t.Errorf("fault %d: %+v, %v", n, list, err)
		}
	}
}

func TestManySetAtOnce(t *testing.T) {
	h := open(t, t.TempDir())
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			if err := h.Set(hold.Hold{Name: name, Reason: "r", By: "b"}); err != nil {
				t.Error(err)
			}
			_ = h.Blocks(day(1))
		})
	}
	wg.Wait()
	if list, err := h.List(); err != nil || len(list) != 4 {
		t.Errorf("%+v, %v", list, err)
	}
}

func FuzzHoldsFile(f *testing.F) {
	dir := f.TempDir()
	h := open(f, dir)
	set(f, h, hold.Hold{Name: "a", Reason: "r", By: "b", From: day(1)})
	name := filepath.Join(dir, hold.File)
	good, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := h.List()
		if err == nil && len(list) > 0 && h.Blocks(time.Time{}) != anyActive(list) {
			t.Errorf("%q", b)
		}
		if err != nil && !h.Blocks(day(1)) {
			t.Errorf("%q does not stop erasure", b)
		}
	})
}

func anyActive(list []hold.Hold) bool {
	for _, h := range list {
		if h.Released == nil {
			return true
		}
	}
	return false
}
