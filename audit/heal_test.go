package audit_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// badDisk is a file system whose writes and syncs fail, or wait, while it is
// bad.
type badDisk struct {
	durable.OS
	bad   atomic.Pointer[error]
	stall sync.RWMutex // held to make syncs wait
}

func (d *badDisk) fails(err error) {
	if err == nil {
		d.bad.Store(nil)
		return
	}
	d.bad.Store(&err)
}

func (d *badDisk) err() error {
	if p := d.bad.Load(); p != nil {
		return *p
	}
	return nil
}

func (d *badDisk) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := d.OS.OpenFile(name, flag, perm)
	return badFile{f, d}, err
}

type badFile struct {
	durable.File
	disk *badDisk
}

func (f badFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.disk.err(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f badFile) Sync() error {
	f.disk.stall.RLock()
	defer f.disk.stall.RUnlock()
	if err := f.disk.err(); err != nil {
		return err
	}
	return f.File.Sync()
}

// gapRecords returns the log.gap records of a log.
func gapRecords(t *testing.T, b *bench) (gaps []*audit.LogGap) {
	t.Helper()
	_, err := b.log.Records().Scan(0, func(_ int64, record []byte) error {
		r, err := audit.Decode(record)
		if g, ok := r.Body.(*audit.LogGap); ok {
			gaps = append(gaps, g)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return gaps
}

// await polls until ok: healing is the committer's own affair.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("waited too long until " + what)
		}
	}
}

func TestFailedLogHealsAndTellsTheGap(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.EROFS} {
		disk := &badDisk{}
		b := newBench(t, audit.Config{FS: disk, HealEvery: time.Millisecond})
		b.append(5)
		disk.fails(cause)
		for range 3 {
			if _, err := b.log.Append(context.Background(), body(1)); !errors.Is(err, audit.ErrFailed) || !errors.Is(err, cause) {
				t.Fatalf("%v", err)
			}
		}
		if err := b.log.Ready(); !errors.Is(err, audit.ErrFailed) {
			t.Errorf("a failed log is ready: %v", err)
		}
		b.log.Miss(audit.CauseFailure, audit.Missed{Refused: 7, Served: 2})
		disk.fails(nil)
		await(t, "the log has healed", func() bool { return b.log.Ready() == nil })
		b.append(3)
		gaps := gapRecords(t, b)
		if len(gaps) != 1 {
			t.Fatalf("%d gap records", len(gaps))
		}
		g := gaps[0]
		if g.Cause != "failure" || g.Reason == "" || g.Lost != 1 || g.Refused != 7 || g.Served != 2 || g.Late != 0 || g.To.Before(g.From) {
			t.Errorf("%+v", g)
		}
		if lost, m := b.log.Gaps(); lost != 0 || m != (audit.Missed{}) {
			t.Errorf("told, and still counted: %d %+v", lost, m)
		}
		b.close()
		b.check(b.log.Next())
	}
}

func TestRecordsLostInAsyncModeAreCounted(t *testing.T) {
	disk := &badDisk{}
	b := newBench(t, audit.Config{FS: disk, HealEvery: time.Millisecond})
	disk.stall.Lock()
	const n = 100
	for i := range n {
		if _, err := b.log.Enqueue(context.Background(), body(i)); err != nil {
			t.Fatal(err)
		}
	}
	disk.fails(syscall.EIO)
	disk.stall.Unlock()
	await(t, "the log has failed", func() bool { return b.log.Err() != nil })
	disk.fails(nil)
	await(t, "the log has healed", func() bool { return b.log.Err() == nil })
	if gaps := gapRecords(t, b); len(gaps) != 1 || gaps[0].Lost != n {
		t.Errorf("%+v", gaps)
	}
	b.close()
	b.check(b.log.Next())
}

// TestFullDiskIsSaidInTheLog fills the disk: with its reserve the log says so,
// and says how much was missed when there is room again.
func TestFullDiskIsSaidInTheLog(t *testing.T) {
	disk := &fullDisk{limit: 7 << 19}
	b := newBench(t, audit.Config{FS: disk, HealEvery: time.Millisecond})
	large := audit.Event{Path: strings.Repeat("/long", 800)}
	acknowledged := 0
	for {
		if _, err := b.log.Append(context.Background(), large.AppendBody(nil, "edge-1")); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			break
		}
		acknowledged++
	}
	await(t, "the log says that it is full", func() bool { return len(gapRecords(t, b)) == 1 })
	if g := gapRecords(t, b)[0]; !g.To.IsZero() || g.From.IsZero() || g.Cause != "failure" {
		t.Errorf("%+v", g)
	}
	if b.log.Ready() == nil {
		t.Fatal("a full log is ready")
	}
	disk.add(4 << 20)
	await(t, "the log has healed", func() bool { return b.log.Ready() == nil })
	b.append(1)
	gaps := gapRecords(t, b)
	if len(gaps) != 2 || gaps[1].To.IsZero() || gaps[1].Lost != 1 {
		t.Errorf("%+v", gaps)
	}
	b.close()
	if r := b.check(b.log.Next()); r.Records < int64(acknowledged) {
		t.Errorf("%d records, %d were acknowledged", r.Records, acknowledged)
	}
}

