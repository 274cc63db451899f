package wire

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// refusals are requests that net/http answers by itself.
var refusals = []struct {
	name, send string
	want       string
	status     string
}{
	{"garbage", "\x01\x02\x03\x04 some garbage\r\n\r\n", "http1/malformed 400", "400"},
	{"no version", "GET /\r\nHost: a\r\n\r\n", "http1/malformed 400", "400"},
	{"no host", "GET / HTTP/1.1\r\n\r\n", "http1/malformed 400", "400"},
	{"bad host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "http1/malformed 400", "400"},
	{"bad header name", "GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n", "http1/malformed 400", "400"},
	{"bad header value", "GET / HTTP/1.1\r\nHost: a\r\nA: \x01\r\n\r\n", "http1/malformed 400", "400"},
	{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "http1/length_conflict 400", "400"},
	{"two framings", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "http1/framing_conflict 400", "400"},
	{"two framings, one unknown", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nContent-Length: 3\r\n\r\nabc", "http1/framing_conflict 400", "400"},
	{"folded line", "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", "http1/line_folding 400", "400"},
	{"encoding of HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "http1/encoding_in_http10 400", "400"},
	{"expectation", "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", "http1/expectation_failed 417", "417"},
	{"long head", "GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("a", 3<<20) + "\r\n\r\n", "http1/head_too_large 431", "431"},
	{"transfer encoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n", "http1/transfer_encoding 501", "501"},
	{"version", "GET / HTTP/3.7\r\nHost: a\r\n\r\n", "http1/version 505", "505"},
	{"options", "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "http1/options_asterisk 200", "200"},
	{"options of HTTP/1.0", "OPTIONS * HTTP/1.0\r\n\r\n", "http1/options_asterisk 200", "200"},
}

// TestRefusalsOfRequestsCountOnce has each refusal as a connection's first
// request, behind a good one, and in the same packet as a good one; without
// TLS, and under both versions of TLS, where only sizes show.
func TestRefusalsOfRequestsCountOnce(t *testing.T) {
	ca := newAuthority(t)
	for _, transport := range []string{"plain", "tls1.2", "tls1.3"} {
		for _, place := range []string{"first", "second", "pipelined"} {
			for _, c := range refusals {
				t.Run(transport+"/"+place+"/"+c.name, func(t *testing.T) {
					t.Parallel()
					testRefusal(t, ca, transport, place, c.send, c.want, c.status)
				})
			}
		}
	}
}

func testRefusal(t *testing.T, ca *authority, transport, place, send, want, status string) {
	o := setting{}
	if transport != "plain" {
		o.tls = ca.secure(t)
	}
	s := newServer(t, o)
	var conn net.Conn
	if transport == "plain" {
		conn = s.dial()
	} else {
		config := ca.client("http/1.1")
		config.MinVersion = map[string]uint16{"tls1.2": 0x303, "tls1.3": 0x304}[transport]
		config.MaxVersion = config.MinVersion
		conn = s.dialTLS(config)
	}
	r := bufio.NewReader(conn)
	switch place {
	case "first":
	case "second":
		if got := ask(t, conn, r, good); got != http.StatusOK {
			t.Fatal(got)
		}
	case "pipelined":
		send = good + send
	}
	go func() { _, _ = io.WriteString(conn, send) }() // a server that refuses does not read all
	if place == "pipelined" {
		ask(t, conn, r, "")
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if !strings.HasPrefix(resp.Status, status) {
		t.Fatalf("the server answered %s, want %s", resp.Status, status)
	}
	_ = conn.Close()
	s.want(map[string]int64{want: 1})
}

// TestOptionsAsteriskCountsOnKeptConnections has it between good requests.
func TestOptionsAsteriskCountsOnKeptConnections(t *testing.T) {
	for _, pipelined := range []bool{false, true} {
		s := newServer(t, setting{})
		conn := s.dial()
		r := bufio.NewReader(conn)
		options := "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"
		if pipelined {
			_, _ = io.WriteString(conn, good+options+good+options)
			for range 4 {
				ask(t, conn, r, "")
			}
		} else {
			for range 2 {
				ask(t, conn, r, good)
				ask(t, conn, r, options)
			}
		}
		_ = conn.Close()
		s.want(map[string]int64{"http1/options_asterisk 200": 2})
	}
}

// TestGoodConnectionsAreNotCounted has what is not an error although a
// connection ends in an unusual way.
func TestGoodConnectionsAreNotCounted(t *testing.T) {
	hijack := func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		_ = buf.Flush()
		_, _ = io.Copy(conn, conn)
		_ = conn.Close()
	}
	abort := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	ca := newAuthority(t)
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		play    func(t *testing.T, conn net.Conn)
	}{
		"kept": {nil, func(t *testing.T, conn net.Conn) {
			r := bufio.NewReader(conn)
			for range 5 {
				ask(t, conn, r, good)
			}
		}},
		"pipelined": {nil, func(t *testing.T, conn net.Conn) {
			exchange(t, conn, strings.Repeat(good, 20)+"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		}},
		"closed by request": {nil, func(t *testing.T, conn net.Conn) {
			exchange(t, conn, "GET / HTTP/1.0\r\n\r\n")
		}},
		"half closed": {nil, func(t *testing.T, conn net.Conn) {
			_, _ = io.WriteString(conn, good)
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
			if got, _ := io.ReadAll(conn); !strings.HasSuffix(string(got), "hello") {
				t.Errorf("got %q", got)
			}
		}},
		"taken over": {hijack, func(t *testing.T, conn net.Conn) {
			r := bufio.NewReader(conn)
			ask(t, conn, r, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			_, _ = io.WriteString(conn, "ping")
			_, _ = io.ReadFull(r, make([]byte, 4))
		}},
		"aborted by a handler": {abort, func(t *testing.T, conn net.Conn) { exchange(t, conn, good) }},
		"a body that no handler reads": {nil, func(t *testing.T, conn net.Conn) {
			ask(t, conn, bufio.NewReader(conn), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\nabc")
		}},
	} {
		for _, transport := range []string{"plain", "tls"} {
			t.Run(name+"/"+transport, func(t *testing.T) {
				t.Parallel()
				o := setting{handler: c.handler}
				if transport == "tls" {
					o.tls = ca.secure(t)
				}
				s := newServer(t, o)
				var conn net.Conn
				if transport == "tls" {
					conn = s.dialTLS(ca.client("http/1.1"))
				} else {
					conn = s.dial()
				}
				c.play(t, conn)
				_ = conn.Close()
				s.want(map[string]int64{})
			})
		}
	}
}

// TestConnectionsWithoutARequestCountOnce is for those without TLS.
func TestConnectionsWithoutARequestCountOnce(t *testing.T) {
	soon := func(h *http.Server) { h.ReadHeaderTimeout = 50 * time.Millisecond }
	for name, c := range map[string]struct {
		change func(*http.Server)
		play   func(t *testing.T, s *server, conn net.Conn)
		want   string
	}{
		"closed": {nil, func(_ *testing.T, _ *server, conn net.Conn) { _ = conn.Close() }, "tcp/closed_unused"},
		"reset": {nil, func(_ *testing.T, _ *server, conn net.Conn) {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}, "tcp/closed_unused"},
		"idle": {soon, func(_ *testing.T, _ *server, conn net.Conn) { _, _ = io.ReadAll(conn) }, "tcp/timed_out_unused"},
		"short part of a head": {nil, func(_ *testing.T, _ *server, conn net.Conn) {
			_, _ = io.WriteString(conn, "GET / ")
			_ = conn.Close()
		}, "http1/head_cut_off 400"},
		"part of a head": {nil, func(_ *testing.T, _ *server, conn net.Conn) {
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nX: ")
			_ = conn.Close()
		}, "http1/head_cut_off 400"},
		"slow head": {soon, func(_ *testing.T, _ *server, conn net.Conn) {
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nX: ")
			_, _ = io.ReadAll(conn)
		}, "http1/head_timed_out"},
		"part of a second head": {nil, func(t *testing.T, _ *server, conn net.Conn) {
			ask(t, conn, bufio.NewReader(conn), good)
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nX: ")
			_ = conn.Close()
		}, "http1/head_cut_off 400"},
		"a ClientHello": {nil, func(t *testing.T, _ *server, conn net.Conn) {
			err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context())
			if err == nil {
				t.Error("there is TLS on a port without it")
			}
		}, "http1/tls_on_http 400"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, setting{change: c.change})
			c.play(t, s, s.dial())
			s.want(map[string]int64{c.want: 1})
		})
	}
}

// TestHeadsThatAShutdownCutsOffAreCounted also has a connection of a type that
// is not known.
func TestHeadsThatAShutdownCutsOffAreCounted(t *testing.T) {
	reads := make(chan struct{}, 10)
	s := newServer(t, setting{beneath: func(ln net.Listener) net.Listener { return &tellingListener{ln, reads} }})
	conn := s.dial()
	_, _ = io.WriteString(conn, "GE")
	<-reads
	_ = s.http.Close()
	s.want(map[string]int64{"http1/head_dropped": 1})
}

// tellingListener tells when a connection has read.
type tellingListener struct {
	net.Listener
	reads chan struct{}
}

func (l *tellingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tellingConn{c, l.reads}, nil
}

type tellingConn struct {
	net.Conn
	reads chan struct{}
}

func (c *tellingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.reads <- struct{}{}
	return n, err
}
