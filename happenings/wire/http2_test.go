package wire

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is a client of HTTP/2 that may break the protocol.
type peer struct {
	t    *testing.T
	conn net.Conn
	*http2.Framer
	head bytes.Buffer
	hp   *hpack.Encoder
}

// newPeer greets a server, over TLS or without.
func newPeer(t *testing.T, s *server, ca *authority) *peer {
	t.Helper()
	var conn net.Conn
	if ca != nil {
		conn = s.dialTLS(ca.client("h2"))
	} else {
		conn = s.dial()
	}
	p := &peer{t: t, conn: conn, Framer: http2.NewFramer(conn, conn)}
	p.hp = hpack.NewEncoder(&p.head)
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, _ = io.WriteString(conn, http2.ClientPreface)
	if err := p.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return p
}

// open opens a stream with a request.
func (p *peer) open(id uint32, end bool, fields ...string) {
	p.t.Helper()
	p.head.Reset()
	have := strings.Join(fields, " ")
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "a"}, {":path", "/"}} {
		if !strings.Contains(have, f[0]) {
			_ = p.hp.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
	}
	for i := 0; i+1 < len(fields); i += 2 {
		_ = p.hp.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	block := p.head.Bytes()
	first := block[:min(len(block), 16000)]
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(first) == len(block)})
	for block = block[len(first):]; len(block) > 0; {
		n := min(len(block), 16000)
		_ = p.WriteContinuation(id, n == len(block), block[:n])
		block = block[n:]
	}
}

const anyStream = 1 << 31 // which no stream is

// await reads until a frame of a kind on a stream, or the end.
func (p *peer) await(kind http2.FrameType, id uint32) http2.Frame {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("waiting for %v: %v", kind, err)
		}
		if f.Header().Type == kind && (id == anyStream || f.Header().StreamID == id) {
			return f
		}
	}
}

// answered reads until a stream has been answered.
func (p *peer) answered(id uint32) string {
	p.t.Helper()
	f, ok := p.await(http2.FrameHeaders, id).(*http2.MetaHeadersFrame)
	if !ok {
		p.t.Fatal("no head")
	}
	status := f.PseudoValue("status")
	for !f.StreamEnded() {
		if d, ok := p.await(http2.FrameData, id).(*http2.DataFrame); ok && d.StreamEnded() {
			break
		}
	}
	return status
}

