package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wiretap counts what the test's client gets on its sockets, from the bytes
// alone: it knows nothing of what the client asked for or what the server
// recorded.
type wiretap struct {
	mu      sync.Mutex
	conns   []*tapped
	streams []reply     // of HTTP/3, whose bytes only QUIC can read
	unheard map[int]int // by status, answers to clients that had gone
}

// reply is what came back for one request or, if none did, for one connection.
type reply struct {
	status int    // 0: nothing
	id     string // request id; empty if no handler made the response
}

// tapped is a connection whose bytes, decrypted, are kept.
type tapped struct {
	net.Conn
	mu      sync.Mutex
	in, out bytes.Buffer
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in.Write(p[:n])
	return n, err
}

func (c *tapped) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.out.Write(p)
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// dial opens a connection. With a TLS configuration it returns an error if the
// handshake fails; what came is kept nevertheless.
func (w *wiretap) dial(ctx context.Context, addr string, config *tls.Config) (*tapped, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &tapped{Conn: conn}
	if config == nil {
		w.keep(c)
		return c, nil
	}
	decrypted := &tapped{Conn: tls.Client(c, config)}
	if err := decrypted.Conn.(*tls.Conn).HandshakeContext(ctx); err != nil { //nolint:forcetypeassert // made above
		w.keep(c)
		return nil, err
	}
	w.keep(decrypted)
	return decrypted, nil
}

func (w *wiretap) keep(c *tapped) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, c)
}

// deaf notes that the server may answer a connection, but the client cannot
// hear it: it is among the replies without a status.
func (w *wiretap) deaf(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unheard == nil {
		w.unheard = map[int]int{}
	}
	w.unheard[status]++
}

// stream counts a response of HTTP/3.
func (w *wiretap) stream(resp *http.Response, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.streams = append(w.streams, reply{})
		return
	}
	w.streams = append(w.streams, reply{resp.StatusCode, resp.Header.Get("X-Request-Id")})
}

// replies returns what came back on all connections.
func (w *wiretap) replies(t *testing.T) []reply {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	all := append([]reply(nil), w.streams...)
	for _, c := range w.conns {
		c.mu.Lock()
		in, out := c.in.Bytes(), c.out.Bytes()
		c.mu.Unlock()
		list := readHTTP1(in, out)
		if bytes.HasPrefix(out, []byte(http2.ClientPreface)) {
			list = readHTTP2(t, in, out)
		}
		if len(list) == 0 {
			list = []reply{{}}
		}
		all = append(all, list...)
	}
	return all
}

// readHTTP1 reads final responses, one after the other.
func readHTTP1(in, out []byte) (list []reply) {
	requests, responses := bufio.NewReader(bytes.NewReader(out)), bufio.NewReader(bytes.NewReader(in))
	for {
		req, err := http.ReadRequest(requests)
		if err != nil {
			req = &http.Request{Method: http.MethodGet} // it was malformed
		} else if _, err := io.Copy(io.Discard, req.Body); err != nil {
			req.Close = true
		}
		resp, err := http.ReadResponse(responses, req) //nolint:bodyclose // of bytes that are here already
		for err == nil && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			resp, err = http.ReadResponse(responses, req) //nolint:bodyclose // as above
		}
		if err != nil {
			return list
		}
		list = append(list, reply{resp.StatusCode, resp.Header.Get("X-Request-Id")})
		_, err = io.Copy(io.Discard, resp.Body)
		if err != nil || resp.StatusCode == http.StatusSwitchingProtocols {
			return list
		}
	}
}

// readHTTP2 returns what came back for each stream that the client opened.
func readHTTP2(t *testing.T, in, out []byte) (list []reply) {
	t.Helper()
	answers := map[uint32]reply{}
	for _, f := range headerFrames(in) {
		status, _ := strconv.Atoi(f.PseudoValue("status")) // trailers have none
		if status >= 200 {
			r := reply{status: status}
			for _, field := range f.RegularFields() {
				if field.Name == "x-request-id" {
					r.id = field.Value
				}
			}
			answers[f.StreamID] = r
		}
	}
	asked := map[uint32]bool{}
	for _, f := range headerFrames(out[len(http2.ClientPreface):]) {
		if !asked[f.StreamID] { // the second one is its trailers
			asked[f.StreamID] = true
			list = append(list, answers[f.StreamID])
		}
	}
	return list
}

func headerFrames(b []byte) (list []*http2.MetaHeadersFrame) {
	framer := http2.NewFramer(io.Discard, bytes.NewReader(b))
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := framer.ReadFrame()
		if err != nil && !strings.Contains(err.Error(), "stream error") {
			return list
		}
		if h, ok := f.(*http2.MetaHeadersFrame); ok {
			list = append(list, h)
		}
	}
}
