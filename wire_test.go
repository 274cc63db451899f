package soc2_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// counts returns the protocol.error counts of a port, as "layer/reason status"
// times count.
func (s *site) counts(port int) map[string]int64 {
	s.t.Helper()
	got := map[string]int64{}
	_, err := records.Dir{FS: os.DirFS(s.dir())}.Scan(0, func(_ int64, b []byte) error {
		var r struct {
			Kind, Listener, Layer, Reason, Prefix string

			Status int
			Count  int64
		}
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		if r.Kind == string(audit.KindProtocolError) && strings.HasSuffix(r.Listener, fmt.Sprint(":", port)) {
			if r.Prefix != "127.0.0.0/24" {
				s.t.Errorf("the prefix is %q", r.Prefix)
			}
			got[strings.TrimSuffix(fmt.Sprintf("%s/%s %d", r.Layer, r.Reason, r.Status), " 0")] += r.Count
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

// raw sends bytes to a port and reads until the server closes.
func (s *site) raw(port int, config *tls.Config, send string) string {
	s.t.Helper()
	conn, err := new(net.Dialer).DialContext(s.t.Context(), "tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if config != nil {
		config.InsecureSkipVerify, config.ServerName = true, "localhost"
		conn = tls.Client(conn, config)
	}
	_, _ = io.WriteString(conn, send)
	got, _ := io.ReadAll(conn) // a reset is an end
	return string(got)
}

const wireSite = `
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
	}
}
SITE {
	respond "hello"
}
`

// TestWhatReachesNoHandlerIsCountedAcrossReloads has a real Caddy, and counts
// before and after a reload and just before it stops.
func TestWhatReachesNoHandlerIsCountedAcrossReloads(t *testing.T) {
	s := newSite(t)
	if err := s.load(wireSite); err != nil {
		t.Fatal(err)
	}
	const good, bad = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"
	play := func() {
		s.playHTTP2()
		s.raw(s.http, nil, bad)
		s.raw(s.http, nil, "GET / HTTP/1.1\r\nHost: localhost\r\nExpect: x\r\n\r\n")
		s.raw(s.http, nil, "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		s.raw(s.https, nil, good)
		s.raw(s.https, &tls.Config{}, bad)
		s.raw(s.https, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, good)
		s.raw(s.https, &tls.Config{NextProtos: []string{"smtp"}}, good)
		s.raw(s.https, &tls.Config{}, good+"GET / HTTP/5.1\r\nHost: a\r\n\r\n")
		if got := s.get(s.url("/")); got.status != http.StatusOK {
			t.Fatal(got.status)
		}
	}
	const times = 3
	for n := range times {
		if n > 0 {
			if err := s.load(strings.Replace(wireSite, "hello", fmt.Sprint("hello ", n), 1)); err != nil {
				t.Fatal(err)
			}
		}
		play()
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	check := func(port int, want ...string) {
		t.Helper()
		got := s.counts(port)
		for _, w := range want {
			if got[w] != times {
				t.Errorf("port %d: %d of %s, want %d", port, got[w], w, times)
			}
			delete(got, w)
		}
		for _, soon := range []string{"tls/no_certificate", "tls/other", "http1/closed_unused"} { // while waiting for the certificate
			delete(got, soon)
		}
		if len(got) > 0 {
			t.Errorf("port %d: there is also %v", port, got)
		}
	}
	check(s.http, "http1/malformed 400", "http1/expectation_failed 417", "http1/options_asterisk 200")
	check(s.https, "tls/http_on_https 400", "http1/malformed 400", "tls/unsupported_version", "tls/no_shared_alpn", "http1/version 505",
		"http2/malformed 400", "http2/options_asterisk 200", "http2/connection_error")
	if got := len(s.requests()); got != times*3 {
		t.Errorf("%d request records, want %d", got, times*3)
	}
	s.verify()
}

// playHTTP2 sends over one connection what HTTP/2's server answers, what
// net/http answers, a good request, and at last a breach of the protocol.
func (s *site) playHTTP2() {
	s.t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"h2"}}
	conn, err := (&tls.Dialer{Config: config}).DialContext(s.t.Context(), "tcp", fmt.Sprint("127.0.0.1:", s.https))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, http2.ClientPreface)
	f := http2.NewFramer(conn, conn)
	_ = f.WriteSettings()
	var head strings.Builder
	e := hpack.NewEncoder(&head)
	for i, r := range []struct{ method, path, extra string }{{"GET", "/", "connection"}, {"OPTIONS", "*", ""}, {"GET", "/", ""}} {
		head.Reset()
		for _, h := range [][2]string{{":method", r.method}, {":scheme", "https"}, {":authority", fmt.Sprint("localhost:", s.https)}, {":path", r.path}, {r.extra, "x"}} {
			if h[0] != "" {
				_ = e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
			}
		}
		id := uint32(2*i + 1)
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte(head.String()), EndStream: true, EndHeaders: true})
		s.await(f, func(h http2.FrameHeader) bool {
			return h.StreamID == id && h.Flags.Has(http2.FlagDataEndStream)
		})
	}
	_ = f.WriteRawFrame(http2.FrameData, 0, 99, nil)
	s.await(f, func(h http2.FrameHeader) bool { return h.Type == http2.FrameGoAway })
	_, _ = io.Copy(io.Discard, conn) // until the server closes
}

func (s *site) await(f *http2.Framer, is func(http2.FrameHeader) bool) {
	s.t.Helper()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			s.t.Fatal(err)
		}
		if is(frame.Header()) {
			return
		}
	}
}

// TestCountsOfALogThatLeavesAreKept for the next one: a configuration without an
// audit log serves in between.
func TestCountsOfALogThatLeavesAreKept(t *testing.T) {
	s := newSite(t)
	if err := s.load(wireSite); err != nil {
		t.Fatal(err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprint("127.0.0.1:", s.http))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n")
	second, err := new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprint("127.0.0.1:", s.http))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	_, _ = io.WriteString(second, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	_, _ = io.ReadAll(second) // answered, so that the first one was accepted
	if err := caddy.Load([]byte(`{"admin":{"disabled":true}}`), true); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "Host: b\r\n\r\n")
	_, _ = io.ReadAll(conn)
	if err := s.load(wireSite); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	s.closed()
	got := s.counts(s.http)
	if n := got["http1/malformed 400"] + got["http1/head_dropped"]; n != 1 {
		t.Errorf("counted %v", got)
	}
}
