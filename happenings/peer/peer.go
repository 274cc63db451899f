// Package peer is the network soc2unix: a Unix socket that knows who is at its
// other end, because the operating system says so (SO_PEERCRED, Linux).
//
//	admin soc2unix//run/caddy/admin.sock|0600 {
//		origins 127.0.0.1
//	}
//
// The socket is an ordinary one: clients use it by its path. What is added is
// that the address of a connection's peer is its user, group and process, which
// so appear in Caddy's own logs, and that From returns them.
package peer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/caddyserver/caddy/v2"
)

// Network is the name of the network.
const Network = "soc2unix"

// defaultMode is the mode of a socket whose address says none: nobody but its
// owner, who is the user that Caddy runs as, can connect.
const defaultMode fs.FileMode = 0o600

func init() { caddy.RegisterNetwork(Network, listen) }

// Credentials are what the operating system says of a peer at the moment when
// it connected. A process can hand an open connection on to another.
type Credentials struct {
	UID, GID uint32
	PID      int32
	User     string // name of the user; empty if it has none here
	Exe      string // program that the process ran; empty if it cannot be read
}

// String is how records name the peer.
func (c Credentials) String() string {
	s := "uid:" + strconv.FormatUint(uint64(c.UID), 10)
	if c.User != "" {
		s += "(" + c.User + ")"
	}
	s += "/gid:" + strconv.FormatUint(uint64(c.GID), 10) + "/pid:" + strconv.FormatInt(int64(c.PID), 10)
	if c.Exe != "" {
		s += "/exe:" + c.Exe
	}
	return s
}

// Addr is the address of either end of a connection.
type Addr struct {
	Path string // of the socket
	Peer Credentials
	id   uint64 // of the connection; 0 for the listener
}

// Network implements net.Addr.
func (*Addr) Network() string { return Network }

// String implements net.Addr.
func (a *Addr) String() string {
	if a.id == 0 {
		return a.Path
	}
	return fmt.Sprintf("uid=%d gid=%d pid=%d conn=%d", a.Peer.UID, a.Peer.GID, a.Peer.PID, a.id)
}

// From returns the credentials of the peer who makes a request, if it came in
// over the network soc2unix. It looks at the server's end of the connection,
// whose type no client chooses; a client of an ordinary Unix socket can bind
// its own end to any text.
func From(ctx context.Context) (Credentials, bool) {
	a, ok := ctx.Value(http.LocalAddrContextKey).(*Addr)
	if !ok || a == nil || a.id == 0 {
		return Credentials{}, false
	}
	return a.Peer, true
}

// live holds the credentials of open connections by the text of their address.
var live sync.Map

// Known returns the credentials of the open connection of a peer whose address
// has a text. It is for those who see nothing but a log; From is better.
func Known(text string) (Credentials, bool) {
	v, ok := live.Load(text)
	c, _ := v.(Credentials)
	return c, ok
}

// listener is an open socket. Several may share it: a reload opens it again
// before the configuration that goes closes it.
type listener struct {
	*net.UnixListener
	path   string
	closed atomic.Bool
}

// sockets holds the open sockets by path.
var (
	socketsMu sync.Mutex
	sockets   = map[string]*socket{}
)

// socket is what listeners share.
type socket struct {
	listener *net.UnixListener // a duplicate that nobody closes before the last
	users    int
}

// listen implements caddy.ListenerFunc.
func listen(ctx context.Context, _, host, _ string, _ uint, config net.ListenConfig) (any, error) {
	path, mode, err := parse(host)
	if err != nil {
		return nil, err
	}
	socketsMu.Lock()
	defer socketsMu.Unlock()
	s := sockets[path]
	if s == nil {
		config.Control = restrict(mode)
		if s, err = open(ctx, path, config); err != nil {
			return nil, err
		}
	}
	own, err := duplicate(s.listener)
	if err == nil && !strings.HasPrefix(path, "@") {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		if s.users == 0 {
			_ = s.listener.Close()
		}
		return nil, fmt.Errorf("%s socket %s: %w", Network, path, err)
	}
	s.users++
	sockets[path] = s
	return &listener{UnixListener: own, path: path}, nil
}

