package audit_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// followed checks that records come in order, without a gap.
type followed struct {
	t    *testing.T
	mu   sync.Mutex
	next int64
	more chan struct{} // gets a value for each record
}

func newFollowed(t *testing.T, from int64) *followed {
	return &followed{t: t, next: from, more: make(chan struct{}, 1<<20)}
}

func (f *followed) see(seq int64, record []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, err := audit.ParseHeader(record)
	if err != nil || h.Seq != seq || seq != f.next {
		f.t.Errorf("record %d came as %d, want %d; %v", h.Seq, seq, f.next, err)
	}
	f.next = seq + 1
	f.more <- struct{}{}
	return nil
}

// upTo returns when so many records were seen.
func (f *followed) upTo(n int64) {
	f.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for f.seen() < n {
		select {
		case <-f.more:
		case <-deadline.C:
			f.t.Fatalf("%d records were delivered, want %d", f.seen(), n)
		}
	}
}

func (f *followed) seen() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next
}

func outside(dir string) records.Dir { return records.Dir{FS: os.DirFS(dir)} }

// TestFollowersSeeEachRecordOnce follows a log in the process and from outside
// while segments end and are sealed under them, from its beginning and from the
// middle, until it is closed.
func TestFollowersSeeEachRecordOnce(t *testing.T) {
	b := newBench(t, audit.Config{SegmentBytes: 12 << 10, CheckpointEvery: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var all []*followed
	for _, from := range []int64{0, 0, 300, 1500} {
		in, out := newFollowed(t, from), newFollowed(t, from)
		all = append(all, in, out)
		wg.Go(func() {
			if err := b.log.Follow(ctx, from, in.see); !errors.Is(err, audit.ErrClosed) {
				t.Errorf("from %d, inside: %v", from, err)
			}
		})
		wg.Go(func() {
			if err := audit.Follow(ctx, outside(b.dir), from, time.Millisecond, out.see); !errors.Is(err, context.Canceled) {
				t.Errorf("from %d, outside: %v", from, err)
			}
		})
	}
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			b.append(30)
			for i := range 400 {
				if _, err := b.log.Enqueue(t.Context(), body(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	b.append(20)
	b.close()
	end := b.log.Next()
	for _, f := range all {
		f.upTo(end)
	}
	cancel()
	wg.Wait()
	if r := b.check(end); r.Sealed < 2 {
		t.Errorf("only %d segments were sealed", r.Sealed)
	}
}

func TestFollowGoesOnWhereItEnded(t *testing.T) {
	b := newBench(t, audit.Config{SegmentBytes: 8 << 10})
	b.append(400)
	enough := errors.New("enough")
	seen := newFollowed(t, 0)
	for n := int64(37); n < 400; n += 37 {
		err := b.log.Follow(t.Context(), seen.next, func(seq int64, r []byte) error {
			if seq == n {
				return enough
			}
			return seen.see(seq, r)
		})
		if !errors.Is(err, enough) || seen.next != n {
			t.Fatalf("%d seen, want %d: %v", seen.next, n, err)
		}
	}
}

// stalled is a file system on which, from a moment on, no segment syncs before
// it is let go.
type stalled struct {
	durable.OS
	on      atomic.Bool
	arrived chan struct{}
	let     chan error // what the sync returns
}

func (s *stalled) OpenFile(name string, flag int, perm os.FileMode) (durable.File, error) {
	f, err := s.OS.OpenFile(name, flag, perm)
	return stalledFile{f, s}, err
}

type stalledFile struct {
	durable.File
	fs *stalled
}

func (f stalledFile) Sync() error {
	if f.fs.on.Load() {
		f.fs.arrived <- struct{}{}
		if err := <-f.fs.let; err != nil {
			return err
		}
	}
	return f.File.Sync()
}

// TestNoRecordIsDeliveredBeforeItIsOnDisk stalls the disk under a record that
// is written but not synced: it can be read, but must not be delivered.
func TestNoRecordIsDeliveredBeforeItIsOnDisk(t *testing.T) {
	fsys := &stalled{arrived: make(chan struct{}), let: make(chan error)}
	b := newBench(t, audit.Config{FS: fsys})
	b.append(10) // records 1 to 10 of 11
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	in, out := newFollowed(t, 0), newFollowed(t, 0)
	wg.Go(func() { _ = b.log.Follow(ctx, 0, in.see) })
	wg.Go(func() { _ = audit.Follow(ctx, outside(b.dir), 0, time.Millisecond, out.see) })
	in.upTo(11)
	out.upTo(10) // the last commit is not known from outside to be on disk

	fsys.on.Store(true)
	appended := make(chan error, 1)
	go func() {
		_, err := b.log.Append(context.Background(), body(0))
		appended <- err
	}()
	<-fsys.arrived
	if r, err := outside(b.dir).Record(11); err != nil || len(r) == 0 {
		t.Fatalf("the record should be in the file: %v", err)
	}
	out.upTo(11) // its being there shows that the commit before it is on disk
	polls := make(chan struct{}, 64)
	wg.Go(func() { // a follower that came later has nothing that the others have not
		_ = audit.Follow(ctx, outside(b.dir), 0, time.Millisecond, func(seq int64, _ []byte) error {
			if seq > 10 {
				t.Errorf("record %d was delivered before its sync", seq)
			}
			polls <- struct{}{}
			return nil
		})
	})
	for range 11 {
		<-polls
	}
	if n := in.seen(); n != 11 {
		t.Errorf("inside, record %d was delivered before its sync", n-1)
	}
	if n := out.seen(); n != 11 {
		t.Errorf("outside, record %d was delivered before its sync", n-1)
	}
	if n := b.log.Durable(); n != 11 {
		t.Errorf("%d records are said to be durable", n)
	}
	fsys.on.Store(false)
	cancel()
	wg.Wait()
	fsys.let <- nil
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	again := newFollowed(t, 11)
	wg.Go(func() { _ = b.log.Follow(ctx, 11, again.see) })
	again.upTo(12)
	cancel()
	wg.Wait()
}

func TestFollowOfAFailedLogEnds(t *testing.T) {
	fsys := &faultFS{}
	b := newBench(t, audit.Config{FS: fsys})
	b.append(5)
	ended := make(chan error, 1)
	seen := newFollowed(t, 0)
	go func() { ended <- b.log.Follow(t.Context(), 0, seen.see) }()
	seen.upTo(6)
	fsys.arm(1)
	if _, err := b.log.Append(context.Background(), body(0)); !errors.Is(err, audit.ErrFailed) {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, audit.ErrFailed) {
		t.Errorf("one that waits: %v", err)
	}
	if err := b.log.Follow(t.Context(), 6, seen.see); !errors.Is(err, audit.ErrFailed) {
		t.Errorf("one that comes later: %v", err)
	}
	if n := seen.seen(); n != 6 {
		t.Errorf("%d records were delivered", n)
	}
}

func TestFollowOfRemovedRecordsIsAnError(t *testing.T) {
	b := newBench(t, audit.Config{SegmentBytes: 8 << 10})
	b.append(500)
	b.close()
	list, err := outside(b.dir).Segments()
	if err != nil || len(list) < 3 {
		t.Fatal(len(list), err)
	}
	if err := os.Remove(b.dir + "/" + list[0].Path()); err != nil {
		t.Fatal(err)
	}
	seen := newFollowed(t, list[1].First)
	if err := b.log.Follow(t.Context(), 0, seen.see); !errors.Is(err, audit.ErrRemoved) {
		t.Errorf("from 0: %v", err)
	}
	if err := b.log.Follow(t.Context(), list[1].First, seen.see); !errors.Is(err, audit.ErrClosed) || seen.next != b.log.Next() {
		t.Errorf("from %d: %v, %d seen", list[1].First, err, seen.next)
	}
}

func TestWaitingFollowersCostAppendsNothing(t *testing.T) {
	b := newBench(t, audit.Config{})
	b.append(64)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = b.log.Wait(ctx, 1<<40)
	}()
	record := body(1)
	// One channel a commit is the follower's, not the append's.
	if n := testing.AllocsPerRun(200, func() { _, _ = b.log.Append(ctx, record) }); n > 4 {
		t.Errorf("%v allocations an append", n)
	}
	cancel()
	<-done
}
