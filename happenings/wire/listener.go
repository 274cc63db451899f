package wire

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// listener watches the connections that it accepts.
type listener struct {
	net.Listener
	name   string
	counts *Counts
}

// Listen watches the connections that a listener accepts. The connections hold
// the bytes that clients really send: below it there is no TLS yet.
//
// A connection keeps all methods of a *net.TCPConn or a *net.UnixConn, of
// which the io.ReaderFrom and io.WriterTo still use sendfile(2) and splice(2).
// Of other types it keeps those of net.Conn, ReadFrom, WriteTo, CloseRead,
// CloseWrite and SyscallConn. NetConn returns what is beneath.
func (c *Counts) Listen(ln net.Listener) net.Listener {
	return &listener{Listener: ln, name: ln.Addr().String(), counts: c}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) && !errors.Is(err, net.ErrClosed) {
			l.counts.Add(l.name, TCP, AcceptFailed, netip.Addr{}, 0, 1, errno.Error())
		}
		return nil, err
	}
	switch inner := conn.(type) {
	case *net.TCPConn:
		c := &tcpConn{TCPConn: inner}
		c.begin(l, conn)
		return c, nil
	case *net.UnixConn:
		c := &unixConn{UnixConn: inner}
		c.begin(l, conn)
		return c, nil
	}
	c := &otherConn{Conn: conn}
	c.begin(l, conn)
	return c, nil
}

// Unwrap returns the listener beneath.
func (l *listener) Unwrap() net.Listener { return l.Listener }
