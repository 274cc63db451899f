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
// A log that is behind it was rolled back to an older state.
func (l *Log) compareState(signed *checkpoint.Head) error {
	if l.cfg.StateFile == "" {
		return nil
	}
	b, err := l.cfg.FS.ReadFile(l.cfg.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the checkpoint that was seen last: %w", err)
	}
	seen, _, err := checkpoint.Open(b, l.cfg.verifiers()...)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w: it belongs to another log, or was changed: remove it if this log is meant to be the one here", l.cfg.StateFile, err)
	case signed == nil:
		return fmt.Errorf("%w: its checkpoint is missing, but %s has seen one of %d records", ErrDamaged, l.cfg.StateFile, seen.Size)
	case signed.Size < seen.Size:
		return fmt.Errorf("%w: it was rolled back: its checkpoint says %d records, but %s has seen one of %d", ErrDamaged, signed.Size, l.cfg.StateFile, seen.Size)
	case signed.Size == seen.Size && signed.Root != seen.Root:
		return fmt.Errorf("%w: it was rewritten: its checkpoint of %d records has another root than the one that %s has seen", ErrDamaged, signed.Size, l.cfg.StateFile)
	}
	return nil
}
