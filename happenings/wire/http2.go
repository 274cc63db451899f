package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// The keys of http.Server.TLSNextProto by which net/http hands HTTP/2
// connections over.
const (
	overTLS   = "h2"
	overPlain = "unencrypted_http2"
)

// watchHTTP2 looks at the frames of a server's HTTP/2 connections, above TLS.
// A connection with TLS is handed over as if it had none, so that the HTTP/2
// server takes it although it is no *tls.Conn; the state of its TLS shows all the
// same. It reports false if the server has no entry for HTTP/2 without TLS: then
// frames are not seen.
func watchHTTP2(hs *http.Server) bool {
	secure, plain := hs.TLSNextProto[overTLS], hs.TLSNextProto[overPlain]
	if plain == nil {
		return false
	}
	hs.TLSNextProto[overPlain] = func(hs *http.Server, carrier *tls.Conn, h http.Handler) {
		conn, ok := carried(carrier)
		w, _ := find(conn)
		if !ok || w == nil {
			plain(hs, carrier, h)
			return
		}
		if w.secure != nil {
			w.secure.serve(hs, plain, h)
			return
		}
		s := w.http2()
		plain(hs, carry(&plainFrames{Conn: conn, streams: s}), s.entering(h))
	}
	if secure == nil {
		return true
	}
	hs.TLSNextProto[overTLS] = func(hs *http.Server, t *tls.Conn, h http.Handler) {
		w, _ := find(t)
		if w == nil {
			secure(hs, t, h)
			return
		}
		s := w.http2()
		f := &tlsFrames{Conn: t, streams: s}
		f.late = time.AfterFunc(prefaceTimeout, func() { _ = t.Close() })
		defer f.late.Stop()
		plain(hs, carry(f), s.entering(h))
	}
	return true
}

// The connection preface of a client (RFC 9113, section 3.4), and how long a
// server waits for it, as golang.org/x/net/http2 does.
const (
	preface        = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	prefaceTimeout = 10 * time.Second
)

// carrier hands a connection through a *tls.Conn that is not used, as net/http
// does.
type carrier struct {
	net.Conn // nil
	conn     net.Conn
}

// UnencryptedNetConn is what golang.org/x/net/http2 asks for.
func (c carrier) UnencryptedNetConn() net.Conn { return c.conn }

func carry(c net.Conn) *tls.Conn { return tls.Client(carrier{conn: c}, nil) }

func carried(t *tls.Conn) (net.Conn, bool) {
	c, ok := t.NetConn().(interface{ UnencryptedNetConn() net.Conn })
	if !ok {
		return nil, false
	}
	return c.UnencryptedNetConn(), true
}

// plainFrames is a connection without TLS whose preface net/http has read.
type plainFrames struct {
	net.Conn
	*streams
}

// Read implements net.Conn.
func (c *plainFrames) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.feed(b[:n], c.received)
	return n, err
}

// Write implements net.Conn.
func (c *plainFrames) Write(b []byte) (int, error) {
	c.out.feed(b, c.sent)
	return c.Conn.Write(b)
}

// tlsFrames is a TLS connection, from which it takes the preface.
type tlsFrames struct {
	*tls.Conn
	*streams
	late    *time.Timer // closes the connection if the preface does not come
	greeted bool
}

