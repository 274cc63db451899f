package audit_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// slowRollup is a file system on which the sync of the first rollup record
// waits until it is let go.
type slowRollup struct {
	durable.OS
	found   atomic.Bool
	arrived chan struct{}
	let     chan struct{}
}

func (s *slowRollup) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := s.OS.OpenFile(name, flag, perm)
	return &slowRollupFile{File: f, fs: s}, err
}

type slowRollupFile struct {
	durable.File
	fs    *slowRollup
	stall bool
}

func (f *slowRollupFile) WriteAt(p []byte, off int64) (int, error) {
	if bytes.Contains(p, []byte(`"kind":"rollup"`)) && f.fs.found.CompareAndSwap(false, true) {
		f.stall = true
	}
	return f.File.WriteAt(p, off)
}

func (f *slowRollupFile) Sync() error {
	if f.stall {
		f.stall = false
		f.fs.arrived <- struct{}{}
		<-f.fs.let
	}
	return f.File.Sync()
}

// TestRollupsStayAChainWhenTheDiskStalls has the sealer give up on a rollup
// record that becomes durable all the same: the next one must name it.
func TestRollupsStayAChainWhenTheDiskStalls(t *testing.T) {
	disk := &slowRollup{arrived: make(chan struct{}), let: make(chan struct{})}
	b := newBench(t, audit.Config{FS: disk, SegmentBytes: 8 << 10, Deadline: 20 * time.Millisecond})
	fill := func() {
		for i := range 40 {
			if _, err := b.log.Enqueue(context.Background(), body(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill()
	b.append(1)
	b.append(1) // begins the next segment
	<-disk.arrived
	if _, err := b.log.Append(t.Context(), body(0)); !errors.Is(err, audit.ErrStalled) {
		t.Errorf("the disk stalls: %v", err)
	}
	close(disk.let)
	b.log.SetLimits(0, time.Minute)
	for range 3 {
		fill()
		b.append(1)
	}
	await(t, "a later segment is sealed", func() bool {
		list, err := b.log.Records().Segments()
		return err == nil && len(list) > 2 && list[1].Sealed
	})
	b.close()
	b.check(b.log.Next())
}

// tamperInPlace changes the first record of a segment without replacing its
// file, so that the log's own file is another one.
func tamperInPlace(t *testing.T, dir string, s records.Segment) {
	t.Helper()
	copied := copyDir(t, dir)
	if err := reframe(copied, s); err != nil {
		t.Fatal(err)
	}
	changed, err := os.ReadFile(filepath.Join(copied, s.Path()))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, s.Path()), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(changed, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestChangedSegmentIsNotSealed changes a record, and its checksum, in the open
// segment. The sealer must neither vouch for it nor make the tiles anew from it,
// which say that it is the changed one.
func TestChangedSegmentIsNotSealed(t *testing.T) {
	var said lines
	b := newBench(t, audit.Config{SegmentBytes: 100 << 10, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	b.append(300)
	tile := filepath.Join(b.dir, "tile", "0", "000")
	if err := b.log.Sign(t.Context(), b.log.Next()); err != nil { // now the tile is written
		t.Fatal(err)
	}
	want, err := os.ReadFile(tile)
	if err != nil {
		t.Fatal(err)
	}
	tamperInPlace(t, b.dir, records.Segment{})
	b.append(300)
	await(t, "the sealer complains", func() bool { return said.has("changed after it was written") })
	b.close()
	if got, err := os.ReadFile(tile); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the tile was made from the changed record: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, records.Segment{Sealed: true}.Path())); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the changed segment was sealed: %v", err)
	}
	if r := report(t, os.DirFS(b.dir), b.key); r.OK() || !r.Problems[0].IsRecord || r.Problems[0].Seq != 0 {
		t.Errorf("the changed record is not named: %v", r.Problems)
	}
	if _, err := audit.Open(b.cfg); !errors.Is(err, audit.ErrDamaged) {
		t.Errorf("opened: %v", err)
	}
}

// lines is what a logger wrote.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

// TestScrubDoesNotOpenAPipe puts a pipe in the place of a file: opening it would
// wait for ever, and with it whoever closes the log.
func TestScrubDoesNotOpenAPipe(t *testing.T) {
	for _, name := range []string{"witnessed", "anchors/00000000000000000001.checkpoint"} {
		b := newBench(t, audit.Config{})
		b.append(3)
		pipe := filepath.Join(b.dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(pipe), 0o700); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(pipe)
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- b.log.Scrub(t.Context()) }()
		select {
		case err := <-done:
			if r := b.log.Scrubbed(); err != nil || r == nil || r.Outcome != "problems" || !strings.Contains(r.Problems[0], "pipe") {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the pipe was opened", name)
		}
	}
}

// TestChangedSegmentIsNotPruned changes a sealed segment whose time is over: it
// must not go, and the tiles that prove the change must stay.
func TestChangedSegmentIsNotPruned(t *testing.T) {
	c := newClock()
	b := newBench(t, audit.Config{Now: c.now, SegmentAge: time.Hour})
	aged(t, b, c, 4)
	first := records.Segment{Sealed: true}
	copied := copyDir(t, b.dir)
	if err := reframe(copied, first); err != nil {
		t.Fatal(err)
	}
	frames, err := os.ReadFile(filepath.Join(copied, first.Path()))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := segment.Seal(frames, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, first.Path()), sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	tile := filepath.Join(b.dir, "tile", "0", "000")
	want, err := os.ReadFile(tile)
	if err != nil {
		t.Fatal(err)
	}
	b.log.SetRetention(audit.Retention{Keep: 24 * time.Hour})
	if _, _, err := b.log.Prune(t.Context()); !errors.Is(err, audit.ErrDamaged) {
		t.Errorf("pruned: %v", err)
	}
	if got, err := os.ReadFile(tile); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the tile was made from the changed record: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, first.Path())); err != nil {
		t.Errorf("the evidence is gone: %v", err)
	}
}
