package e2e_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// peer is the client of one row. Its User-Agent is the row's name, by which the
// records of the row are found.
type peer struct {
	t     *testing.T
	stage *stage
	tap   *wiretap
	name  string
}

// patience is how long a row waits for the server.
const patience = 20 * time.Second

// dial opens a connection that the tap counts.
func (p *peer) dial(addr string, config *tls.Config) *tapped {
	p.t.Helper()
	conn, err := p.tap.dial(p.t.Context(), addr, config)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func tlsFor(name string, protos ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: name, NextProtos: protos}
}

// http1 is TLS for HTTP/1.1 to the site.
func http1() *tls.Config { return tlsFor("localhost", "http/1.1") }

// head writes the head of a request of HTTP/1.1 to localhost. The fields follow
// the ones that every request has, and the connection is kept.
func (p *peer) head(method, target string, fields ...string) string {
	host := "localhost"
	for i, f := range fields {
		if after, ok := strings.CutPrefix(f, "Host: "); ok {
			host, fields = after, append(fields[:i:i], fields[i+1:]...)
			break
		}
	}
	all := append([]string{"Host: " + host, "User-Agent: " + p.name}, fields...)
	return fmt.Sprintf("%s %s HTTP/1.1\r\n%s\r\n\r\n", method, target, strings.Join(all, "\r\n"))
}

// send writes text to the site without TLS and reads until the server closes.
func (p *peer) send(text string) string { return p.sendTo(p.stage.plain, nil, text) }

func (p *peer) sendTo(addr string, config *tls.Config, text string) string {
	p.t.Helper()
	conn := p.dial(addr, config)
	if _, err := io.WriteString(conn, text); err != nil {
		p.t.Fatal(err)
	}
	return readAll(conn)
}

const closing = "Connection: close"

// get asks for a path, with more fields.
func get(path string, fields ...string) func(*peer) { return method("GET", path, fields...) }

// method asks with a method.
func method(method, path string, fields ...string) func(*peer) {
	return func(p *peer) { p.send(p.head(method, path, append([]string{closing}, fields...)...)) }
}

// text sends bytes. NAME in it is the row's name.
func text(format string) func(*peer) {
	return func(p *peer) { p.send(strings.ReplaceAll(format, "NAME", p.name)) }
}

// securely is get over TLS.
func securely(path string, fields ...string) func(*peer) {
	return func(p *peer) {
		p.sendTo(p.stage.secure, http1(), p.head("GET", path, append([]string{closing}, fields...)...))
	}
}

// handshake tries one and leaves.
func handshake(addr func(*stage) string, config *tls.Config) func(*peer) {
	return func(p *peer) {
		conn, err := p.tap.dial(p.t.Context(), addr(p.stage), config)
		if err == nil {
			readAll(conn) // TLS 1.3: the client learns later that it was refused
			_ = conn.Close()
		}
	}
}

func secure(s *stage) string { return s.secure }
func mutual(s *stage) string { return s.mutual }

// leave begins a response and closes the connection in the middle of it.
func leave(addr func(*stage) string, config *tls.Config, path string) func(*peer) {
	return func(p *peer) {
		conn := p.dial(addr(p.stage), config)
		if _, err := io.WriteString(conn, p.head("GET", path)); err != nil {
			p.t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 4096)); err != nil {
			p.t.Fatal(err)
		}
		_ = conn.Close()
	}
}

// two returns a client that speaks HTTP/2. To it the connection is plain: the
// tap is between it and TLS.
func (p *peer) two() *http.Transport {
	tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return p.tap.dial(ctx, p.stage.secure, tlsFor("localhost", "h2"))
	}}
	tr.Protocols.SetUnencryptedHTTP2(true)
	p.t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// request makes a request for the site.
func (p *peer) request(ctx context.Context, method, url, host string) *http.Request {
	p.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Host = host
	req.Header.Set("User-Agent", p.name)
	return req
}

