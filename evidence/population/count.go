package population

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
)

// How a count was made.
const (
	ByRecords = "records" // each record was looked at
	ByRollups = "rollups" // from the rollups of sealed segments, and the records of the others
)

// Counted is the number of rows of a population in a period.
type Counted struct {
	Population string `json:"population"`
	Count      int64  `json:"count"`
	By         string `json:"by"` // ByRecords or ByRollups
}

// Count counts the rows of populations in one pass. The options' population is
// not used.
//
// Unless it is asked to look at each record, a sealed segment is not read if its
// rollup answers for all the populations: they are of whole kinds, or the rollup
// has a table of what they depend on, and all records of the segment are in the
// period. A record has an earlier time than its neighbors if what it tells of
// lasted, so the segment must lie inside of the period by twice the longest
// duration of its requests and a day more, and it must have no log.clock or
// log.gap. A rollup is what the sealer counted, and package verify counts it
// again.
func Count(ctx context.Context, log *Log, list []*Population, opt Options, each bool) ([]Counted, Coverage, error) {
	c := counting{log: log, opt: opt}
	for _, p := range list {
		t := &tally{p: p, s: p.Selector(opt.Period)}
		if p.Derived {
			t.people = &census{opt: opt, p: p}
			if err := t.people.begin(""); err != nil {
				return nil, Coverage{}, err
			}
		}
		c.tallies = append(c.tallies, t)
	}
	if !each {
		c.usable()
	}
	coverage, err := log.scan(ctx, opt.Period, opt.now(), opt.Tolerant, c.known, c.add)
	if err != nil {
		return nil, coverage, fmt.Errorf("counting: %w", err)
	}
	counted := make([]Counted, len(list))
	for i, t := range c.tallies {
		if t.people != nil {
			if t.n, err = t.people.end(ctx, log); err != nil {
				return nil, coverage, fmt.Errorf("counting: %w", err)
			}
		}
		by := ByRecords
		if len(c.known) > 0 {
			by = ByRollups
		}
		counted[i] = Counted{t.p.Name, t.n, by}
	}
	return counted, coverage, nil
}

// counting is a Count under way.
type counting struct {
	log     *Log
	opt     Options
	tallies []*tally
	known   []known
}

// tally counts a population.
type tally struct {
	p      *Population
	s      *Selector
	people *census // of a derived one
	n      int64
}

func (c *counting) add(seq int64, record []byte) error {
	c.opt.progress(seq, c.log)
	for _, t := range c.tallies {
		if t.people != nil {
			if err := t.people.run.add(seq, record); err != nil {
				return err
			}
			continue
		}
		ok, err := t.s.Has(record)
		if err != nil {
			return fmt.Errorf("record %d: %w", seq, err)
		}
		if ok {
			t.n++
		}
	}
	return nil
}

// census counts principals, in as many runs as it takes.
type census struct {
	opt Options
	p   *Population
	run *people
}

func (c *census) begin(after string) (err error) {
	c.run, err = newPeople(c.p, c.opt.Period, after)
	return err
}

func (c *census) end(ctx context.Context, log *Log) (n int64, err error) {
	n = int64(len(c.run.all))
	if !c.run.more {
		return n, nil
	}
	keys := c.run.keys()
	c.opt.Population, c.opt.After = c.p, keys[len(keys)-1]
	r, err := Rows(ctx, log, c.opt, func(*Row) error { return nil })
	return n + r.Count, err
}

// known is a segment that need not be read.
type known struct{ first, next int64 }

// totals are the counters of a rollup.
type totals struct {
	kinds    map[string]int64
	requests struct {
		Status   map[string]int64 `json:"status"`
		Access   map[string]int64 `json:"access"`
		Limit    map[string]int64 `json:"limit"`
		Duration map[string]int64 `json:"duration_ns"`
		Other    map[string]int64 `json:"other"`
	}
}

