package pack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/caddy-soc2/caddy-soc2/audit/member"
	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
)

// rollupCheck counts the segments of a log again and compares them with their
// rollup records, which come later. Where records are not there it compares the
// kinds that are.
type rollupCheck struct {
	first, next int64
	starts      []int64
	open        *rollup.Counter // of the segment that is being read
	kinds       map[string]int64
	hidden      int64
	lost        bool
	done        map[int64]*tally
	problems    []string
	matched     map[int64]bool
	period      Period
	covered     int64 // records that are not there, and whose kinds a rollup record tells
	requests    int64 // in segments whose rollup record tells how many
	all         int64 // records, but those of such segments
}

// tally is a segment that was read.
type tally struct {
	segment rollup.Segment
	members rollup.Members
	kinds   map[string]int64
	hidden  int64
	lost    bool
	end     int64
}

func (k *rollupCheck) begin(l *Log, p Period) {
	k.period = p
	k.first, k.next, k.starts = l.First, l.Next, l.Segments
	k.done, k.matched = map[int64]*tally{}, map[int64]bool{}
}

// at begins a segment if one begins with a record.
func (k *rollupCheck) at(seq int64) {
	if len(k.starts) > 0 && k.starts[0] == seq {
		k.close(seq)
		k.starts = k.starts[1:]
		k.open, k.kinds, k.hidden, k.lost = rollup.NewCounter(seq), map[string]int64{}, 0, false
	}
}

func (k *rollupCheck) close(end int64) {
	if k.open == nil {
		return
	}
	members := k.open.Members(rollup.Sealed{}, 0) // which also ends the segment
	s := k.open.Segment
	k.done[s.First] = &tally{segment: s, members: members, kinds: k.kinds, hidden: k.hidden, lost: k.lost, end: end}
	k.open = nil
}

// skip takes a record that is not there; lost means that it cannot be read, and
// nobody knows of what kind it was.
func (k *rollupCheck) skip(seq int64, lost bool) {
	k.at(seq)
	k.all++
	k.hidden++
	k.lost = k.lost || lost
}

func (k *rollupCheck) add(seq int64, record []byte, r *member.Record) error {
	k.at(seq)
	k.all++
	if k.open != nil {
		k.open.Add(r)
		k.kinds[string(r.Text(member.Kind))]++
	}
	if string(r.Text(member.Kind)) != rollup.Kind {
		return nil
	}
	said, err := rollup.Parse(bytes.Clone(record))
	if err != nil {
		return fmt.Errorf("record %d: %w", seq, err)
	}
	k.compare(seq, said)
	return nil
}

// compare compares a rollup record with what was counted.
func (k *rollupCheck) compare(seq int64, said *rollup.Rollup) {
	if said.First < k.first || said.First+said.Records > k.next {
		return
	}
	c := k.done[said.First]
	if c == nil || c.end != said.First+said.Records {
		k.problems = append(k.problems, fmt.Sprintf("rollup record %d is of the records %d to %d, but %s lists no such segment", seq, said.First, said.First+said.Records-1, LogFile))
		return
	}
	first := !k.matched[said.First]
	k.matched[said.First] = true
	if c.lost {
		return // the records that cannot be read were reported
	}
	if c.hidden > 0 {
		k.compareKinds(seq, said, c, first)
		return
	}
	want := c.members
	want.Segment, want.Prev = nil, nil
	got := said.Members
	got.Segment, got.Prev = nil, nil
	what := got.Differs(want)
	if what == "" && (c.segment.Records != said.Records || c.segment.Bytes != said.Bytes || c.segment.From != said.From || c.segment.To != said.To) {
		what = "segment"
	}
	if what != "" {
		k.problems = append(k.problems, fmt.Sprintf("rollup record %d: its counter %q is not what the records %d to %d give", seq, what, said.First, said.First+said.Records-1))
	}
}

// compareKinds compares the number of records by kind, of those kinds that a
// pack without all raw records has.
func (k *rollupCheck) compareKinds(seq int64, said *rollup.Rollup, c *tally, first bool) {
	kinds, err := parseCounts(said.Members.Kinds)
	if err != nil {
		k.problems = append(k.problems, fmt.Sprintf("rollup record %d: its kinds cannot be read", seq))
		return
	}
	sum, more := int64(0), int64(0)
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		n := kinds[kind]
		sum, more = sum+n, more+n-c.kinds[kind]
		if !slices.Contains(requestKinds, kind) && c.kinds[kind] != n {
			k.problems = append(k.problems, fmt.Sprintf("rollup record %d says that %d of the records %d to %d are of kind %s, but %d are there: records were left out",
				seq, n, said.First, said.First+said.Records-1, kind, c.kinds[kind]))
		}
	}
	if what := k.refused(said, kinds, c); what != "" {
		k.problems = append(k.problems, fmt.Sprintf("rollup record %d says that the records %d to %d have %s", seq, said.First, said.First+said.Records-1, what))
	}
	if sum != said.Records {
		return // it does not tell all kinds
	}
	if more != c.hidden {
		k.problems = append(k.problems, fmt.Sprintf("rollup record %d: its kinds are not those of the records %d to %d", seq, said.First, said.First+said.Records-1))
	}
	if first {
		k.covered += c.hidden
		k.all -= said.Records
		k.requests += kinds["request"]
	}
}

// most is how many requests there can be.
func (k *rollupCheck) most() int64 { return k.all + k.requests }

func parseCounts(b []byte) (m map[string]int64, err error) {
	if b == nil {
		return nil, nil
	}
	err = json.Unmarshal(b, &m)
	return m, err
}

// end returns what was found.
func (k *rollupCheck) end() []string { return k.problems }
