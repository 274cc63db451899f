package audit

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The JSON that records are made of: that of RFC 8259 without white space
// between its tokens. Values are found in place and read when they are asked
// for, so that reading a year of records does not make a tree of each. Texts
// without escapes are parts of the record.

// maxDepth is how deep the values of a record may be nested.
const maxDepth = 64

// maxMembers is the most members of an object that is read by name.
const maxMembers = 512

// field is a member of an object, as the record spells it.
type field struct{ key, value string }

// members appends the members of the object that b is.
func members(list []field, b string) ([]field, error) {
	err := each(b, '{', '}', func(key, value string) error {
		key = key[1 : len(key)-1]
		if len(list) == maxMembers {
			return errors.New("too many members")
		}
		for _, m := range list {
			if m.key == key {
				return errors.New("member " + key + " is there twice")
			}
		}
		list = append(list, field{key, value})
		return nil
	})
	return list, err
}

// each calls fn for the values of the array or object that b is, and their keys,
// which are in their quotes.
func each(b string, begin, end byte, fn func(key, value string) error) error {
	if len(b) < 2 || b[0] != begin {
		return errors.New("a value that begins with " + string(begin) + " is wanted")
	}
	if b[1] == end && len(b) == 2 {
		return nil
	}
	for i := 1; ; i++ {
		key := ""
		if begin == '{' {
			from := i
			if i = skipString(b, i); i < 0 || i >= len(b) || b[i] != ':' {
				return errNotJSON
			}
			key = b[from:i]
			i++
		}
		from := i
		if i = skipValue(b, i, 1); i < 0 || i >= len(b) {
			return errNotJSON
		}
		if err := fn(key, b[from:i]); err != nil {
			return err
		}
		if b[i] == end && i == len(b)-1 {
			return nil
		}
		if b[i] != ',' {
			return errNotJSON
		}
	}
}

var errNotJSON = errors.New("it is not compact JSON")

// validJSON reports whether b is one compact JSON value in UTF-8.
func validJSON(b []byte) bool { return skipValue(b, 0, 0) == len(b) && utf8.Valid(b) }

// skipValue returns the index after the value that begins at b[i], or -1.
func skipValue[T []byte | string](b T, i, depth int) int {
	if i >= len(b) || depth > maxDepth {
		return -1
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{':
		return skipItems(b, i+1, depth+1, '}')
	case '[':
		return skipItems(b, i+1, depth+1, ']')
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	default:
		return skipNumber(b, i)
	}
}

func skipWord[T []byte | string](b T, i int, word string) int {
	if len(b)-i >= len(word) && string(b[i:i+len(word)]) == word {
		return i + len(word)
	}
	return -1
}

// skipItems skips what is in an array or object, and its end.
func skipItems[T []byte | string](b T, i, depth int, end byte) int {
	if i < len(b) && b[i] == end {
		return i + 1
	}
	for {
		if end == '}' {
			if i = skipString(b, i); i < 0 || i >= len(b) || b[i] != ':' {
				return -1
			}
			i++
		}
		if i = skipValue(b, i, depth); i < 0 || i >= len(b) {
			return -1
		}
		switch b[i] {
		case end:
			return i + 1
		case ',':
			i++
		default:
			return -1
		}
	}
}

func skipString[T []byte | string](b T, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < 0x20:
			return -1
		case c == '\\':
			if i = skipEscape(b, i+1); i < 0 {
				return -1
			}
		}
	}
	return -1
}

// skipEscape returns the index of the last byte of an escape whose first byte
// after the backslash is b[i], or -1.
func skipEscape[T []byte | string](b T, i int) int {
	if i >= len(b) {
		return -1
	}
	if b[i] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, b[i]) < 0 {
			return -1
		}
		return i
	}
	if hex4(b[i+1:]) < 0 {
		return -1
	}
	return i + 4
}

// hex4 returns the value of the four hex digits that b begins with, or -1.
func hex4[T []byte | string](b T) rune {
	if len(b) < 4 {
		return -1
	}
	var v rune
	for i := range 4 {
		d := unhex(b[i])
		if d < 0 {
			return -1
		}
		v = v<<4 | rune(d)
	}
	return v
}

// unhex returns the value of a hex digit, or -1.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func skipNumber[T []byte | string](b T, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	from := i
	if i = skipDigits(b, i); i < 0 || b[from] == '0' && i > from+1 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = skipDigits(b, i+1); i < 0 {
			return -1
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		i = skipDigits(b, i)
	}
	return i
}

func skipDigits[T []byte | string](b T, i int) int {
	from := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}

// unquote returns the text that a JSON string holds. Half a surrogate pair is
// an error: no text has it.
func unquote(b string) (string, error) {
	if len(b) < 2 || b[0] != '"' {
		return "", errors.New("a text is wanted")
	}
	b = b[1 : len(b)-1]
	at := strings.IndexByte(b, '\\')
	if at < 0 {
		return b, nil
	}
	out := append(make([]byte, 0, len(b)), b[:at]...)
	for i := at; i < len(b); i++ {
		if b[i] != '\\' {
			out = append(out, b[i])
			continue
		}
		i++
		if b[i] != 'u' {
			out = append(out, shortEscape(b[i]))
			continue
		}
		r := hex4(b[i+1:])
		i += 4
		if utf16.IsSurrogate(r) {
			if !strings.HasPrefix(b[i+1:], `\u`) {
				return "", errors.New("half a surrogate pair")
			}
			if r = utf16.DecodeRune(r, hex4(b[i+3:])); r == utf8.RuneError {
				return "", errors.New("half a surrogate pair")
			}
			i += 6
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out), nil
}

func shortEscape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// wholeNumber reads a number without fraction and exponent.
func wholeNumber(b string) (int64, error) {
	n, err := strconv.ParseInt(b, 10, 64)
	if err != nil {
		return 0, errors.New("a whole number of 64 bits is wanted")
	}
	return n, nil
}

// appendSafe appends compact JSON. The characters that text is not written
// with (encoder) become escapes; they occur only in strings.
func appendSafe(dst, value []byte) []byte {
	start := 0
	for i := 0; i < len(value); {
		r, size := rune(value[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(value[i:])
		}
		if r == 0x7f || r == '<' || r == '>' || r == '&' || r > 0x7f && acts(r) {
			dst = append(dst, value[start:i]...)
			dst = append(dst, '\\', 'u', hexDigits[r>>12&0xf], hexDigits[r>>8&0xf], hexDigits[r>>4&0xf], hexDigits[r&0xf])
			start = i + size
		}
		i += size
	}
	return append(dst, value[start:]...)
}
