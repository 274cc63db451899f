package population

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// Log is a log as one checkpoint signs it: what was appended later is not in it.
type Log struct {
	Dir        records.Dir
	Head       checkpoint.Head
	Checkpoint []byte     // the signed note
	Tree       *tree.Tree // of the head, if it is at hand: it saves reading when proofs are made
	Key        string     // verifier key of the log, if it is known; it goes into the provenance
}

// Open reads the newest checkpoint of the log in a directory. It does not verify
// the log.
func Open(dir records.Dir, key string) (*Log, error) {
	h, err := tiles.Directory{Dir: dir}.Head()
	if err != nil {
		return nil, fmt.Errorf("reading the log's checkpoint: %w", err)
	}
	return From(dir, h, key)
}

// From is Open for a checkpoint that is at hand.
func From(dir records.Dir, h tiles.Head, key string) (*Log, error) {
	head, err := checkpoint.Peek(h.Note)
	if err != nil {
		return nil, fmt.Errorf("reading the log's checkpoint: %w", err)
	}
	if dir.Index == nil {
		dir.Index = new(records.Index)
	}
	return &Log{Dir: dir, Head: head, Checkpoint: h.Note, Tree: h.Tree, Key: key}, nil
}

// At returns the log as it was when it had so many records, of which there may be
// no checkpoint at hand: Checkpoint is nil then, and the newer one is consistent
// with it.
func (l *Log) At(ctx context.Context, size int64) (*Log, error) {
	if size == l.Head.Size {
		return l, nil
	}
	if size < 0 || size > l.Head.Size {
		return nil, fmt.Errorf("%w: the checkpoint signs %d records, and not %d", ErrOption, l.Head.Size, size)
	}
	older := *l
	older.Head.Size, older.Checkpoint, older.Tree = size, nil, nil
	var err error
	if older.Head.Root, err = (tiles.Reader{Records: l.Dir, Size: size}).Root(ctx); err != nil {
		return nil, fmt.Errorf("reading the tree of %d records: %w", size, err)
	}
	return &older, nil
}

// States of a Coverage.
const (
	Complete = "complete" // all records of the period that the checkpoint signs were looked at
	Partial  = "partial"  // the log does not span the period, or says that records are missing
	Unknown  = "unknown"  // records of the period cannot be read
)

// Coverage says what of a period was looked at.
type Coverage struct {
	State string `json:"state"`

	// First and Next are the run of records of which each was looked at, but for
	// those in Missing: from First to, not including, Next.
	First int64 `json:"first_seq"`
	Next  int64 `json:"next_seq"`

	// Oldest and Newest are about when the first and the last record that the
	// checkpoint signs were appended.
	Oldest time.Time `json:"oldest,omitzero"`
	Newest time.Time `json:"newest,omitzero"`

	Missing []Missing `json:"missing,omitempty"`
	Notes   []Note    `json:"notes,omitempty"`
	Omitted int       `json:"omitted_notes,omitempty"` // notes that are not listed: the list has at most 100
}

// Missing is a run of records that cannot be read.
type Missing struct {
	First int64  `json:"first_seq"`
	Next  int64  `json:"next_seq"`
	Error string `json:"error"`
}

// The codes of notes.
const (
	NoteLate    = "log_begins_later"  // the log was begun after the period
	NoteRemoved = "removed"           // retention removed records of the period
	NoteFuture  = "period_not_over"   // the period ends in the future
	NoteEarly   = "log_ends_earlier"  // the newest signed record is older than the end of the period
	NoteGap     = "gap"               // a log.gap record says that records are missing
	NoteClock   = "clock_set_back"    // a log.clock record: times before and after it overlap
	NoteEmpty   = "no_rows"           // the period has no row; nothing is wrong with that
	NoteNoLog   = "log_has_no_record" // the checkpoint signs no record that is still there
)

// Note says something about a coverage. All codes but NoteClock and NoteEmpty
// make it partial.
type Note struct {
	Code string `json:"code"`
	Seq  *int64 `json:"seq,omitempty"` // of the record that says it
	Text string `json:"text"`
}

const maxNotes = 100

func (c *Coverage) note(code string, seq int64, format string, args ...any) {
	if code != NoteClock && code != NoteEmpty && c.State == Complete {
		c.State = Partial
	}
	if len(c.Notes) >= maxNotes {
		c.Omitted++
		return
	}
	n := Note{Code: code, Text: fmt.Sprintf(format, args...)}
	if seq >= 0 {
		n.Seq = &seq
	}
	c.Notes = append(c.Notes, n)
}

