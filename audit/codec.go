package audit

import (
	"slices"
	"time"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// The most bytes that a text of a record keeps, before they are escaped, and
// the most items of a list. What is longer is cut, and the record says so
// (Shortened).
const (
	maxPath  = 4096
	maxQuery = 1024
	maxValue = 1024 // of a header
	maxText  = 256
	maxItems = 64
	maxLong  = 512 // items of a list that is long by nature, such as the modules of a program
	maxJSON  = 32 << 10
	maxNotes = 64 // more than any kind has texts and lists that can be cut

	// MaxPersonal is the largest sealed box of personal fields that a record
	// keeps, in bytes before base64. A larger one is left out.
	MaxPersonal = 24 << 10
)

// step is how far a record is shortened.
type step struct {
	header int  // the longest header that is kept, in bytes as written
	items  int  // the most items of any list
	text   int  // the most bytes of any text, before they are escaped
	json   bool // whether members that are JSON themselves are kept
}

const unlimited = 1 << 20

// steps are tried one after the other until the record fits in a frame
// (segment.MaxBody). With the last one every record fits. Part of the format:
// docs/records.md states them.
var steps = [...]step{
	{unlimited, unlimited, unlimited, true},
	{4096, unlimited, unlimited, false},
	{2048, unlimited, unlimited, false},
	{1024, unlimited, unlimited, false},
	{512, unlimited, unlimited, false},
	{256, unlimited, unlimited, false},
	{128, unlimited, unlimited, false},
	{0, unlimited, unlimited, false},
	{0, 16, unlimited, false},
	{0, 16, 256, false},
	{0, 4, 64, false},
}

// coder runs through the members of a record in their order. It writes them
// or, if it has a reader, reads them: one function for each kind names the
// members for both, so that what is written can be read.
//
// A member is named by its path, which is its name, or the name of the object
// that it is in, a dot and its name.
type coder struct {
	encoder
	instance string
	in       *reader // nil when writing
	err      error   // of reading: the first

	tried int // steps begun
	limit step
	skip  int // bytes of a path before the name of a member of the open object
	mark  int // where the open object begins

	notes [maxNotes]shortage
	noted int
}

// shortage says that a member was shortened: by how many items, or, if left is
// 0, that a text was cut.
type shortage struct {
	path string
	left int64
}

// to makes the coder append the body of a record to dst:
//
//	var c coder
//	c.to(dst, instance)
//	for c.pass() {
//		r.members(&c)
//	}
//
// It is no function that returns a coder, which is too large to be copied.
func (c *coder) to(dst []byte, instance string) {
	c.b, c.start, c.instance = dst, len(dst), instance
}

// pass reports whether the members are to be written, for the first time or
// again, and shorter.
func (c *coder) pass() bool {
	if c.tried == len(steps) || c.tried > 0 && len(c.b)-c.start <= segment.MaxBody {
		return false
	}
	c.limit = steps[c.tried]
	c.tried++
	c.b, c.noted = c.b[:c.start], 0
	return true
}

// full reports whether the record is too long already, so that it will be
// written again and there is no use in going on with a list.
func (c *coder) full() bool { return len(c.b)-c.start > segment.MaxBody }

// note remembers that a member was shortened.
func (c *coder) note(path string, left int64) {
	for i := range c.noted {
		if n := &c.notes[i]; n.path == path && (n.left > 0) == (left > 0) {
			n.left += left
			return
		}
	}
	if c.noted < len(c.notes) {
		c.notes[c.noted] = shortage{path, left}
		c.noted++
	}
}

// when reports whether a member is there: when writing, if the condition
// holds; when reading, if the record has it.
func (c *coder) when(condition bool, path string) bool {
	if c.in != nil {
		return c.get(path) != ""
	}
	return condition
}

// begin is for the members that every record has first.
func (c *coder) begin(kind Kind, t *time.Time) {
	if c.in != nil {
		c.readTime("time", t, true)
		c.readText("instance", &c.instance)
		return
	}
	c.encoder.time("time", *t)
	c.key("kind")
	c.b = append(c.b, '"')
	c.b = append(c.b, kind...)
	c.b = append(c.b, '"')
	c.text("instance", &c.instance, maxText)
}

// open begins an object as a member of the record, and close ends it. One
// without members is not written.
func (c *coder) open(name string) {
	c.skip = len(name) + 1
	if c.in != nil {
		c.readObject(name)
		return
	}
	c.mark = c.encoder.open(name)
}

func (c *coder) close() {
	c.skip = 0
	if c.in == nil {
		c.encoder.close(c.mark)
	}
}

// text is a text. It is not written if it is empty.
func (c *coder) text(path string, p *string, limit int) {
	if c.in != nil {
		c.readText(path, p)
		return
	}
	s := *p
	if s == "" {
		return
	}
	if len(s) > limit || len(s) > c.limit.text {
		s = c.cut(path, s, limit)
	}
	c.key(path[c.skip:])
	c.quote(s)
}

// id is a request id, which is always written.
func (c *coder) id(path string, p *ID) {
	if c.in != nil {
		var s string
		c.readText(path, &s)
		id, err := ParseID(s)
		if err != nil {
			c.fail(path, err)
		}
		*p = id
		return
	}
	c.key(path)
	c.b = append(c.b, '"')
	c.b = p.AppendText(c.b)
	c.b = append(c.b, '"')
}

// cut returns as much of a text as the record keeps. It does not cut through a
// character; in what is not UTF-8 it cuts where the limit is.
func (c *coder) cut(path, s string, limit int) string {
	limit = min(limit, c.limit.text)
	if len(s) <= limit {
		return s
	}
	c.note(path, 0)
	for back := range utf8.UTFMax {
		if utf8.RuneStart(s[limit-back]) {
			return s[:limit-back]
		}
	}
	return s[:limit]
}

// number is a number that is always written.
func number[T ~int | ~int64](c *coder, path string, p *T) {
	if c.in != nil {
		*p = T(c.readNumber(path, true))
	} else {
		c.number(path[c.skip:], int64(*p))
	}
}

// count is a number that is not written if it is 0.
func count[T ~int | ~int64](c *coder, path string, p *T) {
	if c.in != nil {
		*p = T(c.readNumber(path, false))
	} else if *p != 0 {
		c.number(path[c.skip:], int64(*p))
	}
}

// flag is true or not written.
func (c *coder) flag(path string, p *bool) {
	if c.in != nil {
		*p = c.readBool(path, false)
	} else {
		c.encoder.flag(path[c.skip:], *p)
	}
}

// truth is true or false.
func (c *coder) truth(path string, p *bool) {
	if c.in != nil {
		*p = c.readBool(path, true)
	} else {
		c.boolean(path[c.skip:], *p)
	}
}

// time is a time. It is not written if it is the zero time.
func (c *coder) time(path string, p *time.Time) {
	if c.in != nil {
		c.readTime(path, p, false)
	} else if !p.IsZero() {
		c.encoder.time(path[c.skip:], *p)
	}
}

// end is for the members that every record has last: what was shortened.
func (c *coder) end(s *Shortened) {
	if c.in != nil {
		c.readShortened(s)
		return
	}
	mark, room := c.array("cut"), maxItems
	for _, path := range s.Cut {
		c.item(path, &room)
	}
	for _, n := range c.notes[:c.noted] {
		if n.left == 0 && !slices.Contains(s.Cut, n.path) {
			c.item(n.path, &room)
		}
	}
	c.endArray(mark)

	mark, room = c.encoder.open("left_out"), maxItems
	for i, n := range s.LeftOut {
		if indexCount(s.LeftOut, n.Name) == i {
			c.itemCount(n.Name, n.N+c.left(n.Name), &room)
		}
	}
	for _, n := range c.notes[:c.noted] {
		if n.left > 0 && indexCount(s.LeftOut, n.path) < 0 {
			c.itemCount(n.path, n.left, &room)
		}
	}
	c.encoder.close(mark)
}

// left is how many items of a member were left out now.
func (c *coder) left(path string) int64 {
	for _, n := range c.notes[:c.noted] {
		if n.path == path && n.left > 0 {
			return n.left
		}
	}
	return 0
}

func indexCount(counts []Count, name string) int {
	return slices.IndexFunc(counts, func(n Count) bool { return n.Name == name })
}

func (c *coder) array(name string) (mark int) {
	mark = len(c.b)
	c.key(name)
	c.b = append(c.b, '[')
	return mark
}

func (c *coder) item(path string, room *int) {
	if *room == 0 || !isPath(path) {
		return
	}
	*room--
	if c.b[len(c.b)-1] != '[' {
		c.b = append(c.b, ',')
	}
	c.quote(path)
}

func (c *coder) itemCount(path string, n int64, room *int) {
	if *room > 0 && isPath(path) {
		*room--
		c.number(path, n)
	}
}

func (c *coder) endArray(mark int) {
	if c.b[len(c.b)-1] == '[' {
		c.b = c.b[:mark]
		return
	}
	c.b = append(c.b, ']')
}

// isPath reports whether a text can be the path of a member.
func isPath(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
