package audit_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
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
