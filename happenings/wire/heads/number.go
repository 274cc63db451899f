package heads

import "math"

// digits is a number as it is written. Two are written alike if both parts are.
type digits struct {
	n     uint64
	count int
}

// number is what the lines of Content-Length say.
type number struct {
	first   digits // of the first line
	differ  bool   // another line says something else
	lines   int
	current digits
	spaced  bool // white space came after the digits
	bad     bool // the current one is no number, which net/http refuses
}

func (v *number) feed(c byte) {
	switch {
	case c == ' ' || c == '\t' || c == '\r':
		v.spaced = v.current.count > 0
	case c < '0' || c > '9' || v.spaced || v.current.n > (math.MaxInt64-uint64(c-'0'))/10:
		v.bad = true
	default:
		v.current.n = v.current.n*10 + uint64(c-'0')
		v.current.count++
	}
}

// close ends a line and those that continue it.
func (v *number) close() {
	switch {
	case v.bad || v.current.count == 0:
	case v.first.count == 0:
		v.first = v.current
	case v.first != v.current:
		v.differ = true
	}
	v.lines++
	v.current, v.spaced, v.bad = digits{}, false, false
}
