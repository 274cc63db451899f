package record

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/caddy-soc2/caddy-soc2/internal/response"
)

// requestIDHeader carries the record's id to the client and to the upstream.
const requestIDHeader = "X-Request-Id"

// writer counts a response and holds back its last byte.
//
// A response with a Content-Length ends, for the client, with its last byte,
// and a large one has left before the handlers return. So the last byte is kept
// until release. A chunked response of HTTP/1.1, and any of HTTP/2 and HTTP/3
// without a length, ends with what the server sends after the handlers have
// returned, and one without a body ends with its header, which no flush sends
// before. What a handler writes for HEAD would send it too, when the server's
// buffers are full: it is kept until release. Only a response of HTTP/1.0
// without a length ends with the connection, so that its client cannot tell
// whether it has all of it.
type writer struct {
	response.Writer

	id        []string // value of the request id header
	owner     *exchange
	opened    bool // it is recorded that the connection is taken over
	tunnels   bool // the method makes any success a tunnel (RFC 9110, section 9.3.6)
	withholds bool
	isHead    bool
	bodiless  bool        // the method or status allows no body
	keeps     bool        // sent is wanted
	sent      http.Header // as it left: handlers may change theirs afterwards

	declared int64 // Content-Length, or -1
	bytes    int64 // of the body, as the handlers wrote it
	held     [1]byte
	holding  bool
	head     []byte // what was written for HEAD, up to headLimit
	err      error  // first error of a write
}

// headLimit is how much of a body that is not sent a server may want to see, to
// say its type and its length in the header: more than the buffers of net/http
// (2 KiB, 4 KiB for HTTP/2) and of HTTP/3 (4 KiB), so that what does not fit
// into them has no length here either.
const headLimit = 8 << 10

func (w *writer) init(rw http.ResponseWriter, r *http.Request, id string, withholds bool) {
	w.ResponseWriter = rw
	w.OnCommit = w.commit
	w.id = []string{id}
	w.withholds = withholds
	w.isHead = r.Method == http.MethodHead
	w.bodiless = w.isHead
	w.tunnels = r.Method == http.MethodConnect
	w.declared = -1
	w.identify() // also on what is sent without handlers
}

// identify sets the request id, in place of what the upstream sent.
func (w *writer) identify() { w.Header()[requestIDHeader] = w.id }

// commit runs before the final header.
func (w *writer) commit(status int) {
	w.identify()
	if w.withholds {
		// With "identity" net/http ends the response with the connection. What
		// it needs it sets itself.
		w.Header().Del("Transfer-Encoding")
	}
	if status == http.StatusSwitchingProtocols || w.tunnels && status < 300 {
		if err := w.open(status); err != nil {
			panic(http.ErrAbortHandler) // nothing has left yet: the client sees no opening
		}
	}
	if status < 200 || status == http.StatusNoContent || status == http.StatusNotModified {
		w.bodiless = true
	}
	if v := w.Header()["Content-Length"]; len(v) > 0 {
		if n, err := strconv.ParseInt(v[0], 10, 64); err == nil && n >= 0 {
			w.declared = n
		}
	}
	if w.keeps {
		w.sent = w.Header().Clone()
	}
}

// sentHeader is the header of the response, as the client has it or will.
func (w *writer) sentHeader() http.Header {
	if w.sent != nil {
		return w.sent
	}
	return w.Header()
}

// taken reports whether the connection, or the stream of HTTP/2 or HTTP/3 that
// stands for one, is the handler's.
func (w *writer) taken() bool { return w.opened || w.Hijacked() }

// open records, once, that the connection is about to be taken over.
func (w *writer) open(status int) error {
	if w.opened {
		return nil
	}
	err := w.owner.opening(status)
	w.opened = err == nil
	return err
}

// Hijack implements http.Hijacker.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := w.open(http.StatusSwitchingProtocols); err != nil {
		return nil, nil, fmt.Errorf("recording that the connection is taken over: %w", err)
	}
	return w.Writer.Hijack()
}

