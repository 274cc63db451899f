package verify

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// fail keeps an error that ends the verification when the segment is done.
func (c *check) fail(err error) {
	if c.failed == nil {
		c.failed = err
	}
}

// notSigned reports that the records do not have the root that the checkpoint
// signs, and which record it is as far as the tiles tell.
func (c *check) notSigned() {
	if len(c.wrong) > 0 && c.wrong[0].IsRecord {
		c.badRecord(c.wrong[0].Path, c.wrong[0].Seq, "its hash is not the one in the log's tiles, and the records do not have the root that the checkpoint signs")
		return
	}
	first := c.tree.Size() - c.tree.Size()%tree.Width
	if c.lost > 0 {
		first = 0
	}
	c.badRecord(checkpoint.File, first, fmt.Sprintf("the records do not have the root that the checkpoint signs; the first that differs from the log's tiles is one of %d to %d", first, c.tree.Size()-1))
}

// tile compares a full tile with the file that holds it.
func (c *check) tile(level int, index int64, hashes []tree.Hash) {
	path := tree.TilePath(level, index, tree.Width)
	b, err := c.readTile(path)
	switch {
	case errors.Is(err, errCannotTell):
		c.fail(err)
		return
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errIrregular):
		c.lost++
		return
	case err != nil:
		c.wrong = append(c.wrong, Problem{Path: path, What: err.Error()})
		return
	}
	c.Tiles++
	at := differs(b, hashes)
	if at < 0 || len(c.wrong) >= maxWrong {
		return
	}
	p := Problem{Path: path, What: "it is not the tile that the records give"}
	if level == 0 && len(b) == tree.TileBytes {
		p.IsRecord, p.Seq = true, index*tree.Width+int64(at)
	}
	c.wrong = append(c.wrong, p)
}

// maxWrong is how many wrong tiles are reported.
const maxWrong = 1000

// differs returns the first hash that the bytes of a tile do not hold, or -1.
func differs(b []byte, hashes []tree.Hash) int {
	if len(b) != len(hashes)*tlog.HashSize {
		return 0
	}
	for i := range hashes {
		if tree.Hash(b[i*tlog.HashSize:(i+1)*tlog.HashSize]) != hashes[i] {
			return i
		}
	}
	return -1
}

// load reads a full tile.
func (c *check) load(level int, index int64) ([]tree.Hash, error) {
	path := tree.TilePath(level, index, tree.Width)
	b, err := c.readTile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	hashes, err := tree.Split(b)
	if err == nil && len(hashes) != tree.Width {
		err = fmt.Errorf("it has %d hashes, not %d", len(hashes), tree.Width)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return hashes, nil
}

// leaf reads the hash of a record from its tile.
func (c *check) leaf(seq int64) (tree.Hash, error) {
	if first := c.Resumed - c.Resumed%tree.Width; c.Resumed > 0 && seq >= first {
		return tree.Hash(c.state.Edge[0][seq-first]), nil
	}
	hashes, err := c.load(0, seq/tree.Width)
	if err != nil {
		if errors.Is(err, errCannotTell) {
			return tree.Hash{}, err
		}
		return tree.Hash{}, nil // the tile is reported; no record has this hash
	}
	return hashes[seq%tree.Width], nil
}

// pruned makes the tree of the records that were removed before segment s from
// the tiles of level 0, and compares the others with it.
func (c *check) pruned(s records.Segment) error {
	c.Pruned = s.First
	c.rollups.known = false
	for index := int64(0); index*tree.Width < s.First; index++ {
		hashes, err := c.load(0, index)
		if errors.Is(err, errCannotTell) {
			return err
		}
		if err != nil {
			c.badRecord(s.Path(), 0, fmt.Sprintf("it is missing, as are all up to record %d, and the tree cannot be made from the tiles alone: %v", s.First-1, err))
			c.broken = true
			return nil
		}
		for _, h := range hashes[:min(tree.Width, s.First-index*tree.Width)] {
			c.root()
			c.tree.Append(h, c.tile)
		}
		if c.failed != nil {
			return c.failed
		}
		c.progress(false)
	}
	return c.oldRollups(c.Pruned)
}
