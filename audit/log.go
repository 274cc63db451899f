// Package audit is the tamper-evident log: it appends records durably, keeps
// the Merkle tree over them and signs its head.
//
// # Directory
//
//	checkpoint                     newest signed head (package checkpoint)
//	segments/<first>.log           records, being written (package segment)
//	segments/<first>.zst           records, sealed
//	tile/<level>/<index>           full hash tiles (package tree)
//
// The segments are the log. Tiles can be made again from them and are written
// without a sync; the checkpoint is what an outsider holds against both.
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
// After a failed write or sync the log refuses every append: nothing is known
// of what the disk holds until it was read back, which opening the log does.
package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
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

	CheckpointEvery time.Duration // default 10 s
	SegmentBytes    int64         // a segment ends after this many bytes; default 64 MiB
	SegmentAge      time.Duration // and after this time; default 1 h
	QueueBytes      int           // Enqueue waits while this much is pending; default 16 MiB

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
	// ErrFailed means that an earlier write failed, so that the log takes no
	// records until it is opened again.
	ErrFailed = errors.New("the audit log failed")
)

// Log is an open log. Its methods are safe for concurrent use.
type Log struct {
	cfg  Config
	dir  records.Dir
	lock *durable.Lock

	mu      sync.Mutex // guards the fields to the blank line
	pending *batch
	next    int64 // index of the next record
	err     error // set once: why no more records are taken

	wake      chan struct{} // to the committer: pending is not empty
	stop      chan struct{} // to the committer: drain and end
	committed chan struct{} // closed when the committer has ended
	sealer    *sealer
	closing   sync.Once
	closeErr  error

	// Owned by the committer.
	spare   *batch
	seg     *wal.Writer
	began   time.Time // when seg got its first record
	tree    *tree.Tree
	damaged bool // a tile could not be written
	broken  bool // a commit failed: the segment must not be touched again

	unsigned error // why the last checkpoint was not signed

	head  atomic.Pointer[head] // newest published checkpoint
	every atomic.Int64         // checkpoint interval, as a time.Duration
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
	first   int64 // index of the first record
	frames  []byte
	lengths []int // of each frame
	waiters []*waiter
}

// waiter waits for its batch. Waiters are pooled.
type waiter struct{ done chan error }

var waiters = sync.Pool{New: func() any { return &waiter{make(chan error, 1)} }}

// wait returns when the batch was committed or failed, or ctx ended. In the
// last case the waiter still belongs to the batch.
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
// does not keep it. If ctx ends first, Append returns its error, and the record
// may or may not become durable.
func (l *Log) Append(ctx context.Context, body []byte) (seq int64, err error) {
	w, _ := waiters.Get().(*waiter)
	seq, _, err = l.queue(body, w, false)
	if err != nil {
		waiters.Put(w)
		return 0, err
	}
	return seq, w.wait(ctx)
}

// Enqueue adds a record without waiting for it to be durable, unless the queue
// is full: then it waits like Append. If the log fails before the next commit,
// the record is lost, and Err tells that the log failed.
func (l *Log) Enqueue(ctx context.Context, body []byte) (seq int64, err error) {
	seq, pending, err := l.queue(body, nil, false)
	if err != nil || pending < l.cfg.QueueBytes {
		return seq, err
	}
	return seq, l.flushed(ctx)
}

// queue puts a record into the pending batch. pending is the size of the batch.
// The last record is the last that the log takes.
func (l *Log) queue(body []byte, w *waiter, last bool) (seq int64, pending int, err error) {
	l.mu.Lock()
	if l.err != nil {
		err = l.err
		l.mu.Unlock()
		return 0, 0, err
	}
	b := l.pending
	before := len(b.frames)
	if b.frames, err = segment.AppendFrame(b.frames, l.next, int64(len(b.lengths)), body); err != nil {
		l.mu.Unlock()
		return 0, 0, err
	}
	if len(b.lengths) == 0 {
		b.first = l.next
	}
	seq = l.next
	l.next++
	b.lengths = append(b.lengths, len(b.frames)-before)
	if w != nil {
		b.waiters = append(b.waiters, w)
	}
	pending = len(b.frames)
	if last {
		l.err = ErrClosed
	}
	l.mu.Unlock()

	select {
	case l.wake <- struct{}{}:
	default: // the committer was already told
	}
	return seq, pending, nil
}

// flushed waits until the batch that is pending now is durable.
func (l *Log) flushed(ctx context.Context) error {
	w, _ := waiters.Get().(*waiter)
	l.mu.Lock()
	if l.err != nil || len(l.pending.lengths) == 0 {
		err := l.err
		l.mu.Unlock()
		waiters.Put(w)
		return err
	}
	l.pending.waiters = append(l.pending.waiters, w)
	l.mu.Unlock()
	return w.wait(ctx)
}

// Err returns why the log takes no records, or nil if it does.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// refuse makes the log take no more records.
func (l *Log) refuse(err error) {
	l.mu.Lock()
	if l.err == nil {
		l.err = err
	}
	l.mu.Unlock()
}

// Close appends a log.close record, commits what is pending, signs a last
// checkpoint and gives the directory up. Later appends fail with ErrClosed.
func (l *Log) Close() error {
	l.closing.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Log) close() error {
	l.sealer.close()
	e := encoder{}
	e.header(l.cfg.Now(), KindClose, l.cfg.Instance)
	w, _ := waiters.Get().(*waiter)
	_, _, err := l.queue(e.b, w, true)
	if err == nil {
		err = w.wait(context.Background())
	}
	close(l.stop)
	<-l.committed
	if err == nil {
		err = l.unsigned
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

// Dir is the log's directory.
func (l *Log) Dir() string { return l.cfg.Dir }

// Key is the log's key.
func (l *Log) Key() *Key { return l.cfg.Key }

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

func dirFS(dir string) records.Dir { return records.Dir{FS: os.DirFS(dir)} }
