package audit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// TestReplacedFilesAreNoticed takes the files of an open log away, or puts
// others in their place: copies with the very same bytes too, because what the
// log writes next would go to a file without a name.
func TestReplacedFilesAreNoticed(t *testing.T) {
	open := filepath.Join(records.Folder, segment.Name(0, false))
	copied := func(name string) error {
		b, err := os.ReadFile(name)
		if err == nil {
			err = os.Remove(name)
		}
		if err == nil {
			err = os.WriteFile(name, b, 0o600)
		}
		return err
	}
	for name, c := range map[string]struct {
		file   string // that the error names
		change func(dir string) error
	}{
		"segment removed":  {open, func(dir string) error { return os.Remove(filepath.Join(dir, open)) }},
		"segment replaced": {open, func(dir string) error { return copied(filepath.Join(dir, open)) }},
		"segment renamed": {open, func(dir string) error {
			return os.Rename(filepath.Join(dir, open), filepath.Join(dir, "elsewhere.log"))
		}},
		"folder removed":     {open, func(dir string) error { return os.RemoveAll(filepath.Join(dir, records.Folder)) }},
		"checkpoint removed": {checkpoint.File, func(dir string) error { return os.Remove(filepath.Join(dir, checkpoint.File)) }},
		"checkpoint edited":  {checkpoint.File, func(dir string) error { return flip(filepath.Join(dir, checkpoint.File), 15) }},
		"directory moved":    {"", func(dir string) error { return os.Rename(dir, dir+".old") }},
		"directory replaced": {"", func(dir string) error {
			if err := os.Rename(dir, dir+".old"); err != nil {
				return err
			}
			return os.CopyFS(dir, os.DirFS(dir+".old"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, audit.Config{CheckpointEvery: time.Millisecond, HealEvery: time.Hour})
			b.append(3)
			if err := b.log.Sign(t.Context(), b.log.Next()); err != nil { // or the next checkpoint takes the place of a changed one
				t.Fatal(err)
			}
			if err := c.change(b.dir); err != nil {
				t.Fatal(err)
			}
			err := untilRefused(t, b.log)
			if !errors.Is(err, audit.ErrFailed) || !errors.Is(err, audit.ErrReplaced) || !strings.Contains(err.Error(), filepath.Join(b.dir, c.file)+" was") {
				t.Errorf("the refusal is %v", err)
			}
		})
	}
}

// TestReplacedCheckpointIsWrittenAgain edits the checkpoint: what it signs is
// still there, so that the log goes on, and says that it happened.
func TestReplacedCheckpointIsWrittenAgain(t *testing.T) {
	b := newBench(t, audit.Config{CheckpointEvery: time.Millisecond, HealEvery: time.Millisecond})
	b.append(3)
	if err := b.log.Sign(t.Context(), b.log.Next()); err != nil {
		t.Fatal(err)
	}
	if err := flip(filepath.Join(b.dir, checkpoint.File), 15); err != nil {
		t.Fatal(err)
	}
	await(t, "it is in the log", func() bool {
		gaps := gapRecords(t, b)
		return len(gaps) == 1 && strings.Contains(gaps[0].Reason, audit.ErrReplaced.Error())
	})
	await(t, "the log goes on", func() bool { return b.log.Ready() == nil })
	b.append(1)
	b.close()
	b.check(b.log.Next())
}

// untilRefused waits until the log takes no more records, without giving it
// any: an idle log has to notice too.
func untilRefused(t *testing.T, log *audit.Log) error {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 10_000 {
		if log.Err() != nil {
			_, err := log.Append(context.Background(), body(0))
			return err
		}
		<-tick.C
	}
	t.Fatal("not noticed in 10 s")
	return nil
}

// TestReplacedSegmentIsNotSealed replaces a segment that is about to end: the
// sealer must not make evidence of what took its place.
func TestReplacedSegmentIsNotSealed(t *testing.T) {
	b := newBench(t, audit.Config{SegmentBytes: 4 << 10})
	b.append(3)
	name := filepath.Join(b.dir, records.Folder, segment.Name(0, false))
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if _, err := b.log.Append(context.Background(), body(i)); err != nil {
			if !errors.Is(err, audit.ErrReplaced) {
				t.Errorf("the refusal is %v", err)
			}
			return
		}
	}
	t.Error("not noticed")
}

// TestCloseTellsOfAReplacedDirectory closes a log whose directory is gone: its
// records are lost, so that the close was none.
func TestCloseTellsOfAReplacedDirectory(t *testing.T) {
	b := newBench(t, audit.Config{})
	b.append(3)
	if err := os.RemoveAll(b.dir); err != nil {
		t.Fatal(err)
	}
	if err := b.log.Close(); !errors.Is(err, audit.ErrReplaced) {
		t.Errorf("%v", err)
	}
}
