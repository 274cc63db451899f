package wire

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// pair returns both ends of a connection, of which the first is watched.
func pair(t *testing.T, network string) (watched net.Conn, client net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	ln, err := new(net.ListenConfig).Listen(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	ln = (&Counts{}).Listen(ln)
	t.Cleanup(func() { _ = ln.Close() })
	client, err = new(net.Dialer).DialContext(t.Context(), network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if watched, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = watched.Close(), client.Close() })
	return watched, client
}

// TestConnectionsKeepTheMethodsOfTheirKind that Caddy, net/http and io look for.
func TestConnectionsKeepTheMethodsOfTheirKind(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		conn, client := pair(t, network)
		if _, ok := conn.(io.ReaderFrom); network == "tcp" && !ok {
			t.Errorf("%s: no ReadFrom", network)
		}
		if _, ok := conn.(io.WriterTo); network == "tcp" && !ok {
			t.Errorf("%s: no WriteTo", network)
		}
		sc, ok := conn.(syscall.Conn)
		if !ok {
			t.Fatalf("%s: no SyscallConn", network)
		}
		raw, err := sc.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(uintptr) {}); err != nil {
			t.Error(err)
		}
		if n, ok := conn.(interface{ NetConn() net.Conn }); !ok || n.NetConn() == nil {
			t.Errorf("%s: no NetConn", network)
		}
		half, ok := conn.(interface{ CloseWrite() error })
		if !ok {
			t.Fatalf("%s: no CloseWrite", network)
		}
		if err := half.CloseWrite(); err != nil {
			t.Error(err)
		}
		if b, err := io.ReadAll(client); err != nil || len(b) != 0 {
			t.Errorf("the client reads %q, %v after CloseWrite", b, err)
		}
		if _, err := io.WriteString(client, "x"); err != nil {
			t.Errorf("the other direction is closed too: %v", err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Error(err)
		}
	}
	conn, _ := pair(t, "tcp")
	if err := conn.(interface{ SetNoDelay(on bool) error }).SetNoDelay(false); err != nil {
		t.Error(err)
	}
}

// TestFilesAreSentWholeThroughNetHTTP, which hands them to ReadFrom for
// sendfile(2).
func TestFilesAreSentWholeThroughNetHTTP(t *testing.T) {
	content := make([]byte, 1<<20)
	_, _ = rand.Read(content)
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, setting{handler: func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) }})
	conn := s.dial()
	if _, err := io.WriteString(conn, good); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestConnectionsAreSplicedBothWays between two that are watched.
func TestConnectionsAreSplicedBothWays(t *testing.T) {
	a, ca := pair(t, "tcp")
	b, cb := pair(t, "tcp")
	go func() {
		_, _ = io.Copy(b, a)
		_ = b.(interface{ CloseWrite() error }).CloseWrite()
	}()
	content := make([]byte, 1<<20)
	_, _ = rand.Read(content)
	go func() {
		_, _ = ca.Write(content)
		_ = ca.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(cb); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// bare is a connection that is nothing but a net.Conn.
type bare struct{ net.Conn }

// TestOtherConnectionsSayWhatTheyCannot do.
func TestOtherConnectionsSayWhatTheyCannot(t *testing.T) {
	client, server := net.Pipe()
	c := &otherConn{Conn: bare{server}}
	if err := errors.Join(c.CloseRead(), c.CloseWrite()); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if _, err := c.SyscallConn(); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	go func() {
		_, _ = io.WriteString(client, "abc")
		_ = client.Close()
	}()
	var b bytes.Buffer
	if n, err := c.WriteTo(&b); err != nil || n != 3 || b.String() != "abc" {
		t.Errorf("WriteTo: %d %v %q", n, err, b.String())
	}
}

// TestUnixSocketsAreCounted without a prefix.
func TestUnixSocketsAreCounted(t *testing.T) {
	s := newServer(t, setting{unix: filepath.Join(t.TempDir(), "s")})
	exchange(t, s.dial(), "GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
	s.want(map[string]int64{"http1/malformed 400": 1})
	if list := s.counts.Take(true); len(list) != 1 || list[0].Prefix != "" {
		t.Errorf("the records are %+v", list)
	}
}

// TestWrappedConnectionsAreFound as Caddy wraps those of listeners without TLS.
func TestWrappedConnectionsAreFound(t *testing.T) {
	s := newServer(t, setting{wrap: func(ln net.Listener) net.Listener { return &wrapping{ln} }})
	exchange(t, s.dial(), "GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
	exchange(t, s.dial(), "GET / HTTP/1.0\r\n\r\n")
	s.want(map[string]int64{"http1/malformed 400": 1})
}

type wrapping struct{ net.Listener }

func (l *wrapping) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &bare{bare{c}}, nil
}
