package schedule

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// What records say of an attempt, in their member filter. Part of the state: do
// not change.
const (
	begun  = "schedule begins"
	done   = "schedule made"
	failed = "schedule failed"
)

// record appends what happened to a task.
func (s *Schedule) record(t *task, what string, m made, why error) error {
	r := &audit.EvidenceRead{
		Time: s.opt.Now().UTC(), Actor: audit.Actor{Name: "schedule " + t.plan.name(), Known: "verified", How: "configuration"},
		Resource: t.what, Name: m.id, Path: t.file(), From: t.period.From, To: t.period.To,
		Filter: what, Outcome: "allowed", Bytes: m.bytes, TreeSize: m.size, TreeRoot: m.root,
	}
	if t.what == Pack {
		r.Format = "zip"
	} else {
		r.Format = "html"
	}
	if why != nil {
		r.Outcome, r.Filter = "error", what+": "+why.Error()
	}
	if err := s.opt.Record(r); err != nil {
		return fmt.Errorf("recording %q of %s: %w", what, t.file(), err)
	}
	return nil
}

// pending finds out from the log what is to be made: for each plan, the periods
// after the last that was made or, if none was, from the first that was tried; the
// last one if none was tried either. It reads the log backwards from now, period by
// period, until it finds one that was made. First is when the log began, or what
// is left of it.
func pending(ctx context.Context, dir records.Dir, plans []*Plan, now time.Time) (open []*task, first time.Time, err error) {
	h := history{ctx: ctx, dir: dir, made: map[string]bool{}, begun: map[string]time.Time{}, failed: map[string]time.Time{}}
	if h.segments, err = dir.Segments(); err != nil || len(h.segments) == 0 {
		return nil, first, err
	}
	h.dir.List = h.segments
	if first, err = h.appended(h.segments[0].First); err != nil {
		first = time.Time{} // it is damaged, or just removed: the log may have begun at any time
	}
	h.read = -1
	for _, p := range plans {
		for _, what := range p.Make {
			var list []*task
			found, known := false, 1 // a plan that is new makes up for nothing
			for _, period := range p.periods(now, backlog) {
				if !period.To.After(first) {
					break // the log had not begun
				}
				if err := h.since(period.To); err != nil {
					return nil, first, err
				}
				t := &task{plan: p, what: what, period: period}
				if found = h.made[t.file()]; found {
					break
				}
				list = append(list, t)
				if at := h.begun[t.file()]; !at.IsZero() { // it was tried, and not made
					known = len(list)
					if at.After(h.failed[t.file()]) && !at.After(now) { // it may have ended the process, and is not to do that at each start
						t.due = at.Add(again)
					}
				}
			}
			if !found {
				list = list[:min(known, len(list))]
			}
			slices.Reverse(list)
			open = append(open, list...)
		}
	}
	return open, first, nil
}

// history reads what was made out of the log.
type history struct {
	ctx      context.Context
	dir      records.Dir
	segments []records.Segment
	made     map[string]bool // by file

	begun, failed map[string]time.Time // the last of each file
	read          int                  // segment down to which it was read; -1: none was
}

func (h *history) appended(seq int64) (time.Time, error) {
	record, err := h.dir.Record(seq)
	if err != nil {
		return time.Time{}, err
	}
	return records.Appended(record)
}

// since reads all that was appended since a time. A segment that cannot be read
// has nothing in it that is known: what it tells of may be made again.
func (h *history) since(at time.Time) error {
	next := h.read
	if next < 0 {
		next = len(h.segments)
	}
	for next > 0 {
		if next < len(h.segments) {
			if begin, err := h.appended(h.segments[next].First); err == nil && begin.Before(at) {
				break // the ones before are older
			}
		}
		next--
		end := int64(1)<<62 - 1
		if next+1 < len(h.segments) {
			end = h.segments[next+1].First
		}
		_, err := h.dir.Range(h.ctx, h.segments[next].First, end, h.take)
		if h.ctx.Err() != nil {
			return h.ctx.Err()
		}
		_ = err // the segment is damaged, which the log's own verification tells
		h.read = next
	}
	return nil
}

// take takes a record.
func (h *history) take(_ int64, record []byte) error {
	if string(records.Kind(record)) != string(audit.KindEvidenceRead) {
		return nil
	}
	var r struct {
		Time    time.Time `json:"time"`
		Path    string    `json:"path"`
		Filter  string    `json:"filter"`
		Outcome string    `json:"outcome"`
	}
	switch {
	case json.Unmarshal(record, &r) != nil:
	case r.Filter == done && r.Outcome == "allowed":
		h.made[r.Path] = true
	case r.Filter == begun:
		h.begun[r.Path] = later(h.begun[r.Path], r.Time)
	case strings.HasPrefix(r.Filter, failed):
		h.failed[r.Path] = later(h.failed[r.Path], r.Time)
	}
	return nil
}

// made is what is known of a file that was made.
type made struct {
	id    string // of the pack, also of the one that a report is of
	bytes int64
	size  int64 // of the tree
	root  string
}

func madeOf(m *pack.Report, bytes int64) made {
	r := made{id: m.PackID, bytes: bytes}
	if len(m.Logs) > 0 {
		r.size, r.root = m.Logs[0].Size, m.Logs[0].Root
	}
	return r
}
