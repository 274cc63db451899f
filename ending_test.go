package soc2

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// slowDisk is a file system whose syncs wait while it is stalled.
type slowDisk struct {
	durable.OS
	stall   sync.RWMutex  // held to make syncs wait
	arrived chan struct{} // gets one for each sync that begins, if there is room
}

func (d *slowDisk) OpenFile(name string, flag int, perm os.FileMode) (durable.File, error) {
	f, err := d.OS.OpenFile(name, flag, perm)
	return slowFile{f, d}, err
}

type slowFile struct {
	durable.File
	disk *slowDisk
}

func (f slowFile) Sync() error {
	select {
	case f.disk.arrived <- struct{}{}:
	default:
	}
	f.disk.stall.RLock()
	defer f.disk.stall.RUnlock()
	return f.File.Sync()
}

// openSlow opens a log on a slow disk with a number of requests.
func openSlow(t *testing.T, requests int) (*sharedLog, *slowDisk) {
	t.Helper()
	key, err := audit.NewKey("test/soc2")
	if err != nil {
		t.Fatal(err)
	}
	disk := &slowDisk{arrived: make(chan struct{}, 1)}
	log, err := audit.Open(audit.Config{Dir: t.TempDir(), Key: key, FS: disk, CheckpointEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s := &sharedLog{dir: t.TempDir()}
	s.use(log, "test")
	for range requests {
		if err := s.begin(false); err != nil {
			t.Fatal(err)
		}
	}
	return s, disk
}

// TestRequestsThatAreCutOffAreCountedExactly ends the process under four
// requests: the record of one is on its way to the disk, another one ends when
// it was cut off. What the log counts and what it holds are all of them, once.
func TestRequestsThatAreCutOffAreCountedExactly(t *testing.T) {
	s, disk := openSlow(t, 4)
	if !s.Hold() { // not a request
		t.Fatal("the log is closed")
	}
	if err := s.Destruct(); err != nil {
		t.Fatal(err)
	}
	disk.stall.Lock()
	for len(disk.arrived) > 0 {
		<-disk.arrived
	}
	recorded, cut := make(chan error, 1), make(chan struct{})
	now := time.Now()
	go func() { recorded <- s.record(&audit.Event{Start: now, ID: audit.NewID(now)}, "test", true, false) }()
	<-disk.arrived
	go func() { awaitLeaving(0); close(cut) }()
	for s.get().Stats().Missed["exit"].Served == 0 { // until it has counted
		if err := s.get().Ready(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.record(&audit.Event{Start: now, ID: audit.NewID(now)}, "test", true, false); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("a request that was cut off: %v", err)
	}
	if err := s.begin(true); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("a request came in: %v", err)
	}
	disk.stall.Unlock()
	if err := <-recorded; err != nil {
		t.Error(err)
	}
	<-cut
	s.end()
	s.end()
	s.Release()
	var requests, served, refused int64
	_, err := records.Dir{FS: os.DirFS(s.get().Dir())}.Scan(0, func(_ int64, b []byte) error {
		r, err := audit.Decode(b)
		switch body := r.Body.(type) {
		case *audit.Event:
			requests++
		case *audit.LogGap:
			served += body.Served
			refused += body.Refused
		}
		return err
	})
	if err != nil || requests != 1 || served != 3 || refused != 1 {
		t.Errorf("%d requests recorded, %d counted, %d refused, %v", requests, served, refused, err)
	}
}

// TestEndDoesNotWaitForAStalledDisk closes logs whose disk does not answer, with
// a request that runs, with one that waits for its record and without any: each
// time it comes back, and the log is closed in order when the disk answers.
func TestEndDoesNotWaitForAStalledDisk(t *testing.T) {
	for _, running := range []int{0, 1, 2} {
		s, disk := openSlow(t, running)
		s.closeWait = 10 * time.Millisecond
		disk.stall.Lock()
		recorded := make(chan error, 1)
		if running == 2 {
			for len(disk.arrived) > 0 {
				<-disk.arrived
			}
			now := time.Now()
			go func() { recorded <- s.record(&audit.Event{Start: now, ID: audit.NewID(now)}, "test", true, false) }()
			<-disk.arrived
		}
		err := s.Destruct()
		if running == 0 && !errors.Is(err, audit.ErrStalled) || running > 0 && err != nil {
			t.Errorf("%d requests: %v", running, err)
		}
		awaitLeaving(0)
		<-s.users.closed
		disk.stall.Unlock()
		if err := s.get().Close(); err != nil { // waits for the closing that was left behind
			t.Error(err)
		}
		if running == 2 {
			if err := <-recorded; err != nil {
				t.Error(err)
			}
		}
		var last audit.Kind
		_, err = records.Dir{FS: os.DirFS(s.get().Dir())}.Scan(0, func(_ int64, b []byte) error {
			r, err := audit.Decode(b)
			last = r.Kind
			return err
		})
		if err != nil || last != audit.KindClose {
			t.Errorf("%d requests: the log ends with %s, %v", running, last, err)
		}
	}
}
