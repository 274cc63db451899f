package audit_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// rotated is a log that went through all phases of a rotation, and its state at
// the end of each.
type rotated struct {
	*bench
	old, next *audit.Key
	phases    []string // copies of the log
}

func newRotated(t *testing.T) *rotated {
	t.Helper()
	r := &rotated{bench: newBench(t, audit.Config{})}
	r.old = r.key
	name := filepath.Join(t.TempDir(), "log.key")
	if err := r.old.Save(durable.OS{}, name); err != nil {
		t.Fatal(err)
	}
	phase := func() {
		t.Helper()
		r.append(5)
		r.close()
		r.phases = append(r.phases, copyDir(t, r.dir))
	}
	load := func() {
		t.Helper()
		set, err := source(t, name).LoadSet()
		if err != nil {
			t.Fatal(err)
		}
		r.cfg.Key, r.cfg.Cosigners = set.Key, set.Cosigners()
		r.open()
	}
	phase()

	next, err := audit.Rotate(durable.OS{}, name)
	if err != nil {
		t.Fatal(err)
	}
	r.next = next
	newest, _, _ := r.log.Checkpoint()
	if _, err := audit.Promote(durable.OS{}, name, newest); !errors.Is(err, checkpoint.ErrKey) {
		t.Fatalf("promoted before both keys signed: %v", err)
	}
	load()
	if keys := r.log.Keys(); len(keys) != 2 || keys[0].Public() != r.old.Public() || keys[1].Public() != next.Public() {
		t.Fatal(keys)
	}
	phase()

	newest, _, _ = r.log.Checkpoint()
	if _, err := audit.Promote(durable.OS{}, name, newest); err != nil {
		t.Fatal(err)
	}
	load()
	phase()
	return r
}

func verifiers(t testing.TB, keys ...*audit.Key) (list []note.Verifier) {
	t.Helper()
	for _, k := range keys {
		list = append(list, verifier(t, k))
	}
	return list
}

