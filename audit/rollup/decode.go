package rollup

import (
	"errors"
	"fmt"
	"math"
)

// ErrRollup means that a record is not a rollup, or that its counters cannot be
// read.
var ErrRollup = errors.New("it is not a rollup record")

// cursor reads JSON without blanks, once, from the front. After the first error
// it reads nothing more.
type cursor struct {
	b   []byte
	i   int
	bad bool
}

func (c *cursor) take(want byte) bool {
	if c.bad || c.i >= len(c.b) || c.b[c.i] != want {
		c.bad = true
		return false
	}
	c.i++
	return true
}

// object calls fn for each name; fn reads the value.
func (c *cursor) object(fn func(name []byte)) {
	if !c.take('{') {
		return
	}
	if c.i < len(c.b) && c.b[c.i] == '}' {
		c.i++
		return
	}
	for !c.bad {
		name := c.text()
		if !c.take(':') {
			return
		}
		fn(name)
		if c.i < len(c.b) && c.b[c.i] == '}' && !c.bad {
			c.i++
			return
		}
		c.take(',')
	}
}

// text returns what is between the quotes, with its escapes.
func (c *cursor) text() []byte {
	if !c.take('"') {
		return nil
	}
	for i := c.i; i < len(c.b); i++ {
		switch c.b[i] {
		case '"':
			s := c.b[c.i:i]
			c.i = i + 1
			return s
		case '\\':
			i++
		}
	}
	c.bad = true
	return nil
}

func (c *cursor) number() (n int64) {
	from, negative := c.i, false
	if c.i < len(c.b) && c.b[c.i] == '-' {
		negative = true
		c.i++
		from++
	}
	for c.i < len(c.b) && c.b[c.i] >= '0' && c.b[c.i] <= '9' {
		d := int64(c.b[c.i] - '0')
		if n > (math.MaxInt64-d)/10 {
			c.bad = true
			return 0
		}
		n = n*10 + d
		c.i++
	}
	if c.i == from {
		c.bad = true
	}
	if negative {
		return -n
	}
	return n
}

// skip passes over a value and returns it. It finds only where the value ends:
// whether it is JSON was checked when the record was verified.
func (c *cursor) skip() []byte {
	from, depth := c.i, 0
	for !c.bad && c.i < len(c.b) {
		switch c.b[c.i] {
		case '"':
			c.text()
			if depth == 0 {
				return c.b[from:c.i]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return c.b[from:c.i]
			}
			if depth--; depth == 0 {
				c.i++
				return c.b[from:c.i]
			}
		case ',':
			if depth == 0 {
				return c.b[from:c.i]
			}
		}
		c.i++
	}
	c.bad = true
	return nil
}

// Rollup is a rollup record.
type Rollup struct {
	Seq int64 // of the record
	Segment
	SealedBytes int64
	SHA256      string // of the sealed file, hex
	Prev        int64  // index of the rollup record before it, or -1; -1 if it does not say
	Members     Members
}

// Parse reads a rollup record, all but its counters. It keeps the record.
func Parse(record []byte) (*Rollup, error) {
	r := &Rollup{Seq: -1, Prev: -1}
	c := cursor{b: record}
	kind := ""
	c.object(func(name []byte) {
		at := c.i
		switch string(name) {
		case "seq":
			r.Seq = c.number()
		case "kind":
			kind = string(c.text())
		case "segment":
			r.segment(&c)
			r.Members.Segment = c.b[at:c.i]
		case "kinds":
			r.Members.Kinds = c.skip()
		case "requests":
			r.Members.Requests = c.skip()
		case "prev":
			r.Prev = c.number()
			r.Members.Prev = c.b[at:c.i]
		default:
			c.skip()
		}
	})
	switch {
	case c.bad || c.i != len(record):
		return nil, fmt.Errorf("%w: byte %d is not expected", ErrRollup, c.i)
	case kind != Kind:
		return nil, fmt.Errorf("%w: its kind is %q", ErrRollup, kind)
	case r.Members.Segment == nil || r.First < 0 || r.Records < 1 || r.First > math.MaxInt64-r.Records || r.Prev >= max(r.Seq, 0):
		return nil, fmt.Errorf("%w: the numbers of its segment are not possible", ErrRollup)
	}
	return r, nil
}

func (r *Rollup) segment(c *cursor) {
	c.object(func(name []byte) {
		switch string(name) {
		case "first":
			r.First = c.number()
		case "records":
			r.Records = c.number()
		case "from":
			r.From = string(c.text())
		case "to":
			r.To = string(c.text())
		case "bytes":
			r.Bytes = c.number()
		case "sealed_bytes":
			r.SealedBytes = c.number()
		case "sha256":
			r.SHA256 = string(c.text())
		default:
			c.skip()
		}
	})
}

// Differs returns the name of the first counter of a rollup record that is not
// what was counted, such as requests.status, or "" if all of them are. A member
// that the record does not have is not compared.
func (m Members) Differs(counted Members) string {
	for _, p := range []struct {
		name      string
		got, want []byte
	}{
		{"segment", m.Segment, counted.Segment},
		{"kinds", m.Kinds, counted.Kinds},
		{"requests", m.Requests, counted.Requests},
		{"prev", m.Prev, counted.Prev},
	} {
		if p.got != nil && string(p.got) != string(p.want) {
			return p.name + inner(p.got, p.want)
		}
	}
	return ""
}

// inner names the member in which two objects differ, with a dot before it.
func inner(a, b []byte) string {
	want := map[string]string{}
	c := cursor{b: b}
	c.object(func(name []byte) { want[string(name)] = string(c.skip()) })
	found := ""
	c = cursor{b: a}
	c.object(func(name []byte) {
		value := c.skip()
		if found == "" && want[string(name)] != string(value) {
			found = "." + string(name)
		}
		delete(want, string(name))
	})
	for name := range want { // absent is 0, and would not be in the other
		if found == "" || "."+name < found {
			found = "." + name
		}
	}
	return found
}
