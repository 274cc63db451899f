package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// ErrRoot means that the records and tiles of a log do not have the root that
// its checkpoint signs. Nothing is said of which of them are wrong.
var ErrRoot = errors.New("the records do not have the root that the checkpoint signs: verify the log")

// TilesOptions says how Tiles writes.
type TilesOptions struct {
	// Resume goes on with an export of the same log that was interrupted, or
	// brings one up to date: entry bundles that are there already are kept if
	// their hashes are those of the log. Default: the directory must be empty.
	Resume   bool
	Progress func(done, total int64) // told of exported records. Default: nobody is
}

// Tiles writes the log in dir, up to its checkpoint, to the directory to, as
// plain C2SP tlog-tiles files with partial tiles. The log may be open
// elsewhere. The checkpoint is written last, when the root of what was exported
// is the one that it signs; its signature is not verified. Records that were
// removed when their retention ended are left out, with their hashes there.
func Tiles(ctx context.Context, dir records.Dir, to string, opt TilesOptions) (checkpoint.Head, error) {
	h, err := tiles.Directory{Dir: dir}.Head()
	if err != nil {
		return checkpoint.Head{}, fmt.Errorf("exporting: %w", err)
	}
	head, err := checkpoint.Peek(h.Note)
	if err != nil {
		return head, fmt.Errorf("exporting: %w", err)
	}
	if err := usable(to, head, opt.Resume); err != nil {
		return head, fmt.Errorf("exporting to %s: %w", to, err)
	}
	x := tilesExport{to: to, opt: opt, size: head.Size, source: tiles.Reader{Records: dir, Size: head.Size}}
	if err := x.run(ctx); err != nil {
		return head, fmt.Errorf("exporting to %s: %w", to, err)
	}
	if x.tree.Root() != head.Root {
		return head, fmt.Errorf("exporting to %s: %w", to, ErrRoot)
	}
	if err := x.edges(); err != nil {
		return head, fmt.Errorf("exporting to %s: %w", to, err)
	}
	return head, x.put(checkpoint.File, h.Note) // last: only a whole export has it
}

// usable says whether a directory may be written to.
func usable(to string, head checkpoint.Head, resume bool) error {
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) == 0 {
		return nil //nolint:nilerr // making it will tell
	}
	if !resume {
		return errors.New("the directory is not empty: name a new one, or use --resume to go on with an export of this log")
	}
	if _, err := os.Stat(filepath.Join(to, records.Folder)); err == nil {
		return errors.New("this is the directory of a log, not of an export")
	}
	note, err := os.ReadFile(filepath.Join(to, checkpoint.File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	old, err := checkpoint.Peek(note)
	switch {
	case err != nil:
		return err
	case old.Origin != head.Origin:
		return fmt.Errorf("it holds an export of the log %q, not of %q", old.Origin, head.Origin)
	case old.Size > head.Size:
		return fmt.Errorf("it holds an export of %d records, but the log's checkpoint signs %d: the log was rolled back", old.Size, head.Size)
	}
	return nil
}

// tilesExport is an export under way.
type tilesExport struct {
	to     string
	opt    TilesOptions
	size   int64
	source tiles.Reader
	tree   tree.Tree
	bundle []byte
}

// run writes the entry bundles and the full tiles.
func (x *tilesExport) run(ctx context.Context) error {
	first, err := x.source.Records.First()
	if err != nil {
		return err
	}
	first = min((first+tree.Width-1)/tree.Width*tree.Width, x.size) // a bundle is there whole or not at all
	for x.tree.Size() < x.size {
		hashes, err := x.kept(ctx, x.tree.Size() < first)
		if err != nil {
			return err
		}
		if hashes == nil {
			break
		}
		for _, h := range hashes {
			if err := x.grow(h); err != nil {
				return err
			}
		}
		x.tell()
	}
	if x.tree.Size() == x.size {
		return nil
	}
	_, err = x.source.Records.Range(ctx, x.tree.Size(), x.size, x.record)
	if err == nil && x.tree.Size() < x.size {
		err = fmt.Errorf("the log has %d records, but its checkpoint signs %d: verify the log", x.tree.Size(), x.size)
	}
	return err
}

// kept returns the leaf hashes of the next bundle if it need not be written:
// because it is there, or because the log no longer has it.
func (x *tilesExport) kept(ctx context.Context, removed bool) ([]tree.Hash, error) {
	t := tree.Tile{Index: x.tree.Size() / tree.Width, Width: int(min(tree.Width, x.size-x.tree.Size()))}
	if removed {
		return x.source.Hashes(ctx, t)
	}
	if !x.opt.Resume || t.Width < tree.Width {
		return nil, nil
	}
	b, err := os.ReadFile(x.name(tree.EntriesPath(t.Index, t.Width)))
	if err != nil {
		return nil, nil //nolint:nilerr // it is not there, and will be written
	}
	got, err := tiles.LeafHashes(b)
	if err != nil {
		return nil, nil //nolint:nilerr // it is the beginning of one, likewise
	}
	want, err := x.source.Hashes(ctx, t)
	if err != nil || !bytes.Equal(tree.Join(got), tree.Join(want)) {
		return nil, err
	}
	return want, nil
}

// record adds a record, and writes its bundle when that is whole.
func (x *tilesExport) record(seq int64, record []byte) error {
	if seq != x.tree.Size() {
		return fmt.Errorf("record %d is missing in the log", x.tree.Size())
	}
	x.bundle = append(x.bundle, byte(len(record)>>8), byte(len(record)))
	x.bundle = append(x.bundle, record...)
	if err := x.grow(tlog.RecordHash(record)); err != nil {
		return err
	}
	if n := x.tree.Size(); n%tree.Width == 0 || n == x.size {
		err := x.put(tree.EntriesPath(seq/tree.Width, int(seq%tree.Width)+1), x.bundle)
		x.bundle = x.bundle[:0]
		x.tell()
		return err
	}
	return nil
}

// grow adds a leaf to the tree, and writes the tiles that it completes.
func (x *tilesExport) grow(leaf tree.Hash) (err error) {
	x.tree.Append(leaf, func(level int, index int64, hashes []tree.Hash) {
		if err == nil {
			err = x.put(tree.TilePath(level, index, tree.Width), tree.Join(hashes))
		}
	})
	return err
}

// edges writes the partial tiles at the right edge of the tree.
func (x *tilesExport) edges() error {
	for level := 0; x.size>>(8*level) > 0; level++ {
		hashes := x.tree.Edge(level)
		if len(hashes) == 0 {
			continue
		}
		if err := x.put(tree.TilePath(level, x.size>>(8*(level+1)), len(hashes)), tree.Join(hashes)); err != nil {
			return err
		}
	}
	return nil
}

func (x *tilesExport) tell() {
	if x.opt.Progress != nil {
		x.opt.Progress(x.tree.Size(), x.size)
	}
}

func (x *tilesExport) name(path string) string {
	return filepath.Join(x.to, filepath.FromSlash(path))
}

// put writes a file, unless the very same is there.
func (x *tilesExport) put(path string, b []byte) error {
	name := x.name(path)
	if x.opt.Resume {
		if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, b) {
			return nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(name), durable.DirMode); err != nil {
		return err
	}
	return durable.ReplaceFile(durable.OS{}, name, b, false)
}
