package audit_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// unsealing is a file system on which no segment can be sealed.
type unsealing struct{ durable.OS }

func (u unsealing) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if flag&os.O_CREATE != 0 && strings.Contains(filepath.Base(name), ".zst") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EDQUOT}
	}
	return u.OS.OpenFile(name, flag, perm)
}

// behind is a log of many segments none of which is sealed, closed in order.
func behind(t *testing.T, said *lines) *bench {
	t.Helper()
	b := newBench(t, audit.Config{SegmentBytes: 40 << 10, FS: unsealing{}, Logger: slog.New(slog.NewTextHandler(said, nil))})
	b.append(1500)
	b.close()
	b.cfg.FS = nil
	list, err := b.segments()
	if err != nil || len(list) < 8 {
		t.Fatalf("%d segments, %v", len(list), err)
	}
	for _, s := range list {
		if s.Sealed {
			t.Fatalf("%s is sealed", s.Path())
		}
	}
	return b
}

func (b *bench) segments() ([]records.Segment, error) {
	return records.Dir{FS: os.DirFS(b.dir)}.Segments()
}

// sealed is how many segments are sealed.
func (b *bench) sealed() (n int) {
	list, err := b.segments()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, s := range list {
		if s.Sealed {
			n++
		}
	}
	return n
}

// TestStartCatchesUpWithSealing opens a log of many segments that are not
// sealed: the sealer seals all of them, and the log verifies.
func TestStartCatchesUpWithSealing(t *testing.T) {
	var said lines
	b := behind(t, &said)
	before, err := b.segments()
	if err != nil {
		t.Fatal(err)
	}
	b.open()
	await(t, "all are sealed", func() bool { return b.sealed() >= len(before)-1 })
	b.append(10)
	b.close()
	if r := report(t, os.DirFS(b.dir), b.key); !r.OK() {
		t.Error(r.Problems)
	}
	if said.has("changed after it was written") {
		t.Error("the sealer complains")
	}
}

// TestStartFarBehindFindsChangedSegments changes a record of a segment that a
// start does not replay. The sealer finds it and leaves the segment as it is.
func TestStartFarBehindFindsChangedSegments(t *testing.T) {
	var said lines
	b := behind(t, &said)
	list, err := b.segments()
	if err != nil {
		t.Fatal(err)
	}
	changed := list[3]
	if err := reframe(b.dir, changed); err != nil {
		t.Fatal(err)
	}
	b.open()
	await(t, "the sealer complains", func() bool { return said.has("changed after it was written") })
	b.close()
	if _, err := os.Stat(filepath.Join(b.dir, changed.Path())); errors.Is(err, fs.ErrNotExist) {
		t.Error("the changed segment is gone")
	}
	r := report(t, os.DirFS(b.dir), b.key)
	if r.OK() || !r.Problems[0].IsRecord || r.Problems[0].Seq != changed.First {
		t.Errorf("the changed record is not named: %v", r.Problems)
	}
}