// TestHTTP2CountsOnceWhatReachesNoHandler plays each both over TLS and without.
func TestHTTP2CountsOnceWhatReachesNoHandler(t *testing.T) {
	ca := newAuthority(t)
	for name, c := range map[string]struct {
		play func(t *testing.T, p *peer)
		want map[string]int64
	}{
		"good": {func(_ *testing.T, p *peer) {
			for id := uint32(1); id < 20; id += 2 {
				p.open(id, true)
				p.answered(id)
			}
		}, map[string]int64{}},
		"many at once": {func(_ *testing.T, p *peer) {
			for id := uint32(1); id < 100; id += 2 {
				p.open(id, true)
			}
			for range 50 {
				p.await(http2.FrameHeaders, anyStream)
			}
		}, map[string]int64{}},
		"no request": {func(_ *testing.T, p *peer) { p.await(http2.FrameSettings, 0) }, map[string]int64{"http2/closed_unused": 1}},
		"reset by client": {func(_ *testing.T, p *peer) {
			p.open(1, true)
			_ = p.WriteRSTStream(1, http2.ErrCodeCancel)
			_ = p.WritePing(false, [8]byte{})
			p.await(http2.FramePing, 0)
		}, map[string]int64{}},
		"options asterisk": {func(_ *testing.T, p *peer) { p.open(1, true, ":method", "OPTIONS", ":path", "*"); p.answered(1) }, map[string]int64{"http2/options_asterisk 200": 1}},
		"no path": {func(_ *testing.T, p *peer) {
			p.open(1, true, ":path", "")
			p.await(http2.FrameRSTStream, 1)
		}, map[string]int64{"http2/stream_error": 1}},
		"header of a connection": {func(t *testing.T, p *peer) {
			for id := uint32(1); id < 6; id += 2 {
				p.open(id, true, "connection", "close")
				if got := p.answered(id); got != "400" {
					t.Errorf("answered %s", got)
				}
			}
		}, map[string]int64{"http2/malformed 400": 3}},
		"long head": {func(t *testing.T, p *peer) {
			p.open(1, true)
			p.answered(1)
			p.open(3, true, strings.Split(strings.Repeat("x-a "+strings.Repeat("b", 1000)+" ", 1400), " ")[:2800]...)
			if got := p.answered(3); got != "431" {
				t.Errorf("answered %s", got)
			}
			p.open(5, true)
			p.answered(5)
		}, map[string]int64{"http2/head_too_large 431": 1}},
		"bad frame": {func(_ *testing.T, p *peer) {
			_ = p.WriteRawFrame(http2.FrameData, 0, 1, []byte("x"))
			p.await(http2.FrameGoAway, 0)
		}, map[string]int64{"http2/connection_error": 1}},
		"bad compression": {func(_ *testing.T, p *peer) {
			_ = p.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
			p.await(http2.FrameGoAway, 0)
		}, map[string]int64{"http2/connection_error": 1}},
		"client's error": {func(_ *testing.T, p *peer) {
			p.open(1, true)
			p.answered(1)
			_ = p.WriteGoAway(0, http2.ErrCodeProtocol, nil)
		}, map[string]int64{"http2/client_connection_error": 1}},
		"client's leave": {func(_ *testing.T, p *peer) {
			p.open(1, true)
			p.answered(1)
			_ = p.WriteGoAway(0, http2.ErrCodeNo, nil)
		}, map[string]int64{}},
		"a mix": {func(_ *testing.T, p *peer) {
			p.open(1, true)
			p.answered(1)
			p.open(3, true, ":path", "")
			p.await(http2.FrameRSTStream, 3)
			p.open(5, true, "connection", "close")
			p.answered(5)
			p.open(7, true)
			p.answered(7)
		}, map[string]int64{"http2/stream_error": 1, "http2/malformed 400": 1}},
	} {
		for _, transport := range []string{"tls", "plain"} {
			t.Run(name+"/"+transport, func(t *testing.T) {
				t.Parallel()
				o := setting{}
				authority := ca
				if transport == "tls" {
					o.tls = ca.secure(t)
				} else {
					authority = nil
				}
				s := newServer(t, o)
				p := newPeer(t, s, authority)
				c.play(t, p)
				_ = p.conn.Close()
				s.want(c.want)
			})
		}
	}
}

// TestBadPrefacesCountOnce is over TLS, where the protocol is agreed on before
// the preface.
func TestBadPrefacesCountOnce(t *testing.T) {
	ca := newAuthority(t)
	s := newServer(t, setting{tls: ca.secure(t)})
	exchange(t, s.dialTLS(ca.client("h2")), strings.Repeat("GET / HTTP/1.1\r\n", 3))
	s.want(map[string]int64{"http2/bad_preface": 1})
}

// TestHTTP2KeepsTheTLSStateOfRequests although the HTTP/2 server is not given a
// *tls.Conn.
func TestHTTP2KeepsTheTLSStateOfRequests(t *testing.T) {
	ca := newAuthority(t)
	got := make(chan *http.Request, 1)
	s := newServer(t, setting{tls: ca.secure(t), handler: func(_ http.ResponseWriter, r *http.Request) { got <- r }})
	tr := &http.Transport{TLSClientConfig: ca.client(), ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: 10 * time.Second}
	resp, err := client.Get("https://" + strings.Replace(s.addr, "127.0.0.1", "localhost", 1)) //nolint:noctx // it has a timeout
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	r := <-got
	if r.ProtoMajor != 2 || r.TLS == nil || r.TLS.Version != tls.VersionTLS13 || r.TLS.ServerName != "localhost" || r.RemoteAddr == "" {
		t.Errorf("the request is %s with TLS %+v from %q", r.Proto, r.TLS, r.RemoteAddr)
	}
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); !ok || addr.String() != s.addr {
		t.Errorf("its context has the local address %v", addr)
	}
}

// TestHTTP2EndsGracefully has a server that is shut down while a request runs.
func TestHTTP2EndsGracefully(t *testing.T) {
	ca := newAuthority(t)
	began, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, setting{tls: ca.secure(t), handler: func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-release
		_, _ = io.WriteString(w, "late")
	}})
	p := newPeer(t, s, ca)
	p.open(1, true)
	<-began
	ended := make(chan struct{})
	go func() { defer close(ended); s.closeAll() }()
	p.await(http2.FrameGoAway, 0)
	close(release)
	if got := p.answered(1); got != "200" {
		t.Errorf("answered %s", got)
	}
	<-ended
	s.want(map[string]int64{})
}
