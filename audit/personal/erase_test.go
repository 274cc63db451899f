package personal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// threeDays seals boxes of three users on three days, in two runs, and returns
// the boxes by user.
func (b *bench) threeDays() (*Sealer, map[string][]box) {
	b.Helper()
	boxes := map[string][]box{}
	s := b.subjects()
	for day := range 3 {
		if day == 2 {
			_ = s.Close()
			s = b.subjects()
		}
		for _, user := range []string{"alice", "bob", "", "alice"} {
			boxes[user] = append(boxes[user], b.seal(s, user))
		}
		if day < 2 {
			b.clock.add(24 * time.Hour)
		}
	}
	return s, boxes
}

func TestForgetDestroysTheKeysOfOneSubjectOnly(t *testing.T) {
	b := newBench(t)
	s, boxes := b.threeDays()
	e, err := s.Forget("alice")
	if err != nil || e.Keys != 3 || e.Files != 3 || e.What != ErasedSubject || e.Subject != s.Handle("alice") || e.Subject == s.Handle("bob") {
		t.Errorf("%+v, %v", e, err)
	}
	for user, list := range boxes {
		for _, x := range list {
			if user == "alice" {
				b.unreadable(x, ErrForgotten)
			} else {
				b.readable(x)
			}
		}
	}
	if e, err := s.Forget("alice"); err != nil || e.Keys != 0 || e.Files != 0 {
		t.Errorf("again: %+v, %v", e, err)
	}
	back, other := b.seal(s, "alice"), b.seal(s, "carol")
	b.readable(back)
	b.readable(other)
	b.readable(b.seal(s, "bob"))
	for _, x := range boxes["alice"] {
		b.unreadable(x, ErrForgotten)
	}
	if e, err := s.Forget("alice"); err != nil || e.Keys != 1 {
		t.Errorf("after coming back: %+v, %v", e, err)
	}
	b.unreadable(back, ErrForgotten)
	b.tidy()
	_ = s.Close()
	s = b.subjects()
	for _, x := range append(boxes["bob"], other) {
		b.readable(x)
	}
	if _, err := s.Forget(""); err == nil {
		t.Error("nobody was forgotten")
	}
}

// TestForgettingLeavesNoTraceOfTheSubject: the files of a forgotten subject
// hold neither its hash nor its sealed key, under any name.
func TestForgettingLeavesNoTraceOfTheSubject(t *testing.T) {
	b := newBench(t)
	s, _ := b.threeDays()
	var traces [][]byte
	for _, name := range b.files("personal/*.subjects") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		id := strings.TrimSuffix(filepath.Base(name), subjectsSuffix)
		hash := subjectHash(s.index, id, "alice")
		at := bytes.Index(text, hash[:])
		if at < 0 {
			t.Fatal("no line")
		}
		traces = append(traces, hash[:], text[at+hashText+1:at+hashText+1+sealedText])
		if bytes.Contains(text, []byte("alice")) {
			t.Error("the subject's name is in the file")
		}
	}
	if _, err := s.Forget("alice"); err != nil {
		t.Fatal(err)
	}
	for _, name := range b.files("*/*") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, trace := range traces {
			if bytes.Contains(text, trace) {
				t.Errorf("%s still has it", name)
			}
		}
	}
}

