package wire

import (
	"io"
	"net/http"
	"sync/atomic"

	"github.com/caddy-soc2/caddy-soc2/happenings/wire/heads"
)

// Framing is what happens with HTTP/1 requests whose end another server might
// see elsewhere: with both Content-Length and Transfer-Encoding, with different
// values of Content-Length, with Transfer-Encoding in HTTP/1.0, and with lines
// that continue others (RFC 9112, sections 5.2, 6.1 and 6.3). net/http serves
// all of them but the second kind, without a handler being able to tell.
type Framing uint8

// The modes.
const (
	Pass    Framing = iota // nobody looks
	Report                 // they are counted and served
	Enforce                // they are counted and refused
)

// framing is where a connection is in its requests. Its reads are those of
// net/http, in one goroutine after the other.
//
// A request is refused by net/http itself, which gets a line that it does not
// accept in the place of the end of the head. So the refusal comes in its turn
// behind the responses to requests before it.
type framing struct {
	mode  Framing // set before the first read
	scan  heads.Scanner
	fault heads.Fault // at which reading has stopped
	need  int64       // responses that have to be complete before the fault counts
	held  []byte      // what came after the fault
	given int         // bytes of heads.Poison

	complete atomic.Int64 // responses after which the connection was kept
	taken    atomic.Bool  // a handler took the connection over
	refused  atomic.Uint32
	served   [faults]atomic.Int64 // with the fault, in the mode Report
}

const faults = heads.Encoding + 1

// maxHeld bounds what is kept of a client that does not wait for the answer to
// a request that may turn the connection into a tunnel.
const maxHeld = 64 << 10

// source is a connection as it is read without framing.
type source interface{ receive(b []byte) (int, error) }

// read reads from a connection of a listener. With TLS, what is in it shows above.
func (w *watch) read(from source, b []byte) (int, error) {
	if w.tls != nil {
		return from.receive(b)
	}
	return w.follow(from, b)
}

// follow reads from a connection, in the clear.
func (w *watch) follow(from source, b []byte) (int, error) {
	f := &w.framing
	switch {
	case f.mode == Pass || f.fault == heads.None && f.taken.Load():
		return from.receive(b)
	case f.fault != heads.None:
		return f.stopped(from, b)
	}
	n, err := from.receive(b)
	if n <= 0 {
		return n, err
	}
	if n = f.look(b[:n]); n > 0 {
		return n, err
	}
	return f.stopped(from, b)
}

// look returns how many of the bytes net/http may have now.
func (f *framing) look(b []byte) int {
	for at := 0; ; {
		n, fault := f.scan.Feed(b[at:])
		at += n
		switch {
		case fault == heads.None:
			return at
		case f.mode == Enforce:
			f.stop(fault, b[at:])
			return at
		case fault != heads.Body:
			f.served[fault].Add(1)
		}
	}
}

// stop stops reading at a fault.
func (f *framing) stop(fault heads.Fault, rest []byte) {
	f.fault, f.need = fault, f.scan.Heads()
	if fault == heads.Body { // of a request that is being served
		f.need--
	}
	if f.complete.Load() < f.need {
		f.held = append(f.held, rest...)
	}
}

// stopped reads at a fault. While the request before it is being served, its
// handler may yet take the connection over: what came after is then no request
// at all, and goes through as it came.
func (f *framing) stopped(from source, b []byte) (int, error) {
	for f.given == 0 && f.complete.Load() < f.need && len(f.held) < maxHeld {
		if f.taken.Load() {
			return f.release(b), nil
		}
		n, err := from.receive(b)
		f.held = append(f.held, b[:max(n, 0)]...)
		if err != nil {
			return 0, err
		}
	}
	if f.given == 0 && f.fault != heads.Body {
		f.refused.Store(uint32(f.fault))
	}
	f.held = nil
	n := copy(b, heads.Poison[f.given:])
	if f.given += n; n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// release gives back what was held.
func (f *framing) release(b []byte) int {
	n := copy(b, f.held)
	if f.held = f.held[n:]; len(f.held) == 0 {
		f.held, f.fault = nil, heads.None
	}
	return n
}

// state follows net/http.
func (f *framing) state(s http.ConnState) {
	switch s {
	case http.StateIdle:
		f.complete.Add(1)
	case http.StateHijacked:
		f.taken.Store(true)
	}
}

// reason is why net/http refuses the request of this cycle, if it is for its
// framing.
func (f *framing) reason() (Reason, bool) {
	if fault := heads.Fault(f.refused.Load()); fault != heads.None {
		return framingReason(fault), true
	}
	for i := range f.served {
		if n := f.served[i].Load(); n > 0 {
			f.served[i].Store(n - 1)
			return framingReason(heads.Fault(i)), true
		}
	}
	return Other, false
}

// countServed counts what the mode Report lets through.
func (w *watch) countServed() {
	for i := range w.framing.served {
		if w.framing.served[i].Load() == 0 {
			continue
		}
		if n := w.framing.served[i].Swap(0); n > 0 {
			w.listener.counts.Add(w.listener.name, HTTP1, framingReason(heads.Fault(i)), w.client(), 0, n, "served, as the mode is report")
		}
	}
}

func framingReason(f heads.Fault) Reason {
	switch f {
	case heads.Conflict:
		return FramingConflict
	case heads.Lengths:
		return LengthConflict
	case heads.Fold:
		return LineFolding
	case heads.Encoding:
		return EncodingInHTTP10
	}
	return Malformed
}