// Read implements net.Conn.
func (c *tlsFrames) Read(b []byte) (int, error) {
	if !c.greeted {
		if err := c.greet(); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(b)
	c.in.feed(b[:n], c.received)
	return n, err
}

// Write implements net.Conn.
func (c *tlsFrames) Write(b []byte) (int, error) {
	c.out.feed(b, c.sent)
	return c.Conn.Write(b)
}

func (c *tlsFrames) greet() error {
	var b [len(preface)]byte
	if _, err := io.ReadFull(c.Conn, b[:]); err != nil {
		return err
	}
	if c.late != nil {
		c.late.Stop()
	}
	c.greeted = true
	if string(b[:]) != preface {
		c.broken.Store(true)
		c.watch.count(HTTP2, BadPreface, 0, "")
		return errors.New("http2: bogus greeting")
	}
	return nil
}

// streams is what is known of an HTTP/2 connection.
type streams struct {
	watch *watch

	in, out scanner // each used by the goroutine that reads, and by those that take turns to write
	newest  uint32  // stream of the client

	opened  atomic.Int64  // streams that the client opened
	begun   atomic.Int64  // handlers that began
	resets  atomic.Int64  // RST_STREAM frames with an error that the server sent
	code    atomic.Uint32 // of the last of them
	s400    atomic.Int64  // responses with this status
	s431    atomic.Int64
	broken  atomic.Bool // the connection ended with an error that is counted
	blaming atomic.Bool // it was the server's GOAWAY

	ended time.Time // written once, before others see it
}

// http2 makes the connection one that speaks HTTP/2.
func (w *watch) http2() *streams {
	w.framing.mode = Pass
	w.h2 = &streams{watch: w}
	return w.h2
}

// watching makes the connections around frames known to find.
func (s *streams) watching() *watch { return s.watch }

// received looks at a frame of the client.
func (s *streams) received(f frame) {
	switch f.kind {
	case frameHeaders:
		if f.stream > s.newest && f.stream%2 == 1 && !s.blaming.Load() {
			s.newest = f.stream
			s.opened.Add(1)
		}
	case frameGoAway:
		if code, ok := f.code(); ok && code != codeNoError && !s.broken.Swap(true) {
			s.watch.count(HTTP2, ClientConnection, 0, codeName(code))
		}
	}
}

// sent looks at a frame of the server.
func (s *streams) sent(f frame) {
	code, ok := f.code()
	switch {
	case f.kind == frameHeaders:
		switch f.status() {
		case http.StatusBadRequest:
			s.s400.Add(1)
		case http.StatusRequestHeaderFieldsTooLarge:
			s.s431.Add(1)
		}
	case !ok || code == codeNoError:
	case f.kind == frameGoAway:
		if !s.broken.Swap(true) {
			s.blaming.Store(true)
			s.watch.count(HTTP2, ConnectionError, 0, codeName(code))
		}
	case code != codeInternal && code != codeCancel: // those end handlers
		s.code.Store(code)
		s.resets.Add(1)
	}
}

// end counts what is left when the connection has ended.
func (s *streams) end() {
	switch {
	case s.opened.Load() > 0:
		if s.opened.Load() > s.begun.Load() && !s.watch.listener.counts.keep(s) {
			s.settle()
		}
	case !s.broken.Load():
		s.watch.count(HTTP2, s.watch.unused(), 0, "")
	}
}

// settle counts the streams that have reached no handler. Why, is told apart by
// what the server sent: as many as it reset were refused, and as many as it
// answered 431 or 400 the HTTP/2 server has answered by itself.
func (s *streams) settle() {
	rest := s.opened.Load() - s.begun.Load()
	take := func(n int64, reason Reason, status int, example string) {
		if n = min(n, rest); n > 0 {
			rest -= n
			w := s.watch
			w.listener.counts.Add(w.listener.name, HTTP2, reason, w.client(), status, n, example)
		}
	}
	take(s.resets.Load(), StreamError, 0, codeName(s.code.Load()))
	take(s.s431.Load(), HeadTooLarge, http.StatusRequestHeaderFieldsTooLarge, "")
	take(s.s400.Load(), Malformed, http.StatusBadRequest, "")
	if s.blaming.Load() {
		rest-- // the stream that broke the connection is counted with it
	}
	take(rest, StreamDropped, 0, "")
}

// entering makes a handler tell that it has begun.
func (s *streams) entering(h http.Handler) http.Handler { return &entering{h, s} }

type entering struct {
	http.Handler
	streams *streams
}

// ServeHTTP implements http.Handler. Of "OPTIONS *" net/http tells no other.
func (e *entering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.streams.begun.Add(1)
	if r.Method == http.MethodOptions && r.RequestURI == "*" {
		e.streams.watch.count(HTTP2, OptionsAsterisk, http.StatusOK, "")
	}
	e.Handler.ServeHTTP(w, r)
}

// BaseContext is where golang.org/x/net/http2 finds the context of the
// connection.
func (e *entering) BaseContext() context.Context {
	if b, ok := e.Handler.(interface{ BaseContext() context.Context }); ok {
		return b.BaseContext()
	}
	return context.Background()
}