// open makes the socket. A file that a process left behind is replaced; one
// that somebody listens on is not.
func open(ctx context.Context, path string, config net.ListenConfig) (*socket, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(path, "@") {
		if err := clear(ctx, path); err != nil {
			return nil, err
		}
	}
	ln, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%s socket: %w", Network, err)
	}
	unix, ok := ln.(*net.UnixListener)
	if !ok {
		_ = ln.Close()
		return nil, fmt.Errorf("%s socket %s: it is a %T", Network, path, ln)
	}
	unix.SetUnlinkOnClose(false) // listeners overlap on a reload; the last one removes the file
	return &socket{listener: unix}, nil
}

// clear removes a socket on which nobody listens.
func clear(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s socket: %w", Network, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s socket %s: there is a file that is no socket: move it away or use another path", Network, path)
	}
	if conn, err := new(net.Dialer).DialContext(ctx, "unix", path); err == nil {
		_ = conn.Close()
		return fmt.Errorf("%s socket %s: another process listens on it: stop it or use another path", Network, path)
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s socket %s: cannot tell whether another process listens on it: %w", Network, path, err)
	}
	return os.Remove(path)
}

func duplicate(ln *net.UnixListener) (*net.UnixListener, error) {
	file, err := ln.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	other, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	unix, ok := other.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("the duplicate is a %T", other)
	}
	unix.SetUnlinkOnClose(false)
	return unix, nil
}

// parse reads an address: a path, and after a bar the mode of its file, which
// must let the owner write, in octal.
func parse(host string) (path string, mode fs.FileMode, err error) {
	path, text, found := strings.Cut(host, "|")
	if path == "" {
		return "", 0, fmt.Errorf("%s wants the path of a socket, like %s//run/caddy/admin.sock", Network, Network)
	}
	if !found {
		return path, defaultMode, nil
	}
	bits, err := strconv.ParseUint(text, 8, 9)
	if err != nil || bits&0o200 == 0 {
		return "", 0, fmt.Errorf("%s socket mode %q: it is octal, and lets the owner write, like 0600", Network, text)
	}
	return path, fs.FileMode(bits), nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return &Addr{Path: l.path} }

// Close implements net.Listener. The last to close removes the file.
func (l *listener) Close() error {
	if l.closed.Swap(true) {
		return net.ErrClosed
	}
	err := l.UnixListener.Close()
	socketsMu.Lock()
	defer socketsMu.Unlock()
	s := sockets[l.path]
	if s.users--; s.users > 0 {
		return err
	}
	delete(sockets, l.path)
	err = errors.Join(err, s.listener.Close())
	if !strings.HasPrefix(l.path, "@") {
		err = errors.Join(err, os.Remove(l.path))
	}
	return err
}

// Accept implements net.Listener. A connection whose peer the operating system
// does not name is refused.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		cred, err := credentials(c)
		if err != nil {
			_ = c.Close()
			continue
		}
		if u, err := user.LookupId(strconv.FormatUint(uint64(cred.UID), 10)); err == nil {
			cred.User = u.Username
		}
		conn := &conn{UnixConn: c, addr: &Addr{Path: l.path, Peer: cred, id: serial.Add(1)}}
		live.Store(conn.addr.String(), cred)
		return conn, nil
	}
}

// serial numbers connections.
var serial atomic.Uint64

// conn is a connection whose addresses are the peer's credentials.
type conn struct {
	*net.UnixConn
	addr   *Addr
	closed atomic.Bool
}

func (c *conn) LocalAddr() net.Addr  { return c.addr }
func (c *conn) RemoteAddr() net.Addr { return c.addr }

func (c *conn) Close() error {
	if !c.closed.Swap(true) {
		live.Delete(c.addr.String())
	}
	return c.UnixConn.Close()
}
