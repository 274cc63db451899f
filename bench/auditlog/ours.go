package auditlog

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
	"github.com/caddy-soc2/caddy-soc2/bench/traffic"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// openLog makes a log in a new directory. Checkpoints are signed every second:
// ten times as often as the default. Segments do not end: sealing, which is
// measured by itself, would go on while other variants are measured.
func (b *Bench) openLog(fsys durable.FS) (*audit.Log, error) {
	dir, err := os.MkdirTemp(b.Dir, "log-")
	if err != nil {
		return nil, err
	}
	key, err := audit.NewKey("bench.example/log")
	if err != nil {
		return nil, err
	}
	return audit.Open(audit.Config{Dir: dir, Key: key, Instance: traffic.Instance, CheckpointEvery: time.Second, SegmentBytes: 1 << 40, FS: fsys})
}

// remove closes a log and removes its segments. The tiles stay until the end of
// the run: where ext4 has no journal, making a file after thousands were removed
// takes many times as long for a minute or more, and the next variant would pay.
func remove(l *audit.Log) error {
	return errors.Join(l.Close(), os.RemoveAll(filepath.Join(l.Dir(), records.Folder)))
}

// durably appends and waits until the record is on disk.
func durably(l *audit.Log) appender {
	return func(ctx context.Context, ev *audit.Event, buf []byte) ([]byte, error) {
		buf = ev.AppendBody(buf[:0], traffic.Instance)
		_, err := l.Append(ctx, buf)
		return buf, err
	}
}

// queued appends without waiting.
func queued(l *audit.Log) appender {
	return func(ctx context.Context, ev *audit.Event, buf []byte) ([]byte, error) {
		buf = ev.AppendBody(buf[:0], traffic.Instance)
		_, err := l.Enqueue(ctx, buf)
		return buf, err
	}
}

// ours is a fresh log under writers that wait for the disk.
func (b *Bench) ours(name string, writers int) measure.Variant {
	return measure.Variant{Name: name, Open: func(context.Context) (measure.Runner, error) {
		l, err := b.openLog(nil)
		return measure.Runner{
			Run: func(ctx context.Context, d time.Duration) (measure.Sample, error) {
				return b.drive(ctx, writers, d, durably(l), nil)
			},
			Close: func() error { return remove(l) },
		}, err
	}}
}

// oursAsync is a fresh log under writers that do not wait. The time until all
// is durable counts.
func (b *Bench) oursAsync(name string, writers int) measure.Variant {
	return measure.Variant{Name: name, Open: func(ctx context.Context) (measure.Runner, error) {
		l, err := b.openLog(nil)
		flush := func() error {
			_, err := durably(l)(ctx, &audit.Event{Start: time.Now()}, nil)
			return err
		}
		return measure.Runner{
			Run: func(ctx context.Context, d time.Duration) (measure.Sample, error) {
				return b.drive(ctx, writers, d, queued(l), flush)
			},
			Close: func() error { return remove(l) },
		}, err
	}}
}

// counting counts the syncs of segment files.
type counting struct {
	durable.OS
	syncs *atomic.Int64
}

func (c counting) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := c.OS.OpenFile(name, flag, perm)
	if err == nil && strings.HasSuffix(name, ".log") {
		f = countingFile{f, c.syncs}
	}
	return f, err
}

type countingFile struct {
	durable.File
	syncs *atomic.Int64
}

func (f countingFile) Sync() error {
	f.syncs.Add(1)
	return f.File.Sync()
}
