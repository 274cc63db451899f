package wire

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// faulty are requests that net/http serves, or cannot tell apart.
var faulty = map[string]string{
	"http1/framing_conflict":   "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"http1/length_conflict":    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
	"http1/line_folding":       "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\tc\r\n\r\n",
	"http1/encoding_in_http10": "POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}

// kept are requests with everything that may stand before another on a
// connection, some of which looks like a fault where it is.
var kept = []string{
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 53\r\n\r\nGET / HTTP/1.1\r\nContent-Length: 1\r\n b\r\nContent-Le\r\n\r\n",
	"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n13;x\r\nA / HTTP/1.1\r\na\r\n\r\n\r\n0\r\nA: b\r\n c\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
}

// reads is a handler that reads bodies.
func reads(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		n = -1
	}
	_, _ = fmt.Fprint(w, n)
}

// transports connects to a server in each way that speaks HTTP/1.
func transports(t *testing.T, do func(t *testing.T, o setting, dial func(*server) net.Conn)) {
	ca := newAuthority(t)
	t.Run("plain", func(t *testing.T) { t.Parallel(); do(t, setting{}, (*server).dial) })
	t.Run("unix", func(t *testing.T) {
		t.Parallel()
		do(t, setting{unix: t.TempDir() + "/s"}, (*server).dial)
	})
	for name, protos := range map[string][]string{"tls": {"http/1.1"}, "tls without ALPN": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			do(t, setting{tls: ca.secure(t)}, func(s *server) net.Conn { return s.dialTLS(ca.client(protos...)) })
		})
	}
}

// TestFaultsAreRefusedWhereverBytesAreSplit has each behind good requests, in
// two pieces, at every byte.
func TestFaultsAreRefusedWhereverBytesAreSplit(t *testing.T) {
	transports(t, func(t *testing.T, o setting, dial func(*server) net.Conn) {
		o.handler = reads
		s := newServer(t, o)
		want := map[string]int64{}
		before := strings.Join(kept, "")
		for reason, bad := range faulty {
			all := before + bad
			for at := 1; at < len(all); at += 3 {
				conn := dial(s)
				r := bufio.NewReader(conn)
				go func() { // a server that refuses does not read all
					_, _ = io.WriteString(conn, all[:at])
					_, _ = io.WriteString(conn, all[at:])
				}()
				for range kept {
					if got := next(t, r); got != http.StatusOK {
						t.Fatalf("%s: split at %d, a good request is answered %d", reason, at, got)
					}
				}
				refusedNext(t, r, reason)
				_ = conn.Close()
				want[reason+" 400"]++
			}
		}
		s.want(want)
	})
}

