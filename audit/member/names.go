package member

import "slices"

// none is no Field.
const none Field = -1

// object is an object in a record that has fields in it.
type object int

const (
	whole object = iota // the record
	other               // one without fields
	tls
	request
	auth
	access
	limit
	headers
	upstream
	response
)

// known are the members of the record that are fields, or objects with fields
// in them, and those that every record has.
var known = []struct {
	name   string
	field  Field
	object object
}{
	{"v", none, other},
	{"seq", none, other},
	{"pos", none, other},
	{"time", Time, other},
	{"kind", Kind, other},
	{"crc", none, other},
	{"level", Level, other},
	{"cache", Cache, other},
	{"duration_ns", Duration, other},
	{"tls", none, tls},
	{"request", none, request},
	{"auth", none, auth},
	{"access", none, access},
	{"limit", none, limit},
	{"headers", none, headers},
	{"upstream", none, upstream},
	{"response", none, response},
}

// inside are the fields in those objects.
var inside = []struct {
	object object
	name   string
	field  Field
}{
	{tls, "version", TLSVersion},
	{request, "proto", Proto},
	{request, "method", Method},
	{request, "host", Host},
	{auth, "user", User},
	{access, "outcome", Access},
	{limit, "outcome", Limit},
	{headers, "mended", Mended},
	{upstream, "address", Upstream},
	{response, "status", Status},
	{response, "bytes", Bytes},
	{response, "end", End},
}

// tabled is how many names a table can have: a bit of a word for each, and none
// for the number 0.
const tabled = 63

// table holds the names that objects at one place of the records had so far, so
// that a name that comes again is recognized by comparing it with the one that
// followed last time. It is not cleared between records.
type table struct {
	count   int
	entries [tabled + 1]entry // entry 0 is for names that are not in the table
	next    [tabled + 1]uint8 // by the number of a name: that of the one which followed
}

// entry is a name in a table.
type entry struct {
	quoted string // with its quotes and the colon
	head   uint64 // its first eight bytes
	mask   uint64 // those of them that it has
	name   string
	field  Field
	object object
	sub    *table // names of the object that the member is
}

func (t *table) entry(id int) *entry {
	e := &t.entries[id&tabled]
	if id == 0 {
		e.field, e.object = none, other
	}
	return e
}

// find returns the number of a name, which it takes into the table if there is
// room. Names that are not plain ASCII come from outside and are not tabled.
func (t *table) find(quoted []byte) int {
	for i := 1; i <= t.count; i++ {
		if t.entries[i].quoted == string(quoted) {
			return i
		}
	}
	if t.count == tabled || len(quoted) > 64 {
		return 0
	}
	for _, c := range quoted {
		if c >= 0x80 || c == '\\' {
			return 0
		}
	}
	t.add(string(quoted[1:len(quoted)-2]), none, other)
	return t.count
}

func (t *table) add(name string, f Field, o object) {
	t.count++
	e := entry{quoted: `"` + name + `":`, name: name, field: f, object: o}
	for i := range min(len(e.quoted), 8) {
		e.head |= uint64(e.quoted[i]) << (8 * i)
		e.mask |= 0xff << (8 * i)
	}
	t.entries[t.count] = e
}

// newTable has the names of fields in it from the beginning: what else the
// records have must not decide what is found.
func newTable(o object) *table {
	t := &table{}
	if o == whole {
		for _, k := range known {
			t.add(k.name, k.field, k.object)
		}
	}
	for _, k := range inside {
		if k.object == o {
			t.add(k.name, k.field, other)
		}
	}
	return t
}

// few is how many names are compared one by one.
const few = 32

// strays are the names of the record, and of the object in it that is being
// read, which are in no table.
type strays [2]struct {
	list []string
	all  map[string]struct{} // if they are more than few
}

func (s *strays) reset(depth int) {
	n := &s[depth]
	n.list = n.list[:0]
	if len(n.all) > 0 {
		clear(n.all)
	}
}

// add reports whether a name is new.
func (s *strays) add(depth int, name []byte) bool {
	n := &s[depth]
	if len(n.list) < few {
		if slices.Contains(n.list, string(name)) {
			return false
		}
		n.list = append(n.list, string(name))
		return true
	}
	if len(n.all) == 0 {
		n.all = make(map[string]struct{}, 4*few)
		for _, other := range n.list {
			n.all[other] = struct{}{}
		}
	}
	if _, ok := n.all[string(name)]; ok {
		return false
	}
	n.all[string(name)] = struct{}{}
	return true
}
