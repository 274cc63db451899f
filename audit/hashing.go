package audit

import (
	"path/filepath"
	"slices"

	"github.com/caddy-soc2/caddy-soc2/audit/digest"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// hasher hashes the records of a batch while the disk syncs them, in a goroutine
// of its own. One batch at a time is begun and awaited, by the committer.
type hasher struct {
	todo chan *batch
	done chan struct{}
}

func newHasher() *hasher {
	h := &hasher{make(chan *batch), make(chan struct{})}
	go func() {
		for b := range h.todo {
			b.hash()
			h.done <- struct{}{}
		}
		close(h.done)
	}()
	return h
}

// worthwhile is how many records make up for handing them over.
const worthwhile = 8

// begin starts on a batch and reports whether it is to be awaited.
func (h *hasher) begin(b *batch) bool {
	if len(b.lengths) < worthwhile {
		return false
	}
	h.todo <- b
	return true
}

func (h *hasher) await() { <-h.done }

// close ends the goroutine.
func (h *hasher) close() {
	close(h.todo)
	<-h.done
}

// hash makes the leaf hashes of a batch, unless that was done.
func (b *batch) hash() {
	if len(b.leaves) == len(b.lengths) {
		return
	}
	frames := b.frames
	for _, n := range b.lengths {
		b.records = append(b.records, segment.Record(frames[:n]))
		frames = frames[n:]
	}
	b.leaves = digest.Leaves(b.leaves[:0], b.records)
}

// tiler writes full tiles in a goroutine of its own: making a file takes longer
// than committing a batch. Before a checkpoint is signed all are written.
type tiler struct {
	log     *Log
	queue   chan tileJob
	ended   chan struct{}
	damaged bool // a tile could not be written; owned by the goroutine
}

// tileJob is a tile to be written, or if it has a channel, one to be closed
// when all before it were.
type tileJob struct {
	level   int
	index   int64
	hashes  []tree.Hash
	flushed chan struct{}
}

// tilesAhead is how many tiles may wait: a megabyte of hashes.
const tilesAhead = 128

func newTiler(l *Log) *tiler {
	t := &tiler{log: l, queue: make(chan tileJob, tilesAhead), ended: make(chan struct{})}
	go t.run()
	return t
}

func (t *tiler) run() {
	defer close(t.ended)
	for job := range t.queue {
		if job.flushed != nil {
			close(job.flushed)
			continue
		}
		if err := t.log.writeTile(job.level, job.index, job.hashes); err != nil && !t.damaged {
			t.damaged = true
			t.log.cfg.Logger.Warn("a hash tile of the audit log could not be written; it is made again when its segment is sealed", "error", err)
		}
	}
}

// put takes a copy of a full tile's hashes.
func (t *tiler) put(level int, index int64, hashes []tree.Hash) {
	t.queue <- tileJob{level: level, index: index, hashes: slices.Clone(hashes)}
}

// flush returns when all tiles so far are written.
func (t *tiler) flush() {
	flushed := make(chan struct{})
	t.queue <- tileJob{flushed: flushed}
	<-flushed
}

// close writes what waits and ends the goroutine.
func (t *tiler) close() {
	close(t.queue)
	<-t.ended
}

// writeTile writes a full tile. One that cannot be written is no failure of the
// log: it is made again.
func (l *Log) writeTile(level int, index int64, hashes []tree.Hash) error {
	name := filepath.Join(l.cfg.Dir, filepath.FromSlash(tree.TilePath(level, index, tree.Width)))
	if err := l.cfg.FS.MkdirAll(filepath.Dir(name), durable.DirMode); err != nil {
		return err
	}
	return durable.ReplaceFile(l.cfg.FS, name, tree.Join(hashes), false)
}
