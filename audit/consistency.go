package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// ProveConsistency returns the proof that the tree of the first oldSize records
// is a prefix of that of the first newSize (RFC 6962, section 2.1.2). A published
// checkpoint must cover both.
func (l *Log) ProveConsistency(_ context.Context, oldSize, newSize int64) ([]tlog.Hash, error) {
	h := l.head.Load()
	if newSize > h.Size {
		return nil, fmt.Errorf("proving %d records: %w", newSize, ErrUnsigned)
	}
	proof, err := tlog.ProveTree(newSize, oldSize, tree.Reader{Tree: h.tree, Load: loadTile(l.dir.FS)})
	if err != nil {
		return nil, fmt.Errorf("proving that %d records are a prefix of %d: %w", oldSize, newSize, err)
	}
	return proof, nil
}

// remember writes the newest checkpoint to Config.StateFile too. That it cannot
// is no reason to refuse service: the log itself has it.
func (l *Log) remember(note []byte) {
	name := l.cfg.StateFile
	if name == "" {
		return
	}
	err := durable.MakeDir(l.cfg.FS, filepath.Dir(name))
	if err == nil {
		err = durable.WriteFile(l.cfg.FS, name, note)
	}
	if err != nil && !l.forgetful {
		l.cfg.Logger.Warn("the newest checkpoint could not be kept beside the audit log, so that a rollback would not be noticed", "file", name, "error", err)
	}
	l.forgetful = err != nil
}

// compareState compares the log's checkpoint with the one in Config.StateFile.
// A log that is behind it was rolled back to an older state. One that is ahead
// is compared when its tree is known, with what compareState returns.
func (l *Log) compareState(signed *checkpoint.Head) (seen *checkpoint.Head, err error) {
	if l.cfg.StateFile == "" {
		return nil, nil //nolint:nilnil // there is nothing to compare
	}
	b, err := durable.ReadFile(l.cfg.FS, l.cfg.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is nothing to compare
	}
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint that was seen last: %w", err)
	}
	h, _, err := checkpoint.Open(b, l.cfg.verifiers()...)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w: it belongs to another log, or was changed: remove it if this log is meant to be the one here", l.cfg.StateFile, err)
	case signed == nil:
		return nil, fmt.Errorf("%w: its checkpoint is missing, but %s has seen one of %d records", ErrDamaged, l.cfg.StateFile, h.Size)
	case signed.Size < h.Size:
		return nil, fmt.Errorf("%w: it was rolled back: its checkpoint says %d records, but %s has seen one of %d", ErrDamaged, signed.Size, l.cfg.StateFile, h.Size)
	case signed.Size == h.Size && signed.Root != h.Root:
		return nil, l.rewritten(h)
	}
	return &h, nil
}

func (l *Log) rewritten(seen checkpoint.Head) error {
	return fmt.Errorf("%w: it was rewritten: its first %d records have another root than the checkpoint that %s has seen", ErrDamaged, seen.Size, l.cfg.StateFile)
}

// continues verifies that the recovered tree, which the checkpoint signs, is one
// that the head which the state file has seen grew into. A proof from the tiles
// shows it, and cannot be forged with them; if they lead nowhere, the records
// are hashed. fresh are the tiles that are not written yet.
func (l *Log) continues(seen checkpoint.Head, fresh []fullTile) error {
	if seen.Size == 0 {
		return nil
	}
	load := func(level int, index int64) ([]tree.Hash, error) {
		for _, t := range fresh {
			if t.level == level && t.index == index {
				return t.hashes, nil
			}
		}
		return loadTile(l.dir.FS)(level, index)
	}
	size := l.tree.Size()
	proof, err := tlog.ProveTree(size, seen.Size, tree.Reader{Tree: l.tree, Load: load})
	if err == nil && tlog.CheckTree(proof, size, l.tree.Root(), seen.Size, seen.Root) == nil {
		return nil
	}
	first, ferr := l.dir.First()
	if ferr != nil {
		return ferr
	}
	if first > 0 {
		return fmt.Errorf("%w: its hash tiles do not lead to the checkpoint of %d records that %s has seen, and its first records were removed: put the tiles back from a copy of the log", ErrDamaged, seen.Size, l.cfg.StateFile)
	}
	t, err := l.treeFromRecords(seen.Size, nil)
	if err != nil {
		return err
	}
	if t.Size() != seen.Size || t.Root() != seen.Root {
		return l.rewritten(seen)
	}
	return nil
}
