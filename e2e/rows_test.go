package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// rows are the ways to get a response or a refusal. Those at the end reach no
// handler.
var rows = []row{
	// What a site answers.
	{"200", get("/ok"), []string{"200 complete"}, nil},
	{"200 with HTTP/1.0", text("GET /ok HTTP/1.0\r\nHost: localhost\r\nUser-Agent: NAME\r\n\r\n"), []string{"200 complete"}, nil},
	{"200 over TLS", securely("/ok"), []string{"200 complete"}, nil},
	{"200 and close", get("/close"), []string{"200 complete"}, nil},
	{"203 of a named route", get("/named"), []string{"203 complete"}, nil},
	{"204", get("/empty"), []string{"204 complete"}, nil},
	{"206", get("/files/file.txt", "Range: bytes=2-4"), []string{"206 complete"}, nil},
	{"301", get("/moved"), []string{"301 complete"}, nil},
	{"304", get("/files/file.txt", "If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT"), []string{"304 complete"}, nil},
	{"308 of the implicit redirects", func(p *peer) { p.sendTo(p.stage.redirect, nil, p.head("GET", "/ok", closing)) }, []string{"308 complete"}, nil},
	{"401", get("/private"), []string{"401 complete"}, nil},
	{"403 that an error route makes 410", get("/forbidden"), []string{"410 complete"}, nil},
	{"404 with a page", get("/missing"), []string{"404 complete"}, nil},
	{"404 of a file", get("/files/none"), []string{"404 complete"}, nil},
	{"404 unmatched path", get("/nowhere"), []string{"404 complete"}, nil},
	{"404 unmatched host", get("/ok", "Host: other.example"), []string{"404 complete"}, nil},
	{"405 of a file", method("POST", "/files/file.txt", "Content-Length: 0"), []string{"405 complete"}, nil},
	{"405 long method", method(strings.Repeat("M", 33), "/ok"), []string{"405 complete"}, nil},
	{"413", method("POST", "/limited", "Content-Length: 20", "X: y\r\n\r\n01234567890123456789"), []string{"413 complete"}, nil},
	{"416", get("/files/file.txt", "Range: bytes=99-"), []string{"416 complete"}, nil},
	{"400 empty host", get("/ok", "Host: "), []string{"400 complete"}, nil},
	{"400 bad host", get("/ok", "Host: ..."), []string{"400 complete"}, nil},
	{"500 whose error route fails", get("/broken"), []string{"500 complete"}, nil},
	{"503", get("/busy"), []string{"503 complete"}, nil},
	{"HEAD", method("HEAD", "/files/file.txt"), []string{"200 complete"}, nil},
	{"OPTIONS", method("OPTIONS", "/ok"), []string{"200 complete"}, nil},
	{"CONNECT", text("CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: NAME\r\nConnection: close\r\n\r\n"), []string{"405 complete"}, nil},
	{"absolute target", method("GET", "http://localhost/ok"), []string{"200 complete"}, nil},
	{"gzip", get("/zipped", "Accept-Encoding: gzip"), []string{"200 complete"}, nil},
	{"abort", get("/abort"), []string{"0 dropped"}, nil},
	{"100-continue", method("POST", "/up/echo", "Expect: 100-continue", "Content-Length: 4", "X: y\r\n\r\nbody"), []string{"200 complete"}, nil},
	{"pipelined", func(p *peer) {
		p.send(p.head("GET", "/ok") + p.head("GET", "/empty") + p.head("GET", "/busy", closing))
	}, []string{"200 complete", "204 complete", "503 complete"}, nil},

	// What an upstream makes of it.
	{"103 and 102, then 200", get("/up/hints"), []string{"200 complete"}, nil},
	{"trailers", get("/up/trailers", "TE: trailers"), []string{"200 complete"}, nil},
	{"418 of the upstream", get("/up/status/418"), []string{"418 complete"}, nil},
	{"418 replaced by 406", get("/intercepted/status/418"), []string{"406 complete"}, nil},
	{"500 of the upstream", get("/up/status/500"), []string{"500 complete"}, nil},
	{"502 dead upstream", get("/dead"), []string{"502 complete"}, nil},
	{"502 upstream that talks nonsense", get("/up/nonsense"), []string{"502 complete"}, nil},
	{"502 upstream that says nothing", get("/up/silence"), []string{"502 complete"}, nil},
	{"504 slow upstream", get("/impatient/hang"), []string{"504 complete"}, nil},
	{"upstream shorter than its length", get("/up/short"), []string{"200 upstream_truncated"}, nil},
	{"upstream cut in its chunks", get("/up/cut"), []string{"200 upstream_truncated"}, nil},
	{"upstream that ends with its connection", get("/up/until-close"), []string{"200 complete"}, nil},
	{"upstream that does not read the body", method("POST", "/up/deaf", "Content-Length: 4", "X: y\r\n\r\nbody"), []string{"200 complete"}, nil},
	{"WebSocket", socket, []string{"101 hijacked"}, nil},
	{"WebSocket refused by the upstream", get("/up/status/403", "Connection: Upgrade", "Upgrade: websocket"), []string{"403 complete"}, nil},

	// Clients that leave.
	{"client leaves in a response", leave(func(s *stage) string { return s.plain }, nil, "/up/endless"), []string{"200 client_aborted"}, nil},
	{"client leaves in a response over TLS", leave(secure, http1(), "/up/endless"), []string{"200 client_aborted"}, nil},
	{"client leaves before a response", func(p *peer) { p.cut(p.head("GET", "/up/hang")) }, []string{"499 client_aborted"}, nil},
	{"client leaves in its request's body", func(p *peer) { p.cut(p.head("POST", "/up/echo", "Content-Length: 100") + "part") }, []string{"(499|502|504) client_aborted"}, nil},
	{"response cut by the write timeout", hastily("GET", "/up/endless"), []string{"200 client_aborted"}, nil},
	{"body too slow for the read timeout", hastily("POST", "/up/echo", "Content-Length: 100"), []string{"(499|502|504) client_aborted"}, nil},

	// HTTP/2 and HTTP/3.
	{"h2 200", h2("GET", "/ok", "localhost"), []string{"200 complete"}, nil},
	{"h2 trailers", h2("GET", "/up/trailers", "localhost"), []string{"200 complete"}, nil},
	{"h2 404 unmatched path", h2("GET", "/nowhere", "localhost"), []string{"404 complete"}, nil},
	{"h2 421 another host than the handshake's", h2("GET", "/ok", "other.example"), []string{"421 complete"}, nil},
	{"h2 client resets a response", h2Leave, []string{"200 client_aborted"}, nil},
	{"gRPC", healthOf("", codes.OK), []string{"200 complete"}, nil},
	{"gRPC with an error in its trailers", healthOf("none", codes.NotFound), []string{"200 complete"}, nil},
	{"h3 200", h3("/ok", false), []string{"200 complete"}, nil},
	{"h3 503", h3("/busy", false), []string{"503 complete"}, nil},
	{"h3 WebSocket", h3Socket, []string{"200 hijacked"}, nil},
	{"h3 client leaves in a response", h3("/up/endless", true), []string{"200 client_aborted"}, nil},

	// What net/http answers before any handler.
	{"malformed request line", text("A line that is no request line\r\n\r\n"), nil, []string{"http1 malformed 400"}},
	{"no host", text("GET / HTTP/1.1\r\n\r\n"), nil, []string{"http1 malformed 400"}},
	{"two lengths", text("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"), nil, []string{"http1 length_conflict 400"}},
	{"two framings", method("POST", "/ok", "Content-Length: 3", "Transfer-Encoding: chunked"), nil, []string{"http1 framing_conflict 400"}},
	{"two framings over TLS", func(p *peer) {
		p.sendTo(p.stage.secure, http1(), p.head("POST", "/ok", "Content-Length: 3", "Transfer-Encoding: chunked", closing))
	}, nil, []string{"http1 framing_conflict 400"}},
	{"folded line", get("/ok", "X: y\r\n z"), nil, []string{"http1 line_folding 400"}},
	{"malformed over TLS", func(p *peer) { p.sendTo(p.stage.secure, http1(), "GET\r\n\r\n") }, nil, []string{"http1 malformed 400"}},
	{"malformed behind a good one", func(p *peer) { p.send(p.head("GET", "/ok") + "GET\r\n\r\n") }, []string{"200 complete"}, []string{"http1 malformed 400"}},
	{"head too large", get("/ok", "X: "+strings.Repeat("x", 30_000)), nil, []string{"http1 head_too_large 431"}},
	{"expectation", get("/ok", "Expect: wonders"), nil, []string{"http1 expectation_failed 417"}},
	{"transfer encoding", method("POST", "/ok", "Transfer-Encoding: wonders"), nil, []string{"http1 transfer_encoding 501"}},
	{"version", text("GET / HTTP/3.0\r\nHost: localhost\r\n\r\n"), nil, []string{"http1 version 505"}},
	{"OPTIONS *", text("OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), nil, []string{"http1 options_asterisk 200"}},
	{"part of a head", func(p *peer) { p.cut("GET / HT") }, nil, []string{"http1 head_cut_off 400"}},
	{"part of a head and a reset", func(p *peer) { p.reset("GET / HT") }, nil, []string{"http1 head_cut_off 400"}},
	{"slow head", func(p *peer) { p.sendTo(p.stage.hasty, nil, "GET / HT") }, nil, []string{"http1 head_timed_out 400"}},

	// Connections and handshakes.
	{"connect and close", func(p *peer) { p.cut("") }, nil, []string{"tcp closed_unused 0"}},
	{"connect and wait", func(p *peer) { p.sendTo(p.stage.hasty, nil, "") }, nil, []string{"tcp timed_out_unused 0"}},
	{"handshake and close", func(p *peer) { _ = p.dial(p.stage.secure, http1()).Close() }, nil, []string{"http1 closed_unused 0"}},
	{"HTTP on the HTTPS port", func(p *peer) { p.sendTo(p.stage.secure, nil, p.head("GET", "/ok")) }, nil, []string{"tls http_on_https 400"}},
	{"TLS on the HTTP port", handshake(func(s *stage) string { return s.plain }, http1()), nil, []string{"http1 tls_on_http 400"}},
	{"alert: unknown name", handshake(secure, tlsFor("other.example")), nil, []string{"tls no_certificate 0"}},
	{"alert: old version", handshake(secure, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), nil, []string{"tls unsupported_version 0"}},
	{"alert: no shared protocol", handshake(secure, tlsFor("localhost", "smtp")), nil, []string{"tls no_shared_alpn 0"}},
	{"alert: no client certificate", handshake(mutual, http1()), nil, []string{"tls client_certificate_missing 0"}},
	{"alert: the client refuses our certificate", handshake(secure, &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool()}), nil, []string{"tls server_certificate_refused 0"}},
	{"noise on the HTTPS port", func(p *peer) { p.sendTo(p.stage.secure, nil, "\x00\x01\x02\x03\x04\x05\x06\x07") }, nil, []string{"tls not_tls 0"}},
	{"part of a handshake", func(p *peer) {
		conn := p.dial(p.stage.secure, nil)
		_, _ = io.WriteString(conn, "\x16\x03\x01\x02\x00\x01\x00")
		_ = conn.Close()
	}, nil, []string{"tls handshake_cut_off 0"}},

	// HTTP/2 that reaches no handler.
	{"h2 bad preface", func(p *peer) { p.sendTo(p.stage.secure, tlsFor("localhost", "h2"), "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n") }, nil, []string{"http2 bad_preface 0"}},
	{"h2 data on no stream", h2Frames(func(_ *peer, f *http2.Framer) error { return f.WriteData(1, true, []byte("x")) }), nil, []string{"http2 connection_error 0"}},
	{"h2 malformed request", h2Frames(func(_ *peer, f *http2.Framer) error {
		err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":method", "GET", ":scheme", "https", ":authority", "localhost", "Bad", "x"), EndStream: true, EndHeaders: true})
		if err == nil {
			err = f.WriteGoAway(1, http2.ErrCodeNo, nil)
		}
		return err
	}), nil, []string{"http2 stream_error 0"}},
}

// hastily asks the server whose timeouts are short.
func hastily(method, path string, fields ...string) func(*peer) {
	return func(p *peer) { p.sendTo(p.stage.hasty, nil, p.head(method, path, fields...)) }
}

// cut writes text to the site without TLS, ends its side and reads the answer.
func (p *peer) cut(text string) {
	conn := p.dial(p.stage.plain, nil)
	_, _ = io.WriteString(conn, text)
	_ = conn.Conn.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // not TLS
	readAll(conn)
}

// reset writes text to the site without TLS and resets the connection, so that
// no answer arrives.
func (p *peer) reset(text string) {
	conn := p.dial(p.stage.plain, nil)
	_, _ = io.WriteString(conn, text)
	_ = conn.Conn.(*net.TCPConn).SetLinger(0) //nolint:forcetypeassert // not TLS
	_ = conn.Close()
	p.tap.deaf(http.StatusBadRequest)
}
