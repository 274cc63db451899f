package packer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/internal/inert"
)

// nodes reads nodes of a log's tree out of its tiles.
type nodes struct {
	ctx    context.Context
	reader tiles.Reader
}

// node returns the hash of the n-th perfect subtree of a height.
func (n nodes) node(height int, index int64) (tree.Hash, error) {
	level := height / 8
	first := index << (height % 8) // hash of that level
	count := int64(1) << (height % 8)
	t := tree.Tile{Level: level, Index: first / tree.Width}
	t.Width = int(min(tree.Width, n.reader.Size>>(8*level)-t.Index*tree.Width))
	hashes, err := n.reader.Hashes(n.ctx, t)
	if err != nil {
		return tree.Hash{}, fmt.Errorf("reading the log's tree: %w", err)
	}
	at := first % tree.Width
	if at+count > int64(len(hashes)) {
		return tree.Hash{}, fmt.Errorf("reading the log's tree: it has no subtree %d of height %d", index, height)
	}
	return tree.Fold(hashes[at : at+count]), nil
}

// between returns the roots of the subtrees that records fall into.
func (n nodes) between(from, to int64) ([]tree.Hash, error) {
	list := []tree.Hash{}
	for _, height := range pack.Subtrees(from, to) {
		h, err := n.node(height, from>>height)
		if err != nil {
			return nil, err
		}
		list = append(list, h)
		from += 1 << height
	}
	return list, nil
}

// leaves returns the hashes of records, which are in one tile.
func (n nodes) leaves(from, to int64) ([]tree.Hash, error) {
	t := tree.Tile{Level: 0, Index: from / tree.Width}
	t.Width = int(min(tree.Width, n.reader.Size-t.Index*tree.Width))
	hashes, err := n.reader.Hashes(n.ctx, t)
	if err != nil {
		return nil, err
	}
	first := t.Index * tree.Width
	return hashes[from-first : to-first], nil
}

// consistency returns the proof that the tree of one size goes on from that of
// another.
func (n nodes) consistency(size, old int64) ([]tree.Hash, error) {
	p, err := tlog.ProveTree(size, old, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		list := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			height, index := tlog.SplitStoredHashIndex(x)
			var err error
			if list[i], err = n.node(height, index); err != nil {
				return nil, err
			}
		}
		return list, nil
	}))
	if err != nil {
		return nil, fmt.Errorf("proving the checkpoint of %d records: %w", old, err)
	}
	return p, nil
}

// definitions returns the definitions of checks, each as it is hashed, but for
// those that the results in the logs were not made by.
func (b *builder) definitions() (list [][]byte, err error) {
	for i := range controls.Checks().Checks {
		d := &controls.Checks().Checks[i]
		line, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		same := true
		for _, f := range b.figures {
			if c, ok := f.Checks[d.ID]; ok {
				same = same && c.Definition == d.SHA256
			}
		}
		if same && !bytes.Contains(line, []byte("\n")) {
			list = append(list, line)
		}
	}
	return list, nil
}

func indented(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return append(inert.JSON(b), '\n'), err
}
