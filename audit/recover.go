package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/digest"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/audit/wal"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// ErrDamaged means that a log on disk is not what its last signed checkpoint
// says. It is not opened for writing: that would bury the evidence.
var ErrDamaged = errors.New("the audit log is damaged")

// Open opens a log for writing, and makes it if its directory has none. It
// brings the log back after a crash: it cuts off the torn end of the last
// commit, rebuilds the tree, and appends a log.open record that says what it
// found. A bad record that a later commit follows, or a checkpoint signs, is no
// torn end: then the log is ErrDamaged.
func Open(cfg Config) (*Log, error) {
	cfg.setDefaults()
	if err := cfg.checkKeys(); err != nil {
		return nil, fmt.Errorf("opening audit log %s: %w", cfg.Dir, err)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening audit log %s: %w", cfg.Dir, err)
	}
	cfg.Dir = dir
	for _, d := range []string{dir, filepath.Join(dir, records.Folder)} {
		if err := durable.MakeDir(cfg.FS, d); err != nil {
			return nil, fmt.Errorf("opening audit log %s: %w", dir, err)
		}
	}
	lock, err := durable.LockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("opening audit log %s: %w", dir, err)
	}
	l := &Log{
		cfg: cfg, dir: dirFS(dir), lock: lock,
		pending: &batch{}, spare: &batch{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
		committed: make(chan struct{}), watched: make(chan struct{}), signNow: make(chan chan struct{}),
	}
	l.SetRetention(cfg.Retention)
	l.every.Store(int64(cfg.CheckpointEvery))
	l.hasher, l.tiler = newHasher(), newTiler(l)
	found, err := l.recover()
	if err == nil {
		err = l.begin(found)
	}
	if err != nil {
		l.tiler.close()
		l.hasher.close()
		return nil, errors.Join(fmt.Errorf("opening audit log %s: %w", dir, err), lock.Unlock())
	}
	return l, nil
}

// state is what recovery found on disk.
type state struct {
	clean    bool    // the log is new or its last record is log.close
	torn     int64   // bytes cut off after the last whole record
	unsigned int64   // records after the last checkpoint
	raw      []ended // segments that wait to be sealed
	tiles    []fullTile
	seen     *checkpoint.Head // by the state file, or nil
}

// fullTile is a tile that replayed records completed. It is written only after
// the records were found true, so that opening a damaged log changes nothing.
type fullTile struct {
	level  int
	index  int64
	hashes []tree.Hash
}

// begin appends the log.open record, signs a checkpoint over it and starts the
// goroutines. It does the first commit itself, so that a log which cannot be
// written is an error of Open.
func (l *Log) begin(found state) error {
	l.sealer, l.scrubber = newSealer(l), newScrubber(l)
	first := LogOpen{
		Time: l.cfg.Now(), Origin: l.cfg.Key.Origin(), Key: l.cfg.Key.Public(), Also: publics(l.cfg.Cosigners),
		Clean: found.clean, Unsigned: found.unsigned, Torn: found.torn,
	}
	err := l.inscribe(first.AppendBody(nil, l.cfg.Instance))
	if err == nil {
		err = l.sign()
	}
	if err == nil {
		err = l.keepReserve()
	}
	if err != nil {
		l.seg.Abandon()
		return err
	}
	go l.run()
	go l.watch()
	go l.sealer.run()
	go l.scrubber.run()
	for _, e := range found.raw {
		l.sealer.add(e)
	}
	return nil
}

// recover reads the log's end and leaves l ready to append.
func (l *Log) recover() (state, error) {
	signed, err := l.lastCheckpoint()
	if err != nil {
		return state{}, err
	}
	seen, err := l.compareState(signed)
	if err != nil {
		return state{}, err
	}
	list, err := l.dir.Segments()
	if err != nil {
		return state{}, err
	}
	if signed == nil {
		return l.create(list)
	}
	return l.resume(*signed, seen, list)
}

