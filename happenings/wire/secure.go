package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// Above lets the framing of requests be seen on connections with TLS. It belongs
// around the TLS listener: it changes what is a *tls.Conn there, above a listener
// of Listen, and nothing else.
//
// net/http knows TLS by that type alone, and takes what hides it for a connection
// without. So the connection does what net/http leaves then: the handshake with
// its deadline and its messages, and the choice of the protocol. HTTP/2 goes to
// the same server as before, which finds the state of the TLS connection. Caddy
// gives it to requests over HTTP/1.
func Above(ln net.Listener) net.Listener { return &above{ln} }

type above struct{ net.Listener }

// Accept implements net.Listener.
func (l *above) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	t, ok := conn.(*tls.Conn)
	if !ok {
		return conn, nil
	}
	w, _ := find(t)
	if w == nil {
		return conn, nil
	}
	w.secure = &secureConn{Conn: t, watch: w}
	return w.secure, nil
}

// Unwrap returns the listener beneath.
func (l *above) Unwrap() net.Listener { return l.Listener }

// secureConn is a TLS connection that is read in the clear.
type secureConn struct {
	*tls.Conn
	watch  *watch
	ctx    context.Context // of the connection; it and server are set before the first read
	server *http.Server

	shaken   bool // the handshake was made, or failed
	failed   bool
	greeting string // what is left of the preface that was read
	first    int    // bytes of the first head that were read, up to peeked
	short    bool   // the first line is too short for a request
}

// net/http waits for as many bytes to tell HTTP/2 without TLS from HTTP/1. A
// shorter first line than the shortest is malformed, and is answered at once.
const (
	peeked       = len("PRI * HTTP/2.0")
	shortestLine = len("A / HTTP/1.1\n")
)

// Read implements net.Conn. net/http reads first in the goroutine that serves the
// connection, and so the handshake is made there, as without this.
func (c *secureConn) Read(b []byte) (int, error) {
	if !c.shaken {
		c.shaken = true
		c.failed = !c.open()
	}
	switch {
	case c.failed:
		return 0, io.EOF // which net/http does not answer
	case c.watch.h2 != nil:
		n := copy(b, c.greeting)
		if c.greeting = c.greeting[n:]; n == 0 {
			return c.Conn.Read(b)
		}
		return n, nil
	}
	if c.first >= peeked {
		return c.watch.follow(c, b)
	}
	return c.begin(b)
}

// begin reads the first bytes, and makes up line ends behind a line that net/http
// refuses, for it to see that it does.
func (c *secureConn) begin(b []byte) (n int, err error) {
	if c.short {
		for n = range min(len(b), peeked-c.first) {
			b[n] = '\n'
		}
		c.first += n + 1
		return n + 1, nil
	}
	n, err = c.watch.follow(c, b)
	if i := bytes.IndexByte(b[:max(n, 0)], '\n'); i >= 0 && c.first+i+1 < shortestLine {
		c.short = true
	}
	c.first += max(n, 0)
	return n, err
}

// receive implements source.
func (c *secureConn) receive(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.watch.used && !c.watch.active {
		c.watch.state(http.StateActive) // net/http may take it for no request yet
	}
	return n, err
}

// open makes the handshake, and reads the preface of HTTP/2. It reports false
// if the connection is to be closed.
func (c *secureConn) open() bool {
	if !c.handshake() {
		return false
	}
	switch proto := c.ConnectionState().NegotiatedProtocol; proto {
	case "", "http/1.1", "http/1.0":
		return true
	case overTLS:
		return c.server != nil && c.server.TLSNextProto[overPlain] != nil && c.greet()
	}
	return false // as acme-tls/1: the handshake was all
}

// handshake does what net/http does (http.Server.Serve).
func (c *secureConn) handshake() bool {
	timeout, head := c.timeouts()
	if timeout > 0 {
		_ = c.SetDeadline(time.Now().Add(timeout))
	}
	err := c.HandshakeContext(c.ctx)
	if err != nil {
		c.complain(err)
		return false
	}
	_ = c.SetDeadline(time.Time{})
	if head > 0 {
		_ = c.SetReadDeadline(time.Now().Add(head))
	}
	return true
}

// timeouts are those for a handshake and for the head of a request.
func (c *secureConn) timeouts() (handshake, head time.Duration) {
	if c.server == nil {
		return 0, 0
	}
	for _, d := range [...]time.Duration{c.server.ReadHeaderTimeout, c.server.ReadTimeout, c.server.WriteTimeout} {
		if d > 0 && (handshake == 0 || d < handshake) {
			handshake = d
		}
	}
	if head = c.server.ReadHeaderTimeout; head == 0 {
		head = c.server.ReadTimeout
	}
	return handshake, head
}

// complain logs a failed handshake, and answers HTTP on a TLS port.
func (c *secureConn) complain(err error) {
	why := err.Error()
	var header tls.RecordHeaderError
	if errors.As(err, &header) && header.Conn != nil && looksLikeHTTP(header.RecordHeader) {
		_, _ = io.WriteString(header.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
		_ = header.Conn.Close()
		why = "client sent an HTTP request to an HTTPS server"
	}
	if c.server != nil && c.server.ErrorLog != nil {
		c.server.ErrorLog.Printf("http: TLS handshake error from %s: %s", c.RemoteAddr(), why)
	}
}

// looksLikeHTTP tells of the methods that net/http tells of.
func looksLikeHTTP(b [recordHead]byte) bool {
	switch string(b[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	}
	return false
}

// greet reads the preface of HTTP/2, so that net/http finds it or nothing.
func (c *secureConn) greet() bool {
	s := c.watch.http2()
	_ = c.SetReadDeadline(time.Now().Add(prefaceTimeout))
	f := &tlsFrames{Conn: c.Conn, streams: s}
	if f.greet() != nil {
		return false
	}
	_ = c.SetReadDeadline(time.Time{})
	c.greeting = preface
	return true
}

// serve gives a connection whose preface net/http has read to the HTTP/2 server.
// One that was not negotiated to be of HTTP/2 is none over TLS (RFC 9113, section
// 3.2).
func (c *secureConn) serve(hs *http.Server, plain func(*http.Server, *tls.Conn, http.Handler), h http.Handler) {
	s := c.watch.h2
	if s == nil {
		_, _ = io.WriteString(c.Conn, versionRefused)
		return
	}
	plain(hs, carry(&tlsFrames{Conn: c.Conn, streams: s, greeted: true}), s.entering(h))
}

var _ source = (*secureConn)(nil)
