package checks

import (
	"bytes"
	"context"
	"errors"
	"math"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/controls"
)

// readDecisions takes up what persons decided, of a log that was opened: nothing
// else keeps the risks that they accepted. They may be a year old, so all of the
// log is looked at, but of sealed segments only those whose rollups count such
// records.
func (w *watcher) readDecisions(ctx context.Context, log *audit.Log) {
	if w.decided == log {
		return
	}
	w.tally.ForgetAccepted()
	err := eachReview(ctx, log.Records(), log.Next(), w.tally)
	if ctx.Err() != nil {
		return // the next configuration reads them
	}
	if err != nil {
		caddy.Log().Named("soc2").Warn("not all that persons decided about findings could be read from the log: risks that were accepted before what cannot be read are not in force, because that may have withdrawn them", zap.Error(err))
	}
	w.decided = log
}

// reviews is how the kinds of the records begin that are read.
const reviews = "review."

// eachReview takes up each record review.* of a log that has so many records, in
// order. What cannot be read may have withdrawn what was accepted before it.
func eachReview(ctx context.Context, dir records.Dir, size int64, tally *controls.Tally) (failed error) {
	list, err := dir.Segments()
	if err != nil {
		return err
	}
	without := segmentsWithout(dir, reviews)
	for i, s := range list {
		if s.Sealed && without[s.First] {
			continue
		}
		next := int64(math.MaxInt64)
		if i < len(list)-1 {
			next = list[i+1].First
		}
		_, err = dir.Range(ctx, s.First, next, func(seq int64, record []byte) error {
			takeReview(tally, seq, record)
			return nil
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed = errors.Join(failed, err)
			tally.ForgetAcceptedBefore(min(next, size))
		}
	}
	return failed
}

func takeReview(tally *controls.Tally, seq int64, record []byte) {
	if !bytes.HasPrefix(records.Kind(record), []byte(reviews)) {
		return
	}
	if r, err := audit.Decode(record); err == nil { // records are verified elsewhere
		if b, ok := r.Body.(*audit.Review); ok {
			tally.Decided(seq, b, true)
		}
	}
}

// mostKinds is how many kinds a rollup tells apart.
const mostKinds = 256

// segmentsWithout returns the sealed segments whose rollups say that they have no
// record of a kind that begins so, by their first records. Without rollups that
// is none.
func segmentsWithout(dir records.Dir, kind string) map[int64]bool {
	without := map[int64]bool{}
	name, colon := []byte(`"`+kind), []byte(`":`)
	err := rollup.Read(dir.FS, time.Time{}, time.Time{}, func(r *rollup.Rollup) error {
		kinds := r.Members.Kinds
		without[r.First] = kinds != nil && !bytes.Contains(kinds, name) && bytes.Count(kinds, colon) < mostKinds
		return nil
	})
	if err != nil {
		return nil
	}
	return without
}