// TestOldBlocksAreOverwritten keeps a second name of the file that forgetting
// replaces, and looks at what it holds afterwards.
func TestOldBlocksAreOverwritten(t *testing.T) {
	b := newBench(t)
	s := b.subjects()
	b.seal(s, "alice")
	name := b.files("personal/*.subjects")[0]
	witness := filepath.Join(t.TempDir(), "old")
	if err := os.Link(name, witness); err != nil {
		t.Skip("the file system has no links:", err)
	}
	if _, err := s.Forget("alice"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(witness)
	if err != nil || len(text) == 0 || len(bytes.Trim(text, "\x00")) != 0 {
		t.Errorf("%q, %v", text, err)
	}
}

// TestForgetSurvivesEveryFault lets the process die at each operation of
// Forget. After a restart nobody else lost a key, and a second try forgets.
func TestForgetSurvivesEveryFault(t *testing.T) {
	for _, mode := range []struct{ persist, once bool }{{}, {true, false}, {false, true}, {true, true}} {
		for n, done := int64(1), false; !done; n++ {
			b := newBench(t)
			fsys := &faultFS{persist: mode.persist, once: mode.once}
			b.fs = fsys
			s, boxes := b.threeDays()
			fsys.arm(n)
			e, err := s.Forget("alice")
			if done = err == nil && fsys.left.Load() > 0; done && e.Keys != 3 {
				t.Errorf("%+v", e)
			}
			if err != nil && !errors.Is(err, errFault) {
				t.Fatalf("fault %d: %v", n, err)
			}
			fsys.armed.Store(false)
			if n%2 == 0 { // it runs on
				total := e.Keys
				e, err = s.Forget("alice")
				if total += e.Keys; err != nil || total != 3 {
					t.Errorf("fault %d: %d keys, %v", n, total, err)
				}
				b.readable(b.seal(s, "bob"))
			}
			_ = s.Close()
			s = b.subjects()
			b.tidy()
			for _, x := range append(boxes["bob"], boxes[""]...) {
				b.readable(x)
			}
			for _, x := range boxes["alice"] {
				if _, err := b.open(x); err != nil && !errors.Is(err, ErrForgotten) {
					t.Errorf("fault %d: %v", n, err)
				}
			}
			if _, err := s.Forget("alice"); err != nil {
				t.Errorf("fault %d: %v", n, err)
			}
			for _, x := range boxes["alice"] {
				b.unreadable(x, ErrForgotten)
			}
		}
	}
}

// TestPowerCutDuringForget undoes renames that were not made durable before the
// old file was overwritten: then nobody else may lose a key.
func TestPowerCutDuringForget(t *testing.T) {
	b := newBench(t)
	var order []string
	b.fs = watchFS{b.fs, &order}
	s := b.subjects()
	b.seal(s, "alice")
	order = nil
	if _, err := s.Forget("alice"); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(order, " ")
	if want := "link rename syncdir syncdir overwrite remove syncdir"; got != want {
		t.Errorf("the order is %q, want %q", got, want)
	}
}

// watchFS notes operations in order.
type watchFS struct {
	durable.FS
	order *[]string
}

func (w watchFS) note(s string) { *w.order = append(*w.order, s) }

func (w watchFS) OpenFile(name string, flag int, perm os.FileMode) (durable.File, error) {
	if flag == os.O_WRONLY {
		w.note("overwrite")
	}
	return w.FS.OpenFile(name, flag, perm)
}
func (w watchFS) Rename(a, b string) error  { w.note("rename"); return w.FS.Rename(a, b) }
func (w watchFS) Link(a, b string) error    { w.note("link"); return w.FS.Link(a, b) }
func (w watchFS) Remove(a string) error     { w.note("remove"); return w.FS.Remove(a) }
func (w watchFS) SyncDir(name string) error { w.note("syncdir"); return w.FS.SyncDir(name) }

func TestDestroyedDayOpensForNobody(t *testing.T) {
	b := newBench(t)
	s, boxes := b.threeDays()
	if _, err := s.Destroy("2026-11-23"); err == nil || !strings.Contains(err.Error(), "not over") {
		t.Errorf("the key in use: %v", err)
	}
	if _, err := s.Destroy("2026-11-01"); !errors.Is(err, ErrNoKey) {
		t.Errorf("a day without keys: %v", err)
	}
	if _, err := s.Destroy("yesterday"); err == nil {
		t.Error("no day was destroyed")
	}
	b.clock.add(24 * time.Hour)
	for _, day := range []string{"2026-11-21", "2026-11-23", "2026-11-23"} {
		if e, err := s.Destroy(day); err != nil || e.Keys != 1 || e.Period != day || e.What != ErasedPeriod {
			t.Errorf("%+v, %v", e, err)
		}
	}
	for user, list := range boxes {
		for _, x := range list {
			if strings.HasPrefix(x.ref, "2026-11-22") {
				b.readable(x)
			} else {
				b.unreadable(x, ErrDestroyed)
			}
			x.user = user
		}
	}
	b.readable(b.seal(s, "alice"))
}

func TestDestroyOfADaySurvivesEveryFault(t *testing.T) {
	for _, persist := range []bool{false, true} {
		for n, done := int64(1), false; !done; n++ {
			b := newBench(t)
			fsys := &faultFS{persist: persist}
			b.fs = fsys
			s, boxes := b.threeDays()
			fsys.arm(n)
			_, err := s.Destroy("2026-11-21")
			if done = err == nil; !done && !errors.Is(err, errFault) {
				t.Fatal(err)
			}
			fsys.armed.Store(false)
			_ = s.Close()
			s = b.subjects()
			b.tidy()
			for _, x := range boxes["bob"] {
				switch _, err := b.open(x); {
				case strings.HasPrefix(x.ref, "2026-11-21") && errors.Is(err, ErrDestroyed):
				case err != nil || done && strings.HasPrefix(x.ref, "2026-11-21"):
					t.Errorf("fault %d: %s: %v", n, x.ref, err)
				}
			}
			if e, err := s.Destroy("2026-11-21"); err != nil || e.Keys != 1 {
				t.Errorf("fault %d: %+v, %v", n, e, err)
			}
			b.unreadable(boxes["bob"][0], ErrDestroyed)
			b.readable(boxes["bob"][1])
		}
	}
}

func TestDamagedSubjectFileIsToldAndTheRestForgotten(t *testing.T) {
	b := newBench(t)
	s, boxes := b.threeDays()
	_ = s.Close()
	first := b.files("personal/2026-11-21-*.subjects")[0]
	text, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	text[subjectsHeaderSize+lineSize+40] ^= 1 // bob's
	if err := os.WriteFile(first, append(text, "000002 torn"...), 0o600); err != nil {
		t.Fatal(err)
	}
	s = b.subjects()
	e, err := s.Forget("alice")
	if err == nil || !strings.Contains(err.Error(), "slots [1] are damaged") || e.Keys != 3 {
		t.Errorf("%+v, %v", e, err)
	}
	for _, x := range boxes["alice"] {
		b.unreadable(x, ErrForgotten)
	}
	b.unreadable(boxes["bob"][0], errLine)
	b.readable(boxes["bob"][1])
	b.readable(boxes["bob"][2])
}

func TestLostIndexIsNotReplaced(t *testing.T) {
	b := newBench(t)
	s := b.subjects()
	b.seal(s, "alice")
	_ = s.Close()
	if err := os.Remove(filepath.Join(b.dir, "personal", "subjects.key")); err != nil {
		t.Fatal(err)
	}
	for _, subjects := range []bool{false, true} {
		c := b.config()
		c.Subjects = subjects
		if _, err := OpenSealer(c); !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), "put it back") {
			t.Errorf("%v", err)
		}
	}
}

