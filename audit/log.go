// Package audit is the tamper-evident log: it appends records durably, keeps
// the Merkle tree over them and signs its head.
//
// # Directory
//
//	checkpoint                     newest signed head (package checkpoint)
//	segments/<first>.log           records, being written (package segment)
//	segments/<first>.zst           records, sealed
//	tile/<level>/<index>           full hash tiles (package tree)
//	rollups                        copy of the rollup records (package rollup)
//
// The segments are the log. Tiles and rollups can be made again from them and
// are written without a sync; the checkpoint is what an outsider holds against both.
//
// # Life of a record
//
// Append numbers the record, puts it in the pending batch and waits. One
// goroutine, the committer, takes whatever has gathered since it last looked,
// writes it with one write and one fdatasync, adds the leaves to the tree and
// wakes the waiters. A lone record is so committed at once, and under load a
// batch is as large as one sync takes long. On an interval, when a segment ends
// and at exit the committer signs a checkpoint over what is durable.
//
// When a segment reaches its size or age the committer begins a new one, and
// another goroutine, the sealer, compresses the old one and appends a rollup
// record with its SHA-256.
//
// # Failure
//
// After a failed write or sync the log refuses every append, for nothing is
// known of what the disk holds. The committer then reads the segment back,
// compares it with the tree in memory, cuts off what was never acknowledged and
// goes on in a new segment, as soon as the disk allows (heal.go). A log.gap
// record tells how many requests were refused, or served without a record, in
// the meantime, and how many records were taken and lost.
package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/audit/wal"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Config says where and how a log is kept. Dir and Key are needed, the rest
// has defaults.
type Config struct {
	Dir      string // directory of the log, made if it does not exist
	Key      *Key   // signs checkpoints; its name is the log's origin
	Instance string // written to each record; default: none

	// Cosigners sign each checkpoint beside Key and have its name: in a key
	// rotation the key that is to come (KeySet). Default: none.
	Cosigners []*Key

	// StateFile, outside of Dir, gets a copy of the newest checkpoint. If it has
	// seen a newer one than Dir holds, Dir was rolled back, and is not opened.
	// Default: none.
	StateFile string

	CheckpointEvery time.Duration // default 10 s
	SegmentBytes    int64         // a segment ends after this many bytes; default 64 MiB
	SegmentAge      time.Duration // and after this time; default 1 h
	QueueBytes      int           // appends wait while this much is pending; default 16 MiB
	ReserveBytes    int           // kept free for a full disk; default 2 MiB: a segment's own reserve, and a checkpoint
	Deadline        time.Duration // after so long without an answer of the disk, appends give up; default 10 s
	HealEvery       time.Duration // how often a failed log tries to go on; default 1 s

	Retention Retention // default: records are kept for good
	Scrub     Scrub     // how the log verifies itself

	FS     durable.FS       // default: the operating system's
	Now    func() time.Time // default: time.Now
	Logger *slog.Logger     // default: discards
}

