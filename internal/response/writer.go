// Package response tells a handler when the header of a response leaves.
package response

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// Writer wraps an http.ResponseWriter so that OnCommit runs exactly once,
// immediately before the final response header can leave, whichever way the
// handler makes it leave: WriteHeader, Write, ReadFrom, Flush, FlushError or
// Hijack. A handler that writes nothing commits nothing: whoever wraps the
// response calls Commit after it.
//
// The wrapped writer stays reachable through Unwrap, for deadlines. Every
// method that commits a header is overridden, so that none is reached past
// the hooks by http.ResponseController.
//
// A Writer belongs to the goroutine that serves the request.
type Writer struct {
	http.ResponseWriter

	// OnCommit runs once, before the final header, which includes a 101.
	// The header map may still be changed. Optional.
	OnCommit func(status int)

	// OnInform runs before each informational response other than 101, as
	// long as the final header has not left. Optional.
	OnInform func(status int)

	// Freeze keeps the header as it was committed, where the wrapped writer
	// does not: over HTTP/3.
	Freeze bool

	status    int
	committed bool
	hijacked  bool

	frozen http.Header // what was committed
	passed int64       // bytes of the body since
	left   bool        // the header is on its way for certain
}

// Status returns the status of the final header, or 0 before it is committed.
func (w *Writer) Status() int { return w.status }

// Committed tells whether the final header has left, or is about to.
func (w *Writer) Committed() bool { return w.committed }

// Hijacked tells whether a handler took over the connection.
func (w *Writer) Hijacked() bool { return w.hijacked }

// Commit notes the final status and runs OnCommit, unless that happened
// before. It is for writers that embed this one and write past its methods.
func (w *Writer) Commit(status int) {
	if w.committed {
		return
	}
	w.status, w.committed = status, true
	if w.OnCommit != nil {
		w.OnCommit(status)
	}
}

// WriteHeader sends a header. A second final one is passed on for net/http to
// complain about, but is not a commit.
func (w *Writer) WriteHeader(status int) {
	if !informational(status) {
		w.Commit(status)
	} else if w.OnInform != nil && !w.committed {
		w.OnInform(status)
	}
	w.ResponseWriter.WriteHeader(status)
	w.freeze()
}

// Write commits with 200 and writes.
func (w *Writer) Write(p []byte) (int, error) {
	w.Commit(http.StatusOK)
	if !w.Freeze {
		return w.ResponseWriter.Write(p)
	}
	w.Restore()
	n, err := w.ResponseWriter.Write(p)
	w.freeze()
	w.sent(int64(n))
	return n, err
}

// ReadFrom commits with 200 and copies src. It hands src to the wrapped
// writer as it is, so that the kernel can still copy a file or a socket.
func (w *Writer) ReadFrom(src io.Reader) (int64, error) {
	w.Commit(http.StatusOK)
	w.Restore()
	n, err := w.readFrom(src)
	w.freeze()
	w.sent(n)
	return n, err
}

func (w *Writer) readFrom(src io.Reader) (int64, error) {
	if rf, ok := w.ResponseWriter.(io.ReaderFrom); ok {
		return rf.ReadFrom(src)
	}
	// The wrapped writer has no ReadFrom, so Copy cannot come back here.
	return io.Copy(w.ResponseWriter, src)
}

// FlushError commits with 200 and flushes, or returns http.ErrNotSupported.
func (w *Writer) FlushError() error {
	rw := w.ResponseWriter
	for {
		switch t := rw.(type) {
		case interface{ FlushError() error }:
			w.flushHeader()
			return t.FlushError()
		case http.Flusher:
			w.flushHeader()
			t.Flush()
			return nil
		case interface{ Unwrap() http.ResponseWriter }:
			rw = t.Unwrap()
		default:
			return http.ErrNotSupported
		}
	}
}

// flushHeader writes the header that a flush sends. net/http would do it by
// itself, but Caddy's recorder ignores a flush before the header is written,
// and the handler could then still choose another status.
func (w *Writer) flushHeader() {
	if !w.committed {
		w.WriteHeader(http.StatusOK)
	}
	w.Restore()
	w.left = true
}

// Flush is FlushError for callers that know only http.Flusher.
func (w *Writer) Flush() {
	_ = w.FlushError() // http.Flusher has no way to tell
}

// Hijack takes over the connection. Without a header sent before, the handler
// writes its own by hand, past the header map; that commits with 101.
func (w *Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.hijacked = true
	w.Commit(http.StatusSwitchingProtocols)
	return conn, brw, nil
}

// Push starts a server push, or returns http.ErrNotSupported.
func (w *Writer) Push(target string, opts *http.PushOptions) error {
	if p, ok := w.ResponseWriter.(http.Pusher); ok {
		return p.Push(target, opts)
	}
	return http.ErrNotSupported
}

// Unwrap returns the wrapped writer, for http.ResponseController.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// informational tells whether more headers follow this one. None does after
// 101 (RFC 9110 section 15.2.2).
func informational(status int) bool {
	return status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols
}

// Interface guards
var (
	_ http.ResponseWriter = (*Writer)(nil)
	_ http.Flusher        = (*Writer)(nil)
	_ http.Hijacker       = (*Writer)(nil)
	_ http.Pusher         = (*Writer)(nil)
	_ io.ReaderFrom       = (*Writer)(nil)
)
