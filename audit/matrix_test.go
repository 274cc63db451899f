package audit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
	"github.com/caddy-soc2/caddy-soc2/internal/durable/faulty"
)

// life is a log that is opened, grows through several segments, is signed,
// sealed and closed, on a file system that may fail.
type life struct {
	t    *testing.T
	cfg  audit.Config
	log  *audit.Log
	acks map[string]int // paths of acknowledged records, with the disk's moment
}

func newLife(t *testing.T, dir string, fsys durable.FS, key *audit.Key) *life {
	return &life{t: t, acks: map[string]int{}, cfg: audit.Config{
		Dir: dir, Key: key, Instance: "edge-1", FS: fsys, SegmentBytes: 6 << 10, ReserveBytes: 4 << 10,
		CheckpointEvery: time.Hour, HealEvery: time.Millisecond, StateFile: filepath.Join(filepath.Dir(dir), "state"),
	}}
}

// append adds a record and notes that it was acknowledged.
func (l *life) append(i int, moment func() int) error {
	ev := audit.Event{Start: time.Unix(1_800_000_000, int64(i)), Method: "GET", Path: fmt.Sprintf("/%04d", i), Status: 200, End: audit.EndComplete}
	ev.ID = audit.NewID(ev.Start)
	_, err := l.log.Append(context.Background(), ev.AppendBody(nil, "edge-1"))
	if err == nil {
		l.acks[ev.Path] = moment()
	}
	return err
}

// grow appends records from first to next and signs now and then. It returns
// the first error, after trying some more.
func (l *life) grow(first, next int, moment func() int) (failed error) {
	for i := first; i < next; i++ {
		if err := l.append(i, moment); err != nil && failed == nil {
			failed = err
			next = min(next, i+3)
		}
		if i%25 == 24 && failed == nil {
			if err := l.log.Sign(context.Background(), l.log.Next()); err != nil {
				failed = err
			}
		}
	}
	return failed
}

// check verifies the log in a directory, and that it holds each record that was
// acknowledged before a moment, and none twice.
func (l *life) check(dir, what string, moment int) {
	l.t.Helper()
	r := report(l.t, os.DirFS(dir), l.cfg.Key)
	if !r.OK() {
		l.t.Fatalf("%s: the log does not verify: %v", what, r.Problems)
	}
	found := map[string]int{}
	_, err := l.log.Records().Scan(0, func(_ int64, record []byte) error {
		rec, err := audit.Decode(record)
		if ev, ok := rec.Body.(*audit.Event); ok {
			found[ev.Path]++
		}
		return err
	})
	if err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
	for path, at := range l.acks {
		if at <= moment && found[path] != 1 {
			l.t.Fatalf("%s: %s was acknowledged and is there %d times", what, path, found[path])
		}
	}
	for path, n := range found {
		if n > 1 {
			l.t.Fatalf("%s: %s is there %d times", what, path, n)
		}
	}
}

func whenever() int { return 0 }

// faults are the ways in which a disk fails at an operation.
var faults = map[string]faulty.Fault{
	"EIO, once":            {Err: syscall.EIO},
	"EIO, once, done":      {Err: syscall.EIO, Done: true},
	"EIO, short write":     {Err: syscall.EIO, Short: true, Ops: []faulty.Op{faulty.Write}},
	"EIO, for a while":     {Err: syscall.EIO, Lasting: true},
	"EIO of syncs":         {Err: syscall.EIO, Lasting: true, Ops: []faulty.Op{faulty.Sync, faulty.SyncDir}},
	"EIO of syncs, done":   {Err: syscall.EIO, Done: true, Ops: []faulty.Op{faulty.Sync, faulty.SyncDir}},
	"renames fail":         {Err: syscall.EIO, Lasting: true, Ops: []faulty.Op{faulty.Rename, faulty.Link}},
	"rename fails, done":   {Err: syscall.EIO, Done: true, Ops: []faulty.Op{faulty.Rename, faulty.Remove}},
	"disk full":            {Err: syscall.ENOSPC, Lasting: true, Ops: faulty.Growing},
	"disk full, short":     {Err: syscall.ENOSPC, Short: true, Ops: []faulty.Op{faulty.Write}},
	"file system readonly": {Err: syscall.EROFS, Lasting: true, Ops: faulty.Changing},
}

