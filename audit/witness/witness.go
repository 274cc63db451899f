// Package witness is C2SP tlog-witness, both sides of it.
//
// A witness remembers, of each log that it knows, the newest tree head it has
// seen. It cosigns a checkpoint only if the log proves that the tree of that
// head is a prefix of the checkpoint's tree. So whoever trusts one witness and
// finds its cosignature knows that the log has shown this witness one history,
// even if the log's owner holds the log's key and its disk.
//
//	Client    asks one witness for the cosignature of a checkpoint
//	Group     asks several at once and merges what they say into one note
//	Server    is a witness for the logs of others
//
// The exchange is one request:
//
//	POST <url>/add-checkpoint
//
//	old 20852014                                    what the witness saw last
//	PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=    consistency proof
//	…
//
//	example.com/behind-the-sofa                     checkpoint
//	20852163
//	…
//
// The answer is 200 and signature lines, or 409 and the size from which the
// witness wants the proof, or the number of another error.
package witness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"golang.org/x/mod/sumdb/tlog"
)

// Limits of the protocol and of this implementation.
const (
	// maxProof is the number of hashes in the longest proof (C2SP
	// tlog-witness, "add-checkpoint").
	maxProof = 63
	// maxBody bounds requests and answers. Sixteen signatures of the largest
	// kind, which every verifier must accept (C2SP signed-note), take 110 kB.
	maxBody = 128 << 10
	// maxSize bounds the size of a tree: above it tlog.CheckTree of
	// golang.org/x/mod v0.42.0 does not return.
	maxSize = 1 << 62

	addPath  = "/add-checkpoint"
	sizeType = "text/x.tlog.size"
)

// Prover returns the consistency proof between two sizes of the log's tree, 0 <
// oldSize < newSize (RFC 6962, section 2.1.2). It must not change what other
// calls see: a Group calls it from several goroutines.
type Prover func(ctx context.Context, oldSize, newSize int64) ([]tlog.Hash, error)

// OriginHash names a log in paths: SHA-256 of its origin, in hexadecimal (C2SP
// tlog-witness, "Monitor Retrieval Mechanism").
func OriginHash(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:])
}