func TestForgetWithoutSubjectKeysSaysSo(t *testing.T) {
	b := newBench(t)
	s := b.sealer(b.config())
	b.seal(s, "alice")
	if _, err := s.Forget("alice"); err == nil || !strings.Contains(err.Error(), "no record was ever sealed with subject keys") {
		t.Error(err)
	}
	_ = s.Close()
	if _, err := s.Forget("alice"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Destroy("2026-11-20"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func FuzzSubjectFile(f *testing.F) {
	const id = "2026-11-21-abcdefghijklm"
	hash := subjectHash([]byte("k"), id, "alice")
	file := []byte(subjectsHeader + id + "\n")
	file = appendLine(file, 0, hash, make([]byte, sealedSize))
	file = appendTombstone(file, 1)
	file = appendLine(file, 2, subjectHash([]byte("k"), id, "bob"), make([]byte, sealedSize))
	f.Add(file, 3)
	f.Add(file[:len(file)-5], 200)
	f.Fuzz(func(t *testing.T, b []byte, flip int) {
		if len(b) > 0 && flip >= 0 {
			b = bytes.Clone(b)
			b[flip%len(b)] ^= 1
		}
		struck, n, _ := strike(b, id, hash)
		if struck == nil {
			return
		}
		if _, again, _ := strike(struck, id, hash); again != 0 || len(struck) > len(b) {
			t.Errorf("%d were struck, and %d again", n, again)
		}
		lines := struck[subjectsHeaderSize:]
		for slot := 0; len(lines) > 0; slot++ {
			h, sealed, err := parseLine(lines[:lineSize], slot)
			if err == nil && sealed != nil && !bytes.Equal(appendLine(nil, slot, h, sealed), lines[:lineSize]) {
				t.Error("a line is read that is not as it is written")
			}
			lines = lines[lineSize:]
		}
	})
}

// BenchmarkForget forgets from the file of a day with 10,000 subjects.
func BenchmarkForget(b *testing.B) {
	const id = "2026-11-21-abcdefghijklm"
	path := filepath.Join(b.TempDir(), id+subjectsSuffix)
	index := []byte("k")
	file := []byte(subjectsHeader + id + "\n")
	for slot := range 10_000 {
		file = appendLine(file, slot, subjectHash(index, id, string(rune(slot))), make([]byte, sealedSize))
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		if _, err := forgetInFile(durable.OS{}, path, id, subjectHash(index, id, string(rune(i)))); err != nil {
			b.Fatal(err)
		}
	}
}
