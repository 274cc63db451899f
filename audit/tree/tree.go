// Package tree is the Merkle tree over the records of a log: RFC 6962 hashing
// (section 2.1), cut into the tiles of C2SP tlog-tiles.
//
// A tile of level L holds up to 256 hashes of nodes of height 8·L. Tile 0 of
// level 0 holds the hashes of records 0 to 255; its root is the first hash of
// tile 0 of level 1, and so on:
//
//	level 1   [ h0 h1 h2 … ]                 tile/1/000
//	            │  └──────────────┐
//	level 0   [ 256 leaf hashes ] [ 256 leaf hashes ] [ 17 leaf hashes ]
//	            tile/0/000          tile/0/001          the edge
//
// A full tile never changes. What is not yet a full tile, at most 255 hashes a
// level, is the edge: it is all the state that growing the tree needs.
package tree

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/digest"
)

// Hash is a SHA-256 hash of a leaf or node.
type Hash = tlog.Hash

// Width is the number of hashes in a full tile and of records in a full entry
// bundle (C2SP tlog-tiles). Part of the on-disk format; do not change.
const Width = 256

// TileBytes is the size of a full tile. Part of the on-disk format.
const TileBytes = Width * tlog.HashSize

// Tree is a growing tree. It belongs to one goroutine.
type Tree struct {
	size int64
	edge [][]Hash // edge[L]: the hashes of the unfinished tile of level L
}

// Size is the number of leaves.
func (t *Tree) Size() int64 { return t.size }

// Append adds a leaf. It calls full, if not nil, for each tile that this
// completes, lowest level first; full must not keep hashes.
func (t *Tree) Append(leaf Hash, full func(level int, index int64, hashes []Hash)) {
	t.size++
	for level := 0; ; level++ {
		if level == len(t.edge) {
			t.edge = append(t.edge, make([]Hash, 0, Width))
		}
		t.edge[level] = append(t.edge[level], leaf)
		if len(t.edge[level]) < Width {
			return
		}
		if full != nil {
			full(level, t.size>>(8*(level+1))-1, t.edge[level])
		}
		leaf = Fold(t.edge[level])
		t.edge[level] = t.edge[level][:0]
	}
}

// Root returns the tree head's hash (RFC 6962, section 2.1: MTH). It takes at
// most 255 hashes a level.
func (t *Tree) Root() Hash {
	if t.size == 0 {
		return emptyRoot
	}
	var root Hash
	have := false
	for _, hashes := range t.edge {
		for n := len(hashes); n > 0; {
			w := n & -n // the rightmost perfect subtree
			sub := Fold(hashes[n-w : n])
			if have {
				sub = tlog.NodeHash(sub, root)
			}
			root, have, n = sub, true, n-w
		}
	}
	return root
}

// Clone returns a copy that can be read while t grows.
func (t *Tree) Clone() *Tree {
	c := &Tree{size: t.size, edge: make([][]Hash, len(t.edge))}
	for i, hashes := range t.edge {
		c.edge[i] = append([]Hash(nil), hashes...)
	}
	return c
}

// Edge returns the hashes of the unfinished tile of a level, which are none if
// the level's last tile is full. The slice is the tree's own.
func (t *Tree) Edge(level int) []Hash {
	if level >= len(t.edge) {
		return nil
	}
	return t.edge[level]
}

// emptyRoot is the hash of no leaves: SHA-256 of the empty string.
var emptyRoot = Hash{
	0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
	0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
}

// Fold returns the root of a perfect subtree from its lowest hashes, whose
// number must be a power of two.
func Fold(hashes []Hash) Hash {
	var buf [Width]Hash
	for level := append(buf[:0], hashes...); ; {
		if len(level) == 1 {
			return level[0]
		}
		level = digest.Nodes(level)
	}
}

// Loader returns the hashes of a full tile.
type Loader func(level int, index int64) ([]Hash, error)

// At rebuilds the tree of the given size from full tiles. It needs the leaf
// hashes of the last size % 256 records, which are in no full tile. It does not
// know whether the tiles are true: compare Root with a signed checkpoint.
func At(size int64, leaves []Hash, load Loader) (*Tree, error) {
	if int64(len(leaves)) != size%Width {
		return nil, fmt.Errorf("tree of size %d needs %d leaf hashes, not %d", size, size%Width, len(leaves))
	}
	t := &Tree{size: size, edge: [][]Hash{append(make([]Hash, 0, Width), leaves...)}}
	for level := 1; size>>(8*level) > 0; level++ {
		n := size >> (8 * level) // nodes of this height
		edge := make([]Hash, 0, Width)
		for i := n - n%Width; i < n; i++ {
			hashes, err := load(level-1, i)
			if err != nil {
				return nil, err
			}
			edge = append(edge, Fold(hashes))
		}
		t.edge = append(t.edge, edge)
	}
	return t, nil
}

// Reader reads any node of a tree of a fixed size, for proofs.
// It implements tlog.HashReader.
type Reader struct {
	Tree *Tree
	Load Loader
}

// ReadHashes implements tlog.HashReader.
func (r Reader) ReadHashes(indexes []int64) ([]Hash, error) {
	hashes := make([]Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		h, err := r.node(level, n)
		if err != nil {
			return nil, err
		}
		hashes[i] = h
	}
	return hashes, nil
}

// node returns the hash of the n-th node of the given height.
func (r Reader) node(height int, n int64) (Hash, error) {
	level, span := height/8, int64(1)<<(height%8) // span: hashes of the tile below the node
	first := n * span
	hashes, err := r.tile(level, first/Width)
	if err != nil {
		return Hash{}, err
	}
	lo := first % Width
	if lo+span > int64(len(hashes)) {
		return Hash{}, fmt.Errorf("node %d of height %d is not in a tree of size %d", n, height, r.Tree.size)
	}
	return Fold(hashes[lo : lo+span]), nil
}

func (r Reader) tile(level int, index int64) ([]Hash, error) {
	if full := r.Tree.size >> (8 * (level + 1)); index < full {
		return r.Load(level, index)
	}
	return r.Tree.Edge(level), nil
}
