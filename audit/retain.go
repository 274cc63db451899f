package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// ErrHeld means that a legal hold keeps records whose time is over.
var ErrHeld = errors.New("a legal hold keeps the records")

// Retention says how long records are kept.
type Retention struct {
	// Keep is how long after it was appended a record is kept at least; it goes
	// with the segment that it is in. 0: for good.
	Keep time.Duration

	// Held reports whether a legal hold covers records appended until a time.
	// Optional.
	Held func(until time.Time) (bool, error)
}

// SetRetention changes how long records are kept.
func (l *Log) SetRetention(r Retention) { l.retention.Store(&r) }

// Prune removes the sealed segments all of whose records are older than the
// retention allows (C2SP tlog-tiles, "Pruning"). The hash tiles stay, so that
// what is left still proves to be part of the log. It returns the index of the
// first record that is kept, and of the first that was kept before.
//
// A log.erase record, under a signed checkpoint, says what goes before it goes.
// Records that are not those that were signed stay, as evidence: ErrDamaged.
func (l *Log) Prune(ctx context.Context) (upto, before int64, err error) {
	l.files.Lock()
	defer l.files.Unlock()
	r := l.retention.Load()
	list, err := l.dir.Segments()
	if err != nil || r == nil || r.Keep <= 0 || len(list) == 0 {
		return 0, 0, err
	}
	cutoff := l.cfg.Now().Add(-r.Keep)
	gone, err := l.expired(list, cutoff)
	if err != nil || len(gone) == 0 {
		return list[0].First, list[0].First, err
	}
	if r.Held != nil {
		if held, err := r.Held(cutoff); err != nil || held {
			return list[0].First, list[0].First, errors.Join(err, ErrHeld)
		}
	}
	upto = list[len(gone)].First
	if err := l.announce(ctx, gone, upto, r.Keep); err != nil {
		return list[0].First, list[0].First, fmt.Errorf("removing records before %d: %w", upto, err)
	}
	folder := filepath.Join(l.cfg.Dir, records.Folder)
	for _, s := range gone {
		if err := l.cfg.FS.Remove(filepath.Join(folder, segment.Name(s.First, true))); err != nil {
			return upto, list[0].First, fmt.Errorf("removing segment %d: %w", s.First, err)
		}
	}
	return upto, list[0].First, l.cfg.FS.SyncDir(folder)
}

// expired returns the segments, from the first on, that hold nothing appended
// after the cutoff. The one after them is sealed, and the tile in which they
// end is full: no record that is to go is needed to rebuild the tree.
func (l *Log) expired(list []records.Segment, cutoff time.Time) ([]records.Segment, error) {
	n := 0
	for n+1 < len(list) && list[n].Sealed && list[n+1].Sealed {
		next, err := l.dir.Record(list[n+1].First)
		if err != nil {
			return nil, fmt.Errorf("reading the age of segment %d: %w", list[n].First, err)
		}
		at, err := appendedAt(next)
		if err != nil {
			return nil, err
		}
		if !at.Before(cutoff) {
			break
		}
		n++
	}
	open := list[len(list)-1].First
	for n > 0 && list[n].First > open-open%tree.Width {
		n--
	}
	return list[:n], nil
}

// announce makes sure that the tiles over the records that go are whole and
// durable, and says in the log that the records go.
func (l *Log) announce(ctx context.Context, gone []records.Segment, upto int64, keep time.Duration) error {
	for i, s := range gone {
		var leaves []tree.Hash
		next := upto
		if i+1 < len(gone) {
			next = gone[i+1].First
		}
		_, err := l.dir.Range(ctx, s.First, next, func(_ int64, record []byte) error { // bundle by bundle
			leaves = append(leaves, tlog.RecordHash(record))
			return nil
		})
		if err != nil {
			return err
		}
		if n := int64(len(leaves)); s.First+n != next {
			return fmt.Errorf("%w: %s has %d records, not those up to %d", ErrDamaged, s.Path(), n, next-1)
		}
		if err := l.proven(s.First, leaves); err != nil {
			return err
		}
		if s.First%tree.Width != 0 && s.First == gone[0].First && s.First > 0 {
			skip := min(int64(len(leaves)), tree.Width-s.First%tree.Width) // its first tile was made sure of when it was full
			s.First, leaves = s.First+skip, leaves[skip:]
		}
		if err := l.syncTiles(s.First, leaves); err != nil {
			return err
		}
	}
	erase := LogErase{Time: l.cfg.Now(), What: "retention", UpTo: upto, Segments: int64(len(gone)), By: "retention", Reason: "kept for " + keep.String()}
	seq, err := l.Append(ctx, erase.AppendBody(nil, l.cfg.Instance))
	if err != nil {
		return err
	}
	return l.Sign(ctx, seq+1)
}

// Sign has a checkpoint signed now, unless one already covers the first size
// records. That the log has not so many is an error that wraps
// records.ErrNotFound.
func (l *Log) Sign(ctx context.Context, size int64) error {
	for l.head.Load().Size < size {
		if err := l.Err(); err != nil {
			return err
		}
		if n := l.Next(); size > n {
			return fmt.Errorf("signing %d records, of which the log has taken %d: %w", size, n, records.ErrNotFound)
		}
		done := make(chan struct{})
		select {
		case l.signNow <- done:
			select { // the committer may wait for the disk
			case <-done:
			case <-ctx.Done():
				return fmt.Errorf("waiting for a checkpoint: %w", ctx.Err())
			}
		case <-l.committed:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("waiting for a checkpoint: %w", ctx.Err())
		}
	}
	return nil
}

// appendedAt is about when a record was appended: a request's record has the
// time at which it began and is appended when it has ended.
func appendedAt(record []byte) (time.Time, error) {
	r, err := Decode(record)
	if ev, ok := r.Body.(*Event); ok {
		return r.Time.Add(ev.Duration), err
	}
	return r.Time, err
}