// h2 asks over HTTP/2 and reads the response to its end.
func h2(method, path, host string) func(*peer) {
	return func(p *peer) {
		resp, err := p.two().RoundTrip(p.request(p.t.Context(), method, "http://"+p.stage.secure+path, host))
		if err != nil {
			p.t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if _, err = io.Copy(io.Discard, resp.Body); err != nil {
			p.t.Error(err)
		}
	}
}

// h2Leave resets a stream in the middle of its response.
func h2Leave(p *peer) {
	resp, err := p.two().RoundTrip(p.request(p.t.Context(), http.MethodGet, "http://"+p.stage.secure+"/up/endless", "localhost"))
	if err != nil {
		p.t.Fatal(err)
	}
	_, _ = io.ReadFull(resp.Body, make([]byte, 4096))
	_ = resp.Body.Close()
}

// h2Frames writes frames after the preface and reads until the server closes.
func h2Frames(write func(p *peer, f *http2.Framer) error) func(*peer) {
	return func(p *peer) {
		conn := p.dial(p.stage.secure, tlsFor("localhost", "h2"))
		_, _ = io.WriteString(conn, http2.ClientPreface)
		f := http2.NewFramer(conn, nil)
		if err := errors.Join(f.WriteSettings(), write(p, f)); err != nil {
			p.t.Fatal(err)
		}
		readAll(conn)
	}
}

// block encodes a header.
func block(fields ...string) []byte {
	var b strings.Builder
	enc := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return []byte(b.String())
}

// h3 asks over HTTP/3. The bytes are QUIC's: the tap gets the outcome.
func h3(path string, leaves bool) func(*peer) {
	return func(p *peer) {
		tr := &http3.Transport{TLSClientConfig: tlsFor("localhost", "h3")}
		defer func() { _ = tr.Close() }()
		ctx, cancel := context.WithCancel(p.t.Context())
		defer cancel()
		resp, err := tr.RoundTrip(p.request(ctx, http.MethodGet, "https://"+p.stage.secure+path, "localhost"))
		p.tap.stream(resp, err)
		if err != nil {
			p.t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if leaves {
			_, _ = io.ReadFull(resp.Body, make([]byte, 4096))
			cancel()
		} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			p.t.Error(err)
		}
	}
}

// socket opens a WebSocket and has a message echoed.
func socket(p *peer) {
	config, err := websocket.NewConfig("ws://localhost/up/ws", "http://localhost")
	if err != nil {
		p.t.Fatal(err)
	}
	config.Header.Set("User-Agent", p.name)
	ws, err := websocket.NewClient(config, p.dial(p.stage.plain, nil))
	if err != nil {
		p.t.Fatal(err)
	}
	_, _ = io.WriteString(ws, "hello")
	if _, err := io.ReadFull(ws, make([]byte, 5)); err != nil {
		p.t.Error(err)
	}
	_ = ws.Close()
}

// h3Socket opens a WebSocket over HTTP/3 (RFC 9220) and has a message echoed.
func h3Socket(p *peer) {
	tr := &http3.Transport{TLSClientConfig: tlsFor("localhost", "h3")}
	defer func() { _ = tr.Close() }()
	body, send := io.Pipe()
	req := p.request(p.t.Context(), http.MethodConnect, "https://"+p.stage.secure+"/up/ws", "localhost")
	req.Proto, req.Body, req.ContentLength = "websocket", body, -1
	req.Header.Set("Origin", "https://localhost")
	req.Header.Set("Sec-WebSocket-Version", "13")
	resp, err := tr.RoundTrip(req)
	p.tap.stream(resp, err)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.WriteString(send, "\x81\x82\x00\x00\x00\x00hi") // a text frame, masked with zeros
	if _, err := io.ReadFull(resp.Body, make([]byte, len("\x81\x02hi"))); err != nil {
		p.t.Error(err)
	}
	_ = send.Close()
}

// healthOf asks gRPC's health service about a service.
func healthOf(service string, want codes.Code) func(*peer) {
	return func(p *peer) {
		conn, err := grpc.NewClient("passthrough:///localhost", grpc.WithUserAgent(p.name), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				return p.tap.dial(ctx, p.stage.secure, tlsFor("localhost", "h2"))
			}))
		if err != nil {
			p.t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, err = healthpb.NewHealthClient(conn).Check(p.t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if got := status.Code(err); got != want {
			p.t.Errorf("%v, want %v", err, want)
		}
	}
}
