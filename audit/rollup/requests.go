package rollup

import (
	"strconv"

	"github.com/caddy-soc2/caddy-soc2/audit/member"
)

// The tables of the request counters, in the order in which they are written.
// Part of the on-disk format.
const (
	byHost = iota
	byUpstream
	byMethod
	byProto
	byTLS
	byAccess
	byLimit
	byCache
	byEnd
	byLevel
	tables
)

// layout says what the tables count. Part of the on-disk format.
var layout = [tables]struct {
	name   string
	field  member.Field
	absent string // name for records without it; empty: not counted
	most   int    // different names that are counted
	top    int    // of which so many are written
}{
	byHost:     {"host", member.Host, "", 4096, 100},
	byUpstream: {"upstream", member.Upstream, "", 256, 20},
	byMethod:   {"method", member.Method, "none", 64, 20},
	byProto:    {"proto", member.Proto, "none", 64, 16},
	byTLS:      {"tls", member.TLSVersion, "none", 64, 16},
	byAccess:   {"access", member.Access, "none", 64, 16},
	byLimit:    {"limit", member.Limit, "none", 64, 16},
	byCache:    {"cache", member.Cache, "none", 64, 16},
	byEnd:      {"end", member.End, "none", 64, 16},
	byLevel:    {"level", member.Level, "metadata", 64, 16},
}

// statuses is one more than the largest status that has a counter.
const (
	minStatus = 100
	statuses  = 1000
)

// requests counts the records of kind request.
type requests struct {
	total, bytes, authenticated, mended int64

	status      [statuses]int64
	otherStatus int64
	tables      [tables]table
	duration    [buckets]int64
	principals  Sketch
}

func (q *requests) init() {
	for i, l := range layout {
		q.tables[i].most, q.tables[i].top = l.most, l.top
	}
}

func (q *requests) add(r *member.Record) {
	q.total++
	if n, ok := r.Number(member.Bytes); ok {
		q.bytes = sum(q.bytes, n)
	}
	if user := r.Text(member.User); len(user) > 0 {
		q.authenticated++
		q.principals.Add(user)
	}
	if r.Items(member.Mended) {
		q.mended++
	}
	if n, ok := r.Number(member.Status); ok && n >= minStatus && n < statuses {
		q.status[n]++
	} else {
		q.otherStatus++
	}
	for i := range q.tables {
		name := r.Text(layout[i].field)
		if len(name) > 0 {
			q.tables[i].add(name, 1)
		} else if layout[i].absent != "" {
			q.tables[i].addAbsent(layout[i].absent)
		}
	}
	if n, ok := r.Number(member.Duration); ok {
		q.duration[bucket(n)]++
	}
}

func (q *requests) append(b []byte) []byte {
	b = append(b, `{"total":`...)
	b = strconv.AppendInt(b, q.total, 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, q.bytes, 10)
	b = count(b, "authenticated", q.authenticated)
	b = count(b, "mended", q.mended)
	b = q.appendStatus(b)
	for i := range q.tables {
		if len(q.tables[i].list) > 0 {
			b = name(b, layout[i].name)
			b = q.tables[i].append(b)
		}
	}
	b = q.appendDuration(b)
	if q.authenticated > 0 {
		b = append(b, `,"principals":"`...)
		b = q.principals.append(b)
		b = append(b, '"')
	}
	b = q.appendOther(b)
	return append(b, '}')
}

func (q *requests) appendStatus(b []byte) []byte {
	mark := len(b)
	for n, count := range q.status {
		if count > 0 {
			b = q.pair(b, mark, "status", int64(n), count)
		}
	}
	return closed(b, mark)
}

func (q *requests) appendDuration(b []byte) []byte {
	mark := len(b)
	for i, count := range q.duration {
		if count > 0 {
			b = q.pair(b, mark, "duration_ns", lower(i), count)
		}
	}
	return closed(b, mark)
}

// pair appends a counter whose name is a number to a table that begins at mark.
func (q *requests) pair(b []byte, mark int, table string, n, count int64) []byte {
	if len(b) == mark {
		b = append(name(b, table), '{')
	} else {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = strconv.AppendInt(b, n, 10)
	b = append(b, `":`...)
	return strconv.AppendInt(b, count, 10)
}

func closed(b []byte, mark int) []byte {
	if len(b) > mark {
		b = append(b, '}')
	}
	return b
}

func (q *requests) appendOther(b []byte) []byte {
	mark := len(b)
	add := func(table string, n int64) {
		if n == 0 {
			return
		}
		if len(b) == mark {
			b = append(b, `,"other":{"`...)
		} else {
			b = append(b, `,"`...)
		}
		b = append(b, table...)
		b = append(b, `":`...)
		b = strconv.AppendInt(b, n, 10)
	}
	add("status", q.otherStatus)
	for i := range q.tables {
		add(layout[i].name, q.tables[i].rest())
	}
	return closed(b, mark)
}

func name(b []byte, s string) []byte {
	b = append(b, `,"`...)
	b = append(b, s...)
	return append(b, `":`...)
}

func count(b []byte, s string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(name(b, s), n, 10)
}