func (c *Config) setDefaults() {
	if c.CheckpointEvery <= 0 {
		c.CheckpointEvery = 10 * time.Second
	}
	if c.SegmentBytes <= 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.SegmentAge <= 0 {
		c.SegmentAge = time.Hour
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = 16 << 20
	}
	if c.ReserveBytes <= 0 {
		c.ReserveBytes = 2 << 20
	}
	if c.Deadline <= 0 {
		c.Deadline = 10 * time.Second
	}
	if c.HealEvery <= 0 {
		c.HealEvery = time.Second
	}
	if c.FS == nil {
		c.FS = durable.OS{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Errors of Append that callers tell apart.
var (
	// ErrClosed means that the log was closed before the record came.
	ErrClosed = errors.New("the audit log is closed")
	// ErrFailed means that a write failed, so that the log takes no records
	// until it has healed.
	ErrFailed = errors.New("the audit log failed")
	// ErrLost means that the log took the record, but could not write it. It is
	// counted in a log.gap record.
	ErrLost = errors.New("the record was not written")
	// ErrStalled means that the disk has not answered for Config.Deadline. A
	// record that was waiting may or may not become durable.
	ErrStalled = errors.New("the audit log's disk does not answer")
	// ErrFull means that the queue has been full for Config.Deadline. The
	// record was not taken.
	ErrFull = errors.New("the audit log's queue is full")
)

// Log is an open log. Its methods are safe for concurrent use.
type Log struct {
	cfg  Config
	dir  records.Dir
	lock *durable.Lock

	mu      sync.Mutex // guards the fields to the blank line
	pending *batch
	flying  *batch      // being committed
	next    int64       // index of the next record
	err     error       // why no records are taken
	gaps    [causes]gap // not yet told in the log
	missed  [causes]gap // since it was opened
	heir    *Log        // counts in its place; nil: it counts itself

	wake      chan struct{}      // to the committer: pending is not empty
	stop      chan struct{}      // to the committer: drain and end
	committed chan struct{}      // closed when the committer has ended
	watched   chan struct{}      // closed when the watch has ended
	signNow   chan chan struct{} // to the committer: sign, then close the channel
	hasher    *hasher
	tiler     *tiler
	sealer    *sealer
	scrubber  *scrubber
	files     sync.Mutex // held by who seals or removes segments
	closing   sync.Once
	closeErr  error

	// Owned by the committer.
	spare     *batch
	expected  int           // records to be queued when all whom the last commit woke are back
	syncTook  time.Duration // of the last commit
	seg       *wal.Writer
	base      *tree.Tree // the tree before seg
	sound     int64      // bytes of seg that a sync has made durable
	began     time.Time  // when seg got its first record
	clock     time.Time  // of the last commit
	tree      *tree.Tree
	forgetful bool // the state file could not be written
	broken    bool // a commit failed: the segment must not be touched again
	full      bool // the log has said that the disk is full
	resign    bool // the checkpoint is not the one that was written

	head      atomic.Pointer[head] // newest published checkpoint
	retention atomic.Pointer[Retention]
	scrubbed  atomic.Pointer[LogVerify] // newest self-verification
	every     atomic.Int64              // checkpoint interval, as a time.Duration
	grown     growth                    // what is durable, for those who follow
}

// head is a published checkpoint with the tree that it signs.
type head struct {
	checkpoint.Head
	note []byte
	tree *tree.Tree
	at   time.Time
}

// batch is a group of records that will be committed together.
type batch struct {
	first   int64     // index of the first record
	since   time.Time // when it got its first record
	frames  []byte
	lengths []int // of each frame
	records [][]byte
	leaves  []tree.Hash // of the records, once they are hashed
	waiters []*waiter
	taken   chan struct{} // closed when the committer takes the batch; made by the first that waits for it
}

// waiter waits for its batch. Waiters are pooled.
type waiter struct{ done chan error }

var waiters = sync.Pool{New: func() any { return &waiter{make(chan error, 1)} }}

// wait returns when the batch was committed or failed, or the disk did not
// answer in time, or ctx ended. In the last case the waiter still belongs to
// the batch.
func (w *waiter) wait(ctx context.Context) error {
	select {
	case err := <-w.done:
		waiters.Put(w)
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for a record to be durable: %w", ctx.Err())
	}
}

// Append adds a record and returns when it is durable. The body is the
// record's members from "time" on, as Event.AppendBody makes them; the log
// does not keep it. If ctx ends or the disk does not answer (ErrStalled) while
// Append waits, the record may or may not become durable.
func (l *Log) Append(ctx context.Context, body []byte) (seq int64, err error) {
	w, _ := waiters.Get().(*waiter)
	seq, err = l.queue(ctx, body, w)
	if err != nil {
		waiters.Put(w)
		return 0, err
	}
	return seq, w.wait(ctx)
}

// Enqueue adds a record without waiting for it to be durable. If the log fails
// before the next commit, the record is lost, and counted in a log.gap record.
func (l *Log) Enqueue(ctx context.Context, body []byte) (seq int64, err error) {
	return l.queue(ctx, body, nil)
}

// queue puts a record into the pending batch, when that has room.
func (l *Log) queue(ctx context.Context, body []byte, w *waiter) (seq int64, err error) {
	l.mu.Lock()
	for l.err == nil && len(l.pending.frames) >= l.cfg.QueueBytes {
		if err := l.makeRoom(ctx); err != nil {
			l.mu.Unlock()
			return 0, err
		}
	}
	seq, err = l.add(body, w)
	l.mu.Unlock()
	if err != nil {
		return 0, err
	}
	l.nudge()
	return seq, nil
}

// nudge tells the committer that records are pending.
func (l *Log) nudge() {
	select {
	case l.wake <- struct{}{}:
	default: // it was already told
	}
}

// makeRoom waits until the committer has taken the pending batch. The caller
// holds mu, which is free in the meantime.
func (l *Log) makeRoom(ctx context.Context) error {
	b := l.pending
	if b.taken == nil {
		b.taken = make(chan struct{})
	}
	taken, deadline := b.taken, l.cfg.Deadline
	left := time.NewTimer(deadline)
	defer left.Stop()
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-taken:
		return nil
	case <-left.C:
		return fmt.Errorf("%w: its disk has not answered for %s", ErrFull, deadline)
	case <-ctx.Done():
		return fmt.Errorf("waiting for room in the audit log's queue: %w", ctx.Err())
	}
}

// add puts a record into the pending batch. The caller holds mu.
func (l *Log) add(body []byte, w *waiter) (seq int64, err error) {
	if l.err != nil {
		return 0, l.err
	}
	b := l.pending
	before := len(b.frames)
	if b.frames, err = segment.AppendFrame(b.frames, l.next, int64(len(b.lengths)), body); err != nil {
		return 0, err
	}
	if len(b.lengths) == 0 {
		b.first, b.since = l.next, time.Now()
	}
	seq = l.next
	l.next++
	b.lengths = append(b.lengths, len(b.frames)-before)
	if w != nil {
		b.waiters = append(b.waiters, w)
	}
	return seq, nil
}

// Ready returns why a request should not be served, or nil if the log takes
// records and the disk answers.
func (l *Log) Ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && l.flying != nil && time.Since(l.flying.since) > l.cfg.Deadline {
		return ErrStalled
	}
	return l.err
}

// Err returns why the log takes no records, or nil if it does.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Close appends a log.close record, commits what is pending, signs a last
// checkpoint and gives the directory up. Later appends fail with ErrClosed.
func (l *Log) Close() error {
	l.closing.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Log) close() error {
	l.scrubber.close()
	l.sealer.close()
	close(l.stop)
	<-l.committed
	<-l.watched
	err := l.Err()
	if errors.Is(err, ErrClosed) {
		err = nil
	}
	return errors.Join(err, l.lock.Unlock())
}

// SetCheckpointInterval changes how often checkpoints are signed, from the next
// record on.
func (l *Log) SetCheckpointInterval(d time.Duration) {
	if d > 0 {
		l.every.Store(int64(d))
	}
}

// SetLimits changes how much may be pending, in bytes, and how long the disk
// may take to answer. What is not positive stays as it is.
func (l *Log) SetLimits(queueBytes int, deadline time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if queueBytes > 0 {
		l.cfg.QueueBytes = queueBytes
	}
	if deadline > 0 {
		l.cfg.Deadline = deadline
	}
}

// FS is the file system that the log is written to.
func (l *Log) FS() durable.FS { return l.cfg.FS }

// Dir is the log's directory.
func (l *Log) Dir() string { return l.cfg.Dir }

// Key is the log's key.
func (l *Log) Key() *Key { return l.cfg.Key }

// Keys are the keys that sign each checkpoint: Key, then its cosigners.
func (l *Log) Keys() []*Key { return l.cfg.keys() }

// Checkpoint returns the newest published checkpoint, its head and when it was
// signed.
func (l *Log) Checkpoint() (note []byte, h checkpoint.Head, at time.Time) {
	p := l.head.Load()
	return p.note, p.Head, p.at
}

// Next is the index that the next record will have: the number of records
// that the log has taken.
func (l *Log) Next() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// Records reads the log's records. The newest may not be durable yet.
func (l *Log) Records() records.Dir { return l.dir }

// loadTile reads a full tile.
func loadTile(dir fs.FS) tree.Loader {
	return func(level int, index int64) ([]tree.Hash, error) {
		b, err := fs.ReadFile(dir, tree.TilePath(level, index, tree.Width))
		if err != nil {
			return nil, fmt.Errorf("reading tile: %w", err)
		}
		hashes, err := tree.Split(b)
		if err == nil && len(hashes) != tree.Width {
			err = fmt.Errorf("tile %d/%d has %d hashes", level, index, len(hashes))
		}
		return hashes, err
	}
}

func dirFS(dir string) records.Dir {
	return records.Dir{FS: durable.DirFS(dir), Index: new(records.Index)}
}
