package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// ErrUnsigned means that no published checkpoint covers a record yet.
var ErrUnsigned = errors.New("no checkpoint covers the record yet")

// Proof shows that a record is in the log that a checkpoint signs (RFC 6962,
// section 2.1.1).
type Proof struct {
	Seq        int64
	Hashes     tlog.RecordProof
	Head       checkpoint.Head
	Checkpoint []byte // the signed note
}

// Prove returns the inclusion proof of a record under the newest checkpoint.
func (l *Log) Prove(seq int64) (Proof, error) {
	h := l.head.Load()
	if seq >= h.Size {
		return Proof{}, fmt.Errorf("record %d: %w", seq, ErrUnsigned)
	}
	hashes, err := tlog.ProveRecord(h.Size, seq, tree.Reader{Tree: h.tree, Load: loadTile(l.dir.FS)})
	if err != nil {
		return Proof{}, fmt.Errorf("proving record %d: %w", seq, err)
	}
	return Proof{seq, hashes, h.Head, h.note}, nil
}

// Export writes the log in dir, up to its checkpoint, to the directory to, as
// plain C2SP tlog-tiles files with partial tiles, for tools that know nothing
// of segments. The log may be open elsewhere. It returns the exported head,
// which it does not verify. Progress, if not nil, is told of exported records.
func Export(dir, to string, progress func(done, total int64)) (checkpoint.Head, error) {
	src := dirFS(dir)
	note, err := fs.ReadFile(src.FS, checkpoint.File)
	if err != nil {
		return checkpoint.Head{}, fmt.Errorf("exporting %s: %w", dir, err)
	}
	head, err := checkpoint.Peek(note)
	if err != nil {
		return checkpoint.Head{}, fmt.Errorf("exporting %s: %w", dir, err)
	}
	if entries, err := os.ReadDir(to); err == nil && len(entries) > 0 {
		return head, fmt.Errorf("exporting to %s: the directory is not empty", to)
	}
	x := exporter{to: to, size: head.Size, progress: progress}
	if err := x.records(src); err != nil {
		return head, fmt.Errorf("exporting %s: %w", dir, err)
	}
	if x.tree.Root() != head.Root {
		return head, fmt.Errorf("exporting %s: %w: the records do not have the root that the checkpoint signs", dir, ErrDamaged)
	}
	x.edges()
	x.put(checkpoint.File, note) // last: only a whole export has a checkpoint
	return head, x.err
}

// exporter writes tiles. It remembers its first error.
type exporter struct {
	to       string
	size     int64
	tree     tree.Tree
	bundle   []byte
	progress func(done, total int64)
	err      error
}

func (x *exporter) put(path string, b []byte) {
	if x.err != nil {
		return
	}
	name := filepath.Join(x.to, filepath.FromSlash(path))
	if x.err = os.MkdirAll(filepath.Dir(name), durable.DirMode); x.err == nil {
		x.err = os.WriteFile(name, b, durable.FileMode)
	}
}

var errExported = errors.New("all records are exported")

func (x *exporter) records(src records.Dir) error {
	if x.size == 0 {
		return nil
	}
	_, err := src.Scan(0, func(seq int64, record []byte) error {
		x.bundle = append(x.bundle, byte(len(record)>>8), byte(len(record)))
		x.bundle = append(x.bundle, record...)
		x.tree.Append(tlog.RecordHash(record), func(level int, index int64, hashes []tree.Hash) {
			x.put(tree.TilePath(level, index, tree.Width), tree.Join(hashes))
		})
		if n := seq + 1; n%tree.Width == 0 || n == x.size {
			width := int(seq%tree.Width) + 1
			x.put(tree.EntriesPath(seq/tree.Width, width), x.bundle)
			x.bundle = x.bundle[:0]
			if x.progress != nil {
				x.progress(n, x.size)
			}
		}
		if seq+1 == x.size {
			return errExported
		}
		return x.err
	})
	if err == nil {
		return fmt.Errorf("%w: it has fewer records than the %d that its checkpoint signs", ErrDamaged, x.size)
	}
	if !errors.Is(err, errExported) {
		return err
	}
	return x.err
}

// edges writes the partial tiles at the right edge of the tree.
func (x *exporter) edges() {
	for level := 0; x.size>>(8*level) > 0; level++ {
		if hashes := x.tree.Edge(level); len(hashes) > 0 {
			x.put(tree.TilePath(level, x.size>>(8*(level+1)), len(hashes)), tree.Join(hashes))
		}
	}
}