// next reads a response and returns its status.
func next(t *testing.T, r *bufio.Reader) int {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

func refusedNext(t *testing.T, r *bufio.Reader, what string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest || !resp.Close {
		t.Fatalf("%s is answered %d, close %t", what, resp.StatusCode, resp.Close)
	}
}

// TestFaultsAreServedAndCountedIfReported has them one after the other, and all
// in one piece.
func TestFaultsAreServedAndCountedIfReported(t *testing.T) {
	transports(t, func(t *testing.T, o setting, dial func(*server) net.Conn) {
		o.handler, o.framing = reads, Report
		s := newServer(t, o)
		want := map[string]int64{"http1/length_conflict 400": 1}
		one := dial(s)
		r := bufio.NewReader(one)
		var all string
		for _, reason := range []string{"http1/framing_conflict", "http1/line_folding"} {
			if got := ask(t, one, r, faulty[reason]); got != http.StatusOK {
				t.Errorf("%s is answered %d", reason, got)
			}
			want[reason] = 2
			all += faulty[reason]
		}
		_, _ = io.WriteString(one, faulty["http1/length_conflict"])
		refusedNext(t, r, "different lengths")
		two := dial(s)
		r = bufio.NewReader(two)
		_, _ = io.WriteString(two, all+good)
		for range 3 {
			if got := next(t, r); got != http.StatusOK {
				t.Errorf("the answer is %d", got)
			}
		}
		_, _ = one.Close(), two.Close()
		s.want(want)
	})
}

// TestTunnelsCarryAnything has a client that does not wait for the answer to its
// CONNECT or upgrade, and sends what would be faults in a request.
func TestTunnelsCarryAnything(t *testing.T) {
	early := strings.Join([]string{
		faulty["http1/line_folding"], faulty["http1/framing_conflict"], "\x16\x03\x01\n \n A", strings.Repeat("x", 9000),
	}, "")
	transports(t, func(t *testing.T, o setting, dial func(*server) net.Conn) {
		sent := make(chan struct{}, 1)
		o.handler = func(w http.ResponseWriter, r *http.Request) {
			<-sent
			conn, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			_, _ = io.CopyN(conn, buf, int64(2*len(early)))
			_ = conn.Close()
		}
		s := newServer(t, o)
		for _, request := range kept[2:] {
			for _, pieces := range []int{1, 100, len(early)} {
				conn := dial(s)
				_, _ = io.WriteString(conn, request+early[:pieces])
				_, _ = io.WriteString(conn, early[pieces:])
				sent <- struct{}{}
				_, _ = io.WriteString(conn, early)
				got, _ := io.ReadAll(conn)
				if want := "HTTP/1.1 200 OK\r\n\r\n" + early + early; string(got) != want {
					t.Errorf("%.10q and %d bytes: %d bytes came back, want %d", request, pieces, len(got), len(want))
				}
				_ = conn.Close()
			}
		}
		s.want(map[string]int64{})
	})
}

// TestRefusedTunnelsHideNoRequest has faulty requests arrive while it is open
// whether a handler takes the connection over, which it does not.
func TestRefusedTunnelsHideNoRequest(t *testing.T) {
	transports(t, func(t *testing.T, o setting, dial func(*server) net.Conn) {
		sent, handled := make(chan struct{}), atomic.Int64{}
		o.handler = func(w http.ResponseWriter, _ *http.Request) {
			<-sent
			handled.Add(1)
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
		s := newServer(t, o)
		want := map[string]int64{}
		for _, request := range kept[2:] {
			for reason, bad := range faulty {
				conn := dial(s)
				_, _ = io.WriteString(conn, request+bad[:20])
				_, _ = io.WriteString(conn, bad[20:]+bad)
				sent <- struct{}{}
				r := bufio.NewReader(conn)
				next(t, r)
				refusedNext(t, r, reason)
				_ = conn.Close()
				want[reason+" 400"]++
			}
		}
		s.want(want)
		if handled.Load() != int64(2*len(faulty)) {
			t.Errorf("%d requests reached a handler", handled.Load())
		}
	})
}

// TestBrokenChunksEndTheConnection has a handler that answers before it reads,
// and goes on reading: what follows is no request.
func TestBrokenChunksEndTheConnection(t *testing.T) {
	transports(t, func(t *testing.T, o setting, dial func(*server) net.Conn) {
		var handled atomic.Int64
		o.handler = func(w http.ResponseWriter, r *http.Request) {
			handled.Add(1)
			c := http.NewResponseController(w)
			_ = c.EnableFullDuplex()
			_ = c.Flush()
			_, _ = io.Copy(io.Discard, r.Body)
		}
		s := newServer(t, o)
		conn := dial(s)
		head := "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX"
		got := exchange(t, conn, head+good+good)
		if n := strings.Count(got, "200 OK"); n != 1 || handled.Load() != 1 {
			t.Errorf("%d responses, %d requests reached a handler:\n%s", n, handled.Load(), got)
		}
		s.closeAll()
	})
}

// TestHTTP2IsNotSpokenWhereHTTP1WasNegotiated over TLS.
func TestHTTP2IsNotSpokenWhereHTTP1WasNegotiated(t *testing.T) {
	ca := newAuthority(t)
	s := newServer(t, setting{tls: ca.secure(t)})
	for _, protos := range [][]string{{"http/1.1"}, nil} {
		got := exchange(t, s.dialTLS(ca.client(protos...)), preface)
		if !strings.HasPrefix(got, "HTTP/1.1 505 ") {
			t.Errorf("the server answers %q", got)
		}
	}
	s.want(map[string]int64{"http1/version 505": 2})
}

// TestConnectionsOverTLSKeepTheirState as Caddy finds it, behind listeners around ours.
func TestConnectionsOverTLSKeepTheirState(t *testing.T) {
	ca := newAuthority(t)
	states := make(chan tls.ConnectionState, 1)
	s := newServer(t, setting{tls: ca.secure(t), wrap: func(ln net.Listener) net.Listener { return stating{ln, states} }})
	conn := s.dialTLS(ca.client("http/1.1"))
	if got := ask(t, conn, bufio.NewReader(conn), good); got != http.StatusOK {
		t.Fatal(got)
	}
	_ = conn.Close()
	if cs := <-states; cs.NegotiatedProtocol != "http/1.1" || cs.Version != tls.VersionTLS13 {
		t.Errorf("the state is %+v", cs)
	}
}

// stating tells the state of TLS when a connection is closed.
type stating struct {
	net.Listener
	states chan tls.ConnectionState
}

func (l stating) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return statingConn{c, l.states}, nil
}

type statingConn struct {
	net.Conn
	states chan tls.ConnectionState
}

func (c statingConn) Close() error {
	inner := embedded(c.Conn) // of hiding
	if s, ok := inner.(interface{ ConnectionState() tls.ConnectionState }); ok {
		c.states <- s.ConnectionState()
	}
	return c.Conn.Close()
}

// BenchmarkFraming is what a request on a kept connection pays for its framing.
func BenchmarkFraming(b *testing.B) {
	c := &tcpConn{}
	c.framing.mode = Enforce
	from := &repeated{b: []byte("GET /assets/app.js HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\nCookie: a=b\r\n\r\n")}
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := c.read(from, buf); n != len(from.b) || err != nil {
			b.Fatal(n, err)
		}
		c.framing.state(http.StateIdle)
	}
}

type repeated struct{ b []byte }

func (r *repeated) receive(b []byte) (int, error) { return copy(b, r.b), nil }
