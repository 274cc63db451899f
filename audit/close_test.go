package audit_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
	"github.com/caddy-soc2/caddy-soc2/internal/durable/faulty"
)

// forgetful is a disk that fails the sync of a log.close record, as an operating
// system does that then takes the pages for clean: the record can be read, but
// only who writes it again gets it onto the disk.
type forgetful struct {
	durable.OS
	closing   atomic.Bool // a log.close was written
	rewritten atomic.Bool // and written again
	failed    atomic.Bool
}

func (d *forgetful) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := d.OS.OpenFile(name, flag, perm)
	return forgetfulFile{f, d}, err
}

type forgetfulFile struct {
	durable.File
	disk *forgetful
}

func (f forgetfulFile) WriteAt(p []byte, off int64) (int, error) {
	if bytes.Contains(p, []byte(`"kind":"log.close"`)) {
		f.disk.rewritten.Store(f.disk.failed.Load())
		f.disk.closing.Store(true)
	}
	return f.File.WriteAt(p, off)
}

func (f forgetfulFile) Sync() error {
	if f.disk.closing.Swap(false) && f.disk.failed.CompareAndSwap(false, true) {
		return errFault
	}
	return f.File.Sync()
}

// TestCloseThatWasNotSyncedIsWrittenAgain fails the sync of the log.close record.
// The next process reads it and builds on it, so it has to make it durable: a
// power cut would leave a hole before acknowledged records.
func TestCloseThatWasNotSyncedIsWrittenAgain(t *testing.T) {
	disk := &forgetful{}
	b := newBench(t, audit.Config{FS: disk})
	b.append(3)
	if err := b.log.Close(); err == nil {
		t.Fatal("the close was not on disk")
	}
	frames, err := os.ReadFile(filepath.Join(b.dir, records.Segment{}.Path()))
	if err != nil || !bytes.Contains(frames, []byte(`"kind":"log.close"`)) {
		t.Fatalf("the log.close cannot be read: %v", err)
	}
	b.open()
	if _, err := b.log.Append(context.Background(), body(0)); err != nil {
		t.Fatal(err)
	}
	if !disk.rewritten.Load() {
		t.Error("records follow a log.close that is not on disk")
	}
	b.close()
	b.check(b.log.Next())
}

// TestSignGivesUpWithItsContext stalls the disk under the checkpoint.
func TestSignGivesUpWithItsContext(t *testing.T) {
	disk := &badDisk{}
	b := newBench(t, audit.Config{FS: disk})
	b.append(1)
	disk.stall.Lock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- b.log.Sign(ctx, b.log.Next()) }()
	select {
	case err := <-done:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for the disk")
	}
	disk.stall.Unlock()
}

// TestPowerCutLosesNoLogInNewDirectories opens a log where none of the
// directories above it is there yet.
func TestPowerCutLosesNoLogInNewDirectories(t *testing.T) {
	root := t.TempDir()
	disk, err := faulty.NewDisk(root)
	if err != nil {
		t.Fatal(err)
	}
	l := newLife(t, filepath.Join(root, "data", "soc2", "log"), disk, nil)
	if l.cfg.Key, err = audit.NewKey("edge-1/soc2"); err != nil {
		t.Fatal(err)
	}
	if l.log, err = audit.Open(l.cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := l.log.Append(t.Context(), body(0)); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := disk.Cut(disk.Len(), faulty.Everything, rand.New(rand.NewPCG(1, 1)), to); err != nil {
		t.Fatal(err)
	}
	if r := report(t, os.DirFS(filepath.Join(to, "data", "soc2", "log")), l.cfg.Key); !r.OK() || r.Records != 2 {
		t.Errorf("%d records, %v", r.Records, r.Problems)
	}
	if err := l.log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSignOfMoreThanThereIsFails asks for records that the log never took.
func TestSignOfMoreThanThereIsFails(t *testing.T) {
	b := newBench(t, audit.Config{})
	b.append(3)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := b.log.Sign(ctx, b.log.Next()+1); !errors.Is(err, records.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if err := b.log.Sign(ctx, b.log.Next()); err != nil {
		t.Error(err)
	}
}

// TestReserveBehindACloseVerifies lengthens a closed log by zeros, as a crash
// does while it is opened again and the new length alone reaches the disk. Fewer
// zeros than a reserve has were put there by somebody.
func TestReserveBehindACloseVerifies(t *testing.T) {
	for zeros, good := range map[int]bool{100: false, 1<<20 + 232: true} {
		b := newBench(t, audit.Config{})
		b.append(10)
		b.close()
		name := filepath.Join(b.dir, records.Segment{}.Path())
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, zeros)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if r := report(t, os.DirFS(b.dir), b.key); r.OK() != good || good != (len(r.Notes) > 0) {
			t.Errorf("%d zeros: problems %v, notes %v", zeros, r.Problems, r.Notes)
		}
	}
}
