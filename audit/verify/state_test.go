package verify_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
)

// stateful returns options that keep the state in a file.
func stateful(t *testing.T, name string) verify.Options {
	t.Helper()
	state, err := verify.LoadState(name)
	if err != nil {
		t.Fatal(err)
	}
	return verify.Options{State: state, StateName: name, Save: func(s *verify.State) error { return s.Store(name) }}
}

func TestVerificationGoesOnFromTheState(t *testing.T) {
	s := newSite(t)
	name := filepath.Join(t.TempDir(), "state")
	last := int64(0)
	for range 4 {
		s.grow(300)
		s.sealAll()
		whole := s.ok(verify.Options{})
		r := s.ok(stateful(t, name))
		if r.Resumed != last {
			t.Errorf("resumed at %d, the last state has %d", r.Resumed, last)
		}
		if r.Records != whole.Records || r.From != whole.From || r.To != whole.To || r.Sealed != whole.Sealed || r.Tiles != whole.Tiles {
			t.Errorf("resumed: %+v\nfull: %+v", r, whole)
		}
		if last > 0 && !strings.Contains(r.Text(), "not read as records again") {
			t.Error(r.Text())
		}
		state, err := verify.LoadState(name)
		if err != nil {
			t.Fatal(err)
		}
		if last = state.Size; last < 200 || state.Head.Size != r.Signed {
			t.Errorf("%+v", state)
		}
	}
	opt := stateful(t, name)
	opt.Full = true
	if r := s.ok(opt); r.Resumed != 0 {
		t.Errorf("%+v", r)
	}
}

// TestStateOfEachMomentIsGood resumes from each state that a verification keeps.
func TestStateOfEachMomentIsGood(t *testing.T) {
	s := newSite(t)
	s.grow(500)
	s.sealAll()
	var states []*verify.State
	now := time.Unix(0, 0)
	s.ok(verify.Options{
		Now:  func() time.Time { now = now.Add(time.Minute); return now },
		Save: func(st *verify.State) error { states = append(states, st); return nil },
	})
	if len(states) < 5 {
		t.Fatal(len(states))
	}
	for _, st := range states {
		b, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		if st, err = verify.ParseState(b); err != nil {
			t.Fatal(err)
		}
		if r := s.ok(verify.Options{State: st}); r.Resumed != st.Size {
			t.Errorf("resumed at %d, not %d: %q", r.Resumed, st.Size, r.Notes)
		}
	}
}

func TestWhatChangedSinceTheStateIsReadAgain(t *testing.T) {
	base := newSite(t)
	base.grow(700)
	base.sealAll()
	name := filepath.Join(t.TempDir(), "state")
	base.ok(stateful(t, name))
	opt := stateful(t, name)
	opt.Save = nil
	first := base.glob("segments/*.zst")[0]

	s := base.copy()
	s.flip(first, 500)
	s.fails(opt, "segments/", "")
	s = base.copy()
	s.remove("tile/0/000")
	noted(t, s.ok(opt), "all of the log was read again")
	s = base.copy()
	s.flip("tile/0/001", 5)
	s.fails(opt, "tile/0/001", "")
	s = base.copy()
	s.flip("rollups", 50)
	s.fails(opt, "rollups", "")
	s = base.copy()
	s.remove(first)
	s.fails(opt, "segments/", "it is missing")
	s = base.copy()
	s.remove("rollups")
	s.ok(opt)
}

// TestRollbackIsFound puts an older, consistent state of the whole directory
// back, and a log that another history was written to with the same key.
func TestRollbackIsFound(t *testing.T) {
	s := newSite(t)
	s.grow(400)
	s.sealAll()
	old := s.copy()
	s.grow(400)
	s.sealAll()
	name := filepath.Join(t.TempDir(), "state")
	s.ok(stateful(t, name))
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	old.ok(verify.Options{})
	old.fails(stateful(t, name), name, "an older state of it was put back")

	rewritten := newSite(t)
	rewritten.key = s.key
	rewritten.grow(1500)
	rewritten.ok(verify.Options{})
	rewritten.fails(stateful(t, name), name, "is not one of this log")
	if after, err := os.ReadFile(name); err != nil || !bytes.Equal(before, after) {
		t.Error("the state was overwritten by that of a log that does not verify")
	}
	other := newSite(t)
	other.grow(1)
	opt := stateful(t, name)
	if r := other.verify(opt); r.OK() {
		t.Error("another log verifies")
	}
}

func TestStateIsNotKeptOfABadLog(t *testing.T) {
	s := newSite(t)
	s.grow(300)
	s.sealAll()
	h := s.head()
	s.write(checkpoint.File, s.signed(h.Size, tree.Hash{1}, s.key))
	opt := verify.Options{Save: func(st *verify.State) error {
		if st.Head != nil {
			t.Errorf("kept: %+v", st.Head)
		}
		return nil
	}}
	s.fails(opt, "checkpoint", "do not have the root")
}

func TestErrorOfSavingEndsTheVerification(t *testing.T) {
	s := newSite(t)
	s.grow(1)
	_, err := verify.Dir(os.DirFS(s.dir), s.keys(), verify.Options{Save: func(*verify.State) error { return errDisk }})
	if !errors.Is(err, errDisk) {
		t.Error(err)
	}
}

func TestPrunedLogIsResumed(t *testing.T) {
	s := newSite(t)
	s.grow(900)
	s.sealAll()
	_, first := s.copy().prune()
	s.grow(1, erase(first))
	s.prune()
	name := filepath.Join(t.TempDir(), "state")
	s.ok(stateful(t, name))
	s.grow(300)
	s.sealAll()
	r := s.ok(stateful(t, name))
	if r.Resumed <= first || r.Pruned != first {
		t.Errorf("%+v", r)
	}
	noted(t, r, "verified by hash only")
}

func TestStateFileIsReplacedAtOnce(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "state")
	for range 2 {
		if err := (&verify.State{Version: 1, Newest: -1}).Store(name); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if s, err := verify.LoadState(filepath.Join(dir, "none")); s != nil || err != nil {
		t.Error(s, err)
	}
	if err := os.WriteFile(name, []byte(`{"version":1,"newest_rollup":-1} x`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := verify.LoadState(name); !errors.Is(err, verify.ErrState) {
		t.Error(err)
	}
}

// FuzzState resumes from states that no verification kept: it may refuse them,
// or read all of the log, but must not fail otherwise.
func FuzzState(f *testing.F) {
	s := newSite(f)
	s.grow(300)
	s.sealAll()
	s.ok(verify.Options{Save: func(st *verify.State) error {
		b, err := json.Marshal(st)
		f.Add(b)
		return err
	}})
	f.Add([]byte(`{"version":1,"files":[{"first":0,"next":9,"bytes":1,"sha256":"` + strings.Repeat("0", 64) + `"}],"size":9,"edge":[[]],"newest_rollup":-1}`))
	keys := s.keys()
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := verify.ParseState(b)
		if err != nil {
			if !errors.Is(err, verify.ErrState) {
				t.Fatal(err)
			}
			return
		}
		if _, err := verify.Dir(os.DirFS(s.dir), keys, verify.Options{State: st}); err != nil {
			t.Fatal(err)
		}
	})
}