// late is how much earlier than its neighbors a record can say that it was
// appended: clocks are put right, and disks stall.
const late = time.Hour

// Scan calls fn for all records of the log among which those of a period are,
// in order. Which of them are in the period is for a Selector to say: a record
// has the time at which what it tells of began, and is appended when that has
// ended, so all records that came after the beginning of the period are looked
// at, however late. The record is valid only during the call.
//
// Where records cannot be read Scan returns an error that wraps ErrDamaged, or,
// if tolerant, goes on after them and lists them in the coverage, whose state is
// then Unknown.
func (l *Log) Scan(ctx context.Context, period Period, now time.Time, tolerant bool, fn func(seq int64, record []byte) error) (Coverage, error) {
	return l.scan(ctx, period, now, tolerant, nil, fn)
}

// scan is Scan without the records of segments that are known.
func (l *Log) scan(ctx context.Context, period Period, now time.Time, tolerant bool, known []known, fn func(seq int64, record []byte) error) (Coverage, error) {
	c := Coverage{State: Complete}
	list, err := l.Dir.Segments()
	if err != nil {
		return c, fmt.Errorf("reading the log: %w", err)
	}
	listed := *l
	listed.Dir.List = list // a year has thousands of segments
	s := scan{log: &listed, list: list, period: period, tolerant: tolerant, known: known, c: &c, fn: fn}
	if err := s.span(now); err != nil {
		return c, err
	}
	from, err := s.since(ctx)
	if err == nil {
		err = s.run(ctx, from)
	}
	return c, err
}

// scan is a Scan under way.
type scan struct {
	log      *Log
	list     []records.Segment
	period   Period
	tolerant bool
	known    []known // segments that are not read, in order
	c        *Coverage
	fn       func(seq int64, record []byte) error
}

// appended is about when a record was appended; zero if the record cannot be
// read and that is tolerated.
func (s *scan) appended(seq int64) (time.Time, error) {
	record, err := s.log.Dir.Record(seq)
	var at time.Time
	if err == nil {
		at, err = records.Appended(record)
	}
	if err != nil && s.tolerant {
		return time.Time{}, nil
	}
	if err != nil {
		return at, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return at.UTC(), nil
}

// span notes where the log does not span the period.
func (s *scan) span(now time.Time) (err error) {
	size := s.log.Head.Size
	if len(s.list) == 0 || s.list[0].First >= size {
		s.c.First, s.c.Next = size, size
		s.c.note(NoteNoLog, -1, "the checkpoint signs %d records, and none of them is there", size)
		return nil
	}
	first := s.list[0].First
	if s.c.Oldest, err = s.appended(first); err != nil {
		return err
	}
	if s.c.Newest, err = s.appended(size - 1); err != nil {
		return err
	}
	from, to := s.period.From, s.period.To
	switch {
	case first > 0 && (from.IsZero() || from.Before(s.c.Oldest)):
		s.c.note(NoteRemoved, -1, "records before %d were removed: what is there begins at %s", first, rfc3339(s.c.Oldest))
	case first == 0 && !from.IsZero() && from.Before(s.c.Oldest):
		s.c.note(NoteLate, -1, "the log begins at %s, after the beginning of the period", rfc3339(s.c.Oldest))
	}
	switch {
	case to.IsZero():
	case to.After(now):
		s.c.note(NoteFuture, -1, "the period ends at %s, which is in the future: it is not over", rfc3339(to))
	case to.After(s.c.Newest):
		s.c.note(NoteEarly, -1, "the newest record that the checkpoint signs is of %s: nothing shows what was between it and the end of the period", rfc3339(s.c.Newest))
	}
	return nil
}

// since returns the first record of the oldest segment that may have records of
// the period. A segment is passed over if it and the one after it begin earlier,
// whatever the others do: the clock may have been put back between them.
func (s *scan) since(ctx context.Context) (int64, error) {
	if len(s.list) == 0 {
		return s.log.Head.Size, nil
	}
	if s.period.From.IsZero() {
		return s.list[0].First, nil
	}
	bound := s.period.From.Add(-late)
	earlier := false
	for i, segment := range s.list {
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("reading the log: %w", err)
		}
		if segment.First >= s.log.Head.Size {
			return s.list[max(i-1, 0)].First, nil
		}
		at, err := s.appended(segment.First)
		if err != nil {
			return 0, err
		}
		before := !at.IsZero() && at.Before(bound)
		if i > 0 && (!earlier || !before) {
			return s.list[i-1].First, nil
		}
		earlier = before
	}
	return s.list[len(s.list)-1].First, nil
}

