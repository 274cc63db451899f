package wire

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
)

// BenchmarkRequest is all that a request on a kept connection pays for being
// counted if nothing goes wrong, apart from calls through one more type.
func BenchmarkRequest(b *testing.B) {
	c := &tcpConn{}
	c.begin(&listener{counts: &Counts{}}, nil)
	in := []byte(good)
	out := append([]byte("HTTP/1.1 200 OK\r\n"), bytes.Repeat([]byte("a"), 100)...)
	timeout := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	r := httptest.NewRequestWithContext(context.WithValue(b.Context(), watchKey{}, &c.watch), http.MethodGet, "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		c.took(in, len(in), nil)
		w, _ := find(c)
		w.state(http.StateActive)
		_, _ = Entered{}.MatchWithError(r)
		c.gives(out)
		c.took(nil, 0, timeout)
		w, _ = find(c)
		w.state(http.StateIdle)
	}
}
