package verify_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
)

// TestMemoryDoesNotGrowWithTheSegment verifies a sealed and an open segment of
// 24 MB each, and looks at the heap after each piece.
func TestMemoryDoesNotGrowWithTheSegment(t *testing.T) {
	s := newSite(t)
	s.dir = filepath.Join(t.TempDir(), "log")
	log, err := audit.Open(audit.Config{Dir: s.dir, Key: s.key, CheckpointEvery: time.Hour, SegmentBytes: 24_000_000, QueueBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60_000 {
		if _, err := log.Enqueue(t.Context(), event(i).AppendBody(nil, "edge-1")); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	s.sealAll()

	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, most, pieces := heap(), int64(0), 0
	now := time.Unix(0, 0)
	r, err := verify.Dir(os.DirFS(s.dir), s.keys(), verify.Options{
		Now: func() time.Time { now = now.Add(time.Second); return now },
		Progress: func(verify.Progress) {
			if pieces++; pieces%16 == 0 {
				most = max(most, heap()-before)
			}
		},
	})
	if err != nil || !r.OK() || r.Records < 60_000 {
		t.Fatal(err, r)
	}
	if most > 8<<20 || pieces < 100 {
		t.Errorf("%d bytes more than before, after %d pieces", most, pieces)
	}
	t.Logf("at most %d KiB in %d pieces", most>>10, pieces)
}

// TestMemoryDoesNotGrowWithTheReserve verifies a log whose reserve, of zeros, is
// a gigabyte, and one byte of which is none.
func TestMemoryDoesNotGrowWithTheReserve(t *testing.T) {
	s := newSite(t)
	s.dir = filepath.Join(t.TempDir(), "log")
	log, err := audit.Open(audit.Config{Dir: s.dir, Key: s.key, CheckpointEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(s.dir, audit.ReserveFile)
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	for _, size := range []int64{1 << 30, 1<<30 + 1} {
		if err := os.Truncate(name, size); err != nil { // a hole
			t.Fatal(err)
		}
		before := allocated()
		r, err := verify.Dir(os.DirFS(s.dir), s.keys(), verify.Options{})
		if err != nil || r.OK() != (size == 1<<30) {
			t.Errorf("%d bytes: %v, %v", size, r, err)
		}
		if used := allocated() - before; used > 32<<20 {
			t.Errorf("%d bytes: %d MiB of memory", size, used>>20)
		}
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1}, 1<<29+5); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 1<<30); err != nil {
		t.Fatal(err)
	}
	r, err := verify.Dir(os.DirFS(s.dir), s.keys(), verify.Options{})
	if err != nil || r.OK() || r.Problems[0].What != "byte 536870917 is not zero, but the file is a reserve" {
		t.Errorf("%v, %v", r, err)
	}
}
