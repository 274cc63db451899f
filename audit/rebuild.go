package audit

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// replayed is how many segments are replayed at a start at most, if the tiles
// allow: 64 MiB take about half a second.
const replayed = 4

// beginAt makes the tree before the segments that have to be replayed, and
// returns these. Those are all that are not sealed; if the sealer was far
// behind, the last one alone, as long as the tiles before it lead to the signed
// root. The sealer then compares the others with the tree.
func (l *Log) beginAt(open []records.Segment, signed checkpoint.Head, found *state) (_ []records.Segment, err error) {
	last := len(open) - 1
	if len(open) <= replayed {
		l.tree, err = l.treeAt(open[0].First, signed)
		return open, err
	}
	if t, ok := l.treeFromTiles(open[last].First, signed); ok {
		if raw, ok := l.endedBefore(t, open[:last]); ok {
			l.tree, found.raw = t, raw
			return open[last:], nil
		}
	}
	l.tree, err = l.treeAt(open[0].First, signed)
	return open, err
}

// endedBefore returns those of the segments before a proven tree that are not
// sealed, each with the trees before and after it. They are made from tiles; ok
// tells whether each proves to be a prefix of the next.
func (l *Log) endedBefore(t *tree.Tree, segments []records.Segment) (raw []ended, ok bool) {
	load := loadTile(l.dir.FS)
	for _, s := range slices.Backward(segments) {
		leaves, err := leafHashes(l.dir, s.First-s.First%tree.Width, s.First)
		if err != nil {
			return nil, false
		}
		before, err := tree.At(s.First, leaves, load)
		if err != nil || !isPrefix(before, t, load) {
			return nil, false
		}
		if !s.Sealed {
			raw = append(raw, end(before, t))
		}
		t = before
	}
	slices.Reverse(raw)
	return raw, true
}

// isPrefix reports whether the tree whose full tiles load has begins as before.
func isPrefix(before, t *tree.Tree, load tree.Loader) bool {
	if before.Size() == 0 || before.Size() == t.Size() {
		return before.Root() == t.Root() || before.Size() == 0
	}
	proof, err := tlog.ProveTree(t.Size(), before.Size(), tree.Reader{Tree: t, Load: load})
	return err == nil && tlog.CheckTree(proof, t.Size(), t.Root(), before.Size(), before.Root()) == nil
}

// ensureTile writes a tile unless the very same is there.
func (l *Log) ensureTile(level int, index int64, hashes []tree.Hash) {
	name := filepath.Join(l.cfg.Dir, filepath.FromSlash(tree.TilePath(level, index, tree.Width)))
	if b, err := durable.ReadFile(l.cfg.FS, name); err == nil && bytes.Equal(b, tree.Join(hashes)) {
		return
	}
	if err := l.writeTile(level, index, hashes); err != nil {
		l.cfg.Logger.Warn("a hash tile of the audit log could not be written", "tile", name, "error", err)
	}
}

// treeAt rebuilds the tree as it was before record first: from the tiles, or
// if those are missing or wrong from all the records.
func (l *Log) treeAt(first int64, signed checkpoint.Head) (*tree.Tree, error) {
	if t, ok := l.treeFromTiles(first, signed); ok {
		return t, nil
	}
	l.cfg.Logger.Warn("the hash tiles of the audit log are incomplete; making them again from the records")
	t, err := l.treeFromRecords(first, nil)
	if err != nil {
		return nil, err
	}
	if !l.provesTo(t.Clone(), first, signed) {
		return nil, fmt.Errorf("%w: the records up to %d do not have the root that the checkpoint signs", ErrDamaged, signed.Size-1)
	}
	return l.treeFromRecords(first, l.ensureTile)
}

// treeFromTiles rebuilds the tree as it was before record first from the tiles,
// and reports whether it leads to the signed root.
func (l *Log) treeFromTiles(first int64, signed checkpoint.Head) (*tree.Tree, bool) {
	if first == 0 {
		return &tree.Tree{}, true
	}
	leaves, err := leafHashes(l.dir, first-first%tree.Width, first)
	if err != nil {
		return nil, false
	}
	t, err := tree.At(first, leaves, loadTile(l.dir.FS))
	return t, err == nil && l.provesTo(t.Clone(), first, signed)
}

// treeFromRecords hashes all records before record first.
func (l *Log) treeFromRecords(first int64, full func(level int, index int64, hashes []tree.Hash)) (*tree.Tree, error) {
	t := &tree.Tree{}
	stop := errors.New("stop")
	_, err := l.dir.Scan(0, func(seq int64, record []byte) error {
		if seq == first {
			return stop
		}
		t.Append(tlog.RecordHash(record), full)
		return nil
	})
	if err != nil && !errors.Is(err, stop) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return t, nil
}

// provesTo reports whether the tree before record first leads to the signed
// root when the records after it are added.
func (l *Log) provesTo(t *tree.Tree, first int64, signed checkpoint.Head) bool {
	if signed.Size < first {
		return false
	}
	leaves, err := leafHashes(l.dir, first, signed.Size)
	if err != nil {
		return false
	}
	for _, h := range leaves {
		t.Append(h, nil)
	}
	return t.Root() == signed.Root
}