// fullDisk has room for so many bytes. A reserve of zeros in a segment takes
// none: that it can fail is another matter.
type fullDisk struct {
	durable.OS
	mu    sync.Mutex
	limit int64
	used  map[string]int64
}

func (d *fullDisk) add(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit += n
}

// grow notes that a file has so many bytes, if there is room for them.
func (d *fullDisk) grow(name string, size int64, shrink bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.used == nil {
		d.used = map[string]int64{}
	}
	sum := int64(0)
	for n, s := range d.used {
		if n != name {
			sum += s
		}
	}
	if !shrink && size <= d.used[name] {
		return nil
	}
	if sum+size > d.limit && size > d.used[name] {
		return syscall.ENOSPC
	}
	d.used[name] = size
	return nil
}

func (d *fullDisk) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := d.OS.OpenFile(name, flag, perm)
	return fullFile{f, name, d}, err
}

func (d *fullDisk) Remove(name string) error {
	_ = d.grow(name, 0, true)
	return d.OS.Remove(name)
}

func (d *fullDisk) Rename(from, to string) error {
	d.mu.Lock()
	d.used[to] = d.used[from]
	delete(d.used, from)
	d.mu.Unlock()
	return d.OS.Rename(from, to)
}

type fullFile struct {
	durable.File
	name string
	disk *fullDisk
}

func (f fullFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.disk.grow(f.name, off+int64(len(p)), false); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f fullFile) Truncate(size int64) error {
	_ = f.disk.grow(f.name, size, true)
	return f.File.Truncate(size)
}

// TestStalledDiskStallsNobodyForGood holds a sync up: those who wait give up
// after the deadline, and their records are durable when the disk goes on.
func TestStalledDiskStallsNobodyForGood(t *testing.T) {
	disk := &badDisk{}
	b := newBench(t, audit.Config{FS: disk, Deadline: 20 * time.Millisecond, QueueBytes: 4 << 10})
	disk.stall.Lock()
	const n = 8
	errs := make(chan error, n)
	for i := range n {
		go func() {
			_, err := b.log.Append(context.Background(), body(i))
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; !errors.Is(err, audit.ErrStalled) {
			t.Errorf("%v", err)
		}
	}
	if err := b.log.Ready(); !errors.Is(err, audit.ErrStalled) {
		t.Errorf("ready on a stalled disk: %v", err)
	}
	full := 0
	for range 100 {
		if _, err := b.log.Enqueue(context.Background(), body(1)); err != nil {
			if !errors.Is(err, audit.ErrFull) {
				t.Errorf("%v", err)
			}
			full++
			break
		}
	}
	if full == 0 {
		t.Error("the queue has no bound")
	}
	b.log.Miss(audit.CauseStall, audit.Missed{Late: n})
	disk.stall.Unlock()
	b.log.SetLimits(0, time.Minute) // from here on a slow machine is no slow disk
	b.append(1)
	if err := b.log.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	b.close()
	gaps := gapRecords(t, b)
	if len(gaps) != 1 || gaps[0].Cause != "stall" || gaps[0].Late != n {
		t.Errorf("%+v", gaps)
	}
}

// TestIdleLogIsReady signs checkpoints, heals nothing and waits for longer than
// the deadline: a disk that was not asked does not stall.
func TestIdleLogIsReady(t *testing.T) {
	b := newBench(t, audit.Config{Deadline: time.Millisecond, CheckpointEvery: time.Millisecond, HealEvery: time.Millisecond})
	b.append(2)
	if err := b.log.Sign(t.Context(), b.log.Next()); err != nil {
		t.Fatal(err)
	}
	ticks := 0
	await(t, "some checkpoints were due", func() bool { ticks++; return ticks > 20 })
	if err := b.log.Ready(); err != nil {
		t.Error(err)
	}
}

func TestLogThatLostItsSegmentStaysClosed(t *testing.T) {
	disk := &badDisk{}
	b := newBench(t, audit.Config{FS: disk, HealEvery: time.Millisecond})
	b.append(5)
	list, err := b.log.Records().Segments()
	if err != nil {
		t.Fatal(err)
	}
	name := b.dir + "/" + list[0].Path()
	if err := flip(name, 200); err != nil {
		t.Fatal(err)
	}
	disk.fails(syscall.EIO)
	_, _ = b.log.Append(context.Background(), body(1))
	disk.fails(nil)
	if err := b.log.Close(); !errors.Is(err, audit.ErrFailed) { // Close tries to heal a last time
		t.Errorf("a log whose segment is damaged healed: %v", err)
	}
}

func TestClockSetBackIsRecorded(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	b := newBench(t, audit.Config{Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Millisecond)
		return now
	}})
	b.append(2)
	mu.Lock()
	now = now.Add(-24 * time.Hour)
	mu.Unlock()
	b.append(2)
	b.close()
	n := 0
	_, err := b.log.Records().Scan(0, func(_ int64, record []byte) error {
		h, err := audit.ParseHeader(record)
		if h.Kind == audit.KindClock {
			n++
		}
		return err
	})
	if err != nil || n != 1 {
		t.Errorf("%d log.clock records, %v", n, err)
	}
	b.check(b.log.Next())
}
