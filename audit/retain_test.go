package audit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// clock is a clock that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// aged fills a log with so many segments, a day apart, and waits until all but
// the last are sealed.
func aged(t *testing.T, b *bench, c *clock, days int) {
	t.Helper()
	for range days {
		for i := range 300 {
			ev := audit.Event{Start: c.now(), Method: "GET", Status: 200, End: audit.EndComplete}
			ev.ID = audit.NewID(ev.Start)
			if _, err := b.log.Enqueue(context.Background(), ev.AppendBody(nil, "edge-1")); err != nil {
				t.Fatal(err, i)
			}
		}
		b.append(1)
		c.pass(24 * time.Hour)
	}
	await(t, "all segments are sealed", func() bool {
		list, err := b.log.Records().Segments()
		return err == nil && len(list) >= days && list[days-2].Sealed
	})
}

func TestPruningKeepsTheProof(t *testing.T) {
	c := newClock()
	var held atomic.Bool
	held.Store(true)
	b := newBench(t, audit.Config{Now: c.now, SegmentAge: time.Hour, SegmentBytes: 1 << 30})
	aged(t, b, c, 6)
	first, err := b.log.Records().Record(0)
	if err != nil {
		t.Fatal(err)
	}
	if upto, before, err := b.log.Prune(t.Context()); upto != before || err != nil {
		t.Fatalf("removed without a retention: %d, %v", upto, err)
	}
	b.log.SetRetention(audit.Retention{Keep: 72 * time.Hour, Held: func(time.Time) (bool, error) { return held.Load(), nil }})
	if _, _, err := b.log.Prune(t.Context()); !errors.Is(err, audit.ErrHeld) {
		t.Fatalf("a hold was passed over: %v", err)
	}
	held.Store(false)
	upto, _, err := b.log.Prune(t.Context()) // unless the sealer, which looks now and then, was first
	if err != nil || upto < 300 || upto > 1300 {
		t.Fatalf("up to %d, %v", upto, err)
	}
	list, err := b.log.Records().Segments()
	if err != nil || list[0].First != upto {
		t.Fatalf("%v %v", list, err)
	}
	proof, err := b.log.Prove(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckRecord(proof.Hashes, proof.Head.Size, proof.Head.Root, 0, tlog.RecordHash(first)); err != nil {
		t.Errorf("a copy of a removed record no longer proves: %v", err)
	}
	b.close()
	b.open()
	b.log.SetRetention(audit.Retention{Keep: 72 * time.Hour})
	b.append(10)
	if again, before, err := b.log.Prune(t.Context()); err != nil || again != before || before != upto {
		t.Errorf("again: %d %d %v", again, before, err)
	}
	b.close()
	checkPruned(b)
}

// checkPruned verifies a log whose first records were removed.
func checkPruned(b *bench) {
	b.t.Helper()
	if r := report(b.t, os.DirFS(b.dir), b.key); !r.OK() || r.Pruned == 0 || r.Pruned+r.Records != b.log.Next() {
		b.t.Errorf("%d removed, %d records of %d, %v", r.Pruned, r.Records, b.log.Next(), r.Problems)
	}
}

// TestPruningSurvivesAFailureInBetween stops after the record and before the
// files: the next run removes them.
func TestPruningSurvivesAFailureInBetween(t *testing.T) {
	c := newClock()
	disk := &stuck{}
	b := newBench(t, audit.Config{FS: disk, Now: c.now, SegmentAge: time.Hour, SegmentBytes: 1 << 30})
	aged(t, b, c, 5)
	b.log.SetRetention(audit.Retention{Keep: 48 * time.Hour})
	disk.on.Store(true)
	if _, _, err := b.log.Prune(t.Context()); err == nil {
		t.Fatal("a failed removal went unnoticed")
	}
	disk.on.Store(false)
	upto, _, err := b.log.Prune(t.Context())
	if err != nil || upto == 0 {
		t.Fatal(upto, err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "segments", segment.Name(0, true))); !errors.Is(err, os.ErrNotExist) {
		t.Error("the segment is still there")
	}
	b.close()
	checkPruned(b)
}

func TestLogVerifiesItself(t *testing.T) {
	b := newBench(t, audit.Config{SegmentBytes: 20 << 10, Scrub: audit.Scrub{Rate: 1 << 30}})
	b.append(300)
	if err := b.log.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := b.log.Scrubbed(); r.Outcome != "verified" || r.Records < 300 || r.Bytes == 0 {
		t.Errorf("%+v", r)
	}
	list, err := b.log.Records().Segments()
	if err != nil {
		t.Fatal(err)
	}
	if err := flip(filepath.Join(b.dir, list[0].Path()), 1000); err != nil {
		t.Fatal(err)
	}
	if err := b.log.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := b.log.Scrubbed(); r.Outcome != "problems" || len(r.Problems) == 0 {
		t.Errorf("%+v", r)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.log.Scrub(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// stuck is a file system that removes nothing while it is on.
type stuck struct {
	durable.OS
	on atomic.Bool
}

func (s *stuck) Remove(name string) error {
	if s.on.Load() {
		return syscall.EIO
	}
	return s.OS.Remove(name)
}