func verified(t testing.TB, dir string, keys ...*audit.Key) *verify.Report {
	t.Helper()
	r, err := verify.Dir(os.DirFS(dir), verifiers(t, keys...), verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRotationVerifiesInEveryPhase gives the verifier the old key, the new one
// and both: it accepts those whose signature the checkpoint has, and tells which
// keys signed which records.
func TestRotationVerifiesInEveryPhase(t *testing.T) {
	r := newRotated(t)
	for i, want := range []struct{ old, next, both bool }{{true, false, true}, {true, true, true}, {false, true, true}} {
		for _, c := range []struct {
			name string
			keys []*audit.Key
			ok   bool
		}{{"old", []*audit.Key{r.old}, want.old}, {"new", []*audit.Key{r.next}, want.next}, {"both", []*audit.Key{r.old, r.next}, want.both}} {
			if rep := verified(t, r.phases[i], c.keys...); rep.OK() != c.ok {
				t.Errorf("phase %d, %s key given: %v", i+1, c.name, rep.Problems)
			}
		}
	}
	notes := verified(t, r.phases[2], r.old, r.next).Notes
	for _, want := range []string{
		"records 0 to 6: signed by " + r.old.ID() + ", as",
		"records 7 to 13: signed by " + r.old.ID() + " and " + r.next.ID() + ", as",
		"records 14 to 20: signed by " + r.next.ID() + ", as",
	} {
		if !slices.ContainsFunc(notes, func(n string) bool { return strings.HasPrefix(n, want) }) {
			t.Errorf("no note %q in %q", want, notes)
		}
	}
	if notes := verified(t, r.phases[2], r.next).Notes; !strings.Contains(notes[0], r.old.ID()+" (not given)") {
		t.Errorf("the old key is not named: %q", notes)
	}
	if notes := verified(t, r.phases[0], r.old).Notes; len(notes) > 0 {
		t.Errorf("notes without a rotation: %q", notes)
	}
}

func TestLogOpensOnlyWithAKeyThatSignedIt(t *testing.T) {
	r := newRotated(t)
	for i, dir := range r.phases {
		for _, c := range []struct {
			name      string
			key       *audit.Key
			cosigners []*audit.Key
			ok        bool
		}{
			{"old", r.old, nil, i < 2},
			{"new", r.next, nil, i > 0},
			{"old and new", r.old, []*audit.Key{r.next}, true},
			{"new and old", r.next, []*audit.Key{r.old}, true},
		} {
			log, err := audit.Open(audit.Config{Dir: copyDir(t, dir), Key: c.key, Cosigners: c.cosigners})
			if (err == nil) != c.ok || err != nil && (!errors.Is(err, checkpoint.ErrKey) || !strings.Contains(err.Error(), c.key.Public())) {
				t.Errorf("phase %d, %s: %v", i+1, c.name, err)
			}
			if err != nil {
				continue
			}
			if err := log.Close(); err != nil {
				t.Error(err)
			}
			if rep := verified(t, log.Dir(), log.Keys()...); !rep.OK() {
				t.Errorf("phase %d, %s: %v", i+1, c.name, rep.Problems)
			}
		}
	}
}

// TestRetiredKeyCannotSignOn signs a changed log with the old key, which was
// stolen after the rotation: who has both keys is told.
func TestRetiredKeyCannotSignOn(t *testing.T) {
	r := newRotated(t)
	dir := copyDir(t, r.phases[2])
	signed, err := os.ReadFile(filepath.Join(dir, checkpoint.File))
	if err != nil {
		t.Fatal(err)
	}
	h, err := checkpoint.Peek(signed)
	if err != nil {
		t.Fatal(err)
	}
	forge := func(signers ...note.Signer) {
		t.Helper()
		b, err := checkpoint.Sign(h, signers...)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, checkpoint.File), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	forge(r.old)
	rep := verified(t, dir, r.old, r.next)
	if rep.OK() || rep.Problems[0].Path != checkpoint.File || !strings.Contains(rep.Problems[0].What, "the key in use was "+r.next.ID()) {
		t.Errorf("%v", rep.Problems)
	}
	never, err := audit.NewKey(r.old.Origin())
	if err != nil {
		t.Fatal(err)
	}
	forge(never)
	if rep := verified(t, dir, never); rep.OK() {
		t.Error("a key that no log.open record names was accepted")
	}
	forge(never, r.next) // a signature too many takes nothing away
	if rep := verified(t, dir, never, r.next); !rep.OK() {
		t.Errorf("%v", rep.Problems)
	}
}

// TestReturnOfARetiredKeyIsTold appends what the thief of a retired key can, who
// need not know the present one: a log.open record that names it, and more.
func TestReturnOfARetiredKeyIsTold(t *testing.T) {
	r := newRotated(t)
	dir := copyDir(t, r.phases[2])
	name := filepath.Join(dir, "segments", segment.Name(0, false))
	frames, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	next := r.log.Next()
	forged := audit.LogOpen{Time: time.Now(), Origin: r.old.Origin(), Key: r.old.Public(), Clean: true}
	for i, b := range [][]byte{forged.AppendBody(nil, "edge-1"), body(1)} {
		if frames, err = segment.AppendFrame(frames, next+int64(i), 0, b); err != nil {
			t.Fatal(err)
		}
	}
	var grown tree.Tree
	if _, _, err := segment.Scan(frames, 0, func(_ int64, record []byte) error {
		grown.Append(tlog.RecordHash(record), nil)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	signed, err := checkpoint.Sign(checkpoint.Head{Origin: r.old.Origin(), Size: grown.Size(), Root: grown.Root()}, r.old)
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string][]byte{name: frames, filepath.Join(dir, checkpoint.File): signed} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	told := func(n string) bool { return strings.Contains(n, "puts the key "+r.old.ID()+" back into use") }
	if rep := verified(t, dir, r.old, r.next); rep.Signed != next+2 || !slices.ContainsFunc(rep.Notes, told) {
		t.Errorf("%d records: %q, %v", rep.Signed, rep.Notes, rep.Problems)
	}
	if rep := verified(t, dir, r.next); rep.OK() {
		t.Error("who has the present key alone accepts it")
	}
	if rep := verified(t, r.phases[2], r.old, r.next); slices.ContainsFunc(rep.Notes, told) {
		t.Errorf("told of an honest log: %q", rep.Notes)
	}
}

// TestLogOpenNamesAllKeys reads the record that the keys sign.
func TestLogOpenNamesAllKeys(t *testing.T) {
	r := newRotated(t)
	frames, err := os.ReadFile(filepath.Join(r.phases[2], "segments", segment.Name(0, false)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"key":"` + r.old.Public() + `","clean"`,
		`"key":"` + r.old.Public() + `","also":["` + r.next.Public() + `"],"clean"`,
		`"key":"` + r.next.Public() + `","clean"`,
	} {
		if bytes.Count(frames, []byte(want)) != 1 {
			t.Errorf("%s is not there", want)
		}
	}
}

func TestKeysOfOneLogDiffer(t *testing.T) {
	a, err := audit.NewKey("a/soc2")
	if err != nil {
		t.Fatal(err)
	}
	other, err := audit.NewKey("b/soc2")
	if err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]audit.Config{
		"two logs":    {Key: a, Cosigners: []*audit.Key{other}},
		"given twice": {Key: a, Cosigners: []*audit.Key{a}},
		"key 0":       {},
		"key 1":       {Key: a, Cosigners: []*audit.Key{nil}},
	} {
		cfg.Dir = filepath.Join(t.TempDir(), "log")
		if _, err := audit.Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if _, err := os.Stat(cfg.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the directory was made", want)
		}
	}
}
