package tiles

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

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
