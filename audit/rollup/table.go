package rollup

import (
	"cmp"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"
)

// table counts by name.
type table struct {
	most int // different names that are counted; 0: any number
	top  int // of which so many are written

	list   []entry
	index  map[string]int // of list, once it is not short
	recent int            // place in list of the name that was last added
	other  int64          // counted under no name
	cut    []byte         // for a name that is being shortened
}

type entry struct {
	name string
	n    int64
}

// short is the length of a list that is searched one by one.
const short = 8

// add counts a name, which must be the inside of a JSON text.
func (t *table) add(name []byte, n int64) {
	if t.recent < len(t.list) && t.list[t.recent].name == string(name) {
		t.list[t.recent].n += n
		return
	}
	if next := t.recent + 1; next < len(t.list) && t.list[next].name == string(name) {
		t.recent = next
		t.list[next].n += n
		return
	}
	if len(name) > maxName {
		t.cut = shorten(t.cut[:0], name)
		name = t.cut
	}
	i, ok := t.find(name)
	if !ok {
		if t.most > 0 && len(t.list) >= t.most {
			t.other += n
			return
		}
		i = t.insert(string(name))
	}
	t.list[i].n += n
	t.recent = i
}

func (t *table) find(name []byte) (int, bool) {
	if t.index != nil {
		i, ok := t.index[string(name)]
		return i, ok
	}
	for i := range t.list {
		if t.list[i].name == string(name) {
			return i, true
		}
	}
	return 0, false
}

func (t *table) insert(name string) int {
	i := len(t.list)
	t.list = append(t.list, entry{name: name})
	switch {
	case t.index != nil:
		t.index[name] = i
	case i == short:
		t.index = map[string]int{}
		for j, e := range t.list {
			t.index[e.name] = j
		}
	}
	return i
}

// addAbsent counts a record that has no name.
func (t *table) addAbsent(name string) {
	if t.recent < len(t.list) && t.list[t.recent].name == name {
		t.list[t.recent].n++
		return
	}
	t.add([]byte(name), 1)
}

// best returns the entries that are written, sorted by name.
func (t *table) best() []entry {
	list := slices.Clone(t.list)
	if t.top > 0 && len(list) > t.top {
		slices.SortFunc(list, func(a, b entry) int {
			return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.name, b.name))
		})
		list = list[:t.top]
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	return list
}

// rest is how much is counted under no name that is written.
func (t *table) rest() int64 {
	n := t.other
	for _, e := range t.list {
		n += e.n
	}
	for _, e := range t.best() {
		n -= e.n
	}
	return n
}

func (t *table) append(b []byte) []byte {
	b = append(b, '{')
	for i, e := range t.best() {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, e.name...)
		b = append(b, `":`...)
		b = strconv.AppendInt(b, e.n, 10)
	}
	return append(b, '}')
}

// maxName is how long a name may be; part of the on-disk format, as the marker.
const (
	maxName = 64
	marker  = `\\cut`
)

// shorten appends as many characters of a text as fit, and the marker. An
// escape is one character, be it JSON's or the log's \xHH.
func shorten(dst, s []byte) []byte {
	i := 0
	for i < len(s) {
		n := 1
		switch {
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == 'u':
			n = 6
		case s[i] == '\\' && i+2 < len(s) && s[i+1] == '\\' && s[i+2] == 'x':
			n = 5
		case s[i] == '\\':
			n = 2
		case s[i] >= utf8.RuneSelf:
			_, n = utf8.DecodeRune(s[i:])
		}
		if i+n > maxName {
			break
		}
		i += n
	}
	return append(append(dst, s[:i]...), marker...)
}

// buckets is the number of buckets of durations.
const buckets = 62 * 4

// bucket returns the bucket of a duration, which is not negative.
func bucket(n int64) int {
	if n < 4 {
		return int(n)
	}
	e := bits.Len64(uint64(n)) - 1
	return (e-1)*4 + int(n>>(e-2)&3)
}

// lower returns the least duration of a bucket.
func lower(i int) int64 {
	if i < 4 {
		return int64(i)
	}
	return int64(4+i%4) << (i/4 - 1)
}
