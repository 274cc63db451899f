package audit

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// encoder appends the members of one JSON object, in the order of the calls.
// It has no state but the bytes, and where among them the object begins: the
// body of a record is the members without the braces around them.
//
// Text that came from outside is written so that every byte can be had back:
//
//   - control characters, those that change the direction or the line of text,
//     quotes, and the characters < > & that HTML gives a meaning are JSON
//     escapes \uXXXX or \";
//   - a byte that is not part of valid UTF-8, and a backslash, are the four
//     characters \xHH. In JSON that reads "\\xff" and "\\x5c".
//
// So text never holds a bare backslash, and replacing each \xHH by its byte
// gives the original.
type encoder struct {
	b     []byte
	start int // of the object: what is before it in b is not the encoder's
}

const hexDigits = "0123456789abcdef"

// key starts a member.
func (e *encoder) key(name string) {
	b := e.b // a slice of its own stays in registers
	if n := len(b); n > e.start && b[n-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, name...)
	e.b = append(b, '"', ':')
}

// header writes the members that every record begins with.
func (e *encoder) header(t time.Time, kind Kind, instance string) {
	e.time("time", t)
	e.key("kind")
	e.quote(string(kind))
	e.text("instance", instance)
}

// text writes a member, unless it is empty.
func (e *encoder) text(name, s string) {
	if s != "" {
		e.key(name)
		e.quote(s)
	}
}

func (e *encoder) number(name string, n int64) {
	e.key(name)
	e.b = strconv.AppendInt(e.b, n, 10)
}

func (e *encoder) boolean(name string, v bool) {
	e.key(name)
	e.b = strconv.AppendBool(e.b, v)
}

// flag writes a member only if it is true.
func (e *encoder) flag(name string, v bool) {
	if v {
		e.boolean(name, v)
	}
}

func (e *encoder) time(name string, t time.Time) {
	e.key(name)
	e.b = append(e.b, '"')
	e.b = AppendTime(e.b, t)
	e.b = append(e.b, '"')
}

// open starts an object as a member and returns where, for close.
func (e *encoder) open(name string) int {
	mark := len(e.b)
	e.key(name)
	e.b = append(e.b, '{')
	return mark
}

// close ends an object. One without members is taken back.
func (e *encoder) close(mark int) {
	if e.b[len(e.b)-1] == '{' {
		e.b = e.b[:mark]
		return
	}
	e.b = append(e.b, '}')
}

func (e *encoder) quote(s string) {
	b := append(e.b, '"')
	b = appendText(b, s)
	e.b = append(b, '"')
}

// escape writes text between quotes.
func (e *encoder) escape(s string) { e.b = appendText(e.b, s) }

// appendText appends the text that stands between the quotes.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if !plain[s[i]] {
			return appendEscaped(append(b, s[:i]...), s[i:])
		}
	}
	return append(b, s...)
}

func appendEscaped(b []byte, s string) []byte {
	start := 0 // of the bytes that need no escape and are not yet written
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, size := utf8.DecodeRuneInString(s[i:]); size > 1 {
				if acts(r) {
					b = append(b, s[start:i]...)
					b = append(b, '\\', 'u', hexDigits[r>>12&0xf], hexDigits[r>>8&0xf], hexDigits[r>>4&0xf], hexDigits[r&0xf])
					start = i + size
				}
				i += size
				continue
			}
		}
		b = append(b, s[start:i]...)
		switch {
		case c == '"':
			b = append(b, '\\', '"')
		case c >= utf8.RuneSelf || c == '\\':
			b = append(b, '\\', '\\', 'x', hexDigits[c>>4], hexDigits[c&0xf])
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
		i++
		start = i
	}
	return append(b, s[start:]...)
}

// acts reports whether a character does something instead of being shown: the
// C1 controls, the line and paragraph separators and the marks of direction.
func acts(r rune) bool {
	return r >= 0x80 && r <= 0x9f || r == 0x061c || r == 0x200e || r == 0x200f ||
		r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
}

// plain holds the ASCII characters that stand for themselves.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return t
}()

// The first and the last time that RFC 3339 can write.
var (
	firstTime = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
)

// AppendTime appends a time as records hold it: RFC 3339 in UTC with nine
// digits of a second, so that times sort as text. A time before the year 0 is
// written as the beginning of that year, one after 9999 as its end.
func AppendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		t = lastTime
		if year < 0 {
			t = firstTime
		}
		year, month, day = t.Date()
	}
	hour, minute, sec := t.Clock()
	dst = append(digits(dst, year, 4), '-')
	dst = append(digits(dst, int(month), 2), '-')
	dst = append(digits(dst, day, 2), 'T')
	dst = append(digits(dst, hour, 2), ':')
	dst = append(digits(dst, minute, 2), ':')
	dst = append(digits(dst, sec, 2), '.')
	return append(digits(dst, t.Nanosecond(), 9), 'Z')
}

// digits appends n, which has at most nine digits, with leading zeros.
func digits(dst []byte, n, width int) []byte {
	dst = append(dst, "000000000"[:width]...)
	for i := len(dst) - 1; n > 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}
