package pack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// Log is the description of a log in a pack, its file log.json: which records
// are there, and what leads from them to the root of the log's tree.
//
// The records before First are Left: the roots of the perfect subtrees that they
// fall into, from the left. The records from Next on are Right, likewise. Which
// subtrees these are follows from First, Next and the size.
type Log struct {
	Heads
	First  int64       `json:"first"` // record
	Next   int64       `json:"next"`  // the one behind the last record
	Pieces []Piece     `json:"pieces"`
	Left   []tree.Hash `json:"left"`
	Right  []tree.Hash `json:"right"`

	// Segments are the first records of the segments that lie in the pack: where
	// rollup records count from.
	Segments []int64 `json:"segments"`

	// Erased is a log.erase record that says that records before First were
	// removed after their time of retention; absent if they were not.
	Erased *Erased `json:"erased,omitempty"`

	// Proofs are for the checkpoints that are of fewer records than First, or of
	// more than Next: that the tree of the pack goes on from them (RFC 6962,
	// section 2.1.2).
	Proofs []Proof `json:"proofs"`
}

// The forms of a piece.
const (
	Raw    = "records" // one raw record a line
	Hashes = "hashes"  // leaf hashes only, 32 bytes each
)

// Piece is a file with records, or with their hashes.
type Piece struct {
	File  string `json:"file"` // below the log's folder
	Form  string `json:"form"`
	First int64  `json:"first"`
	Count int64  `json:"count"`
	Why   string `json:"why,omitempty"` // the records are not there
}

// Proof is a consistency proof.
type Proof struct {
	Size   int64       `json:"size"` // of the older tree
	Hashes []tree.Hash `json:"hashes"`
}

// Erased is a record with its inclusion proof (RFC 6962, section 2.1.1).
type Erased struct {
	Seq    int64            `json:"seq"`
	Record string           `json:"record"`
	Proof  tlog.RecordProof `json:"proof"`
}

// Limits of a description.
const (
	maxPieces = 100_000
	maxProofs = 100_000
)

// Validate checks that what a description says fits together.
func (l *Log) Validate() error {
	if l.First < 0 || l.First > l.Next || l.Next > l.Size || l.Size < 1 || l.Size > 1<<60 {
		return fmt.Errorf("records %d to %d cannot be in a log of %d", l.First, l.Next, l.Size)
	}
	if len(l.Pieces) > maxPieces || len(l.Proofs) > maxProofs {
		return errors.New("it has too many pieces or proofs")
	}
	at := l.First
	for _, p := range l.Pieces {
		if p.First != at || p.Count < 1 || p.Count > l.Next-at || p.Form != Hashes && (p.Form != Raw || p.Why != "") {
			return fmt.Errorf("%s does not go on where the piece before it ends: record %d is missing", p.File, at)
		}
		at += p.Count
	}
	if at != l.Next {
		return fmt.Errorf("records %d to %d are missing", at, l.Next-1)
	}
	for i, s := range l.Segments {
		if s < l.First || s >= l.Next || i > 0 && s <= l.Segments[i-1] {
			return errors.New("its segments are not in order")
		}
	}
	if len(l.Left) != len(Subtrees(0, l.First)) || len(l.Right) != len(Subtrees(l.Next, l.Size)) {
		return errors.New("it does not have the hashes that lead to the root")
	}
	return nil
}

// Subtrees returns the heights of the perfect subtrees that the records from one
// to before another fall into, from the left.
func Subtrees(from, to int64) (heights []int) {
	for from < to {
		height := 62
		if from > 0 {
			height = bits.TrailingZeros64(uint64(from))
		}
		for int64(1)<<height > to-from {
			height--
		}
		heights = append(heights, height)
		from += 1 << height
	}
	return heights
}

// Roll is a tree that grows by subtrees (RFC 6962, section 2.1).
type Roll struct {
	size  int64
	stack []subtree
}

type subtree struct {
	height int
	hash   tree.Hash
}

// Size is the number of records.
func (r *Roll) Size() int64 { return r.size }

// Push adds a perfect subtree of a height, 0 for a record.
func (r *Roll) Push(height int, h tree.Hash) {
	r.size += 1 << height
	for n := len(r.stack); n > 0 && r.stack[n-1].height == height; n-- {
		h = tlog.NodeHash(r.stack[n-1].hash, h)
		r.stack = r.stack[:n-1]
		height++
	}
	r.stack = append(r.stack, subtree{height, h})
}

// Root is the root of the tree.
func (r *Roll) Root() tree.Hash {
	n := len(r.stack)
	if n == 0 {
		return sha256.Sum256(nil)
	}
	h := r.stack[n-1].hash
	for i := n - 2; i >= 0; i-- {
		h = tlog.NodeHash(r.stack[i].hash, h)
	}
	return h
}
