package changes

import (
	"bytes"
	"runtime"
	"strconv"
)

// goroutine returns the number of the running goroutine. Go keeps it to itself,
// for good reasons, and shows it only in stack traces. It is needed here because
// Caddy tells the parts of one change (a log line, the beginning of a load, an
// answer) by different ways that have nothing else in common. It takes a
// microsecond, on the admin API and on reloads only.
func goroutine() uint64 {
	var buf [64]byte
	text, ok := bytes.CutPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	if !ok {
		return 0
	}
	digits, _, _ := bytes.Cut(text, []byte(" "))
	n, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
