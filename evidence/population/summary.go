package population

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/member"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
)

// Summary is what a period is known to hold from rollups, without looking at each
// record.
type Summary struct {
	Coverage Coverage
	Total    rollup.Total // of the records of the period
	Rollups  int64        // records that only rollups were asked about
	Read     int64        // records that were looked at

	// Populations are those that can be told; Untold the names of those for which
	// each record must be looked at.
	Populations []Counted
	Untold      []string
}

// Summarize sums a period up. Segments that lie inside of it, as Count says, are
// not read; the others are. The options' population is not used.
func Summarize(ctx context.Context, log *Log, opt Options) (*Summary, error) {
	s := summing{log: log, opt: opt, counter: rollup.NewCounter(0), untold: map[string]bool{}, counts: map[string]int64{}, low: opt.Period.from(), high: opt.Period.to()}
	for _, p := range All() {
		if p.Derived {
			s.untold[p.Name] = true
		} else {
			s.list = append(s.list, p)
		}
	}
	s.matcher = NewMatcher(s.list)
	if err := s.rollups(); err != nil {
		return nil, err
	}
	var err error
	s.Coverage, err = log.scan(ctx, opt.Period, opt.now(), opt.Tolerant, s.known, s.add)
	if err != nil {
		return nil, fmt.Errorf("summing up: %w", err)
	}
	read := rollup.Rollup{Segment: s.counter.Segment, Members: s.counter.Members(rollup.Sealed{}, 0)}
	if read.Records > 0 {
		if err := s.Total.Add(&read); err != nil {
			return nil, err
		}
	}
	s.Read = read.Records
	for _, p := range All() {
		if s.untold[p.Name] {
			s.Untold = append(s.Untold, p.Name)
			continue
		}
		by := ByRecords
		if len(s.known) > 0 {
			by = ByRollups
		}
		s.Populations = append(s.Populations, Counted{p.Name, s.counts[p.Name], by})
	}
	return &s.Summary, nil
}

// summing is a Summarize under way.
type summing struct {
	Summary
	log       *Log
	opt       Options
	list      []*Population
	matcher   *Matcher
	counter   *rollup.Counter
	record    member.Record
	known     []known
	counts    map[string]int64
	untold    map[string]bool
	low, high []byte
}

// rollups takes the rollups of the segments that lie inside of the period. If
// their file cannot be read, all records are.
func (s *summing) rollups() error {
	list, err := s.log.Dir.Segments()
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	ends := map[int64]int64{}
	for i, x := range list {
		if x.Sealed && i+1 < len(list) && list[i+1].First <= s.log.Head.Size {
			ends[x.First] = list[i+1].First
		}
	}
	var found []*rollup.Rollup
	err = rollup.Read(s.log.Dir.FS, time.Time{}, time.Time{}, func(r *rollup.Rollup) error {
		var t totals
		if ends[r.First] == r.First+r.Records && t.read(r) && t.inside(r, s.opt.Period) {
			delete(ends, r.First)
			m := r.Members // of a buffer that is used again
			r.Members = rollup.Members{Kinds: slices.Clone(m.Kinds), Requests: slices.Clone(m.Requests)}
			found = append(found, r)
		}
		return nil
	})
	if err != nil {
		return nil //nolint:nilerr // the records are there
	}
	sort.Slice(found, func(i, j int) bool { return found[i].First < found[j].First })
	for _, r := range found {
		if err := s.take(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *summing) take(r *rollup.Rollup) error {
	var t totals
	t.read(r)
	if err := s.Total.Add(r); err != nil {
		return err
	}
	s.known = append(s.known, known{r.First, r.First + r.Records})
	s.Rollups += r.Records
	for _, p := range s.list {
		n, ok := t.count(p)
		s.counts[p.Name] += n
		s.untold[p.Name] = s.untold[p.Name] || !ok
	}
	return nil
}

func (s *summing) add(seq int64, record []byte) error {
	s.opt.progress(seq, s.log)
	at := records.Time(record)
	if s.low != nil && bytes.Compare(at, s.low) < 0 || s.high != nil && bytes.Compare(at, s.high) >= 0 {
		return nil
	}
	if err := s.record.Read(record); err != nil {
		return fmt.Errorf("record %d: %w: %w", seq, ErrDamaged, err)
	}
	s.counter.Add(&s.record)
	found, err := s.matcher.Of(&s.record)
	if err != nil {
		return fmt.Errorf("record %d: %w", seq, err)
	}
	for _, i := range found {
		s.counts[s.list[i].Name]++
	}
	return nil
}

// Told reports whether a population is in the summary.
func (s *Summary) Told(name string) bool { return !slices.Contains(s.Untold, name) }
