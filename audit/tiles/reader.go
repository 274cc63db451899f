package tiles

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// ErrAbsent means that a tile is not part of the tree.
var ErrAbsent = errors.New("there is no such tile in the tree")

// Reader reads the tiles of a tree of a fixed size. A tile that is not on disk
// is made again from the records, which a Reader does not write.
type Reader struct {
	Records records.Dir
	Size    int64
	Tree    *tree.Tree // of that size, if it is at hand: its edge saves reading. Default: none
}

// Has reports whether the tile is in the tree. A partial tile is if the tree
// has as many hashes of that tile or more.
func (r Reader) Has(t tree.Tile) bool {
	level := max(t.Level, 0)
	have := r.Size >> (8 * level)
	return t.Width > 0 && t.Width <= tree.Width && t.Index >= 0 && t.Index <= have/tree.Width &&
		t.Index*tree.Width+int64(t.Width) <= have
}

// Hashes returns the hashes of a tile, which is not one of entries.
func (r Reader) Hashes(ctx context.Context, t tree.Tile) ([]tree.Hash, error) {
	if t.Level < 0 || !r.Has(t) {
		return nil, fmt.Errorf("tile %d/%d of width %d: %w", t.Level, t.Index, t.Width, ErrAbsent)
	}
	full := r.Size >> (8 * (t.Level + 1))
	switch {
	case t.Index < full: // a partial tile is the beginning of what is now full
		hashes, err := r.full(ctx, t.Level, t.Index)
		if err != nil {
			return nil, err
		}
		return hashes[:t.Width], nil
	case r.Tree != nil && len(r.Tree.Edge(t.Level)) >= t.Width:
		return r.Tree.Edge(t.Level)[:t.Width], nil
	}
	return r.build(ctx, t)
}

// stored reports whether a tile is read without making it from records.
func (r Reader) stored(t tree.Tile) bool {
	if t.Index >= r.Size>>(8*(t.Level+1)) {
		return r.Tree != nil
	}
	info, err := fs.Stat(r.Records.FS, tree.TilePath(t.Level, t.Index, tree.Width))
	return err == nil && info.Size() == tree.TileBytes
}

// full reads a full tile.
func (r Reader) full(ctx context.Context, level int, index int64) ([]tree.Hash, error) {
	b, err := fs.ReadFile(r.Records.FS, tree.TilePath(level, index, tree.Width))
	if err == nil && len(b) == tree.TileBytes {
		return tree.Split(b)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading tile: %w", err)
	}
	return r.build(ctx, tree.Tile{Level: level, Index: index, Width: tree.Width})
}

// build makes a tile from those below it, or from records.
func (r Reader) build(ctx context.Context, t tree.Tile) ([]tree.Hash, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("making tile %d/%d: %w", t.Level, t.Index, err)
	}
	if t.Level == 0 {
		bundle, err := r.Records.Bundle(ctx, t.Index, t.Width)
		if err != nil {
			return nil, fmt.Errorf("making tile %d/%d: %w", t.Level, t.Index, err)
		}
		return LeafHashes(bundle)
	}
	hashes := make([]tree.Hash, 0, t.Width)
	for i := range int64(t.Width) {
		below, err := r.full(ctx, t.Level-1, t.Index*tree.Width+i)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, tree.Fold(below))
	}
	return hashes, nil
}

// LeafHashes returns the leaf hashes of the records of an entry bundle (C2SP
// tlog-tiles, "Log entries").
func LeafHashes(bundle []byte) ([]tree.Hash, error) {
	var hashes []tree.Hash
	for len(bundle) > 0 {
		if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
			return nil, errors.New("an entry bundle ends within a record")
		}
		end := 2 + int(binary.BigEndian.Uint16(bundle))
		hashes = append(hashes, tlog.RecordHash(bundle[2:end]))
		bundle = bundle[end:]
	}
	return hashes, nil
}

// Prove returns the inclusion proof of a record in the tree (RFC 6962, section
// 2.1.1). It reads each tile once.
func (r Reader) Prove(ctx context.Context, index int64) (tlog.RecordProof, error) {
	return tlog.ProveRecord(r.Size, index, &nodes{ctx: ctx, reader: r, tiles: map[tree.Tile][]tree.Hash{}})
}

// Consistency returns the proof that the tree of the first records before is a
// beginning of the reader's (RFC 6962, section 2.1.2).
func (r Reader) Consistency(ctx context.Context, before int64) (tlog.TreeProof, error) {
	proof, err := tlog.ProveTree(r.Size, before, &nodes{ctx: ctx, reader: r, tiles: map[tree.Tile][]tree.Hash{}})
	if err != nil {
		return nil, fmt.Errorf("proving that %d records are the first of %d: %w", before, r.Size, err)
	}
	return proof, nil
}

// Root returns the hash of the tree's head (RFC 6962, section 2.1), from tiles
// and, where there are none, from records. It does not know whether they are
// true: compare it with what a checkpoint signs.
func (r Reader) Root(ctx context.Context) (tree.Hash, error) {
	root, err := tlog.TreeHash(r.Size, &nodes{ctx: ctx, reader: r, tiles: map[tree.Tile][]tree.Hash{}})
	if err != nil {
		return root, fmt.Errorf("root of the tree of %d records: %w", r.Size, err)
	}
	return root, nil
}

// nodes reads the nodes of a tree for one proof. It implements tlog.HashReader.
type nodes struct {
	ctx    context.Context //nolint:containedctx // it lives as long as the call that makes it
	reader Reader
	tiles  map[tree.Tile][]tree.Hash
}

// ReadHashes implements tlog.HashReader.
func (n *nodes) ReadHashes(indexes []int64) ([]tree.Hash, error) {
	hashes := make([]tree.Hash, len(indexes))
	for i, index := range indexes {
		height, at := tlog.SplitStoredHashIndex(index)
		span := int64(1) << (height % 8) // hashes of the tile below the node
		first := at * span
		t := tree.Tile{Level: height / 8, Index: first / tree.Width, Width: tree.Width}
		if t.Index >= n.reader.Size>>(8*(t.Level+1)) {
			t.Width = int(n.reader.Size >> (8 * t.Level) % tree.Width)
		}
		tile, ok := n.tiles[t]
		if !ok {
			var err error
			if tile, err = n.reader.Hashes(n.ctx, t); err != nil {
				return nil, err
			}
			n.tiles[t] = tile
		}
		lo := first % tree.Width
		if lo+span > int64(len(tile)) {
			return nil, fmt.Errorf("node %d of height %d: %w", at, height, ErrAbsent)
		}
		hashes[i] = tree.Fold(tile[lo : lo+span])
	}
	return hashes, nil
}
