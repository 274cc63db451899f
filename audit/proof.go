package audit

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/audit/tlogproof"
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

// Append appends the proof to dst as C2SP tlog-proof (package tlogproof), which
// anybody verifies offline.
func (p Proof) Append(dst []byte) []byte {
	return tlogproof.Proof{Index: p.Seq, Hashes: p.Hashes, Checkpoint: p.Checkpoint}.Append(dst)
}

// MarshalText implements encoding.TextMarshaler as Append. It does not fail.
func (p Proof) MarshalText() ([]byte, error) { return p.Append(nil), nil }

// Prove returns the inclusion proof of a record under the newest checkpoint, or
// ErrUnsigned.
func (l *Log) Prove(seq int64) (Proof, error) {
	h := l.head.Load()
	r := tiles.Reader{Records: l.dir, Size: h.Size, Tree: h.tree}
	return prove(context.Background(), r, h.Head, h.note, seq)
}

// Prove is Log.Prove for a log that this process does not have open. It reads
// what an open log has in memory: the hashes at the edge of the tree.
func Prove(ctx context.Context, dir records.Dir, seq int64) (Proof, error) {
	h, err := tiles.Directory{Dir: dir}.Head()
	if err != nil {
		return Proof{}, fmt.Errorf("proving record %d: %w", seq, err)
	}
	head, err := checkpoint.Peek(h.Note)
	if err != nil {
		return Proof{}, fmt.Errorf("proving record %d: %w", seq, err)
	}
	return prove(ctx, tiles.Reader{Records: dir, Size: head.Size}, head, h.Note, seq)
}

func prove(ctx context.Context, r tiles.Reader, head checkpoint.Head, note []byte, seq int64) (Proof, error) {
	if seq >= head.Size {
		return Proof{}, fmt.Errorf("record %d: %w", seq, ErrUnsigned)
	}
	hashes, err := r.Prove(ctx, seq)
	if err != nil {
		return Proof{}, fmt.Errorf("proving record %d: %w", seq, err)
	}
	return Proof{seq, hashes, head, note}, nil
}

// Head returns the newest published checkpoint with its tree, for package
// tiles.
func (l *Log) Head() (tiles.Head, error) {
	h := l.head.Load()
	return tiles.Head{Note: h.note, Size: h.Size, Tree: h.tree}, nil
}

var _ tiles.Source = (*Log)(nil)
