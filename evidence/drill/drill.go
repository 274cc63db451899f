// Package drill makes a drill of restoring the log: it verifies a copy that was
// restored, and compares it with the log that the copy is of. It knows neither
// the server nor where the log is; Live asks.
package drill

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/export"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/evidence/decision"
)

// Live is the log that a copy is compared with.
type Live interface {
	// Checkpoint returns the newest signed note.
	Checkpoint(ctx context.Context) ([]byte, error)

	// Consistency proves that the tree of the first records from is a beginning
	// of that of the first to (RFC 6962, section 2.1.2).
	Consistency(ctx context.Context, from, to int64) (tlog.TreeProof, error)

	// Appended is about when a record was appended. A record that is not there
	// any more is records.ErrNotFound.
	Appended(ctx context.Context, seq int64) (time.Time, error)
}

// Restore is a drill.
type Restore struct {
	Copy   fs.FS           // directory of the log that was restored
	Keys   []note.Verifier // of the log
	Live   Live
	MaxAge time.Duration // that the copy may have

	// Progress, if not nil, is told how far the verification of the copy is.
	Progress func(verify.Progress)

	// Now is the clock; default: time.Now.
	Now func() time.Time
}

// Run verifies the copy. What is wrong with it is in the problems of what it
// returns, which has none if the drill passed; an error means that the drill
// could not be made.
//
// The copy is a log by itself: package verify reads all of it. The checkpoint
// of the live log is read when that is done, so that it is not older than the
// copy, and a proof shows that the copy is a beginning of what it signs.
func (r Restore) Run(ctx context.Context) (*decision.Restored, error) {
	if r.Now == nil {
		r.Now = time.Now
	}
	began := r.Now()
	report, err := verify.Dir(r.Copy, r.Keys, verify.Options{Progress: r.Progress, Now: r.Now})
	if err != nil {
		return nil, fmt.Errorf("verifying the copy: %w", err)
	}
	found := &decision.Restored{MaxAge: r.MaxAge, Records: report.Records, Pruned: report.Pruned}
	for _, p := range report.Problems {
		found.Note(p.String())
	}
	if err := r.compare(ctx, found); err != nil {
		return nil, err
	}
	found.Took = max(0, r.Now().Sub(began))
	return found, nil
}

// compare compares the checkpoint of the copy with that of the live log.
func (r Restore) compare(ctx context.Context, found *decision.Restored) error {
	b, err := r.Live.Checkpoint(ctx)
	if err != nil {
		return fmt.Errorf("reading the checkpoint of the log that runs: %w", err)
	}
	live, _, err := checkpoint.Open(b, r.Keys...)
	if err != nil {
		return fmt.Errorf("the checkpoint of the log that runs: %w: is the verifier key that of this log?", err)
	}
	found.LiveSize, found.LiveRoot = live.Size, live.Root.String()
	b, err = fs.ReadFile(r.Copy, checkpoint.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was reported
	}
	if err != nil {
		return fmt.Errorf("reading the checkpoint of the copy: %w", err)
	}
	sum := sha256.Sum256(b)
	found.Checkpoint = hex.EncodeToString(sum[:])
	copied, _, err := checkpoint.Open(b, r.Keys...)
	if err != nil {
		return nil // it was reported
	}
	found.Origin, found.Size, found.Root = export.Visible(copied.Origin), copied.Size, copied.Root.String()
	switch {
	case copied.Origin != live.Origin:
		found.Note(fmt.Sprintf("the copy is of the log %q, and the one that runs is %q", copied.Origin, live.Origin))
		return nil
	case copied.Size == 0:
		found.Note("the copy has no signed record")
		return nil
	case copied.Size > live.Size:
		found.Note(fmt.Sprintf("the copy has %d signed records, and the checkpoint of the log that runs signs %d: the log was rolled back, or the copy went on by itself", copied.Size, live.Size))
		return nil
	}
	if err := r.prefix(ctx, copied, live, found); err != nil {
		return err
	}
	return r.age(ctx, found)
}

// prefix notes if the copy is no beginning of the live log.
func (r Restore) prefix(ctx context.Context, copied, live checkpoint.Head, found *decision.Restored) error {
	same := copied.Root == live.Root
	if copied.Size < live.Size {
		proof, err := r.Live.Consistency(ctx, copied.Size, live.Size)
		if err != nil {
			return fmt.Errorf("proving that the copy is a beginning of the log that runs: %w", err)
		}
		same = tlog.CheckTree(proof, live.Size, live.Root, copied.Size, copied.Root) == nil
	}
	if !same {
		found.Note(fmt.Sprintf("the first %d records of the log that runs have another root: one of the two was rewritten", copied.Size))
	}
	return nil
}

// age notes how much the copy lacks, and since when.
func (r Restore) age(ctx context.Context, found *decision.Restored) error {
	found.Behind = found.LiveSize - found.Size
	if found.Behind == 0 {
		return nil
	}
	at, err := r.Live.Appended(ctx, found.Size)
	if errors.Is(err, records.ErrNotFound) {
		found.Note(fmt.Sprintf("the copy lacks %d records, and retention removed the first of them from the log that runs", found.Behind))
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading when the first record was appended that the copy lacks: %w", err)
	}
	found.Age = max(0, r.Now().Sub(at))
	if found.Age > r.MaxAge {
		found.Note(fmt.Sprintf("the copy lacks %d records since %s, %s ago, and at most %s are allowed", found.Behind, at.UTC().Format(time.RFC3339), found.Age.Round(time.Second), r.MaxAge))
	}
	return nil
}
