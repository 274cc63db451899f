package export

import (
	"strconv"
	"unicode/utf8"
)

// Visible writes bytes that are not UTF-8, control characters, line separators,
// byte order marks, marks that change the direction of text, and backslashes as
// \xHH, so that two texts that differ look different.
func Visible(s string) string { return visible(s) }

// Guard makes text that is Visible safe for spreadsheets: what one would take for
// a formula begins with an apostrophe.
func Guard(s string) string {
	first, _ := utf8.DecodeRuneInString(s)
	switch first {
	case '\uff1d', '\uff0b', '\uff0d', '\uff20': // the same in wide forms
		return "'" + s
	case '=', '+', '-', '@':
		if _, err := strconv.ParseFloat(s, 64); err != nil { // a number is no formula
			return "'" + s
		}
	}
	return s
}
