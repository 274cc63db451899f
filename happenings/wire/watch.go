package wire

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
)

// watch is what is known of a connection. Its methods run in the connection's
// goroutine, unless they say otherwise.
//
// It is read in cycles. A cycle begins with the connection or with the end of a
// response (http.StateIdle), and ends with the next response or with the
// connection. A cycle in which no handler ran, but in which bytes came or went,
// is one that has no record.
type watch struct {
	listener *listener
	beneath  net.Conn
	tls      *tls.Conn   // nil if there is none
	secure   *secureConn // around it; nil if there is none

	hello hello // of the client; written by the goroutine that reads
	alert byte  // that the server sent in the clear; 0 if none

	used   bool // a cycle has ended
	active bool // net/http has read a part of a request in this cycle

	// Any goroutine may write these.
	entered atomic.Bool   // a handler ran in this cycle
	fresh   atomic.Bool   // bytes came in this cycle
	first   atomic.Uint32 // the first response of this cycle, as judge makes it
	last    atomic.Uint32 // how the last read ended, or a write to a client that had gone

	framing framing // of HTTP/1

	h2 *streams // nil unless the connection speaks HTTP/2
}

func (w *watch) begin(l *listener, beneath net.Conn) { w.listener, w.beneath = l, beneath }

func (w *watch) watching() *watch { return w }

// took notes what a read brought. It runs in the goroutine that reads.
func (w *watch) took(b []byte, n int, err error) {
	if n > 0 {
		if !w.hello.done {
			w.hello.feed(b[:n])
		}
		switch {
		case likeAlert(b[:n]):
			w.last.Store(uint32(ended))
		case !w.fresh.Load():
			w.fresh.Store(true)
		}
	}
	if err == nil {
		return
	}
	e := endingOf(err)
	if e == dropped && ending(w.last.Load()) == reset {
		return // the server closed it because the client had gone
	}
	w.last.Store(uint32(e))
}

// gave notes how a write ended. That a client has gone may be seen by a write
// before any read tells. It runs in the goroutine that writes.
func (w *watch) gave(err error) {
	if err != nil && endingOf(err) == reset {
		w.last.Store(uint32(reset))
	}
}

// likeAlert reports whether bytes from the client are a TLS alert, such as the
// close_notify that ends a connection, and not a part of a request. Records may
// come in any pieces: bytes from the middle of one are not taken for an alert,
// because they would have to have its length too.
func likeAlert(b []byte) bool {
	const (
		sealed13 = alertSize + 1 + 16       // RFC 8446, section 5.2
		longest  = 16 + alertSize + 20 + 16 // with a block cipher
	)
	if len(b) < recordHead || len(b) != recordHead+int(b[4]) || b[1] != 3 || b[3] != 0 {
		return false
	}
	return b[0] == recordAlert && b[4] <= longest || b[0] == recordData && b[4] == sealed13
}

// gives notes what is about to be written. It runs in the goroutine that writes.
func (w *watch) gives(b []byte) {
	if w.first.Load() == 0 {
		w.first.Store(judge(b))
	}
	if len(b) == recordHead+alertSize && b[0] == recordAlert {
		w.alert = b[recordHead+1]
	}
}

const sizeBits = 20

// judge puts the status of a response, if it shows, and the size of its first
// bytes into a number. What is too short for a response is 0.
func judge(b []byte) uint32 {
	status := peekStatus(b)
	if status == 0 && len(b) < minAnswer {
		return 0
	}
	return uint32(status)<<sizeBits | uint32(min(len(b), 1<<sizeBits-1))
}

// answered is the response that the cycle had, if any.
func (w *watch) answered() (a answer, known, any bool) {
	v := w.first.Load()
	if v == 0 {
		return answer{}, false, false
	}
	status, size := int(v>>sizeBits), int(v&(1<<sizeBits-1))
	if w.tls != nil && status == 0 {
		cs := w.tls.ConnectionState()
		a = bySize(size, overheadOf(cs.Version, cs.CipherSuite))
		return a, a.status != 0, true
	}
	if a = bySize(size, noOverhead); a.status != status {
		return answer{status: status}, false, true
	}
	return a, true, true
}

