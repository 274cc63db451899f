package audit

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// run is the committer.
func (l *Log) run() {
	defer close(l.committed)
	every := l.every.Load()
	tick := time.NewTicker(time.Duration(every))
	defer tick.Stop()
	heal := time.NewTicker(l.cfg.HealEvery)
	defer heal.Stop()
	for {
		select {
		case <-l.wake:
			l.gather()
			l.commit()
			if now := l.every.Load(); now != every {
				every = now
				tick.Reset(time.Duration(every))
			}
		case <-tick.C:
			l.publish()
		case <-heal.C:
			l.heal()
		case done := <-l.signNow:
			l.commit()
			l.publish()
			close(done)
		case <-l.stop:
			l.finish()
			return
		}
	}
}

// finish ends the log in order: with what is pending, what is missing, and a
// log.close record under a last checkpoint. A failed log gets a last chance to
// heal.
func (l *Log) finish() {
	l.commit()
	if err := l.replaced(); errors.Is(err, ErrReplaced) && !l.failed() {
		l.fail(nil, err)
	}
	l.heal()
	l.tellGaps()
	last := LogClose{Time: l.cfg.Now()}
	l.mu.Lock()
	if _, err := l.add(last.AppendBody(nil, l.cfg.Instance), nil); err == nil {
		l.err = ErrClosed
	}
	l.mu.Unlock()
	l.commit()
	l.cut()
	l.publish()
	if errors.Is(l.Err(), ErrReplaced) { // since the last look at it: what was acknowledged must not go with the open file
		if err := l.salvage(); err != nil {
			l.cfg.Logger.Error("the records of the open segment of the audit log could not be written back", "error", err)
		}
	}
	l.tiler.close()
	l.hasher.close()
	l.seg.Abandon() // it is cut and synced, or it failed
}

// cut takes the reserve off the segment before the last checkpoint is signed: a
// log whose log.close is signed has nothing behind it.
func (l *Log) cut() {
	if l.broken || l.failed() {
		return
	}
	if err := l.seg.Cut(); err != nil {
		l.broken = true
		l.fail(nil, err)
	}
}

// commit makes the pending batch durable and wakes those who wait for it.
func (l *Log) commit() {
	b := l.take()
	if len(b.lengths) == 0 {
		l.spare = b
		return
	}
	if err := l.write(b); err != nil {
		l.broken = true
		l.fail(b, err)
		return
	}
	l.grown.to(b.first + int64(len(b.lengths))) // first, so that who appended a record can read it
	l.land(b, nil)
	l.grow(b)
	l.spare = b.emptied()
}

// gather lets the writers whom the last commit woke come back with their next
// records. Else half of them would queue while the other half is synced, in
// turns, and each sync would carry half of what it could. It ends when all are
// back, when two looks in a row found nobody new, or after the time of a sync.
// Who appends alone never waits: there is nobody to come back.
func (l *Log) gather() {
	begun := time.Now()
	for idle, before := 0, -1; idle < 2; idle++ {
		n := l.queued()
		if n >= l.expected || time.Since(begun) > l.syncTook {
			return
		}
		if n > before {
			idle, before = 0, n
		}
		runtime.Gosched()
	}
}

// queued is the number of records that wait to be committed.
func (l *Log) queued() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending.lengths)
}

// take swaps the pending batch for the spare one.
func (l *Log) take() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.pending
	l.pending, l.spare = l.spare, nil
	if len(b.lengths) > 0 {
		l.flying = b
	}
	if b.taken != nil {
		close(b.taken)
		b.taken = nil
	}
	return b
}

// land tells those who wait for a batch how it went.
func (l *Log) land(b *batch, err error) {
	l.mu.Lock()
	waiting := b.waiters // the watch no longer sees them
	l.flying = nil
	l.expected = len(waiting) + len(l.pending.lengths)
	l.mu.Unlock()
	for i, w := range waiting {
		if w != nil { // nil: the watch has told it
			w.done <- err
		}
		waiting[i] = nil
	}
}

// emptied returns the batch without records. One that was very large is let go.
func (b *batch) emptied() *batch {
	if cap(b.frames) > maxSpare {
		return &batch{}
	}
	b.frames, b.lengths, b.waiters = b.frames[:0], b.lengths[:0], b.waiters[:0]
	b.records, b.leaves = b.records[:0], b.leaves[:0]
	return b
}

// maxSpare is how large a buffer is kept for the next batch: what a full queue
// of the default size needs. A smaller one would be made anew, and filled by
// copying, for each batch when writers do not wait and the queue is always full.
const maxSpare = 24 << 20

// grow adds the records of a committed batch to the tree.
func (l *Log) grow(b *batch) {
	b.hash()
	for _, leaf := range b.leaves {
		l.tree.Append(leaf, l.tiler.put)
	}
}

// write makes a batch durable.
func (l *Log) write(b *batch) error {
	if l.tree.Size() != b.first {
		return fmt.Errorf("batch begins with record %d, but the tree has %d", b.first, l.tree.Size())
	}
	now := l.cfg.Now()
	l.noteClock(now)
	if err := l.roll(now); err != nil {
		return err
	}
	return l.put(b)
}

// put makes a batch durable in the open segment.
func (l *Log) put(b *batch) error {
	if err := l.seg.Append(b.frames); err != nil {
		return err
	}
	begun := l.hasher.begin(b)
	start := time.Now()
	err := l.seg.Sync()
	l.syncTook = time.Since(start)
	if begun {
		l.hasher.await()
	}
	if err != nil {
		return err
	}
	l.sound = l.seg.Size()
	return nil
}

// roll begins a new segment if the present one is full or old.
func (l *Log) roll(now time.Time) error {
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
	return l.beginSegment(now)
}

// beginSegment goes on in a new segment. All records before it are under a
// checkpoint.
func (l *Log) beginSegment(now time.Time) error {
	old := end(l.base, l.tree)
	if err := l.openSegment(l.tree.Size(), nil, true); err != nil {
		return err
	}
	l.base, l.began = l.tree.Clone(), now
	l.sealer.add(old)
	return nil
}

// publish signs a checkpoint if the log grew since the last one.
func (l *Log) publish() {
	if err := l.Err(); l.broken || err != nil && !errors.Is(err, ErrClosed) {
		return
	}
	l.tellGaps()
	l.commit()
	if l.failed() {
		return
	}
	if err := l.replaced(); err != nil {
		l.fail(nil, err)
		return
	}
	if err := l.sign(); err != nil {
		l.fail(nil, err)
	}
}

func (l *Log) sign() error {
	if h := l.head.Load(); h != nil && h.Size == l.tree.Size() && !l.resign {
		return nil
	}
	l.tiler.flush() // what is signed can be proved
	h := &head{
		Head: checkpoint.Head{Origin: l.cfg.Key.Origin(), Size: l.tree.Size(), Root: l.tree.Root()},
		tree: l.tree.Clone(),
		at:   l.cfg.Now(),
	}
	var err error
	if h.note, err = checkpoint.Sign(h.Head, l.cfg.signers()...); err != nil {
		return err
	}
	if err := durable.WriteFile(l.cfg.FS, filepath.Join(l.cfg.Dir, checkpoint.File), h.note); err != nil {
		return err
	}
	l.resign = false
	l.head.Store(h)
	l.remember(h.note)
	return nil
}