// keepsBody reports whether the body is that of a HEAD response, which is not
// sent.
func (w *writer) keepsBody() bool {
	return w.withholds && w.isHead && w.Status() != http.StatusNoContent && w.Status() != http.StatusNotModified
}

// counts reports whether the body has a length that is to be watched.
func (w *writer) counts() bool { return w.withholds && !w.bodiless && w.declared >= 0 }

// Write implements http.ResponseWriter. What goes beyond the declared length it
// refuses as net/http does, which cannot: it has not seen the byte that is
// held.
func (w *writer) Write(p []byte) (int, error) {
	w.Commit(http.StatusOK)
	if w.keepsBody() {
		w.head = append(w.head, p[:min(len(p), headLimit-len(w.head))]...)
		return len(p), nil
	}
	if !w.counts() || len(p) == 0 || w.bytes+int64(len(p)) < w.declared {
		return w.write(p)
	}
	if w.bytes+int64(len(p)) > w.declared {
		return 0, http.ErrContentLength
	}
	n := len(p) - 1
	if n > 0 {
		if m, err := w.write(p[:n]); err != nil {
			return m, err
		}
	}
	w.hold(p[n])
	return len(p), nil
}

func (w *writer) write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	return n, w.count(int64(n), err)
}

func (w *writer) hold(b byte) {
	w.held[0], w.holding = b, true
	w.bytes++
}

// ReadFrom implements io.ReaderFrom. All but the last byte goes the fast way.
func (w *writer) ReadFrom(src io.Reader) (int64, error) {
	w.Commit(http.StatusOK)
	if w.keepsBody() {
		return io.Copy(writeOnly{w}, src)
	}
	if !w.counts() {
		return w.readFrom(src)
	}
	if w.bytes >= w.declared {
		return io.Copy(writeOnly{w}, src)
	}
	limited, inner := limit(src, w.declared-w.bytes-1)
	n, err := w.readFrom(limited)
	if inner != nil {
		inner.N -= n
	}
	if err != nil || w.bytes != w.declared-1 {
		return n, err
	}
	if _, err := io.ReadFull(src, w.held[:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil // the source ended before the length that was announced
		}
		return n, err
	}
	w.hold(w.held[0])
	more, err := io.Copy(writeOnly{w}, src) // Write refuses what is too long
	return n + 1 + more, err
}

func (w *writer) readFrom(src io.Reader) (int64, error) {
	n, err := w.Writer.ReadFrom(src)
	return n, w.count(n, err)
}

// limit returns a reader of at most n bytes of src. If src has a limit already
// it returns that too: only one limit deep does the kernel copy a file.
func limit(src io.Reader, n int64) (limited, inner *io.LimitedReader) {
	if lr, ok := src.(*io.LimitedReader); ok {
		return &io.LimitedReader{R: lr.R, N: min(lr.N, n)}, lr
	}
	return &io.LimitedReader{R: src, N: n}, nil
}

// writeOnly hides ReadFrom.
type writeOnly struct{ io.Writer }

func (w *writer) count(n int64, err error) error {
	if !w.bodiless {
		w.bytes += n
	}
	if w.err == nil {
		w.err = err
	}
	return err
}

// FlushError sends what is buffered. A response without a body ends with its
// header: while it is withheld, a flush does nothing.
func (w *writer) FlushError() error {
	if !w.Committed() {
		w.WriteHeader(http.StatusOK)
	}
	if w.withholds && (w.bodiless || w.declared == 0) && w.Status() >= http.StatusOK {
		return nil
	}
	return w.Writer.FlushError()
}

// Flush is FlushError for callers that know only http.Flusher.
func (w *writer) Flush() { _ = w.FlushError() } // http.Flusher has no way to tell

// release sends what was held back.
func (w *writer) release() {
	if len(w.head) > 0 {
		_, _ = w.ResponseWriter.Write(w.head) // only its header leaves
	}
	if w.holding {
		w.holding = false
		_, _ = w.ResponseWriter.Write(w.held[:]) // the record is written; nobody is left to tell
	}
}
