package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// bench is a log under test. After each step check rereads all of it from disk.
type bench struct {
	t   *testing.T
	dir string
	key *audit.Key
	log *audit.Log
	cfg audit.Config
}

func newBench(t *testing.T, cfg audit.Config) *bench {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "log"), key: key, cfg: cfg}
	b.cfg.Dir, b.cfg.Key = b.dir, key
	b.cfg.Instance = "edge-1"
	if b.cfg.CheckpointEvery == 0 {
		b.cfg.CheckpointEvery = time.Hour // tests say when
	}
	b.open()
	t.Cleanup(func() { _ = b.log.Close() })
	return b
}

func (b *bench) open() {
	b.t.Helper()
	log, err := audit.Open(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.log = log
}

func (b *bench) close() {
	b.t.Helper()
	if err := b.log.Close(); err != nil {
		b.t.Fatal(err)
	}
}

func body(i int) []byte {
	ev := audit.Event{Start: time.Unix(1_800_000_000, int64(i)), Method: "GET", Path: fmt.Sprintf("/%d", i), Proto: "HTTP/2.0", Status: 200, End: audit.EndComplete}
	ev.ID = audit.NewID(ev.Start)
	return ev.AppendBody(nil, "edge-1")
}

func (b *bench) append(n int) {
	b.t.Helper()
	for i := range n {
		if _, err := b.log.Append(context.Background(), body(i)); err != nil {
			b.t.Fatal(err)
		}
	}
}

func verifier(t testing.TB, key *audit.Key) note.Verifier {
	t.Helper()
	v, err := key.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func report(t testing.TB, dir fs.FS, key *audit.Key) *verify.Report {
	t.Helper()
	r, err := verify.Dir(dir, []note.Verifier{verifier(t, key)}, verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// check verifies the log on disk and that it holds so many records.
func (b *bench) check(want int64) *verify.Report {
	b.t.Helper()
	r := report(b.t, os.DirFS(b.dir), b.key)
	if !r.OK() {
		b.t.Fatalf("the log does not verify: %v", r.Problems)
	}
	if r.Records != want {
		b.t.Fatalf("%d records, want %d", r.Records, want)
	}
	return r
}

func TestLogGrowsThroughSegmentsAndRestarts(t *testing.T) {
	b := newBench(t, audit.Config{SegmentBytes: 64 << 10})
	want := int64(0)
	for range 3 {
		b.append(700)
		b.close()
		n := b.log.Next()
		if n < want+702 {
			t.Fatalf("%d records after 700 more than %d", n, want)
		}
		r := b.check(n)
		if r.Signed != n || len(r.Notes) > 0 {
			t.Fatalf("%d of %d signed; notes %q", r.Signed, n, r.Notes)
		}
		want = n
		b.open()
	}
	if r := b.check(b.log.Next()); r.Sealed < 2 || r.Tiles < 8 {
		t.Errorf("%d sealed segments, %d tiles", r.Sealed, r.Tiles)
	}
}

func TestConcurrentAppendsGetDistinctNumbers(t *testing.T) {
	b := newBench(t, audit.Config{SegmentBytes: 32 << 10})
	const writers, each = 16, 100
	seen := make([][]int64, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				seq, err := b.log.Append(context.Background(), body(i))
				if err != nil {
					t.Error(err)
					return
				}
				seen[w] = append(seen[w], seq)
			}
		})
	}
	wg.Wait()
	b.close()
	all := map[int64]bool{}
	for _, s := range seen {
		for _, seq := range s {
			if all[seq] {
				t.Errorf("number %d was given twice", seq)
			}
			all[seq] = true
		}
	}
	b.check(b.log.Next())
}

func TestAppendAfterCloseIsRefused(t *testing.T) {
	b := newBench(t, audit.Config{})
	b.append(3)
	b.close()
	if _, err := b.log.Append(context.Background(), body(0)); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if _, err := b.log.Enqueue(context.Background(), body(0)); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("enqueue: %v", err)
	}
	b.check(5)
}

func TestEnqueueLosesNothing(t *testing.T) {
	b := newBench(t, audit.Config{QueueBytes: 4 << 10})
	for i := range 500 {
		if _, err := b.log.Enqueue(context.Background(), body(i)); err != nil {
			t.Fatal(err)
		}
	}
	b.close()
	b.check(502)
}

