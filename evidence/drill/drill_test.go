package drill_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/evidence/decision"
	"github.com/caddy-soc2/caddy-soc2/evidence/drill"
)

// bench is a log of which copies are made.
type bench struct {
	t   *testing.T
	dir string
	key *audit.Key
}

func newBench(t *testing.T) *bench {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t, filepath.Join(t.TempDir(), "log"), key}
}

// add appends records of requests, at a time each, and signs them.
func (b *bench) add(dir string, n int, at time.Time) {
	b.t.Helper()
	log, err := audit.Open(audit.Config{Dir: dir, Key: b.key, Instance: "edge-1", CheckpointEvery: time.Hour, Now: func() time.Time { return at }})
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range n {
		ev := audit.Event{Start: at, Method: "GET", Path: fmt.Sprintf("/%d", i), Status: 200, End: audit.EndComplete}
		ev.ID = audit.NewID(ev.Start)
		appendTo := log.Enqueue
		if i == n-1 {
			appendTo = log.Append
		}
		if _, err := appendTo(b.t.Context(), ev.AppendBody(nil, "edge-1")); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) restore() string {
	b.t.Helper()
	to := filepath.Join(b.t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(b.dir)); err != nil {
		b.t.Fatal(err)
	}
	return to
}

func (b *bench) verifier() note.Verifier {
	b.t.Helper()
	v, err := b.key.Verifier()
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// drill makes the drill of a copy, an hour after noon.
func (b *bench) drill(dir string, maxAge time.Duration) (*decision.Restored, error) {
	b.t.Helper()
	return drill.Restore{
		Copy: os.DirFS(dir), Keys: []note.Verifier{b.verifier()}, MaxAge: maxAge, Now: func() time.Time { return noon.Add(time.Hour) },
		Live: drill.Directory{Dir: records.Dir{FS: os.DirFS(b.dir), Index: new(records.Index)}},
	}.Run(context.Background())
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// TestCopyThatIsABeginningOfTheLogPasses restores a copy after which the log goes
// on, and more than that.
func TestCopyThatIsABeginningOfTheLogPasses(t *testing.T) {
	b := newBench(t)
	b.add(b.dir, 700, noon.Add(-time.Hour))
	dir := b.restore()
	r, err := b.drill(dir, time.Minute)
	if err != nil || len(r.Problems) > 0 || r.Behind != 0 || r.Age != 0 || r.Size != r.LiveSize || r.Root != r.LiveRoot || r.Records != r.Size || r.Origin != "edge-1/soc2" || !decision.IsSHA256(r.Checkpoint) {
		t.Fatalf("a whole copy: %v, %+v", err, r)
	}
	size := r.Size
	b.add(b.dir, 300, noon)
	r, err = b.drill(dir, time.Hour)
	if err != nil || len(r.Problems) > 0 || r.Size != size || r.Behind != r.LiveSize-size || r.Behind < 300 || r.Age != time.Hour {
		t.Fatalf("a copy from before: %v, %+v", err, r)
	}
	d := &decision.Drill{Subject: decision.SubjectRestore, Verdict: decision.Passed, Reason: "r", Restored: r}
	if err := d.Vet(); err != nil {
		t.Errorf("what was measured is not what a drill that passed has: %v", err)
	}
	r, err = b.drill(dir, time.Hour-time.Second)
	if err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "records since 2026-11-21T12:00:00Z, 1h0m0s ago, and at most 59m59s are allowed") {
		t.Fatalf("a copy that is too old: %v, %+v", err, r)
	}
}

// TestCopiesThatAreNotTheLogFail doctors copies, and the log.
func TestCopiesThatAreNotTheLogFail(t *testing.T) {
	segment := func(t *testing.T, dir string) string {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(dir, "segments", "*"))
		if err != nil || len(list) == 0 {
			t.Fatal(err, list)
		}
		return list[0]
	}
	edit := func(t *testing.T, name string, fn func([]byte) []byte) {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, fn(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		doctor func(t *testing.T, b *bench, dir string)
		want   string
	}{
		{"a record was changed", func(t *testing.T, _ *bench, dir string) {
			edit(t, segment(t, dir), func(s []byte) []byte { return []byte(strings.Replace(string(s), `"/42"`, `"/43"`, 1)) })
		}, "record"},
		{"the end is missing", func(t *testing.T, _ *bench, dir string) {
			edit(t, segment(t, dir), func(s []byte) []byte { return s[:len(s)/2] })
		}, "cut off"},
		{"the checkpoint is missing", func(t *testing.T, _ *bench, dir string) {
			if err := os.Remove(filepath.Join(dir, "checkpoint")); err != nil {
				t.Fatal(err)
			}
		}, "missing"},
		{"the checkpoint is not signed", func(t *testing.T, _ *bench, dir string) {
			edit(t, filepath.Join(dir, "checkpoint"), func(s []byte) []byte { return []byte(strings.Replace(string(s), "edge-1/soc2\n", "edge-1/soc3\n", 1)) })
		}, "checkpoint"},
		{"a segment is missing", func(t *testing.T, _ *bench, dir string) {
			if err := os.Remove(segment(t, dir)); err != nil {
				t.Fatal(err)
			}
		}, "missing"},
		{"the copy went on by itself", func(_ *testing.T, b *bench, dir string) { b.add(dir, 3, noon) }, "rolled back"},
		{"the log was rewritten", func(t *testing.T, b *bench, _ string) {
			if err := os.RemoveAll(b.dir); err != nil {
				t.Fatal(err)
			}
			b.add(b.dir, 900, noon.Add(-time.Minute))
		}, "another root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.add(b.dir, 300, noon.Add(-time.Hour))
			dir := b.restore()
			c.doctor(t, b, dir)
			r, err := b.drill(dir, 24*time.Hour)
			if err != nil || len(r.Problems) == 0 || !strings.Contains(strings.Join(r.Problems, "\n"), c.want) {
				t.Fatalf("%v, %+v", err, r)
			}
			d := &decision.Drill{Subject: decision.SubjectRestore, Verdict: decision.Failed, Reason: "r", Restored: r}
			if err := d.Vet(); err != nil {
				t.Errorf("it cannot be recorded: %v", err)
			}
		})
	}
}

// TestDrillThatCannotBeMadeIsAnError has no log, no copy, and another key.
func TestDrillThatCannotBeMadeIsAnError(t *testing.T) {
	b := newBench(t)
	b.add(b.dir, 3, noon)
	dir := b.restore()
	if _, err := b.drill(t.TempDir(), time.Hour); err == nil {
		t.Error("an empty directory is a copy")
	}
	other := newBench(t)
	other.dir = b.dir
	if r, err := other.drill(dir, time.Hour); err == nil || !strings.Contains(err.Error(), "is the verifier key that of this log?") {
		t.Errorf("with the key of another log: %+v, %v", r, err)
	}
	other.dir = filepath.Join(t.TempDir(), "nowhere")
	other.key = b.key
	if r, err := other.drill(dir, time.Hour); err == nil {
		t.Errorf("without a log: %+v", r)
	}
}
