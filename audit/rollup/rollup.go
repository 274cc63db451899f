// Package rollup counts what a segment of a log holds. The sealer writes the
// counters as a record of kind rollup, and a verifier computes them again from
// the same records: how they are counted is part of the on-disk format.
//
//	"segment":{"first":0,"records":3,"from":"…","to":"…","bytes":1201,"sealed_bytes":377,"sha256":"…"},
//	"kinds":{"log.open":1,"request":2},
//	"requests":{"total":2,"bytes":84,"status":{"200":2},"method":{"GET":2}, … ,"duration_ns":{"1280":2},"principals":"AAB…"},
//	"prev":-1
//
// segment is the file that was sealed and the times of its first and last
// record, kinds counts its records by kind, prev is the index of the rollup
// record before this one, or -1: the rollups of a log are a chain. Records of
// the first version have neither requests nor prev.
//
// # Requests
//
// requests counts the records of kind request:
//
//   - total, bytes (sum of response.bytes), authenticated (with an auth.user),
//     mended (where headers of the upstream were mended);
//   - status by response.status;
//   - host by request.host, the 100 that are the most; upstream by
//     upstream.address, the 20 that are the most;
//   - method, proto, tls (version), access, limit (outcomes), cache, end, level.
//     A record without it counts as none; without a level as metadata, and
//     without a TLS version as none, which is plaintext;
//   - duration_ns by the lower bound of its bucket. From 4 on there are four
//     buckets to an octave: 4 5 6 7 8 10 12 14 16 20 …;
//   - principals is a sketch of the different texts in auth.user: their number
//     can be estimated, and they cannot be had back;
//   - other says how many records of a table are counted under no name.
//
// Names are the texts of the records, with their escapes. One that is longer
// than 64 bytes is cut between two characters and ends with \\cut, which no
// text of a record holds. So that what clients send cannot use up memory, a
// table takes only so many different names in the order of the records (4,096
// hosts, 256 upstreams, 64 of the rest); of these it writes those that are the
// most, and of equal ones those that sort first. The counters of names that are
// written are exact.
//
// Absent counters are 0, and tables are sorted by name, so that the same
// records give the same bytes. They fit in a record, whatever the requests were.
package rollup

import (
	"encoding/hex"
	"math"
	"strconv"

	"github.com/caddy-soc2/caddy-soc2/audit/member"
)

// Kind is the kind of the records that carry counters.
const Kind = "rollup"

// Counter counts the records of a segment. It belongs to one goroutine.
type Counter struct {
	Segment
	to       []byte // becomes Segment.To
	kinds    table
	requests requests
}

// Segment is what a rollup says of the file.
type Segment struct {
	First, Records int64
	From, To       string // times of the first and last record, as they are there
	Bytes          int64  // of all frames
}

// Sealed is what a rollup says of the sealed file.
type Sealed struct {
	Bytes  int64
	SHA256 [32]byte
}

// NewCounter returns a counter for the segment that begins with a record.
func NewCounter(first int64) *Counter {
	c := &Counter{Segment: Segment{First: first}}
	c.kinds.most, c.kinds.top = 256, 256
	c.requests.init()
	return c
}

// Add counts the next record of the segment.
func (c *Counter) Add(r *member.Record) {
	kind := r.Text(member.Kind)
	if c.Records == 0 {
		c.From = string(r.Text(member.Time))
	}
	c.to = append(c.to[:0], r.Text(member.Time)...)
	c.Skip(len(r.Bytes()))
	c.kinds.add(kind, 1)
	if string(kind) == "request" {
		c.requests.add(r)
	}
}

// Skip counts a record of so many bytes that package member does not read. It has
// neither a kind nor a time.
func (c *Counter) Skip(size int) {
	c.Records++
	c.Bytes += int64(size) + 2
}

// Members are the values of a rollup record's members, as JSON. Those that it
// does not have are nil.
type Members struct {
	Segment, Kinds, Requests, Prev []byte
}

// Members returns what a rollup record says of the records counted so far.
func (c *Counter) Members(sealed Sealed, prev int64) Members {
	c.To = string(c.to)
	return Members{c.Member(sealed), c.kinds.append(nil), c.requests.append(nil), strconv.AppendInt(nil, prev, 10)}
}

// AppendBody appends the members to the body of a record.
func (m Members) AppendBody(dst []byte) []byte {
	dst = append(dst, `,"segment":`...)
	dst = append(dst, m.Segment...)
	if len(m.Kinds) > len("{}") {
		dst = append(dst, `,"kinds":`...)
		dst = append(dst, m.Kinds...)
	}
	dst = append(dst, `,"requests":`...)
	dst = append(dst, m.Requests...)
	dst = append(dst, `,"prev":`...)
	return append(dst, m.Prev...)
}

// Member returns the value of the member segment.
func (s Segment) Member(sealed Sealed) []byte {
	b := append([]byte(nil), `{"first":`...)
	b = strconv.AppendInt(b, s.First, 10)
	b = append(b, `,"records":`...)
	b = strconv.AppendInt(b, s.Records, 10)
	b = text(b, "from", s.From)
	b = text(b, "to", s.To)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, s.Bytes, 10)
	b = append(b, `,"sealed_bytes":`...)
	b = strconv.AppendInt(b, sealed.Bytes, 10)
	b = text(b, "sha256", hex.EncodeToString(sealed.SHA256[:]))
	return append(b, '}')
}

// text appends a member whose text has its escapes already.
func text(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":"`...)
	b = append(b, s...)
	return append(b, '"')
}

// sum adds without ever becoming less.
func sum(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
