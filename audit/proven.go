package audit

import (
	"fmt"
	"slices"

	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// proven returns nil if the hashes of records, from record first on, are those
// in the signed tree. Before a segment goes, and tiles are all that is left of
// it, they must be true: the segment may have been changed since it was sealed.
func (l *Log) proven(first int64, leaves []tree.Hash) error {
	next := first + int64(len(leaves))
	for index := first / tree.Width; index*tree.Width < next; index++ {
		begin := index * tree.Width
		from, to := max(first, begin), min(next, begin+tree.Width)
		hashes := leaves[from-first : to-first]
		if len(hashes) < tree.Width { // other segments have the rest of the tile
			tile, err := loadTile(l.dir.FS)(0, index)
			if err != nil {
				return err
			}
			if !slices.Equal(tile[from-begin:to-begin], hashes) {
				return fmt.Errorf("%w: records %d to %d do not have the hashes in the log's tiles", ErrDamaged, from, to-1)
			}
			hashes = tile
		}
		if err := l.provenTile(index, hashes); err != nil {
			return err
		}
	}
	return nil
}

// provenTile returns nil if the hashes are a full tile of level 0 of the signed
// tree: the tile above has their hash, the one above that its hash, up to the
// edge of the tree, which is in memory. A tile that is missing is made from
// those below it, and looked for in the one above like the others.
func (l *Log) provenTile(index int64, hashes []tree.Hash) error {
	signed, begin := l.head.Load().tree, index*tree.Width
	for level, edge := 1, false; !edge; level++ {
		sum, at := tree.Fold(hashes), index%tree.Width
		index /= tree.Width
		var err error
		if edge = index >= signed.Size()>>(8*(level+1)); edge {
			hashes = signed.Edge(level)
		} else if hashes, err = loadTile(l.dir.FS)(level, index); err != nil {
			hashes, err = l.foldTile(level, index)
		}
		if err != nil {
			return err
		}
		if at >= int64(len(hashes)) || hashes[at] != sum {
			return fmt.Errorf("%w: records %d to %d do not have the root that the checkpoint signs, or a hash tile over them is wrong", ErrDamaged, begin, begin+tree.Width-1)
		}
	}
	return nil
}