// lastCheckpoint reads the newest checkpoint, or returns nil if there is none.
func (l *Log) lastCheckpoint() (*checkpoint.Head, error) {
	b, err := durable.ReadFile(l.cfg.FS, filepath.Join(l.cfg.Dir, checkpoint.File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nil is the answer
	}
	if err != nil {
		return nil, err
	}
	h, _, err := checkpoint.Open(b, l.cfg.verifiers()...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (in use: %s): open the log with a key that signed it; a new key signs beside the old one before it signs alone", checkpoint.File, err, strings.Join(publics(l.cfg.keys()), ", "))
	}
	return &h, nil
}

// create makes an empty log: an empty tree's checkpoint, then a segment.
func (l *Log) create(list []records.Segment) (state, error) {
	if len(list) > 0 {
		return state{}, fmt.Errorf("%w: it has segments but its file %q is missing: put it back from a copy, or move the directory away to begin a new log", ErrDamaged, checkpoint.File)
	}
	l.tree, l.base = &tree.Tree{}, &tree.Tree{}
	if err := l.sign(); err != nil {
		return state{}, err
	}
	return state{clean: true}, l.openSegment(0, nil, false)
}

// openSegment opens the segment to append to, or makes it.
func (l *Log) openSegment(first int64, frames []byte, rewrite bool) error {
	folder := filepath.Join(l.cfg.Dir, records.Folder)
	seg, err := wal.Open(l.cfg.FS, folder, first, frames, rewrite)
	if errors.Is(err, fs.ErrNotExist) {
		seg, err = wal.Create(l.cfg.FS, folder, first)
	}
	if err != nil {
		return err
	}
	l.seg, l.sound, l.began = seg, seg.Size(), l.cfg.Now()
	return nil
}

// resume opens a log that has a checkpoint. It reads the segments that are not
// sealed, which is normally the last one; before them every record is in a
// full, synced tile or in the edge of one.
func (l *Log) resume(signed checkpoint.Head, seen *checkpoint.Head, list []records.Segment) (found state, err error) {
	found.seen = seen
	if len(list) == 0 {
		if signed.Size > 0 {
			return found, fmt.Errorf("%w: it has no segments, but its last signed checkpoint says %d records: it was rolled back or its files were removed", ErrDamaged, signed.Size)
		}
		return l.create(nil)
	}
	if last := list[len(list)-1]; signed.Size < last.First { // a segment begins when all before it is signed
		return found, fmt.Errorf("%w: %s begins with record %d, but its last signed checkpoint says %d records: the checkpoint or the segment is not the log's", ErrDamaged, last.Path(), last.First, signed.Size)
	}
	open := list
	for len(open) > 1 && open[0].Sealed {
		open = open[1:]
	}
	if open, err = l.beginAt(open, signed, &found); err != nil {
		return found, err
	}
	found.clean = open[0].First == 0
	for i, s := range open {
		last := i == len(open)-1
		if s.Sealed {
			if err := l.replaySealed(s, signed, &found); err != nil {
				return found, fmt.Errorf("%w: %s: %w", ErrDamaged, s.Path(), err)
			}
			if !last && l.tree.Size() != open[i+1].First {
				return found, gapAfter(s, l.tree.Size(), open[i+1].First)
			}
			continue
		}
		frames, err := l.dir.Frames(s)
		if err != nil {
			return found, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		l.base = l.tree.Clone()
		valid, err := l.replay(s, frames, signed, &found)
		if errors.Is(err, ErrDamaged) {
			return found, fmt.Errorf("%s: %w", s.Path(), err)
		}
		torn := last && l.tree.Size() >= signed.Size && !segment.LaterCommit(frames[valid:], l.tree.Size())
		if err != nil && !torn {
			return found, fmt.Errorf("%w: %s: %w", ErrDamaged, s.Path(), err)
		}
		if rest := frames[valid:]; segment.NotBlank(rest) >= 0 {
			found.torn, found.clean = int64(len(bytes.TrimRight(rest, "\x00"))), false
		}
		if last {
			err = l.continueAt(s.First, frames[:valid], signed, &found)
			return found, err
		}
		found.raw = append(found.raw, end(l.base, l.tree))
		if l.tree.Size() != open[i+1].First {
			return found, gapAfter(s, l.tree.Size(), open[i+1].First)
		}
	}
	l.base = l.tree.Clone()
	err = l.continueAt(l.tree.Size(), nil, signed, &found)
	return found, err
}

func gapAfter(s records.Segment, next, begins int64) error {
	return fmt.Errorf("%w: %s ends with record %d, but the next segment begins with %d", ErrDamaged, s.Path(), next-1, begins)
}

// replaySealed is replay for a sealed segment, bundle by bundle: whatever it
// claims, no more than one is in memory.
func (l *Log) replaySealed(s records.Segment, signed checkpoint.Head, found *state) error {
	f, err := l.dir.FS.Open(s.Path())
	if err != nil {
		return err
	}
	st, err := records.NewStream(f, s)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	defer st.Close()
	var frames []byte
	for {
		if frames, err = st.Next(frames[:0]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		part := records.Segment{First: l.tree.Size(), Sealed: true}
		if valid, err := l.replay(part, frames, signed, found); err != nil {
			return err
		} else if valid != len(frames) {
			return fmt.Errorf("%d bytes follow record %d", len(frames)-valid, l.tree.Size()-1)
		}
	}
}

// continueAt opens the segment to append to. It refuses a log that is shorter
// than its checkpoint: records that were signed for are gone.
func (l *Log) continueAt(first int64, frames []byte, signed checkpoint.Head, found *state) error {
	found.unsigned = l.tree.Size() - signed.Size
	if found.unsigned < 0 {
		return fmt.Errorf("%w: it ends with record %d, but its last signed checkpoint says %d records: it was rolled back or cut short", ErrDamaged, l.tree.Size()-1, signed.Size)
	}
	if found.seen != nil {
		if err := l.continues(*found.seen, found.tiles); err != nil {
			return err
		}
	}
	l.next = l.tree.Size()
	for _, t := range found.tiles {
		l.ensureTile(t.level, t.index, t.hashes)
	}
	// A log.close without a checkpoint may be in memory only: its sync failed.
	return l.openSegment(first, frames, !found.clean || found.unsigned > 0)
}

// replay adds the records of a segment to the tree, compares the root where
// the checkpoint was signed, and notes the tiles that they complete.
func (l *Log) replay(s records.Segment, frames []byte, signed checkpoint.Head, found *state) (valid int, err error) {
	compare := func() error {
		if l.tree.Size() == signed.Size && l.tree.Root() != signed.Root {
			return fmt.Errorf("%w: the records up to %d do not have the root that the checkpoint signs", ErrDamaged, signed.Size-1)
		}
		return nil
	}
	if err := compare(); err != nil {
		return 0, err
	}
	var all [][]byte
	valid, _, err = segment.Scan(frames, s.First, func(_ int64, record []byte) error {
		all = append(all, record)
		return nil
	})
	leaves := digest.Leaves(make([]tree.Hash, 0, len(all)), all)
	for i, record := range all {
		if found.clean && l.tree.Size() > 0 && kindOf(record) != KindOpen {
			return valid, fmt.Errorf("%w: record %d follows a log.close and is no log.open", ErrDamaged, l.tree.Size())
		}
		l.tree.Append(leaves[i], func(level int, index int64, hashes []tree.Hash) {
			found.tiles = append(found.tiles, fullTile{level, index, slices.Clone(hashes)})
		})
		found.clean = kindOf(record) == KindClose
		if err := compare(); err != nil {
			return valid, err
		}
	}
	return valid, err
}
