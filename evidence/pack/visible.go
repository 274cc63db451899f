package pack

import (
	"fmt"
	"strings"
)

// Visible writes characters that act instead of being shown as the bytes of
// their UTF-8, \xHH each: those that records escape (docs/records.md).
func Visible(s string) string {
	if !strings.ContainsFunc(s, acts) {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if !acts(c) {
			b.WriteRune(c)
			continue
		}
		for _, x := range []byte(string(c)) {
			fmt.Fprintf(&b, `\x%02x`, x)
		}
	}
	return b.String()
}

// acts reports whether a character changes how text is shown.
func acts(c rune) bool {
	return c < 0x20 || c >= 0x7f && c <= 0x9f || c == 0x2028 || c == 0x2029 || c == 0xfeff ||
		c == 0x061c || c == 0x200e || c == 0x200f || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069
}
