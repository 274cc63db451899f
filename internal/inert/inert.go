// Package inert keeps text from outside from doing anything where it is shown.
package inert

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Acts reports whether a character does something instead of being shown: the
// controls, the line and paragraph separators, the byte order mark and the marks
// of direction, which records escape (docs/records.md).
func Acts(c rune) bool {
	return unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) || c == '\u2028' || c == '\u2029' || c == '\ufeff'
}

// JSON writes characters that act as JSON's escapes. In a JSON document they are
// in texts alone, so that it says the same. What stands between its tokens stays.
func JSON(b []byte) []byte {
	if !bytes.ContainsFunc(b, inText) {
		return b
	}
	out := make([]byte, 0, len(b)+64)
	for i := 0; i < len(b); {
		c, n := utf8.DecodeRune(b[i:])
		if inText(c) {
			out = fmt.Appendf(out, `\u%04x`, c)
		} else {
			out = append(out, b[i:i+n]...)
		}
		i += n
	}
	return out
}

// inText leaves out what no text of JSON holds.
func inText(c rune) bool { return Acts(c) && c != '\n' && c != '\t' && c != '\r' }
