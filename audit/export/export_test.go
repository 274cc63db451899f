package export_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/export"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// began is the time of the first request of a test's log: one a second.
var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// bench is a closed log with sealed segments.
type bench struct {
	t    *testing.T
	dir  string
	cfg  audit.Config
	now  atomic.Int64 // the log's clock: when the last request ended, as Unix seconds
	all  [][]byte     // records
	kind []string
	at   []time.Time
}

func newBench(t *testing.T, origin string, n int) *bench {
	t.Helper()
	key, err := audit.NewKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "log")}
	b.now.Store(began.Unix())
	now := func() time.Time { return time.Unix(b.now.Load(), 0).UTC() }
	b.cfg = audit.Config{Dir: b.dir, Key: key, SegmentBytes: 64 << 10, CheckpointEvery: time.Hour, Now: now}
	b.grow(n)
	return b
}

// grow opens the log, adds requests to it and closes it.
func (b *bench) grow(n int) {
	b.t.Helper()
	log, err := audit.Open(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range n {
		took := time.Duration(i%10) * 10 * time.Second
		start := began.Add(time.Duration(i)*time.Second - took)
		b.now.Store(start.Add(took).Unix())
		ev := audit.Event{ID: audit.NewID(start), Start: start, Duration: took, Path: "/", Method: "GET", Status: 200}
		add := log.Enqueue
		if i%100 == 0 {
			add = log.Append
		}
		if _, err := add(context.Background(), ev.AppendBody(nil, "")); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.all, b.kind, b.at = nil, nil, nil
	_, err = b.records().Scan(0, func(_ int64, r []byte) error {
		h, err := audit.ParseHeader(r)
		b.all, b.kind, b.at = append(b.all, bytes.Clone(r)), append(b.kind, string(h.Kind)), append(b.at, h.Time)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) records() records.Dir { return records.Dir{FS: os.DirFS(b.dir)} }

func bound(t *testing.T, s string) export.Bound {
	t.Helper()
	x, err := export.ParseBound(s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestNDJSONIsTheSelectedRecordsAsStored compares each selection with one made
// by looking at all records.
func TestNDJSONIsTheSelectedRecordsAsStored(t *testing.T) {
	b := newBench(t, "edge-1/soc2", 3000)
	at := func(i int) string { return began.Add(time.Duration(i) * time.Second).Format(time.RFC3339Nano) }
	for _, c := range []struct {
		from, to string
		kinds    []string
		want     func(seq int) bool
	}{
		{"", "", nil, func(int) bool { return true }},
		{"10", "20", nil, func(seq int) bool { return seq >= 10 && seq < 20 }},
		{"2900", "", nil, func(seq int) bool { return seq >= 2900 }},
		{"", "1", nil, func(seq int) bool { return seq < 1 }},
		{"99999", "", nil, func(int) bool { return false }},
		{"20", "10", nil, func(int) bool { return false }},
		{"", "", []string{"log.open", "rollup"}, func(seq int) bool { return b.kind[seq] == "log.open" || b.kind[seq] == "rollup" }},
		{"0", "1500", []string{"request"}, func(seq int) bool { return seq < 1500 && b.kind[seq] == "request" }},
		{at(1000), at(2000), []string{"request"}, func(seq int) bool {
			s := b.at[seq].Sub(began)
			return b.kind[seq] == "request" && s >= 1000*time.Second && s < 2000*time.Second
		}},
		{at(2500), "", nil, func(seq int) bool { return b.at[seq].Sub(began) >= 2500*time.Second }},
		{"", at(100), nil, func(seq int) bool { return b.at[seq].Sub(began) < 100*time.Second }},
		{at(10_000), "", nil, func(int) bool { return false }},
	} {
		var want bytes.Buffer
		var seqs []int64
		for seq := range b.all {
			if c.want(seq) {
				want.Write(b.all[seq])
				want.WriteByte('\n')
				seqs = append(seqs, int64(seq))
			}
		}
		var got bytes.Buffer
		p, err := export.Write(t.Context(), b.records(), &got, export.Options{
			Format:    "ndjson",
			Selection: export.Selection{From: bound(t, c.from), To: bound(t, c.to), Kinds: c.kinds},
		})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("%q to %q, %q: %d records, want %d", c.from, c.to, c.kinds, bytes.Count(got.Bytes(), []byte{'\n'}), len(seqs))
		}
		sum := sha256.Sum256(got.Bytes())
		if p.Count != int64(len(seqs)) || p.SHA256 != hex.EncodeToString(sum[:]) || p.Bytes != int64(got.Len()) ||
			p.Origin != "edge-1/soc2" || p.Size != int64(len(b.all)) {
			t.Errorf("%q to %q: %+v", c.from, c.to, p)
		}
		if (p.First == nil) != (len(seqs) == 0) || p.First != nil && (*p.First != seqs[0] || *p.Last != seqs[len(seqs)-1]) {
			t.Errorf("%q to %q: from record %v to %v", c.from, c.to, p.First, p.Last)
		}
	}
}

func TestBoundsReadBack(t *testing.T) {
	for _, s := range []string{"", "0", "4711", "2026-01-31T00:00:00Z", "2026-01-31T00:00:00.5Z"} {
		if got := bound(t, s).String(); got != s {
			t.Errorf("%q: %q", s, got)
		}
	}
	if got := bound(t, "2026-01-31T02:00:00+02:00").String(); got != "2026-01-31T00:00:00Z" {
		t.Errorf("in another zone: %q", got)
	}
	for _, s := range []string{"-1", "x", "2026-01-31", "yesterday", "1.5", "0001-01-01T00:00:00Z"} {
		if _, err := export.ParseBound(s); err == nil {
			t.Errorf("%q is a bound", s)
		}
	}
}

func TestFileHasItsProvenanceBesideIt(t *testing.T) {
	b := newBench(t, "edge-1/soc2", 500)
	name := filepath.Join(t.TempDir(), "out.ndjson")
	made := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	opt := export.Options{Format: "ndjson", Selection: export.Selection{From: export.Index(100), Kinds: []string{"request"}}, Now: func() time.Time { return made }}
	if _, err := export.File(t.Context(), durable.OS{}, b.records(), name, opt); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name + export.ProvenanceSuffix)
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Format, Origin, Root, Checkpoint, SHA256 string
		Size                                     int64 `json:"tree_size"`
		First                                    int64 `json:"first_seq"`
		Last                                     int64 `json:"last_seq"`
		Count                                    int64
		MadeAt                                   time.Time `json:"made_at"`
		Selection                                struct {
			From  int64
			To    any
			Kinds []string
		}
		Examined struct {
			First int64 `json:"first_seq"`
			Next  int64 `json:"next_seq"`
		}
	}
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	note, err := os.ReadFile(filepath.Join(b.dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if p.Format != "ndjson" || p.Checkpoint != string(note) || p.SHA256 != hex.EncodeToString(sum[:]) || p.Count != int64(bytes.Count(data, []byte{'\n'})) ||
		p.First != 100 || p.Examined.First != 100 || p.Examined.Next != p.Size || !p.MadeAt.Equal(made) ||
		p.Selection.From != 100 || p.Selection.To != nil || !slices.Equal(p.Selection.Kinds, []string{"request"}) || !strings.Contains(string(note), p.Root) {
		t.Errorf("%s", text)
	}
	if _, err := export.File(t.Context(), durable.OS{}, b.records(), name, opt); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an export: %v", err)
	}
	if again, err := os.ReadFile(name); err != nil || !bytes.Equal(again, data) {
		t.Errorf("the export was changed: %v", err)
	}
}

// failing is a file system whose n-th operation fails.
type failing struct {
	durable.OS
	left int
}

var errFault = errors.New("injected fault")

func (f *failing) turn() error {
	if f.left--; f.left == 0 {
		return errFault
	}
	return nil
}

func (f *failing) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if err := f.turn(); err != nil {
		return nil, err
	}
	file, err := f.OS.OpenFile(name, flag, perm)
	return failingFile{file, f}, err
}

func (f *failing) Rename(from, to string) error {
	return errors.Join(f.turn(), f.OS.Rename(from, to))
}

type failingFile struct {
	durable.File
	fs *failing
}

func (f failingFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.turn(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f failingFile) Sync() error { return errors.Join(f.fs.turn(), f.File.Sync()) }

// TestFailedExportIsNotThere fails each operation in turn. There is a whole
// export with its provenance, or none; only a rename that failed and had its
// effect all the same leaves one that was said to have failed.
func TestFailedExportIsNotThere(t *testing.T) {
	b := newBench(t, "edge-1/soc2", 300)
	done := false
	for n := 1; !done; n++ {
		dir := t.TempDir()
		name := filepath.Join(dir, "out.ndjson")
		_, err := export.File(t.Context(), &failing{left: n}, b.records(), name, export.Options{Format: "ndjson"})
		if done = err == nil; done {
			if n < 8 {
				t.Errorf("only %d operations failed", n-1)
			}
			break
		}
		if !errors.Is(err, errFault) {
			t.Fatalf("fault %d: %v", n, err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "out.ndjson"+export.ProvenanceSuffix && e.Name() != "out.ndjson" {
				t.Errorf("fault %d left %s", n, e.Name())
			}
		}
	}
}

func TestInterruptedExportIsNotThere(t *testing.T) {
	b := newBench(t, "edge-1/soc2", 3000)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	opt := export.Options{Format: "ndjson", Progress: func(int64, int64) { cancel() }}
	if _, err := export.File(ctx, durable.OS{}, b.records(), filepath.Join(dir, "out"), opt); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestLogShorterThanItsCheckpointIsNotExported(t *testing.T) {
	b := newBench(t, "edge-1/soc2", 3000)
	list, err := b.records().Segments()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.dir, filepath.FromSlash(list[len(list)-1].Path()))); err != nil {
		t.Fatal(err)
	}
	if _, err := export.Write(t.Context(), b.records(), new(bytes.Buffer), export.Options{Format: "ndjson"}); err == nil {
		t.Error("records were left out without a word")
	}
	if _, err := export.Tiles(t.Context(), b.records(), t.TempDir(), export.TilesOptions{}); err == nil {
		t.Error("records were left out of tiles without a word")
	}
}

// contents reads a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		all[strings.TrimPrefix(name, dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func same(t *testing.T, what, dir, want string) {
	t.Helper()
	got, wanted := contents(t, dir), contents(t, want)
	for name, b := range wanted {
		if got[name] != b {
			t.Errorf("%s: %s differs", what, name)
		}
	}
	for name := range got {
		if _, ok := wanted[name]; !ok && !strings.Contains(name, ".p/") { // those of a smaller tree may stay
			t.Errorf("%s: %s is too much", what, name)
		}
	}
}

func TestInterruptedTilesAreResumed(t *testing.T) {
	b := newBench(t, "edge-1/soc2", 6000)
	whole := filepath.Join(t.TempDir(), "whole")
	if _, err := export.Tiles(t.Context(), b.records(), whole, export.TilesOptions{}); err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(t.TempDir(), "part")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := export.Tiles(ctx, b.records(), part, export.TilesOptions{Progress: func(done, _ int64) {
		if done > 3000 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(part, "checkpoint")); err == nil {
		t.Error("an export that is not whole has a checkpoint")
	}
	if _, err := export.Tiles(t.Context(), b.records(), part, export.TilesOptions{}); err == nil || !strings.Contains(err.Error(), "--resume") {
		t.Errorf("without resume: %v", err)
	}
	// What a crash may leave: a bundle that is cut, one that is empty, and one
	// that somebody changed.
	bundles := filepath.Join(part, "tile", "entries")
	stamp := map[string]time.Time{}
	for _, name := range []string{"000", "001", "004", "010", "009"} {
		info, err := os.Stat(filepath.Join(bundles, name))
		if err != nil {
			t.Fatal(err)
		}
		stamp[name] = info.ModTime()
	}
	if err := os.Truncate(filepath.Join(bundles, "010"), 100); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(bundles, "009"), 0); err != nil {
		t.Fatal(err)
	}
	changed, err := os.ReadFile(filepath.Join(bundles, "005"))
	if err != nil {
		t.Fatal(err)
	}
	changed[500] ^= 1
	if err := os.WriteFile(filepath.Join(bundles, "005"), changed, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := export.Tiles(t.Context(), b.records(), part, export.TilesOptions{Resume: true}); err != nil {
		t.Fatal(err)
	}
	same(t, "resumed", part, whole)
	for _, name := range []string{"000", "001", "004"} {
		if info, err := os.Stat(filepath.Join(bundles, name)); err != nil || !info.ModTime().Equal(stamp[name]) {
			t.Errorf("bundle %s was written again", name)
		}
	}
	// And brought up to date when the log has grown.
	b.grow(1000)
	fresh := filepath.Join(t.TempDir(), "fresh")
	for dir, resume := range map[string]bool{fresh: false, part: true} {
		if _, err := export.Tiles(t.Context(), b.records(), dir, export.TilesOptions{Resume: resume}); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "up to date", part, fresh)
}

func TestResumeRefusesWhatIsNoExportOfTheLog(t *testing.T) {
	a, other := newBench(t, "edge-1/soc2", 300), newBench(t, "edge-2/soc2", 300)
	out := filepath.Join(t.TempDir(), "out")
	if _, err := export.Tiles(t.Context(), a.records(), out, export.TilesOptions{}); err != nil {
		t.Fatal(err)
	}
	resume := export.TilesOptions{Resume: true}
	if _, err := export.Tiles(t.Context(), other.records(), out, resume); err == nil || !strings.Contains(err.Error(), "edge-1/soc2") {
		t.Errorf("another log: %v", err)
	}
	if _, err := export.Tiles(t.Context(), a.records(), other.dir, resume); err == nil || !strings.Contains(err.Error(), "directory of a log") {
		t.Errorf("a log: %v", err)
	}
}

func TestTilesOfADamagedLogAreNotWhole(t *testing.T) {
	b := newBench(t, "edge-1/soc2", 3000)
	name := filepath.Join(b.dir, filepath.FromSlash(tree.TilePath(0, 0, 256)))
	tile, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	tile[5] ^= 1
	if err := os.WriteFile(name, tile, 0o600); err != nil {
		t.Fatal(err)
	}
	first := filepath.Join(b.dir, filepath.FromSlash(records.Segment{First: 0, Sealed: true}.Path()))
	if err := os.Remove(first); err != nil { // its hashes now come from the tiles
		t.Fatal(err)
	}
	out := t.TempDir()
	if _, err := export.Tiles(t.Context(), b.records(), out, export.TilesOptions{}); !errors.Is(err, export.ErrRoot) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(out, "checkpoint")); err == nil {
		t.Error("it has a checkpoint")
	}
}

// TestTilesOfAPrunedLogHaveItsHashes removes the oldest segment, as retention
// does.
func TestTilesOfAPrunedLogHaveItsHashes(t *testing.T) {
	b := newBench(t, "edge-1/soc2", 3000)
	whole, pruned := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	if _, err := export.Tiles(t.Context(), b.records(), whole, export.TilesOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.dir, filepath.FromSlash(records.Segment{First: 0, Sealed: true}.Path()))); err != nil {
		t.Fatal(err)
	}
	first, err := b.records().First()
	if err != nil || first == 0 {
		t.Fatal(first, err)
	}
	if _, err := export.Tiles(t.Context(), b.records(), pruned, export.TilesOptions{}); err != nil {
		t.Fatal(err)
	}
	all, left := contents(t, whole), contents(t, pruned)
	for name, body := range all {
		gone := false
		for i := range (first + 255) / 256 {
			gone = gone || name == fmt.Sprintf("/tile/entries/%03d", i)
		}
		if got, ok := left[name]; ok == gone || ok && got != body {
			t.Errorf("%s: there %v", name, ok)
		}
	}
	var out bytes.Buffer
	p, err := export.Write(t.Context(), b.records(), &out, export.Options{Format: "ndjson"})
	if err != nil || *p.First != first || p.Examined.First != first {
		t.Errorf("records: %+v, %v", p, err)
	}
}

// TestRecordsOfAClockThatWasWrongAreNotPassedOver: for some minutes the clock was
// fast, in a segment that begins, like the next one, long before the period.
func TestRecordsOfAClockThatWasWrongAreNotPassedOver(t *testing.T) {
	b := newBench(t, "edge-1/soc2", 1)
	log, err := audit.Open(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	add := func(at time.Time, n int) {
		b.now.Store(at.Unix())
		for i := range n {
			ev := audit.Event{ID: audit.NewID(at), Start: at, Path: "/", Method: "GET", Status: 200}
			put := log.Enqueue
			if i%100 == 0 {
				put = log.Append
			}
			if _, err := put(t.Context(), ev.AppendBody(nil, "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(began.Add(50*time.Minute), 20)
	add(began.Add(5*time.Minute), 1500)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := b.records().Segments()
	if err != nil || len(list) < 4 {
		t.Fatalf("%d segments: %v", len(list), err)
	}
	n := 0
	s := export.Selection{From: export.At(began.Add(40 * time.Minute)), Kinds: []string{"request"}}
	if err := s.Each(t.Context(), b.records(), func(int64, []byte) error { n++; return nil }); err != nil || n != 20 {
		t.Errorf("%d records: %v", n, err)
	}
}
