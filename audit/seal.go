package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

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
	queue   chan int64 // first records of segments
	stop    chan struct{}
	ended   chan struct{}
	rollups rollups // owned by run
}

// queueLength is more segments than can wait: each is an hour or 64 MiB.
const queueLength = 1024

// newSealer makes a sealer. It is started after the committer, which it needs.
func newSealer(l *Log) *sealer {
	return &sealer{log: l, queue: make(chan int64, queueLength), stop: make(chan struct{}), ended: make(chan struct{})}
}

// add hands a segment over. If the queue is full the segment stays as it is
// until the log is opened again.
func (s *sealer) add(first int64) {
	select {
	case s.queue <- first:
	default:
		s.log.cfg.Logger.Warn("too many segments wait to be sealed", "segment", first)
	}
}

// close ends the sealer after the segment at hand.
func (s *sealer) close() {
	close(s.stop)
	<-s.ended
}

func (s *sealer) run() {
	defer close(s.ended)
	s.rollups.open(s.log, s.stop)
	for {
		select {
		case <-s.stop:
			return
		default:
		}
		select {
		case <-s.stop:
			return
		case first := <-s.queue:
			if err := s.log.seal(first); err != nil {
				s.log.cfg.Logger.Error("sealing a segment of the audit log; it will be tried again at the next start", "segment", first, "error", err)
			}
		}
	}
}

// seal replaces an open segment by its sealed form. The open file goes only
// when the sealed one and the rollup record that vouches for it are durable, so
// that a crash at any point leaves one of the two whole.
func (l *Log) seal(first int64) error {
	folder := filepath.Join(l.cfg.Dir, records.Folder)
	frames, err := l.dir.Frames(records.Segment{First: first})
	if err != nil {
		return err
	}
	sealed, err := segment.Seal(frames, first)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(l.cfg.FS, filepath.Join(folder, segment.Name(first, true)), sealed); err != nil {
		return err
	}
	sum, err := summarize(frames, first)
	if err != nil {
		return err
	}
	if err := l.syncTiles(first, first+sum.Records); err != nil {
		return err
	}
	prev, err := l.sealer.rollups.before(l)
	if err != nil {
		return err
	}
	e := encoder{}
	e.header(l.cfg.Now(), KindRollup, l.cfg.Instance)
	members := sum.Members(rollup.Sealed{Bytes: int64(len(sealed)), SHA256: sha256.Sum256(sealed)}, prev)
	seq, err := l.Append(context.Background(), members.AppendBody(e.b))
	if err != nil {
		return err
	}
	l.sealer.rollups.add(l, seq)
	if err := l.cfg.FS.Remove(filepath.Join(folder, segment.Name(first, false))); err != nil {
		return fmt.Errorf("removing the open form of segment %d: %w", first, err)
	}
	return l.cfg.FS.SyncDir(folder)
}

// summarize counts what a segment holds.
func summarize(frames []byte, first int64) (*rollup.Counter, error) {
	sum := rollup.NewCounter(first)
	var r member.Record
	_, _, err := segment.Scan(frames, first, func(_ int64, record []byte) error {
		if r.Read(record) == nil {
			sum.Add(&r)
		} else { // a body that is not what Append asks for
			sum.Skip(len(record))
		}
		return nil
	})
	return sum, err
}

// syncTiles makes the tiles durable that records from first to next completed.
// After that no start has to look at them again.
func (l *Log) syncTiles(first, next int64) error {
	for level := 0; next>>(8*(level+1)) > 0; level++ {
		shift := 8 * (level + 1)
		for i := first >> shift; i < next>>shift; i++ {
			if err := l.syncTile(level, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Log) syncTile(level int, index int64) error {
	name := filepath.Join(l.cfg.Dir, filepath.FromSlash(tree.TilePath(level, index, tree.Width)))
	f, err := l.cfg.FS.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a hash tile is missing: %w", err)
	}
	if err != nil {
		return fmt.Errorf("syncing tile: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}

// leafHashes returns the leaf hashes of records from up to, not including, to.
func leafHashes(dir records.Dir, from, to int64) ([]tree.Hash, error) {
	var hashes []tree.Hash
	errDone := errors.New("done")
	if from == to {
		return nil, nil
	}
	_, err := dir.Scan(from, func(seq int64, record []byte) error {
		if seq >= to {
			return errDone
		}
		hashes = append(hashes, tlog.RecordHash(record))
		return nil
	})
	if err != nil && !errors.Is(err, errDone) {
		return nil, err
	}
	if int64(len(hashes)) != to-from {
		return nil, fmt.Errorf("records %d to %d: only %d are in the log", from, to-1, len(hashes))
	}
	return hashes, nil
}
