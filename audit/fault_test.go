package audit_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// faultFS is a file system whose n-th mutating operation, counted from arming,
// fails, and with it all that come after. Where persist is set the failing
// operation has its effect all the same.
type faultFS struct {
	durable.OS
	armed   atomic.Bool
	left    atomic.Int64
	persist bool
}

var errFault = errors.New("injected fault")

func (f *faultFS) arm(n int64) { f.left.Store(n); f.armed.Store(true) }

// fault runs an operation, unless its turn to fail has come.
func (f *faultFS) fault(op func() error) error {
	if !f.armed.Load() {
		return op()
	}
	switch n := f.left.Add(-1); {
	case n > 0:
		return op()
	case n == 0 && f.persist:
		return errors.Join(op(), errFault)
	}
	return errFault
}

func (f *faultFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	var file durable.File
	err := f.fault(func() (err error) {
		file, err = f.OS.OpenFile(name, flag, perm)
		return err
	})
	if err != nil {
		if file != nil {
			_ = file.Close()
		}
		return nil, err
	}
	return &faultFile{file, f}, nil
}

func (f *faultFS) Rename(from, to string) error {
	return f.fault(func() error { return f.OS.Rename(from, to) })
}

func (f *faultFS) Remove(name string) error {
	return f.fault(func() error { return f.OS.Remove(name) })
}

func (f *faultFS) SyncDir(name string) error {
	return f.fault(func() error { return f.OS.SyncDir(name) })
}

type faultFile struct {
	durable.File
	fs *faultFS
}

func (f *faultFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.fs.fault(func() (err error) {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

func (f *faultFile) Sync() error { return f.fs.fault(f.File.Sync) }

func (f *faultFile) Truncate(size int64) error {
	return f.fs.fault(func() error { return f.File.Truncate(size) })
}

// TestNoFaultLosesAnAcknowledgedRecord fails each operation of a log's life in
// turn, with and without its effect. Whatever was acknowledged before must be
// there, and verify, when the log is opened again.
func TestNoFaultLosesAnAcknowledgedRecord(t *testing.T) {
	for _, persist := range []bool{false, true} {
		for n := int64(1); n <= 60; n++ {
			fsys := &faultFS{persist: persist}
			b := newBench(t, audit.Config{SegmentBytes: 24 << 10, FS: fsys})
			fsys.arm(n)
			acknowledged := int64(0)
			failed := false
			for i := range 200 {
				seq, err := b.log.Append(context.Background(), body(i))
				if err != nil {
					failed = true
					if !errors.Is(err, audit.ErrFailed) {
						t.Fatalf("fault %d: %v", n, err)
					}
					break
				}
				acknowledged = seq + 1
			}
			_ = b.log.Close() // reports the fault again
			if !failed && n < 30 {
				t.Fatalf("fault %d was not noticed", n)
			}
			fsys.armed.Store(false)
			b.open()
			b.close()
			if r := b.check(b.log.Next()); r.Records < acknowledged {
				t.Fatalf("fault %d: %d records, %d were acknowledged", n, r.Records, acknowledged)
			}
		}
	}
}

func TestFailedLogRefusesAndOpensAgain(t *testing.T) {
	fsys := &faultFS{}
	b := newBench(t, audit.Config{FS: fsys})
	b.append(3)
	fsys.arm(1)
	for range 2 {
		if _, err := b.log.Append(context.Background(), body(0)); !errors.Is(err, audit.ErrFailed) {
			t.Errorf("%v", err)
		}
	}
	if !errors.Is(b.log.Err(), errFault) {
		t.Errorf("the cause is not told: %v", b.log.Err())
	}
	_ = b.log.Close()
	fsys.armed.Store(false)
	b.open()
	b.append(2)
	b.close()
	if _, err := os.Stat(filepath.Join(b.dir, "checkpoint")); err != nil {
		t.Error(err)
	}
	b.check(b.log.Next())
}