// TestFaultMatrix fails each operation of a log's life in each way. The log
// refuses, heals when the disk is back, loses nothing that it acknowledged, and
// verifies. The plain run takes a sample; SOC2_LONG=1 takes all.
func TestFaultMatrix(t *testing.T) {
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	disk := &faulty.FS{FS: faulty.Unsynced{}}
	disk.Arm(faulty.Fault{At: 1 << 40})
	l := newLife(t, filepath.Join(t.TempDir(), "log"), disk, key)
	if l.log, err = audit.Open(l.cfg); err != nil {
		t.Fatal(err)
	}
	if err := l.grow(0, 100, whenever); err != nil {
		t.Fatal(err)
	}
	if err := l.log.Close(); err != nil {
		t.Fatal(err)
	}
	ops := disk.Ops()
	stride := max(ops*sparing/24, 1)
	if os.Getenv("SOC2_LONG") != "" {
		stride = 1
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("%d operations, every %d., seed %d", ops, stride, seed)
	cases := 0
	for name, fault := range faults {
		for n := 1 + r.Int64N(stride); n <= ops; n += stride {
			fault.At = n
			oneFault(t, name, fault, key)
			cases++
		}
	}
	t.Logf("%d cases", cases)
}

func oneFault(t *testing.T, name string, fault faulty.Fault, key *audit.Key) {
	t.Helper()
	disk := &faulty.FS{FS: faulty.Unsynced{}}
	l := newLife(t, filepath.Join(t.TempDir(), "log"), disk, key)
	disk.Arm(fault)
	what := func() string { return fmt.Sprintf("%s, at %d, %s", name, fault.At, disk.Hit()) }
	var err error
	if l.log, err = audit.Open(l.cfg); err != nil {
		disk.Disarm()
		if l.log, err = audit.Open(l.cfg); err != nil {
			t.Fatalf("%s: it cannot be opened when the disk is back: %v", what(), err)
		}
	}
	if err := l.grow(0, 100, whenever); err != nil && disk.Hit() == "" {
		t.Fatalf("%s: it failed by itself: %v", what(), err)
	}
	disk.Disarm()
	// A commit that met the fault may not have returned yet. This record comes
	// after it: it is acknowledged, or refused and the log known to have failed.
	_ = l.append(999, whenever)
	await(t, what()+": the log has healed", func() bool { return l.log.Ready() == nil })
	if err := l.grow(1000, 1020, whenever); err != nil {
		t.Fatalf("%s: after healing: %v", what(), err)
	}
	if err := l.log.Close(); err != nil {
		t.Fatalf("%s: closing: %v", what(), err)
	}
	l.check(l.cfg.Dir, what(), 0)
	if l.log, err = audit.Open(l.cfg); err != nil {
		t.Fatalf("%s: opening again: %v", what(), err)
	}
	if err := l.log.Close(); err != nil {
		t.Fatalf("%s: closing again: %v", what(), err)
	}
	l.check(l.cfg.Dir, what(), 0)
}

// TestPowerCutLosesNothingAcknowledged takes a disk through a log's life, cuts
// the power at many moments, and opens what the disk may hold then.
func TestPowerCutLosesNothingAcknowledged(t *testing.T) {
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	disk, err := faulty.NewDisk(root)
	if err != nil {
		t.Fatal(err)
	}
	l := newLife(t, filepath.Join(root, "log"), disk, key)
	opened := 0
	for i := range 2 {
		if l.log, err = audit.Open(l.cfg); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			opened = disk.Len()
		}
		if err := l.grow(i*100, i*100+100, disk.Len); err != nil {
			t.Fatal(err)
		}
		if err := l.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cuts := 250 / sparing
	if os.Getenv("SOC2_LONG") != "" {
		cuts = 20_000
	}
	seed := rand.Uint64()
	t.Logf("%d events, %d cuts, seed %d", disk.Len(), cuts, seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range cuts {
		moment := opened + r.IntN(disk.Len()-opened+1)
		loss := faulty.RandomLoss(r)
		onePowerCut(t, l, disk, moment, loss, r)
	}
}

func onePowerCut(t *testing.T, l *life, disk *faulty.Disk, moment int, loss faulty.Loss, r *rand.Rand) {
	t.Helper()
	to := t.TempDir()
	if err := disk.Cut(moment, loss, r, to); err != nil {
		t.Fatal(err)
	}
	what := fmt.Sprintf("power cut at %d, loss %+v", moment, loss)
	if r, err := verify.Dir(os.DirFS(filepath.Join(to, "log")), []note.Verifier{verifier(t, l.cfg.Key)}, verify.Options{}); err != nil || !r.OK() {
		t.Fatalf("%s: before it is opened again: %v %v", what, err, r)
	}
	after := newLife(t, filepath.Join(to, "log"), faulty.Unsynced{}, l.cfg.Key)
	after.acks = l.acks
	var err error
	if after.log, err = audit.Open(after.cfg); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if _, err := after.log.Append(context.Background(), body(1)); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := after.log.Close(); err != nil && !errors.Is(err, audit.ErrClosed) {
		t.Fatalf("%s: %v", what, err)
	}
	after.check(after.cfg.Dir, what, moment)
}
