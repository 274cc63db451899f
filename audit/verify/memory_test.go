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
