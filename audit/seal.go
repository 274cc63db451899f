package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/digest"
	"github.com/caddy-soc2/caddy-soc2/audit/member"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// sealer compresses segments that are no longer written, one after the other,
// in a goroutine of its own.
type sealer struct {
	log     *Log
	queue   chan ended      // segments to be sealed
	ctx     context.Context // ends when the sealer is closed
	stop    context.CancelFunc
	done    chan struct{} // closed when run has ended
	again   []ended       // what could not be sealed, to be tried again
	rollups rollups       // owned by run
}

// ended is a segment that is no longer written.
type ended struct {
	first  int64
	before *tree.Tree // the tree before it
	size   int64      // of the tree after it
	root   tree.Hash
}

// end is the segment that makes the tree after out of the one before.
func end(before, after *tree.Tree) ended {
	return ended{before.Size(), before, after.Size(), after.Root()}
}

// holds reports whether the segment's records are those that were committed.
func (e ended) holds(leaves []tree.Hash) bool {
	t := e.before.Clone()
	for _, leaf := range leaves {
		t.Append(leaf, nil)
	}
	return t.Size() == e.size && t.Root() == e.root
}

// queueLength is more segments than can wait: each is an hour or 64 MiB.
const queueLength = 1024

// sealAgain is how long a segment that could not be sealed waits.
const sealAgain = time.Minute

