package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// ReserveFile is a file of zeros that the log gives up when the disk is full,
// so that it can still say so. Part of the on-disk format; do not change.
const ReserveFile = "reserve"

// fail makes the log take no more records, and tells those who wait in b, and
// those who queued meanwhile, that theirs are lost. b may be nil.
func (l *Log) fail(b *batch, cause error) {
	if err := l.replaced(); errors.Is(err, ErrReplaced) {
		l.broken, l.resign = true, true // to be read back, by its name
		if !errors.Is(cause, ErrReplaced) {
			cause = fmt.Errorf("%w: %w", err, cause)
		}
	}
	err := fmt.Errorf("%w: %w", ErrFailed, cause)
	l.mu.Lock()
	if l.err == nil || errors.Is(l.err, ErrClosed) {
		l.err = err
	}
	l.mu.Unlock()
	lost := fmt.Errorf("%w: %w", ErrLost, err)
	l.grown.wake() // who follows sees that the log failed
	n := 0
	if b != nil {
		n += len(b.lengths)
		l.land(b, lost)
		l.spare = b.emptied()
	}
	queued := l.take()
	n += len(queued.lengths)
	l.land(queued, lost)
	l.spare = queued.emptied()
	l.miss(CauseFailure, gap{lost: int64(n), reason: cause.Error()})
	l.cfg.Logger.Error("the audit log failed and takes no records until it has healed", "records_lost", n, "error", cause)
	if durable.Full(cause) {
		l.sayFull()
	}
}

// failed reports whether the log waits to be healed.
func (l *Log) failed() bool { return errors.Is(l.Err(), ErrFailed) }

// sayFull gives up the reserve, and says in the log that it is full and since
// when. It is tried once a failure: the record that tells the numbers comes
// with the end of the gap.
func (l *Log) sayFull() {
	if l.full {
		return
	}
	l.full = true
	_ = l.cfg.FS.Remove(l.reserveName()) // it may be gone already
	if err := l.mend(); err != nil {
		l.cfg.Logger.Warn("the audit log has no room left to say that it is full", "error", err)
		return
	}
	l.mu.Lock()
	began := l.gaps[CauseFailure]
	l.mu.Unlock()
	began.to = time.Time{}
	if err := l.inscribe(began.body(CauseFailure, l.cfg.Instance)); err == nil {
		_ = l.sign() // it is signed with the end of the gap at the latest
	}
}

// heal brings a failed log back, or leaves it failed for the next time.
func (l *Log) heal() {
	if !l.failed() {
		return
	}
	err := l.moved(l.cfg.Dir, l.lock.Stat) // the lock is on the directory that was opened
	if err == nil {
		err = errors.Join(l.keepReserve(), l.mend())
	}
	if err != nil {
		l.cfg.Logger.Debug("the audit log does not heal yet", "error", err)
		return
	}
	if err := l.inscribeGaps(); err != nil {
		return
	}
	if err := l.sign(); err != nil {
		return
	}
	l.mu.Lock()
	l.err, l.full = nil, false
	l.mu.Unlock()
	l.cfg.Logger.Info("the audit log has healed and takes records again", "next", l.tree.Size())
}

// mend makes the end of the log trustworthy after a failed write. What the
// disk holds of the segment is read back and compared with the tree in memory;
// what follows it was never acknowledged and is cut off. The log goes on in a
// new segment: a file that failed once is not appended to again.
func (l *Log) mend() error {
	if !l.broken {
		return nil
	}
	if err := l.salvage(); err != nil {
		return err
	}
	old := l.seg
	if old.First() == l.tree.Size() { // nothing of it was ever durable
		if err := l.openSegment(l.tree.Size(), nil, true); err != nil {
			return err
		}
	} else if err := l.beginSegment(l.cfg.Now()); err != nil {
		return err
	}
	old.Abandon()
	l.broken = false
	l.mu.Lock()
	l.next = l.tree.Size()
	l.mu.Unlock()
	return nil
}

// salvage sees to it that all that was acknowledged is on disk under the names
// of the log, and signs it. The open file is not given up before: it may be the
// only place where the newest records are.
func (l *Log) salvage() error {
	err := l.rescue()
	if err == nil {
		err = l.readBack()
	}
	if err == nil {
		err = l.sign()
	}
	return err
}

// readBack verifies the durable part of the segment and cuts off the rest.
func (l *Log) readBack() error {
	folder := filepath.Join(l.cfg.Dir, records.Folder)
	f, err := l.cfg.FS.OpenFile(filepath.Join(folder, segment.Name(l.seg.First(), false)), os.O_RDWR, durable.FileMode)
	if err != nil {
		return fmt.Errorf("reading back the segment: %w", err)
	}
	err = l.verifySound(f)
	if err == nil {
		err = f.Truncate(l.sound)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reading back the segment: %w", err)
	}
	return l.cfg.FS.SyncDir(folder)
}

// verifySound compares what the file holds with the tree.
func (l *Log) verifySound(f io.ReaderAt) error {
	_, err := l.readSound(f)
	return err
}

// readSound reads the durable frames of the segment from a file, and compares
// them with the tree.
func (l *Log) readSound(f io.ReaderAt) (frames []byte, err error) {
	frames = make([]byte, l.sound)
	if _, err := f.ReadAt(frames, 0); err != nil {
		return nil, err
	}
	t := l.base.Clone()
	valid, _, err := segment.Scan(frames, l.seg.First(), func(_ int64, record []byte) error {
		t.Append(tlog.RecordHash(record), nil)
		return nil
	})
	if err == nil && (int64(valid) != l.sound || !same(t, l.tree)) {
		err = errors.New("it does not hold the records that were acknowledged")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return frames, nil
}

func same(a, b *tree.Tree) bool { return a.Size() == b.Size() && a.Root() == b.Root() }

// inscribe commits one record of the log itself, past the queue.
func (l *Log) inscribe(body []byte) error {
	b := &batch{first: l.tree.Size()}
	var err error
	if b.frames, err = segment.AppendFrame(nil, b.first, 0, body); err != nil {
		return err
	}
	b.lengths = []int{len(b.frames)}
	if err := l.put(b); err != nil {
		l.broken = true
		return err
	}
	l.grown.to(b.first + 1)
	l.grow(b)
	l.mu.Lock()
	l.next = l.tree.Size()
	l.mu.Unlock()
	return nil
}

func (l *Log) reserveName() string { return filepath.Join(l.cfg.Dir, ReserveFile) }

// keepReserve makes the reserve if it is not there.
func (l *Log) keepReserve() error {
	f, err := l.cfg.FS.OpenFile(l.reserveName(), os.O_RDONLY, 0)
	if err == nil {
		return f.Close()
	}
	if err := durable.WriteFile(l.cfg.FS, l.reserveName(), make([]byte, l.cfg.ReserveBytes)); err != nil {
		return fmt.Errorf("keeping a reserve for a full disk: %w", err)
	}
	return nil
}
