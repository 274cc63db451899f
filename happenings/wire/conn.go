package wire

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// The connections of a listener. Each overrides what carries bytes and leaves
// the rest to the connection beneath, which it embeds by its own type.
type (
	tcpConn struct {
		*net.TCPConn
		watch
	}
	unixConn struct {
		*net.UnixConn
		watch
	}
	otherConn struct {
		net.Conn
		watch
	}
)

// watched is implemented by all of them.
type watched interface{ watching() *watch }

// Read implements net.Conn.
func (c *tcpConn) Read(b []byte) (int, error) { return c.read(c, b) }

func (c *tcpConn) receive(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.took(b, n, err)
	return n, err
}

// Write implements net.Conn.
func (c *tcpConn) Write(b []byte) (int, error) {
	c.gives(b)
	n, err := c.TCPConn.Write(b)
	c.gave(err)
	return n, err
}

// ReadFrom implements io.ReaderFrom, with sendfile(2) or splice(2) where the
// source allows.
func (c *tcpConn) ReadFrom(r io.Reader) (int64, error) { return c.TCPConn.ReadFrom(r) }

// WriteTo implements io.WriterTo, with splice(2) where the target allows.
func (c *tcpConn) WriteTo(w io.Writer) (int64, error) { return c.TCPConn.WriteTo(w) }

// NetConn returns the connection beneath.
func (c *tcpConn) NetConn() net.Conn { return c.TCPConn }

// Read implements net.Conn.
func (c *unixConn) Read(b []byte) (int, error) { return c.read(c, b) }

func (c *unixConn) receive(b []byte) (int, error) {
	n, err := c.UnixConn.Read(b)
	c.took(b, n, err)
	return n, err
}

// Write implements net.Conn.
func (c *unixConn) Write(b []byte) (int, error) {
	c.gives(b)
	n, err := c.UnixConn.Write(b)
	c.gave(err)
	return n, err
}

// NetConn returns the connection beneath.
func (c *unixConn) NetConn() net.Conn { return c.UnixConn }

// Read implements net.Conn.
func (c *otherConn) Read(b []byte) (int, error) { return c.read(c, b) }

func (c *otherConn) receive(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.took(b, n, err)
	return n, err
}

// Write implements net.Conn.
func (c *otherConn) Write(b []byte) (int, error) {
	c.gives(b)
	n, err := c.Conn.Write(b)
	c.gave(err)
	return n, err
}

// ReadFrom implements io.ReaderFrom.
func (c *otherConn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(c.Conn, r) // which uses the ReadFrom beneath if there is one
}

// WriteTo implements io.WriterTo.
func (c *otherConn) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, c.Conn) }

// CloseRead shuts the reading side down, if the connection beneath can.
func (c *otherConn) CloseRead() error {
	if half, ok := c.Conn.(interface{ CloseRead() error }); ok {
		return half.CloseRead()
	}
	return errors.ErrUnsupported
}

// CloseWrite shuts the writing side down, if the connection beneath can.
func (c *otherConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn implements syscall.Conn, if the connection beneath does.
func (c *otherConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// NetConn returns the connection beneath.
func (c *otherConn) NetConn() net.Conn { return c.Conn }

// Interface guards
var (
	_ watched       = (*tcpConn)(nil)
	_ watched       = (*unixConn)(nil)
	_ watched       = (*otherConn)(nil)
	_ io.ReaderFrom = (*tcpConn)(nil)
	_ io.WriterTo   = (*tcpConn)(nil)
	_ io.ReaderFrom = (*otherConn)(nil)
	_ io.WriterTo   = (*otherConn)(nil)
	_ syscall.Conn  = (*tcpConn)(nil)
	_ syscall.Conn  = (*unixConn)(nil)
	_ syscall.Conn  = (*otherConn)(nil)
)