// run looks at the records from one on.
func (s *scan) run(ctx context.Context, from int64) error {
	size := s.log.Head.Size
	s.c.First, s.c.Next = from, from
	for from < size {
		to := size
		if k := s.nextKnown(from); k != nil {
			if k.first <= from {
				from = k.next
				s.c.Next = max(s.c.Next, from)
				continue
			}
			to = min(to, k.first)
		}
		var err error
		if from, err = s.read(ctx, from, to); err != nil {
			return err
		}
	}
	return nil
}

// nextKnown returns the first known segment that ends after a record, or nil.
func (s *scan) nextKnown(seq int64) *known {
	i := sort.Search(len(s.known), func(i int) bool { return s.known[i].next > seq })
	if i == len(s.known) {
		return nil
	}
	return &s.known[i]
}

// read looks at records from one to, not including, another, and returns the
// index after the last.
func (s *scan) read(ctx context.Context, from, to int64) (int64, error) {
	var stopped error
	next, err := s.log.Dir.Range(ctx, from, to, func(seq int64, record []byte) error {
		s.c.Next = seq + 1
		s.inscribed(seq, record)
		stopped = s.fn(seq, record)
		return stopped
	})
	switch {
	case stopped != nil:
		return next, stopped
	case ctx.Err() != nil:
		return next, fmt.Errorf("reading the log: %w", ctx.Err())
	case err == nil && next >= to:
		return to, nil
	case err == nil:
		err = fmt.Errorf("the log ends with record %d, but its checkpoint signs %d records", next-1, s.log.Head.Size)
	}
	if !s.tolerant {
		return next, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	after := s.after(next)
	s.c.State = Unknown
	s.c.Missing = append(s.c.Missing, Missing{next, after, err.Error()})
	s.c.Next = after
	return after, nil
}

// after returns the first record of the segment after a record.
func (s *scan) after(seq int64) int64 {
	for _, segment := range s.list {
		if segment.First > seq {
			return min(segment.First, s.log.Head.Size)
		}
	}
	return s.log.Head.Size
}

// inscribed notes what records say about records that are missing.
func (s *scan) inscribed(seq int64, record []byte) {
	kind := records.Kind(record)
	if len(kind) < 4 || string(kind[:4]) != "log." {
		return
	}
	switch string(kind) {
	case "log.gap":
		s.gap(seq, record)
	case "log.clock":
		if sel := (Selector{from: s.period.from(), to: s.period.to()}); sel.within(record) {
			s.c.note(NoteClock, seq, "the clock was set back at %s: records before and after it may have the same times", records.Time(record))
		}
	}
}

var gapPaths = func() (p paths) {
	for _, path := range []string{"cause", "from", "to", "refused", "served", "late", "lost", "other"} {
		p.add(path)
	}
	return p
}()

// gap notes a gap that overlaps the period. One that has only begun has no end.
func (s *scan) gap(seq int64, record []byte) {
	v, err := gapPaths.read(nil, record)
	if err != nil {
		s.c.note(NoteGap, seq, "a log.gap record cannot be read")
		return
	}
	from, to := string(inside(v[1])), string(inside(v[2]))
	if end := s.period.to(); end != nil && from != "" && from >= string(end) {
		return
	}
	if begin := s.period.from(); begin != nil && to != "" && to < string(begin) {
		return
	}
	n := func(i int) string {
		if len(v[i]) == 0 {
			return "0"
		}
		return string(v[i])
	}
	if n(4) == "0" && n(6) == "0" && n(7) == "0" {
		return // requests were refused, and say so themselves to whom they were refused; no record is missing
	}
	s.c.note(NoteGap, seq, "records are missing (%s) from %s to %s: %s requests served without one, %s records lost, %s others not taken", inside(v[0]), from, to, n(4), n(6), n(7))
}

// stopped makes ErrStop no error.
func stopped(err error) error {
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}
