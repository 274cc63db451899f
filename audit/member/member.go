// Package member finds the members of a record without decoding it. Whoever
// counts records, the log that sums up a segment and the verifier that does it
// again, reads them through this package and so reads the same.
//
// A record is read only if no two readers of JSON can differ about it:
//
//   - it is one JSON object (RFC 8259) in valid UTF-8, without blanks between
//     its tokens;
//   - it begins with v, seq, pos, time and kind, in this order, time and kind
//     being texts, and ends with crc;
//   - no name is there twice in the object or in an object that is a member of
//     it, and no name in them is spelled with an escape that it does not need.
//
// The numbers and the checksum in the frame are package segment's to check.
package member

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Field is a member that records are counted by.
type Field int

// The fields. A dot stands between the name of a member and that of a member of
// the object that it is.
const (
	Time       Field = iota // time
	Kind                    // kind
	Level                   // level
	Cache                   // cache
	TLSVersion              // tls.version
	Proto                   // request.proto
	Method                  // request.method
	Host                    // request.host
	User                    // auth.user
	Access                  // access.outcome
	Limit                   // limit.outcome
	Mended                  // headers.mended
	Upstream                // upstream.address
	Status                  // response.status
	Bytes                   // response.bytes
	End                     // response.end
	Duration                // duration_ns
	fields
)

// span is a range of bytes of a record, which has at most 65,535.
type span struct{ from, to uint16 }

// Record is a record that was read. The zero value is ready; it belongs to one
// goroutine and is used again for the next record.
type Record struct {
	raw    []byte
	fields [fields]span
	outer  *table // the names that records have
	rest   strays // names that are in no table
	wide   bool   // a byte is not ASCII
}

// Text returns the text of a field between its quotes, as it is written, with
// its escapes. It is nil if the record has no such text.
func (r *Record) Text(f Field) []byte {
	s := r.fields[f]
	if s.to == 0 || r.raw[s.from] != '"' {
		return nil
	}
	return r.raw[s.from+1 : s.to-1]
}

// Value returns a field as it is written, with the quotes of a text. It is nil if
// the record has no such member.
func (r *Record) Value(f Field) []byte {
	s := r.fields[f]
	if s.to == 0 {
		return nil
	}
	return r.raw[s.from:s.to]
}

