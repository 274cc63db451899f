package member

import (
	"encoding/binary"
	"math/bits"
)

// value reads the value at a place and returns where it ends.
func (r *Record) value(at, depth int) (end int, err error) {
	b := r.raw
	if at >= len(b) {
		return at, wrong(at, "a value is wanted")
	}
	switch c := b[at]; {
	case c == '"':
		return r.text(at)
	case c == '-' || c >= '0' && c <= '9':
		return r.number(at)
	case c == '{' || c == '[':
		if depth >= maxDepth {
			return at, wrong(at, "it is nested too deep")
		}
		return r.group(at, depth+1)
	case c == 't':
		return r.literal(at, "true")
	case c == 'f':
		return r.literal(at, "false")
	case c == 'n':
		return r.literal(at, "null")
	}
	return at, wrong(at, "a value is wanted")
}

func (r *Record) literal(at int, want string) (int, error) {
	if end := at + len(want); end <= len(r.raw) && string(r.raw[at:end]) == want {
		return end, nil
	}
	return at, wrong(at, "a value is wanted")
}

// group reads a list, or an object whose names nobody asks for.
func (r *Record) group(at, depth int) (end int, err error) {
	b, i := r.raw, at+1
	closing := b[at] + 2 // { } and [ ] are two apart
	if i < len(b) && b[i] == closing {
		return i + 1, nil
	}
	for {
		if closing == '}' {
			if i >= len(b) || b[i] != '"' {
				return i, wrong(i, "a name is wanted")
			}
			if i, err = r.text(i); err != nil {
				return i, err
			}
			if i >= len(b) || b[i] != ':' {
				return i, wrong(i, "a colon is wanted")
			}
			i++
		}
		if i, err = r.value(i, depth); err != nil {
			return i, err
		}
		switch {
		case i < len(b) && b[i] == closing:
			return i + 1, nil
		case i >= len(b) || b[i] != ',':
			return i, wrong(i, "a comma is wanted")
		}
		i++
	}
}

// number reads a number (RFC 8259, section 6).
func (r *Record) number(at int) (end int, err error) {
	b, i := r.raw, at
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if b[i] == '-' {
		i++
	}
	zero := i < len(b) && b[i] == '0'
	from := i
	ok := digits() && (!zero || i == from+1)
	if ok && i < len(b) && b[i] == '.' {
		i++
		ok = digits()
	}
	if ok && i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		ok = digits()
	}
	if !ok {
		return at, wrong(at, "it is not a number")
	}
	return i, nil
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// text reads a text, which begins with a quote, and returns where it ends,
// which is behind its last quote. Eight bytes are looked at at a time.
func (r *Record) text(at int) (end int, err error) {
	b, i := r.raw, at+1
	for {
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			quote, back := x^'"'*ones, x^'\\'*ones
			// The lowest mark is right: a borrow marks only bytes above it.
			m := ((quote-ones)&^quote | (back-ones)&^back | (x-0x20*ones)&^x | x) & highs
			if m != 0 {
				i += bits.TrailingZeros64(m) / 8
				break
			}
			i += 8
		}
		if i >= len(b) {
			return i, wrong(at, "the text does not end")
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			if i, err = r.escape(i); err != nil {
				return i, err
			}
		case c < 0x20:
			return i, wrong(i, "a control character is in a text")
		default:
			if c >= 0x80 {
				r.wide = true
			}
			i++
		}
	}
}

// escape reads one escape of a text.
func (r *Record) escape(at int) (end int, err error) {
	b := r.raw
	if at+1 < len(b) {
		switch b[at+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			return at + 2, nil
		case 'u':
			if at+6 <= len(b) && isHex(b[at+2]) && isHex(b[at+3]) && isHex(b[at+4]) && isHex(b[at+5]) {
				return at + 6, nil
			}
		}
	}
	return at, wrong(at, "an escape is not one of JSON")
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}