func TestSecondWriterIsRefused(t *testing.T) {
	b := newBench(t, audit.Config{})
	_, err := audit.Open(b.cfg)
	if !errors.Is(err, durable.ErrLocked) || !strings.Contains(err.Error(), b.dir) {
		t.Errorf("%v", err)
	}
	b.append(1)
	b.close()
	b.check(3)
}

func TestWrongKeyIsRefused(t *testing.T) {
	b := newBench(t, audit.Config{})
	b.close()
	other, err := audit.NewKey("edge-2/soc2")
	if err != nil {
		t.Fatal(err)
	}
	cfg := b.cfg
	cfg.Key = other
	if _, err := audit.Open(cfg); !errors.Is(err, checkpoint.ErrKey) || !strings.Contains(err.Error(), "edge-1/soc2") {
		t.Errorf("%v", err)
	}
	b.check(2)
}

// copyDir copies a log as it lies on disk at this moment. If one of its files is
// renamed meanwhile, it begins again.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	for range 100 {
		to := filepath.Join(t.TempDir(), "copy")
		err := os.CopyFS(to, os.DirFS(from))
		if err == nil {
			return to
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	t.Fatal("the files of the log do not stay")
	return ""
}

// TestTornTailAtEveryByte cuts the log within its last commit at every byte, as
// a crash does, with and without a reserve behind, and opens it again: all
// records but the torn one are there.
func TestTornTailAtEveryByte(t *testing.T) {
	b := newBench(t, audit.Config{})
	b.append(20)
	live := copyDir(t, b.dir) // like kill -9: no close, no checkpoint over the appends
	name := filepath.Join(live, records.Folder, segment.Name(0, false))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	end, next, err := segment.Scan(whole, 0, nil)
	if err != nil || next != 21 {
		t.Fatal(next, err)
	}
	lastStart, _, _ := segment.Scan(whole[:end-1], 0, nil)
	for cut := lastStart; cut <= end; cut++ {
		for _, reserve := range []int{0, 100} {
			torn := append(bytes.Clone(whole[:cut]), make([]byte, reserve)...)
			if err := os.WriteFile(name, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			want := int64(20)
			if cut == end {
				want = 21
			}
			verifyTorn(t, b, live, want)
			if cut%4 == 0 || cut > end-4 { // opening syncs many times
				reopen(t, b, live, want)
			}
		}
	}
}

func verifyTorn(t *testing.T, b *bench, dir string, want int64) {
	t.Helper()
	if r := report(t, os.DirFS(dir), b.key); !r.OK() || r.Records != want {
		t.Fatalf("before recovery: %d records, want %d; %v", r.Records, want, r.Problems)
	}
}

// reopen opens and closes a copy of a crashed log and verifies it: the records
// are kept and two more say what happened.
func reopen(t *testing.T, b *bench, dir string, want int64) {
	t.Helper()
	cfg := b.cfg
	cfg.Dir = copyDir(t, dir)
	log, err := audit.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	r := report(t, os.DirFS(cfg.Dir), b.key)
	if !r.OK() || r.Records != want+2 {
		t.Fatalf("after recovery: %d records, want %d; %v", r.Records, want+2, r.Problems)
	}
	opened, err := records.Dir{FS: os.DirFS(cfg.Dir)}.Record(want)
	if err != nil || !bytes.Contains(opened, []byte(`"kind":"log.open"`)) || !bytes.Contains(opened, []byte(`"clean":false`)) {
		t.Fatalf("record %d: %s, %v", want, opened, err)
	}
}

func TestDamagedLogsAreNotOpened(t *testing.T) {
	b := newBench(t, audit.Config{SegmentBytes: 64 << 10})
	b.append(600)
	b.close()
	n := b.log.Next()
	b.check(n)
	list, err := b.log.Records().Segments()
	if err != nil || len(list) < 2 {
		t.Fatal(list, err)
	}
	last := list[len(list)-1].Path()
	for name, damage := range map[string]func(dir string) error{
		"cut": func(dir string) error {
			info, err := os.Stat(filepath.Join(dir, last))
			if err != nil {
				return err
			}
			return os.Truncate(filepath.Join(dir, last), info.Size()-50)
		},
		"last segment removed":   func(dir string) error { return os.Remove(filepath.Join(dir, last)) },
		"checkpoint removed":     func(dir string) error { return os.Remove(filepath.Join(dir, checkpoint.File)) },
		"all segments removed":   func(dir string) error { return os.RemoveAll(filepath.Join(dir, records.Folder)) },
		"flipped byte":           func(dir string) error { return flip(filepath.Join(dir, last), 100) },
		"checkpoint edited":      func(dir string) error { return flip(filepath.Join(dir, checkpoint.File), 15) },
		"records replaced whole": func(dir string) error { return reframe(dir, list[len(list)-1]) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := b.cfg
			cfg.Dir = copyDir(t, b.dir)
			if err := damage(cfg.Dir); err != nil {
				t.Fatal(err)
			}
			before := hashDir(t, cfg.Dir)
			_, err := audit.Open(cfg)
			if err == nil {
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), cfg.Dir) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is not one line with the path: %v", err)
			}
			if r := report(t, os.DirFS(cfg.Dir), b.key); r.OK() {
				t.Error("it verifies")
			}
			if hashDir(t, cfg.Dir) != before && name != "all segments removed" {
				t.Error("the refused open changed the files")
			}
		})
	}
}