// state follows net/http (http.Server.ConnState).
func (w *watch) state(s http.ConnState) {
	switch {
	case s == http.StateClosed:
		w.end()
	case w.h2 != nil:
	case s == http.StateActive:
		w.active = true
		if !w.used {
			w.first.Store(0) // the handshake's flights
		}
	case s == http.StateIdle:
		if !w.entered.Load() {
			w.countAnswer()
		}
		w.countServed()
		w.framing.state(s)
		w.used, w.active = true, false
		w.entered.Store(false)
		w.fresh.Store(false)
		w.first.Store(0)
		w.last.Store(uint32(reading))
	case s == http.StateHijacked:
		w.countServed()
		w.framing.state(s)
	}
}

// end counts what the connection leaves uncounted.
func (w *watch) end() {
	defer w.countServed()
	switch {
	case w.h2 != nil:
		w.h2.end()
	case w.entered.Load():
	case w.tls != nil && !w.used && !w.active:
		w.endUnused()
	case w.first.Load() != 0:
		w.countAnswer()
	case w.framing.refused.Load() != 0: // a server that shuts down does not answer
		reason, _ := w.framing.reason()
		w.count(HTTP1, reason, 0, "")
	case w.active || w.fresh.Load():
		w.count(HTTP1, w.cut(), 0, "")
	case !w.used:
		w.count(w.layer(), w.unused(), 0, "")
	}
}

// endUnused counts a TLS connection that brought no request.
func (w *watch) endUnused() {
	if w.tls.ConnectionState().HandshakeComplete {
		w.count(HTTP1, w.unused(), 0, "")
		return
	}
	err := w.tls.Handshake() // which has failed, and returns the error again
	if err == nil {
		return
	}
	reason, status := failure(err, &w.hello), 0
	if reason == Other && w.alert != 0 {
		reason = sentReason(w.alert)
	}
	if reason == HTTPOnHTTPS {
		a, _, _ := w.answered()
		status = a.status
	}
	w.count(TLS, reason, status, explain(err))
}

// countAnswer counts a response that no handler made.
func (w *watch) countAnswer() {
	a, known, any := w.answered()
	if !any {
		return
	}
	reason := reasonFor(a.status, known)
	framing, faulty := w.framing.reason()
	switch {
	case faulty:
		reason = framing
	case a.status == 0 && w.tls != nil: // of no known size
		reason = Malformed
	case reason != Malformed:
	case w.tls == nil && (w.hello.what == partHello || w.hello.what == fullHello):
		reason = TLSOnHTTP
	case w.last.Load() != uint32(reading): // net/http takes what came before for a head
		reason = w.cut()
	}
	w.count(HTTP1, reason, a.status, a.describe())
}

// cut is why a head ended before it was complete.
func (w *watch) cut() Reason {
	switch ending(w.last.Load()) {
	case timedOut:
		return HeadTimedOut
	case ended, reset:
		return HeadCutOff
	case dropped:
		return HeadDropped
	}
	if w.tls != nil {
		return HeadCutOff // by a close_notify
	}
	return HeadDropped
}

// unused is why a connection ended that brought no request.
func (w *watch) unused() Reason {
	switch ending(w.last.Load()) {
	case timedOut:
		return TimedOutUnused
	case ended, reset:
		return ClosedUnused
	case dropped:
		return DroppedUnused
	}
	if w.tls != nil {
		return ClosedUnused // by a close_notify
	}
	return DroppedUnused
}

// layer is that of a connection without TLS that brought nothing.
func (w *watch) layer() Layer {
	if w.tls != nil {
		return HTTP1
	}
	return TCP
}

// count may be called from any goroutine.
func (w *watch) count(layer Layer, reason Reason, status int, example string) {
	w.listener.counts.Add(w.listener.name, layer, reason, w.client(), status, 1, example)
}

// client is the client's address. It may be called from any goroutine.
func (w *watch) client() netip.Addr {
	switch a := w.beneath.RemoteAddr().(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr()
	case nil, *net.UnixAddr:
		return netip.Addr{}
	default:
		ap, _ := netip.ParseAddrPort(a.String()) // or the zero Addr
		return ap.Addr()
	}
}
