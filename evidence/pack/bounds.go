package pack

import (
	"fmt"
	"maps"
	"slices"
)

// bounds compares what a report says of requests, of which a pack has only the
// hashes, with what is known of them: it has to add up, and to have what the
// given records give. All denied and limited requests are given.
type bounds struct {
	path     string
	problems []string
}

func (b *bounds) check(ok bool, format string, args ...any) {
	if !ok && len(b.problems) < 20 {
		b.problems = append(b.problems, b.path+": "+fmt.Sprintf(format, args...))
	}
}

// figures compares the figures of a log with those of the given records. Hidden
// records are not given; most requests that the rollup records allow.
func (b *bounds) figures(said, given *Figures, hidden, most int64) {
	sum, more := int64(0), int64(0)
	for _, n := range said.Kinds {
		sum += n
	}
	for _, kind := range requestKinds {
		n := said.Kinds[kind] - given.Kinds[kind]
		b.check(n >= 0, "kinds.%s is less than the %d that are given", kind, given.Kinds[kind])
		more += n
	}
	q, p := &said.Requests, said.Populations[requestRows]
	b.check(sum == said.Records, "records is not the sum of the kinds")
	b.check(more <= hidden, "the kinds of requests are %d more than are given, but only %d records are not", more, hidden)
	b.check(q.Total == said.Kinds["request"] && p.Count == q.Total, "requests.total, kinds.request and populations.requests are not the same")
	b.check(q.Total <= most, "requests.total is more than the %d that the rollup records leave", most)
	b.check(q.Bytes >= given.Requests.Bytes, "requests.bytes is less than the given records have")
	b.check(q.Authenticated >= given.Requests.Authenticated && q.Authenticated <= q.Total, "requests.authenticated is not between what is given and all")
	b.tables(q, &given.Requests)
	b.days(said, given)
	if q.Total == 0 {
		b.check(p.First == nil && p.Last == nil, "populations.requests has a first record, but none")
	} else {
		b.check(p.First != nil && p.Last != nil && said.First <= *p.First && *p.First <= *p.Last && *p.Last < said.Next, "populations.requests begins or ends outside of the pack")
	}
}

// exact are the counters that the given records give whole.
var exact = map[string][]string{"access": {"deny"}, "limit": {"limited"}, "status": {"401", "403"}}

func (b *bounds) tables(said, given *Requests) {
	b.check(slices.Equal(slices.Sorted(maps.Keys(said.By)), slices.Sorted(maps.Keys(given.By))), "requests.by has other tables")
	for _, name := range slices.Sorted(maps.Keys(given.By)) {
		sum, table := int64(0), said.By[name]
		for _, n := range table {
			sum += max(n, 0)
		}
		b.check(sum == said.Total, "requests.by.%s does not add up to all requests", name)
		b.check(len(table) <= maxNames+1, "requests.by.%s has too many names", name)
		if table[tooMany] > 0 {
			continue // which names were counted by themselves nobody knows
		}
		for _, value := range slices.Sorted(maps.Keys(given.By[name])) {
			b.check(table[value] >= given.By[name][value], "requests.by.%s.%s is less than the %d that are given", name, Visible(value), given.By[name][value])
		}
		for _, value := range exact[name] {
			b.check(table[value] == given.By[name][value], "requests.by.%s.%s is %d, but the records give %d", name, value, table[value], given.By[name][value])
		}
	}
}

func (b *bounds) days(said, given *Figures) {
	requests, bytes, plain := int64(0), int64(0), int64(0)
	for date, d := range said.Days {
		sum, g := int64(0), given.Days[date]
		for class, n := range d.Class {
			sum += max(n, 0)
			b.check(n >= g.Class[class], "days.%s.class.%s is less than is given", date, class)
		}
		b.check(d.Requests > 0 && sum == d.Requests && d.Requests >= g.Requests && d.Bytes >= g.Bytes, "days.%s does not add up, or is less than is given", date)
		b.check(d.Denied == g.Denied && d.Limited == g.Limited, "days.%s: %d denied and %d limited, but the records give %d and %d", date, d.Denied, d.Limited, g.Denied, g.Limited)
		b.check(d.Plain >= g.Plain && d.Plain <= d.Requests, "days.%s.plain is not between what is given and all", date)
		requests, bytes, plain = requests+d.Requests, bytes+d.Bytes, plain+d.Plain
	}
	for date := range given.Days {
		_, ok := said.Days[date]
		b.check(ok, "days.%s is not there", date)
	}
	b.check(requests == said.Requests.Total && bytes == said.Requests.Bytes && plain == said.Requests.By["tls"][none], "the days do not add up to all requests")
}