// newSealer makes a sealer. It is started after the committer, which it needs.
func newSealer(l *Log) *sealer {
	s := &sealer{log: l, queue: make(chan ended, queueLength), done: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// add hands a segment over. If the queue is full the segment stays as it is
// until the log is opened again.
func (s *sealer) add(e ended) {
	select {
	case s.queue <- e:
	default:
		s.log.cfg.Logger.Warn("too many segments wait to be sealed", "segment", e.first)
	}
}

// close ends the sealer after the segment at hand.
func (s *sealer) close() {
	s.stop()
	<-s.done
}

func (s *sealer) run() {
	defer close(s.done)
	tick := time.NewTicker(sealAgain)
	defer tick.Stop()
	s.rollups.open(s.log, s.ctx.Done())
	for {
		select { // stop first
		case <-s.ctx.Done():
			return
		default:
		}
		select {
		case <-s.ctx.Done():
			return
		case e := <-s.queue:
			s.seal(e)
			s.prune()
		case <-tick.C:
			again := s.again
			s.again = nil
			for _, e := range again {
				s.seal(e)
			}
			s.prune()
		}
	}
}

func (s *sealer) seal(e ended) {
	err := s.log.seal(e)
	switch {
	case errors.Is(err, ErrDamaged):
		s.log.cfg.Logger.Error("a segment of the audit log was changed after it was written; it stays open, as evidence", "segment", e.first, "error", err)
	case err != nil:
		s.log.cfg.Logger.Warn("a segment of the audit log could not be sealed; it stays open and is tried again", "segment", e.first, "error", err)
	}
	if err != nil {
		s.again = append(s.again, e)
	}
}

// prune removes what the retention lets go.
func (s *sealer) prune() {
	upto, before, err := s.log.Prune(s.ctx)
	switch {
	case errors.Is(err, ErrHeld):
		s.log.cfg.Logger.Debug("records of the audit log are over their retention, but held", "before", upto)
	case err != nil && s.ctx.Err() == nil:
		s.log.cfg.Logger.Warn("removing records that are over their retention", "error", err)
	case upto > before:
		s.log.cfg.Logger.Info("removed records that are over their retention", "from", before, "before", upto)
	}
}

// seal replaces an open segment by its sealed form. The open file goes only
// when the sealed one and the rollup record that vouches for it are durable, so
// that a crash at any point leaves one of the two whole. Records that are not
// those that were committed are not sealed: the log would vouch for them.
func (l *Log) seal(e ended) error {
	l.files.Lock()
	defer l.files.Unlock()
	first := e.first
	folder := filepath.Join(l.cfg.Dir, records.Folder)
	frames, err := l.dir.Frames(records.Segment{First: first})
	if err != nil {
		return err
	}
	sum, leaves, err := summarize(frames, first)
	if err != nil {
		return err
	}
	if !e.holds(leaves) {
		return fmt.Errorf("%w: segment %d does not hold the records that were committed", ErrDamaged, first)
	}
	sealed, err := segment.Seal(frames, first)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(l.cfg.FS, filepath.Join(folder, segment.Name(first, true)), sealed); err != nil {
		return err
	}
	if err := l.syncTiles(first, leaves); err != nil {
		return err
	}
	prev, err := l.sealer.rollups.before(l)
	if err != nil {
		return err
	}
	enc := encoder{}
	enc.header(l.cfg.Now(), KindRollup, l.cfg.Instance)
	members := sum.Members(rollup.Sealed{Bytes: int64(len(sealed)), SHA256: sha256.Sum256(sealed)}, prev)
	if err := l.sealer.vouch(members.AppendBody(enc.b)); err != nil {
		return err
	}
	if err := l.cfg.FS.Remove(filepath.Join(folder, segment.Name(first, false))); err != nil {
		return fmt.Errorf("removing the open form of segment %d: %w", first, err)
	}
	return l.cfg.FS.SyncDir(folder)
}

// vouch appends the rollup record of a sealed segment. If the disk does not
// answer, the record may become durable after all, and then the next one has to
// name it: so vouch waits, and what came of it is read back from the log.
func (s *sealer) vouch(body []byte) error {
	seq, err := s.log.Append(context.Background(), body)
	if err == nil {
		s.rollups.add(s.log, seq)
		return nil
	}
	if errors.Is(err, ErrStalled) {
		_, werr := s.log.Wait(s.ctx, seq)
		err = errors.Join(err, werr)
	}
	s.rollups.known = false
	return err
}

// summarize counts what a segment holds, and hashes its records.
func summarize(frames []byte, first int64) (*rollup.Counter, []tree.Hash, error) {
	sum := rollup.NewCounter(first)
	var all [][]byte
	var r member.Record
	_, _, err := segment.Scan(frames, first, func(_ int64, record []byte) error {
		all = append(all, record)
		if r.Read(record) == nil {
			sum.Add(&r)
		} else { // a body that is not what Append asks for
			sum.Skip(len(record))
		}
		return nil
	})
	return sum, digest.Leaves(nil, all), err
}

// syncTiles makes the tiles durable that the records of a segment completed,
// and those again that are missing or wrong. After that no start has to look
// at them. The leaves are the hashes of the records from first on.
func (l *Log) syncTiles(first int64, leaves []tree.Hash) error {
	next := first + int64(len(leaves))
	if start := first - first%tree.Width; start < first { // the first tile began in the segment before
		before, err := leafHashes(l.dir, start, first)
		if err != nil {
			return err
		}
		first, leaves = start, append(before, leaves...)
	}
	dirs := map[string]bool{} // whose names must be durable, with those above
	for level := 0; next>>(8*(level+1)) > 0; level++ {
		shift := 8 * (level + 1)
		for i := first >> shift; i < next>>shift; i++ {
			hashes, err := l.tileOf(level, i, first, leaves)
			if err != nil {
				return err
			}
			name, err := l.syncTile(level, i, hashes)
			if err != nil {
				return err
			}
			for name != l.cfg.Dir {
				name = filepath.Dir(name)
				dirs[name] = true
			}
		}
	}
	for dir := range dirs {
		if err := l.cfg.FS.SyncDir(dir); err != nil {
			return fmt.Errorf("syncing the directory %s: %w", dir, err)
		}
	}
	return nil
}

func (l *Log) syncTile(level int, index int64, hashes []tree.Hash) (name string, err error) {
	l.ensureTile(level, index, hashes)
	name = filepath.Join(l.cfg.Dir, filepath.FromSlash(tree.TilePath(level, index, tree.Width)))
	f, err := l.cfg.FS.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return name, fmt.Errorf("syncing tile: %w", err)
	}
	return name, errors.Join(f.Sync(), f.Close())
}

// tileOf returns the hashes of a full tile: leaves from record first on, or what
// the tiles below it give.
func (l *Log) tileOf(level int, index, first int64, leaves []tree.Hash) ([]tree.Hash, error) {
	if level == 0 {
		return leaves[index*tree.Width-first:][:tree.Width], nil
	}
	return l.foldTile(level, index)
}

// foldTile makes the hashes of a full tile from the tiles below it.
func (l *Log) foldTile(level int, index int64) ([]tree.Hash, error) {
	load := loadTile(l.dir.FS)
	hashes := make([]tree.Hash, 0, tree.Width)
	for i := index * tree.Width; i < (index+1)*tree.Width; i++ {
		below, err := load(level-1, i)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, tree.Fold(below))
	}
	return hashes, nil
}

// leafHashes returns the leaf hashes of records from up to, not including, to.
// They are hashed many at a time, from copies: a record is valid only while it
// is being visited.
func leafHashes(dir records.Dir, from, to int64) ([]tree.Hash, error) {
	hashes := make([]tree.Hash, 0, to-from)
	chunk := make([][]byte, min(to-from, tree.Width))
	n := 0
	_, err := dir.Range(context.Background(), from, to, func(seq int64, record []byte) error {
		if seq != from+int64(len(hashes)+n) {
			return fmt.Errorf("record %d: %w", from+int64(len(hashes)+n), records.ErrNotFound)
		}
		chunk[n] = append(chunk[n][:0], record...)
		if n++; n == len(chunk) {
			hashes, n = digest.Leaves(hashes, chunk), 0
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	hashes = digest.Leaves(hashes, chunk[:n])
	if int64(len(hashes)) != to-from {
		return nil, fmt.Errorf("records %d to %d: only %d are in the log", from, to-1, len(hashes))
	}
	return hashes, nil
}
