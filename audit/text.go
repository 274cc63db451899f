package audit

// AppendQuoted appends s as records hold text from outside: a JSON string from
// which every byte can be had back. Backslashes, and bytes that are not part of
// valid UTF-8, are the characters \xHH in it.
func AppendQuoted(dst []byte, s string) []byte {
	e := encoder{b: dst}
	e.quote(s)
	return e.b
}
