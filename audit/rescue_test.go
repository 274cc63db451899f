package audit_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// losses are what can happen to the open segment of a running log, and whether
// something is left that has to be set aside.
var losses = map[string]struct {
	aside bool
	do    func(name string) error
}{
	"removed":        {false, os.Remove},
	"folder removed": {false, func(name string) error { return os.RemoveAll(filepath.Dir(name)) }},
	"replaced": {true, func(name string) error {
		return errors.Join(os.Remove(name), os.WriteFile(name, []byte("nothing of the log"), 0o600))
	}},
	"replaced by a directory": {true, func(name string) error {
		return errors.Join(os.Remove(name), os.Mkdir(name, 0o700), os.WriteFile(filepath.Join(name, "other"), nil, 0o600))
	}},
	"cut and replaced": {true, func(name string) error {
		b, err := os.ReadFile(name)
		return errors.Join(err, os.Remove(name), os.WriteFile(name, b[:len(b)/2], 0o600))
	}},
}

// asides are the files that were set aside.
func asides(t *testing.T, b *bench) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(b.dir, records.Folder, "*"+segment.ReplacedSuffix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// whole closes the log and checks that nothing acknowledged is missing.
func whole(t *testing.T, b *bench, acknowledged int64, aside bool) {
	t.Helper()
	b.close()
	list := asides(t, b)
	if (len(list) == 1) != aside {
		t.Errorf("set aside: %q", list)
	}
	if aside {
		r := report(t, os.DirFS(b.dir), b.key)
		if len(r.Problems) != 1 || !strings.Contains(r.Problems[0].String(), "was set aside") {
			t.Errorf("%v", r.Problems)
		}
	}
	for _, name := range list {
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
	if r := b.check(b.log.Next()); r.Records < acknowledged {
		t.Errorf("%d records, %d were acknowledged", r.Records, acknowledged)
	}
	b.open() // it is a log that goes on
	b.append(1)
	b.close()
	b.check(b.log.Next())
}

// TestNothingAcknowledgedIsLostWithTheOpenSegment takes the open segment away:
// what is acknowledged after that, until the log notices, is in a file without a
// name.
func TestNothingAcknowledgedIsLostWithTheOpenSegment(t *testing.T) {
	for name, loss := range losses {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, audit.Config{HealEvery: time.Millisecond})
			b.append(3)
			if err := b.log.Sign(t.Context(), b.log.Next()); err != nil {
				t.Fatal(err)
			}
			b.append(4)
			if err := loss.do(filepath.Join(b.dir, records.Folder, segment.Name(0, false))); err != nil {
				t.Fatal(err)
			}
			b.append(5) // it is not noticed yet
			acknowledged := b.log.Next()
			_ = b.log.Sign(t.Context(), acknowledged) // now it is
			await(t, "the log has healed", func() bool { return b.log.Ready() == nil && len(gapRecords(t, b)) == 1 })
			b.append(2)
			whole(t, b, acknowledged+2, loss.aside)
		})
	}
}

// TestCloseWritesTheOpenSegmentBack closes a log that has not noticed yet.
func TestCloseWritesTheOpenSegmentBack(t *testing.T) {
	for name, loss := range losses {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, audit.Config{})
			b.append(3)
			if err := loss.do(filepath.Join(b.dir, records.Folder, segment.Name(0, false))); err != nil {
				t.Fatal(err)
			}
			b.append(5)
			whole(t, b, b.log.Next(), loss.aside)
		})
	}
}

// TestOpenSegmentIsWrittenBackUntilItSucceeds lets the disk be full at first.
func TestOpenSegmentIsWrittenBackUntilItSucceeds(t *testing.T) {
	disk := &badDisk{}
	b := newBench(t, audit.Config{FS: disk, HealEvery: time.Millisecond})
	b.append(3)
	if err := losses["replaced"].do(filepath.Join(b.dir, records.Folder, segment.Name(0, false))); err != nil {
		t.Fatal(err)
	}
	b.append(5)
	acknowledged := b.log.Next()
	disk.fails(errors.New("no"))
	_ = b.log.Sign(t.Context(), acknowledged)
	await(t, "the disk was asked", func() bool { return len(asides(t, b)) == 1 })
	if b.log.Ready() == nil {
		t.Error("the log is ready")
	}
	disk.fails(nil)
	await(t, "the log has healed", func() bool { return b.log.Ready() == nil })
	whole(t, b, acknowledged, true)
}
