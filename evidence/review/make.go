package review

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/export"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
)

// DefaultPrincipals is how many principals a document lists at most, if nothing
// else is said.
const DefaultPrincipals = 100_000

// Options say what is reviewed.
type Options struct {
	Period Period

	// Size is that of the tree to stand on, to make a review again that was made
	// then. Default: the newest that a checkpoint signs.
	Size int64

	// Principals is how many are listed at most. Default: DefaultPrincipals.
	Principals int

	// Partial makes a review also of a period of whose beginning retention has
	// removed records. Default: that is an error.
	Partial bool

	Now func() time.Time // default: time.Now
}

// Errors of Make that are about the period.
var (
	ErrPeriod = errors.New("the period cannot be reviewed")
	ErrNoData = errors.New("the log has nothing of the period")
)

func periodError(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrPeriod}, args...)...)
}

func text(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Make makes the review of a log, which is only read: it may be open in another
// process. The log is not verified. Grants must be merged.
func Make(ctx context.Context, dir records.Dir, grants *Grants, opt Options) (*Document, error) {
	if opt.Principals <= 0 {
		opt.Principals = DefaultPrincipals
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if dir.Index == nil {
		dir.Index = new(records.Index)
	}
	period := Period{opt.Period.From.UTC(), opt.Period.To.UTC()}
	if now := opt.Now().UTC(); !period.From.Before(period.To) {
		return nil, periodError("it begins at %s, which is not before its end at %s", text(period.From), text(period.To))
	} else if period.To.After(now) {
		return nil, periodError("it ends at %s, which is in the future: it can end at %s at the latest", text(period.To), now.Truncate(time.Second).Format(time.RFC3339))
	}
	log, err := headOf(ctx, dir, opt.Size)
	if err != nil {
		return nil, err
	}
	began, err := log.covers(dir, period, opt.Partial)
	if err != nil {
		return nil, err
	}
	t := newTally(grants, opt.Principals)
	if err := t.read(ctx, dir, period, log); err != nil {
		return nil, err
	}
	if err := log.empty(period, began); err != nil {
		return nil, err
	}
	return t.document(period, log, began), nil
}

// headOf is the tree to stand on.
func headOf(ctx context.Context, dir records.Dir, size int64) (*Log, error) {
	note, err := fs.ReadFile(dir.FS, checkpoint.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("the log has no checkpoint yet, which a running server signs every few seconds: try again")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint: %w", err)
	}
	head, err := checkpoint.Peek(note)
	if err != nil {
		return nil, err
	}
	l := &Log{Origin: shown(head.Origin), Size: head.Size, Root: head.Root.String()}
	switch {
	case size < 0 || size > head.Size:
		return nil, fmt.Errorf("a tree of %d records cannot be stood on: the checkpoint signs %d", size, head.Size)
	case size > 0 && size < head.Size:
		root, err := tiles.Reader{Records: dir, Size: size}.Root(ctx)
		if err != nil {
			return nil, err
		}
		l.Size, l.Root = size, root.String()
	}
	if l.Size == 0 {
		return nil, fmt.Errorf("%w: it has no record", ErrNoData)
	}
	return l, nil
}

// covers checks that the log has the period, and tells when its oldest record
// was made.
func (l *Log) covers(dir records.Dir, p Period, partial bool) (began time.Time, err error) {
	if l.Oldest, err = dir.First(); err != nil {
		return began, err
	}
	if l.Oldest >= l.Size {
		return began, fmt.Errorf("%w: retention removed all records of the tree of %d", ErrNoData, l.Size)
	}
	// What retention removed was appended before the oldest record that is left,
	// which may have begun long before.
	at := timeAt
	if l.Oldest > 0 {
		at = appendedAt
	}
	if began, err = at(dir, l.Oldest); err != nil {
		return began, err
	}
	if l.Ends, err = appendedAt(dir, l.Size-1); err != nil {
		return began, err
	}
	if l.Oldest > 0 && p.From.Before(began) && p.To.After(began) && !partial {
		return began, periodError("retention removed the records before %s (%d is the oldest), and the period begins at %s: begin it then, or say --partial for a review of what is left", text(began), l.Oldest, text(p.From))
	}
	return began, nil
}

// empty says why there is no record of a period, if that is because the log does
// not reach it. A period in which nothing happened can be reviewed.
func (l *Log) empty(p Period, began time.Time) error {
	switch {
	case !p.To.After(began) && l.Oldest > 0: // what is left of it are long requests
		return fmt.Errorf("%w: the oldest record that it still has, %d, is of %s, and the period ends at %s: retention removed the rest", ErrNoData, l.Oldest, text(began), text(p.To))
	case l.Records > 0:
		return nil
	case !p.To.After(began):
		return fmt.Errorf("%w: it begins at %s, and the period ends at %s", ErrNoData, text(began), text(p.To))
	case p.From.After(l.Ends):
		return fmt.Errorf("%w: the newest record that its checkpoint signs is of %s, and the period begins at %s", ErrNoData, text(l.Ends), text(p.From))
	}
	return nil
}

// appendedAt is about when a record was appended.
func appendedAt(dir records.Dir, seq int64) (time.Time, error) {
	record, err := dir.Record(seq)
	if err != nil {
		return time.Time{}, err
	}
	t, err := records.Appended(record)
	if err != nil {
		return t, fmt.Errorf("record %d: %w", seq, err)
	}
	return t.UTC(), nil
}

func timeAt(dir records.Dir, seq int64) (time.Time, error) {
	record, err := dir.Record(seq)
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, string(records.Time(record)))
	if err != nil {
		return t, fmt.Errorf("record %d: %w", seq, err)
	}
	return t.UTC(), nil
}

// counted are the kinds that a review reads.
var counted = map[string]bool{
	string(audit.KindRequest): true, string(audit.KindBreakGlass): true, string(audit.KindLockout): true, string(audit.KindAccessReview): true,
	string(audit.KindGap): true, string(audit.KindErase): true, string(audit.KindConfigChange): true,
}

// recordTime is how times are written in records, which sort as text.
const recordTime = "2006-01-02T15:04:05.000000000Z"

// read adds up the records of the period. Of a request that is its beginning.
func (t *tally) read(ctx context.Context, dir records.Dir, p Period, l *Log) error {
	end := p.To.Format(recordTime)
	run := export.Selection{From: export.At(p.From), To: export.Index(l.Size)}
	last := int64(-1)
	err := run.Each(ctx, dir, func(seq int64, record []byte) error {
		if string(records.Time(record)) >= end {
			return nil
		}
		if l.First == nil {
			l.First = new(seq)
		}
		last = seq
		l.Records++
		if !counted[string(records.Kind(record))] {
			return nil
		}
		r, err := audit.Decode(record)
		if err != nil {
			return fmt.Errorf("record %d: %w", seq, err)
		}
		t.add(seq, r.Body)
		return nil
	})
	if last >= 0 {
		l.Last = new(last)
	}
	l.Requests = t.requests
	if errors.Is(err, segment.ErrDamaged) || errors.Is(err, segment.ErrTorn) {
		return fmt.Errorf("%w: verify the log", err)
	}
	return err
}
