package audit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// TestRotIsNotTakenForATornEnd flips bytes in records that were acknowledged,
// but not signed when the process was killed. Later commits tell that they were
// durable: neither the verifier nor the next start may let them go.
func TestRotIsNotTakenForATornEnd(t *testing.T) {
	b := newBench(t, audit.Config{})
	b.append(20) // each a commit of its own
	for _, at := range []int{300, 1500, 3000} {
		live := copyDir(t, b.dir)
		if err := flip(filepath.Join(live, records.Folder, segment.Name(0, false)), at); err != nil {
			t.Fatal(err)
		}
		if r := report(t, os.DirFS(live), b.key); r.OK() {
			t.Errorf("byte %d: it verifies", at)
		}
		cfg := b.cfg
		cfg.Dir = live
		if _, err := audit.Open(cfg); !errors.Is(err, audit.ErrDamaged) {
			t.Errorf("byte %d: opened: %v", at, err)
		}
	}
}

// forge appends records to a log's last segment, or makes further segments of
// them, without the key.
func forge(t *testing.T, dir string, further bool) {
	t.Helper()
	name := filepath.Join(dir, records.Folder, segment.Name(0, false))
	frames, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	_, next, err := segment.Scan(frames, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if further {
		frames, name = nil, filepath.Join(dir, records.Folder, segment.Name(next, false))
	}
	for i := range int64(5) {
		if frames, err = segment.AppendFrame(frames, next+i, 0, body(int(i))); err != nil {
			t.Fatal(err)
		}
	}
	if further { // and one more segment
		if err := os.WriteFile(name, frames, 0o600); err != nil {
			t.Fatal(err)
		}
		frames, err = segment.AppendFrame(nil, next+5, 0, body(0))
		if err != nil {
			t.Fatal(err)
		}
		name = filepath.Join(dir, records.Folder, segment.Name(next+5, false))
	}
	if err := os.WriteFile(name, frames, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestForgedTailsAreFound(t *testing.T) {
	for _, further := range []bool{false, true} {
		b := newBench(t, audit.Config{})
		b.append(3)
		b.close()
		forge(t, b.dir, further)
		r := report(t, os.DirFS(b.dir), b.key)
		if r.OK() {
			t.Errorf("further segments %v: it verifies", further)
		}
		if _, err := audit.Open(b.cfg); !errors.Is(err, audit.ErrDamaged) {
			t.Errorf("further segments %v: opened: %v", further, err)
		}
	}
}

// TestUnsignedRecordsAreCountedApart kills a log after appends that no
// checkpoint covers.
func TestUnsignedRecordsAreCountedApart(t *testing.T) {
	b := newBench(t, audit.Config{})
	b.append(7)
	r := report(t, os.DirFS(copyDir(t, b.dir)), b.key)
	if text := r.Text(); !r.OK() || !strings.HasPrefix(text, "VERIFIED   1 records\nunsigned   7 records") {
		t.Errorf("%s", text)
	}
}

// TestReportsDoNotActOnTerminals puts an escape sequence where reports quote
// the log.
func TestReportsDoNotActOnTerminals(t *testing.T) {
	b := newBench(t, audit.Config{})
	b.close()
	for _, name := range []string{"\x1b[2Jx", "\u009b2J", "\u202ex", "left\x07.tmp"} {
		if err := os.WriteFile(filepath.Join(b.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range report(t, os.DirFS(b.dir), b.key).Text() {
		if c != '\n' && (c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x202e) {
			t.Errorf("the report holds %U", c)
		}
	}
}

// TestOpenFailsWithoutHanging has a last segment that is over its size, so that
// opening begins a new one, and a checkpoint that cannot be written.
func TestOpenFailsWithoutHanging(t *testing.T) {
	fsys := &faultFS{}
	b := newBench(t, audit.Config{SegmentBytes: 1 << 20, QueueBytes: 10, FS: fsys})
	b.append(20)
	b.close()
	cfg := b.cfg
	cfg.SegmentBytes = 1 << 10
	for n := int64(1); n < 60; n++ {
		fsys.arm(n)
		log, err := audit.Open(cfg)
		if err == nil {
			_, _ = log.Append(context.Background(), body(0))
			_ = log.Close()
		}
		fsys.armed.Store(false)
		b.open()
		b.close()
		b.check(b.log.Next())
	}
}