// Number returns the value of a field that is a whole number.
func (r *Record) Number(f Field) (n int64, ok bool) {
	s := r.fields[f]
	digits := r.raw[s.from:s.to]
	if len(digits) == 0 || len(digits) > 18 { // what has more digits no writer of records makes
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// Items reports whether a field is a list that has something in it.
func (r *Record) Items(f Field) bool {
	s := r.fields[f]
	return s.to-s.from > 2 && r.raw[s.from] == '['
}

// Bytes returns the record.
func (r *Record) Bytes() []byte { return r.raw }

// ErrRecord means that bytes are not a record as this package says.
var ErrRecord = errors.New("it is not one JSON object as the log writes it")

func wrong(at int, what string) error {
	return fmt.Errorf("%w: byte %d: %s", ErrRecord, at, what)
}

// maxRecord keeps offsets in 16 bits. A frame cannot hold more.
const maxRecord = 1<<16 - 1

// maxDepth is how deep values may lie in one another.
const maxDepth = 1000

// Read reads a record, which must not change while r is used. After an error
// r holds nothing.
func (r *Record) Read(record []byte) error {
	r.raw, r.fields, r.wide = record, [fields]span{}, false
	err := r.object()
	if err == nil && r.wide && !utf8.Valid(record) {
		err = wrong(0, "it is not valid UTF-8")
	}
	if err != nil {
		r.raw, r.fields = nil, [fields]span{}
	}
	return err
}

// first are the names that a record begins with.
var first = [...]string{"v", "seq", "pos", "time", "kind"}

// object reads the record itself.
func (r *Record) object() error {
	b := r.raw
	if len(b) < 2 || len(b) > maxRecord || b[0] != '{' || b[len(b)-1] != '}' {
		return wrong(0, "an object is wanted")
	}
	if r.outer == nil {
		r.outer = newTable(whole)
	}
	seen := uint64(0)
	r.rest.reset(0)
	i, n, id := 1, 0, 0
	var e *entry
	for {
		var err error
		at := i
		if id, i, err = r.name(r.outer, id, at, 0, &seen); err != nil {
			return err
		}
		e = r.outer.entry(id)
		if n < len(first) && e.name != first[n] {
			return wrong(at, strconv.Quote(first[n])+" is wanted here")
		}
		n++
		if i, err = r.member(e, i); err != nil {
			return err
		}
		if b[i] == '}' {
			break
		}
		if b[i] != ',' {
			return wrong(i, "a comma is wanted")
		}
		i++
	}
	switch {
	case i != len(b)-1:
		return wrong(i+1, "something follows the object")
	case n <= len(first) || e.name != "crc":
		return wrong(i, "it does not end with \"crc\"")
	case r.Text(Time) == nil || r.Text(Kind) == nil:
		return wrong(0, "time and kind must be texts")
	}
	return nil
}

// member reads the value of a member of the record and returns where it ends,
// which is before the end of the record.
func (r *Record) member(e *entry, at int) (end int, err error) {
	switch r.raw[at] {
	case '"':
		end, err = r.text(at)
	case '{':
		end, err = r.inner(e, at)
	default:
		end, err = r.value(at, 1)
	}
	if err == nil && end >= len(r.raw) {
		err = wrong(end, "the object does not end")
	}
	if err == nil && e.field != none {
		r.fields[e.field] = span{uint16(at), uint16(end)}
	}
	return end, err
}

// inner reads an object that is a member of the record.
func (r *Record) inner(outer *entry, at int) (end int, err error) {
	b, i := r.raw, at+1
	if b[i] == '}' {
		return i + 1, nil
	}
	if outer.sub == nil {
		outer.sub = newTable(outer.object)
	}
	t, id, seen := outer.sub, 0, uint64(0)
	r.rest.reset(1)
	for {
		var value int
		if id, value, err = r.name(t, id, i, 1, &seen); err != nil {
			return i, err
		}
		if b[value] == '"' {
			i, err = r.text(value)
		} else {
			i, err = r.value(value, 2)
		}
		if err != nil {
			return i, err
		}
		if i >= len(b) {
			return i, wrong(i, "the object does not end")
		}
		if f := t.entry(id).field; f != none {
			r.fields[f] = span{uint16(value), uint16(i)}
		}
		switch b[i] {
		case '}':
			return i + 1, nil
		case ',':
			i++
		default:
			return i, wrong(i, "a comma is wanted")
		}
	}
}

// name reads the name of a member and the colon, of which there is a byte
// behind. It returns the number that the name has in the table, or 0 if it has
// none. Most names are those that followed the one before last time.
func (r *Record) name(t *table, before, at, depth int, seen *uint64) (id, value int, err error) {
	b := r.raw
	id = int(t.next[before&tabled])
	if end, ok := t.entries[id&tabled].at(b, at); ok {
		value = end
	} else if id, value, err = r.newName(t, at, depth); err != nil {
		return 0, at, err
	} else {
		t.next[before] = uint8(id)
	}
	if id > 0 {
		bit := uint64(1) << (id & 63)
		if *seen&bit != 0 {
			return 0, at, wrong(at, "a name is there twice")
		}
		*seen |= bit
	}
	return id, value, nil
}

// at reports whether the name stands at a place in b, and where it ends. A
// record ends with more bytes than are compared at a time.
func (e *entry) at(b []byte, i int) (end int, ok bool) {
	n := len(e.quoted)
	if i+n >= len(b) || i+8 > len(b) || n == 0 || binary.LittleEndian.Uint64(b[i:])&e.mask != e.head {
		return 0, false
	}
	return i + n, n <= 8 || string(b[i+8:i+n]) == e.quoted[8:]
}

// newName is name for one that was not expected.
func (r *Record) newName(t *table, at, depth int) (id, value int, err error) {
	b := r.raw
	if at >= len(b) || b[at] != '"' {
		return 0, at, wrong(at, "a name is wanted")
	}
	end, err := r.text(at)
	if err != nil {
		return 0, at, err
	}
	if end+1 >= len(b) || b[end] != ':' {
		return 0, end, wrong(end, "a colon and a value are wanted")
	}
	name := b[at+1 : end-1]
	name, ok := spelled(name)
	if !ok {
		return 0, at, wrong(at, "a name is spelled with an escape that it does not need")
	}
	id = t.find(b[at : end+1])
	if id == 0 && !r.rest.add(depth, name) {
		return 0, at, wrong(at, "a name is there twice")
	}
	return id, end + 1, nil
}

// spelled returns a name in the one way of writing it in which it can be compared
// with others. It reports false if a character that could stand for itself is
// escaped.
func spelled(name []byte) ([]byte, bool) {
	if bytes.IndexByte(name, '\\') < 0 {
		return name, true
	}
	out := make([]byte, 0, len(name)+8)
	for {
		i := bytes.IndexByte(name, '\\')
		if i < 0 {
			return append(out, name...), true
		}
		out = append(out, name[:i]...)
		name = name[i:]
		n := 2
		if name[1] == 'u' {
			n = 6
			v, err := strconv.ParseUint(string(name[2:6]), 16, 16)
			c := byte(v)
			if err != nil || v >= 0x20 && v < 0x7f && c != '<' && c != '>' && c != '&' || bytes.ContainsAny(name[2:6], "ABCDEF") {
				return nil, false
			}
		}
		switch escape := name[1]; escape {
		case 'b', 't', 'n', 'f', 'r': // U+0008 to U+000D are written in one way
			out = fmt.Appendf(out, `\u%04x`, "\b\t\n\f\r"[strings.IndexByte("btnfr", escape)])
		case '"', '\\', 'u':
			out = append(out, name[:n]...)
		default:
			return nil, false
		}
		name = name[n:]
	}
}
