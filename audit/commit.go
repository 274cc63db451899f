package audit

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/audit/wal"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// run is the committer.
func (l *Log) run() {
	defer close(l.committed)
	every := l.every.Load()
	tick := time.NewTicker(time.Duration(every))
	defer tick.Stop()
	for {
		select {
		case <-l.wake:
			l.commit()
			if now := l.every.Load(); now != every {
				every = now
				tick.Reset(time.Duration(every))
			}
		case <-tick.C:
			l.publish()
		case <-l.stop:
			l.commit()
			l.publish()
			l.finish()
			return
		}
	}
}

// finish closes the segment, unless it failed.
func (l *Log) finish() {
	if err := l.Err(); l.broken || !errors.Is(err, ErrClosed) {
		l.seg.Abandon()
		return
	}
	if err := l.seg.Close(); err != nil {
		l.cfg.Logger.Error("closing the audit log's segment", "error", err)
	}
}

// commit makes the pending batch durable and wakes those who wait for it.
func (l *Log) commit() {
	b := l.take()
	if len(b.lengths) == 0 {
		l.spare = b
		return
	}
	err := l.write(b)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrFailed, err)
		l.broken = true
		l.refuse(err)
		l.cfg.Logger.Error("the audit log failed and takes no more records", "error", err)
	}
	for i, w := range b.waiters {
		w.done <- err
		b.waiters[i] = nil
	}
	if err == nil {
		l.grow(b)
	}
	b.frames, b.lengths, b.waiters = b.frames[:0], b.lengths[:0], b.waiters[:0]
	l.spare = b
	if err != nil { // what was queued meanwhile fails with it
		l.fail(err)
	}
}

// grow adds the records of a committed batch to the tree.
func (l *Log) grow(b *batch) {
	frames := b.frames
	for _, n := range b.lengths {
		l.tree.Append(tlog.RecordHash(segment.Record(frames[:n])), l.putTile)
		frames = frames[n:]
	}
}

// take swaps the pending batch for the spare one.
func (l *Log) take() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.pending
	l.pending, l.spare = l.spare, nil
	return b
}

func (l *Log) fail(err error) {
	b := l.take()
	for _, w := range b.waiters {
		w.done <- err
	}
	*b = batch{}
	l.spare = b
}

// write makes a batch durable.
func (l *Log) write(b *batch) error {
	if l.tree.Size() != b.first {
		return fmt.Errorf("batch begins with record %d, but the tree has %d", b.first, l.tree.Size())
	}
	if err := l.roll(); err != nil {
		return err
	}
	if err := l.seg.Append(b.frames); err != nil {
		return err
	}
	return l.seg.Sync()
}

// roll begins a new segment if the present one is full or old. The old one is
// complete under a checkpoint before the new one exists.
func (l *Log) roll() error {
	now := l.cfg.Now()
	if l.seg.Size() == 0 {
		l.began = now
		return nil
	}
	if l.seg.Size() < l.cfg.SegmentBytes && now.Sub(l.began) < l.cfg.SegmentAge {
		return nil
	}
	if err := l.replaced(); err != nil { // the sealer would read what took its place
		return err
	}
	if err := l.sign(); err != nil {
		return err
	}
	if err := l.seg.Close(); err != nil {
		return err
	}
	old := l.seg.First()
	seg, err := wal.Create(l.cfg.FS, filepath.Join(l.cfg.Dir, records.Folder), l.tree.Size())
	if err != nil {
		return err
	}
	l.seg, l.began = seg, now
	l.sealer.add(old)
	return nil
}

// putTile writes a full tile. A tile that cannot be written is no failure of
// the log: it is made again when the log is opened.
func (l *Log) putTile(level int, index int64, hashes []tree.Hash) {
	name := filepath.Join(l.cfg.Dir, filepath.FromSlash(tree.TilePath(level, index, tree.Width)))
	err := l.cfg.FS.MkdirAll(filepath.Dir(name), durable.DirMode)
	if err == nil {
		err = durable.ReplaceFile(l.cfg.FS, name, tree.Join(hashes), false)
	}
	if err != nil && !l.damaged {
		l.damaged = true
		l.cfg.Logger.Warn("a hash tile of the audit log could not be written; it will be made again at the next start", "tile", name, "error", err)
	}
}

// publish signs a checkpoint if the log grew since the last one.
func (l *Log) publish() {
	if err := l.Err(); l.broken || err != nil && !errors.Is(err, ErrClosed) {
		return
	}
	err := l.replaced()
	if err == nil {
		err = l.sign()
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrFailed, err)
		l.refuse(err)
		l.unsigned = err
		l.cfg.Logger.Error("the audit log cannot sign its head and takes no more records", "error", err)
	}
}

func (l *Log) sign() error {
	if h := l.head.Load(); h != nil && h.Size == l.tree.Size() {
		return nil
	}
	h := &head{
		Head: checkpoint.Head{Origin: l.cfg.Key.Origin(), Size: l.tree.Size(), Root: l.tree.Root()},
		tree: l.tree.Clone(),
		at:   l.cfg.Now(),
	}
	var err error
	if h.note, err = checkpoint.Sign(h.Head, l.cfg.Key); err != nil {
		return err
	}
	if err := durable.WriteFile(l.cfg.FS, filepath.Join(l.cfg.Dir, checkpoint.File), h.note); err != nil {
		return err
	}
	l.head.Store(h)
	return nil
}
