package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// rollup is what a rollup record says of a segment.
type rollup struct {
	Segment struct {
		First       int64  `json:"first"`
		Records     int64  `json:"records"`
		From        string `json:"from"`
		To          string `json:"to"`
		Bytes       int64  `json:"bytes"`
		SealedBytes int64  `json:"sealed_bytes"`
		SHA256      string `json:"sha256"`
	} `json:"segment"`
	Kinds map[string]int64 `json:"kinds"`

	seq  int64 // of the record
	path string
}

// tally is what a segment really holds.
type tally struct {
	first, records, bytes int64
	from, to              string
	kinds                 map[string]int64

	sealed      bool
	sealedBytes int64
	hash        [sha256.Size]byte
}

// header is the part of a record that the verification needs.
type header struct {
	Time string `json:"time"`
	Kind string `json:"kind"`

	rollup rollup // of a record of that kind
}

func parse(record []byte) (h header, err error) {
	if err := json.Unmarshal(record, &h); err != nil {
		return h, fmt.Errorf("it is not JSON: %w", err)
	}
	if h.Kind == "rollup" {
		if err := json.Unmarshal(record, &h.rollup); err != nil {
			return h, fmt.Errorf("it is not a rollup: %w", err)
		}
	}
	return h, nil
}

func (t *tally) add(h header, size int) {
	if t.records == 0 {
		t.from = h.Time
	}
	t.to = h.Time
	t.records++
	t.bytes += int64(size) + 2 // the length before it
	t.kinds[h.Kind]++
}

// sealedSegments compares each sealed segment with its rollup record, and each
// rollup record with its segment.
func (c *check) sealedSegments() {
	for _, first := range slices.Sorted(maps.Keys(c.found)) {
		t := c.found[first]
		path := records.Segment{First: first, Sealed: t.sealed}.Path()
		r, ok := c.rollups[first]
		if !ok {
			if t.sealed {
				c.problem(path, "no rollup record vouches for this sealed segment")
			}
			continue
		}
		delete(c.rollups, first)
		if what := r.differs(t); what != "" {
			c.problem(path, "it %s as rollup record %d says", what, r.seq)
		}
	}
	for _, first := range slices.Sorted(maps.Keys(c.rollups)) {
		r := c.rollups[first]
		c.badRecord(r.path, r.seq, fmt.Sprintf("it is the rollup of a segment that begins with record %d, and there is none", first))
	}
}

// differs tells how a segment is not what the rollup says.
func (r *rollup) differs(t *tally) string {
	switch s := &r.Segment; {
	case t.sealed && (s.SealedBytes != t.sealedBytes || s.SHA256 != hex.EncodeToString(t.hash[:])):
		return "is not the file with the size and SHA-256"
	case s.Records != t.records || s.Bytes != t.bytes:
		return "does not hold as many records and bytes"
	case s.From != t.from || s.To != t.to:
		return "does not begin and end at the times"
	case !maps.Equal(r.Kinds, t.kinds):
		return "does not hold the same kinds of records"
	}
	return ""
}
