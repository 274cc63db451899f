package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// ErrRemoved means that a record is no longer in the log: its retention ended.
var ErrRemoved = errors.New("the log no longer holds the record")

// Durable is the number of records that are on disk.
func (l *Log) Durable() int64 { return l.grown.size.Load() }

// Follow calls fn for each record from index from on, in order and each when it
// is durable, until ctx ends, fn fails, or the log is closed or fails. Whoever
// goes on later begins with the index after the last record that fn saw. The
// record is valid only during the call. Follow returns ErrClosed after the last
// record of a log that was closed, ErrFailed after that of one that failed, and
// ErrRemoved if the log no longer holds record from.
func (l *Log) Follow(ctx context.Context, from int64, fn func(seq int64, record []byte) error) error {
	f := follower{dir: l.dir, next: from, fn: fn}
	for {
		size, err := l.Wait(ctx, f.next)
		if err == nil {
			err = f.read(ctx, size)
		}
		if err != nil {
			return err
		}
	}
}

// Wait returns the number of records that are on disk when record seq is among
// them. If it never will be, the error is ErrClosed or ErrFailed; if ctx ends
// first, it is that of ctx.
func (l *Log) Wait(ctx context.Context, seq int64) (durable int64, err error) {
	for {
		size, grown := l.grown.beyond(seq)
		if size > seq {
			return size, nil
		}
		if err := l.Err(); errors.Is(err, ErrFailed) {
			return size, err
		}
		select {
		case <-grown: // or it failed
		case <-ctx.Done():
			return size, ctx.Err()
		case <-l.committed:
			if l.Durable() <= seq {
				return size, l.Err()
			}
		}
	}
}

// Follow is Log.Follow for a log that another process writes. Nothing tells it
// of new records, so it looks every so often; 0 is 200 ms. It delivers a record
// when a checkpoint or a later commit shows that it is durable: the last
// records of a log to which nothing is appended come with the checkpoint that
// is signed over them. It does not end with the log: the next process that
// opens the log goes on with it.
func Follow(ctx context.Context, dir records.Dir, from int64, every time.Duration, fn func(seq int64, record []byte) error) error {
	if every <= 0 {
		every = 200 * time.Millisecond
	}
	if dir.Index == nil {
		dir.Index = new(records.Index)
	}
	f := follower{dir: dir, next: from, fn: fn}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		size, err := durableSize(ctx, dir, f.next)
		if err != nil {
			return err
		}
		if err := f.read(ctx, size); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// durableSize is how many records of a log are shown to be durable, which
// another process may be writing. It is exact only if it is more than from.
func durableSize(ctx context.Context, dir records.Dir, from int64) (size int64, err error) {
	note, err := fs.ReadFile(dir.FS, checkpoint.File)
	if err != nil {
		return 0, fmt.Errorf("reading checkpoint: %w", err)
	}
	head, err := checkpoint.Peek(note)
	if err != nil {
		return 0, err
	}
	if head.Size > from { // enough to go on with, without reading anything twice
		return head.Size, nil
	}
	size = head.Size
	_, err = dir.Range(ctx, from, math.MaxInt64, func(_ int64, record []byte) error {
		if first, ok := segment.Commit(record); ok {
			size = max(size, first)
		}
		return nil
	})
	return size, err
}

// follower reads on from where it was.
type follower struct {
	dir  records.Dir
	next int64
	fn   func(seq int64, record []byte) error
}

// read delivers the records up to size, which are known to be on disk.
func (f *follower) read(ctx context.Context, size int64) error {
	if size <= f.next {
		return nil
	}
	want := f.next
	_, err := f.dir.Range(ctx, f.next, size, func(seq int64, record []byte) error {
		if seq != f.next {
			return fmt.Errorf("following from record %d: %w, which begins with record %d", f.next, ErrRemoved, seq)
		}
		f.next++
		return f.fn(seq, record)
	})
	if err == nil && f.next < size {
		return fmt.Errorf("following from record %d: %w: record %d is missing", want, ErrDamaged, f.next)
	}
	return err
}
