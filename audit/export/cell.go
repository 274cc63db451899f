package export

import "strconv"

// Visible writes bytes that are not UTF-8, control characters, marks that change
// the direction of text, and backslashes as \xHH, so that two texts that differ
// look different.
func Visible(s string) string { return visible(s) }

// Guard makes text that is Visible safe for spreadsheets: what one would take for
// a formula begins with an apostrophe.
func Guard(s string) string {
	if s == "" {
		return s
	}
	switch s[0] {
	case '=', '+', '-', '@':
		if _, err := strconv.ParseFloat(s, 64); err != nil { // a number is no formula
			return "'" + s
		}
	}
	return s
}