// usable finds the segments that need not be read, and counts them. What cannot
// be read of the file of rollups is no failure: the records are there.
func (c *counting) usable() {
	list, err := c.log.Dir.Segments()
	if err != nil {
		return
	}
	ends := map[int64]int64{} // of sealed segments, by their first records
	for i, s := range list {
		if s.Sealed && i+1 < len(list) && list[i+1].First <= c.log.Head.Size {
			ends[s.First] = list[i+1].First
		}
	}
	var found []known
	err = rollup.Read(c.log.Dir.FS, time.Time{}, time.Time{}, func(r *rollup.Rollup) error {
		k := known{r.First, r.First + r.Records}
		if ends[k.first] == k.next && c.take(r) {
			delete(ends, k.first)
			found = append(found, k)
		}
		return nil
	})
	if err != nil {
		for _, t := range c.tallies {
			t.n = 0
		}
		return
	}
	sort.Slice(found, func(i, j int) bool { return found[i].first < found[j].first })
	c.known = found
}

// take adds the counters of a rollup to all tallies, if each of them can be told
// from it.
func (c *counting) take(r *rollup.Rollup) bool {
	var t totals
	if !t.read(r) || !t.inside(r, c.opt.Period) {
		return false
	}
	counts := make([]int64, len(c.tallies))
	for i, tally := range c.tallies {
		var ok bool
		if counts[i], ok = t.count(tally.p); !ok {
			return false
		}
	}
	for i, tally := range c.tallies {
		tally.n += counts[i]
	}
	return true
}

// read reads a rollup, and reports whether it stands for its records: it has
// counters of all of them, and nothing happened to the log or its clock.
func (t *totals) read(r *rollup.Rollup) bool {
	if r.Members.Kinds == nil || r.Members.Requests == nil ||
		json.Unmarshal(r.Members.Kinds, &t.kinds) != nil || json.Unmarshal(r.Members.Requests, &t.requests) != nil {
		return false
	}
	var sum int64
	for _, n := range t.kinds {
		sum += n
	}
	return sum == r.Records && t.kinds["log.gap"] == 0 && t.kinds["log.clock"] == 0
}

// inside reports whether all records of a segment are in a period.
func (t *totals) inside(r *rollup.Rollup, p Period) bool {
	if p.From.IsZero() && p.To.IsZero() {
		return true
	}
	const day = 24 * time.Hour
	longest := time.Duration(0)
	for lower := range t.requests.Duration {
		n, err := strconv.ParseInt(lower, 10, 64)
		if err != nil || n > int64(1000*day) {
			return false
		}
		longest = max(longest, 2*time.Duration(n)) // a bucket ends before twice its beginning
	}
	from, err1 := time.Parse(time.RFC3339Nano, r.From)
	to, err2 := time.Parse(time.RFC3339Nano, r.To)
	if err1 != nil || err2 != nil {
		return false
	}
	return (p.From.IsZero() || !from.Add(-longest-day).Before(p.From)) && (p.To.IsZero() || to.Add(longest+day).Before(p.To))
}

// count tells the rows of a population, if the counters do.
func (t *totals) count(p *Population) (n int64, ok bool) {
	for kind, k := range t.kinds {
		if p.hasKind([]byte(kind)) {
			n += k
		}
	}
	switch {
	case n == 0 || !p.Derived && !p.conditional():
		return n, true
	case p.Derived || len(p.Any) != 1 || len(p.All) > 0 || len(p.Any[0].Is) == 0 || len(p.Kinds) != 1 || p.Kinds[0] != "request":
		return 0, false
	}
	name, counters := "", map[string]int64(nil)
	switch p.Any[0].Member {
	case "limit.outcome":
		name, counters = "limit", t.requests.Limit
	case "access.outcome":
		name, counters = "access", t.requests.Access
	case "response.status":
		name, counters = "status", t.requests.Status
	default:
		return 0, false
	}
	n = 0
	for _, value := range p.Any[0].Is {
		k, there := counters[value]
		if !there && t.requests.Other[name] > 0 {
			return 0, false
		}
		n += k
	}
	return n, true
}