func flip(name string, at int) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	b[at] ^= 1
	return os.WriteFile(name, b, 0o600)
}

// reframe changes a record and makes its checksum right again, as somebody who
// knows the format would.
func reframe(dir string, s records.Segment) error {
	frames, err := records.Dir{FS: os.DirFS(dir)}.Frames(s)
	if err != nil {
		return err
	}
	var out []byte
	_, _, err = segment.Scan(frames, s.First, func(seq int64, record []byte) (err error) {
		_, rest, _ := bytes.Cut(record, []byte(`,"time"`))
		body := append([]byte(`"time"`), rest[:len(rest)-len(`,"crc":"00000000"}`)]...)
		if seq == s.First {
			body = bytes.Replace(body, []byte(`edge-1`), []byte(`edge-2`), 1)
		}
		out, err = segment.AppendFrame(out, seq, 0, body)
		return err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, s.Path()), out, 0o600)
}

func hashDir(t *testing.T, dir string) (h tlog.Hash) {
	t.Helper()
	var all bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %x\n", path, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tlog.RecordHash(all.Bytes())
}

func TestLostTilesAreMadeAgain(t *testing.T) {
	b := newBench(t, audit.Config{SegmentBytes: 64 << 10})
	b.append(900)
	b.close()
	tiles := filepath.Join(b.dir, "tile")
	before := hashDir(t, tiles)
	if err := os.RemoveAll(tiles); err != nil {
		t.Fatal(err)
	}
	if r := b.check(b.log.Next()); len(r.Notes) != 1 {
		t.Errorf("notes %q", r.Notes)
	}
	b.open()
	b.close()
	if hashDir(t, tiles) != before {
		t.Error("the tiles are not the same")
	}
	b.check(b.log.Next())
}

func TestProofsVerifyWithTheReferenceLibrary(t *testing.T) {
	b := newBench(t, audit.Config{SegmentBytes: 64 << 10})
	b.append(700)
	b.close()
	b.open()
	_, head, _ := b.log.Checkpoint()
	for _, seq := range []int64{0, 1, 255, 256, 300, head.Size - 1} {
		p, err := b.log.Prove(seq)
		if err != nil {
			t.Fatal(err)
		}
		record, err := b.log.Records().Record(seq)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(p.Hashes, p.Head.Size, p.Head.Root, seq, tlog.RecordHash(record)); err != nil {
			t.Errorf("record %d: %v", seq, err)
		}
	}
	if _, err := b.log.Prove(head.Size); !errors.Is(err, audit.ErrUnsigned) {
		t.Errorf("a proof of a record that no checkpoint covers: %v", err)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	b := newBench(t, audit.Config{})
	rec := body(1)
	ctx := context.Background()
	for range 300 {
		_, _ = b.log.Append(ctx, rec)
	}
	n := testing.AllocsPerRun(200, func() { _, _ = b.log.Append(ctx, rec) })
	if n > 0 {
		t.Errorf("%v allocations an append", n)
	}
}
