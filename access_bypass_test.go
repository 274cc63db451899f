package soc2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/happenings/wire"
)

// bypasses are requests for what is protected, in disguise: a request line and
// header fields. HOST stands for the site.
var bypasses = []string{
	"GET /admin", "GET /admin/", "GET /admin/x", "HEAD /admin", "POST /admin", "GET /admin?x=/public", "GET /ADMIN", "GET /Admin/X", "GET /aDmIn/",
	"GET //admin", "GET ///admin//x", "GET /admin//", "GET /./admin", "GET /x/../admin", "GET /x/..//admin", "GET /../admin", "GET /x/./../admin", "GET /admin/../admin",
	"GET /%61dmin", "GET /%41DMIN", "GET /%61%64%6d%69%6e", "GET /admin%2fx", "GET /admin%2Fx", "GET /x%2f..%2fadmin", "GET /%2e/admin", "GET /x/%2e%2e/admin", "GET /x/.%2E/admin",
	"GET /%2561dmin", "GET /%252fadmin", "GET /x/%252e%252e/admin", "GET /%25%36%31dmin", "GET /%u0061dmin", "GET /admin;x=1", "GET /admin;/x", "GET /;/admin", "GET /x/..;/admin", "GET /;x=y/admin",
	"GET /\\admin", "GET /x\\..\\admin", "GET /%5cadmin", "GET /x%5c..%5cadmin", "GET /admin%5cx", "GET /admin.", "GET /admin./x", "GET /admin%20", "GET /admin%20/x", "GET /admin...", "GET /admin%00", "GET /admin%0a",
	"GET /admin%0d%0aX:%20y", "GET /admin%3fx", "GET /admin%23x", "GET /admin#x", "GET /admin%c0%af", "GET /%c0%ae%c0%ae/admin", "GET /%ff/admin", "GET /%ef%bd%81dmin", "GET /admin%ef%bc%8fx",
	"GET /x/%e2%80%a5/admin", "GET /admin%09", "GET /admin/%2e", "GET /admin/..%2fadmin", "GET /%",
	"GET https://HOST/admin", "GET http://HOST/admin", "GET https://other.example/admin", "GET //HOST/admin", "GET https:admin", "GET admin", "GET ?/admin", "GET *", "OPTIONS *", "CONNECT HOST", "CONNECT /admin",
	"PUT /public", "DELETE /public", "PATCH /public", "get /public", "Delete /public", "FOO /public", "TRACE /public",
	"POST /public|X-HTTP-Method-Override: DELETE", "POST /public|X-HTTP-Method: delete", "POST /public|X-Method-Override: PUT",
	"POST /public?_method=DELETE", "POST /public?a=1;_method=delete", "POST /public?%5fmethod=DELETE", "GET /public|X-Http-Method-Override: GET, DELETE",
	"GET /admin|X-User: root", "GET /admin|X-Roles: admin", "GET /admin|X_Roles: admin", "GET /admin|X-User: root|X-Roles: admin|Connection: X-User, X-Roles", "GET /admin|Authorization: Basic cm9vdDpyb290",
	"GET /admin|Remote-User: root", "GET /admin|X-Forwarded-User: root", "GET /admin|X-Forwarded-For: 127.0.0.1", "GET /admin|Forwarded: for=127.0.0.1;proto=https", "GET /admin|X-Real-IP: 127.0.0.1", "GET /admin|X-Forwarded-Host: public.example",
	"GET /admin|X-Forwarded-Uri: /public", "GET /admin|X-Original-URL: /public", "GET /admin|X-Rewrite-URL: /public", "GET /admin|Via: 1.1 cache", "GET /admin|If-None-Match: *", "GET /admin|Range: bytes=0-1", "GET /admin|Cache-Control: only-if-cached",
	"GET /admin|Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13|Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "GET /admin|Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: AAMAAABkAAQAAP__",
	"GET /x|Host: ", "POST /admin|Content-Length: 4|Transfer-Encoding: chunked", "GET /admin|Expect: 100-continue|Content-Length: 3",
}

// fields is a list of fields, pseudo-header fields among them, as it is sent.
type fields [][2]string

// of is a request as HTTP/2 and HTTP/3 write it. What only HTTP/1.1 can say is
// left out.
func of(authority, method, path string, lines []string) fields {
	list := fields{{":method", method}, {":scheme", "https"}, {":authority", authority}, {":path", path}}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		if name = strings.ToLower(strings.TrimSuffix(name, ":")); name != "connection" && name != "upgrade" && name != "transfer-encoding" {
			list = append(list, [2]string{name, value})
		}
	}
	return list
}

// TestNoBypassReachesTheUpstream sends each over HTTP/1.1, HTTP/2 and HTTP/3. What
// a handler refuses has its record, with the refusal; what a server of HTTP/1.1 or
// HTTP/2 refuses before any handler is counted at the boundary.
func TestNoBypassReachesTheUpstream(t *testing.T) {
	up := newProtected(t)
	s := newSite(t)
	if err := s.load(strings.ReplaceAll(guardedSite, "UPSTREAM", up.Listener.Addr().String())); err != nil {
		t.Fatal(err)
	}
	host := fmt.Sprintf("localhost:%d", s.https)
	if got := s.send("GET /public HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"); got != 200 || len(up.take()) != 1 {
		t.Fatalf("what is public is answered %d", got)
	}
	quic := &h3{s: s}
	defer quic.close()
	before, handled := boundary(), map[string]string{}
	sent := map[string]int{}
	for n, row := range bypasses {
		parts := strings.Split(strings.ReplaceAll(row, "HOST", host), "|")
		method, target, _ := strings.Cut(parts[0], " ")
		for proto, send := range map[string]func(lines []string) bool{
			"HTTP/1.1": func(lines []string) bool { return s.bypassH1(row, parts[0], host, lines) },
			"HTTP/2.0": func(lines []string) bool { return s.sendH2(of(host, method, target, lines)) },
			"HTTP/3.0": func(lines []string) bool { return quic.send(of(host, method, target, lines)) },
		} {
			agent := fmt.Sprintf("bypass %d %s", n, proto)
			if send(append(parts[1:len(parts):len(parts)], "User-Agent: "+agent)) {
				handled[agent] = row
			}
			sent[proto]++
			if seen := up.take(); len(seen) > 0 {
				t.Errorf("over %s %q reached the upstream as %s %s", proto, row, seen[0].Method, seen[0].RequestURI)
			}
		}
	}
	if len(bypasses) < 100 {
		t.Errorf("there are only %d", len(bypasses))
	}
	recorded := s.refusals(handled)
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		awaitBoundary(t, proto, before, sent[proto]-recorded[proto])
	}
	if recorded["HTTP/3.0"] < 80 || recorded["HTTP/2.0"] < 80 || recorded["HTTP/1.1"] < 80 {
		t.Errorf("records of refusals: %v", recorded)
	}
}

// bypassH1 sends a row over HTTP/1.1.
func (s *site) bypassH1(row, line, host string, lines []string) (handled bool) {
	s.t.Helper()
	text := strings.Join(append(lines, "", ""), "\r\n")
	if !strings.Contains("\r\n"+text, "\r\nHost:") {
		text = "Host: " + host + "\r\n" + text
	}
	if !strings.Contains(text, "Connection:") {
		text = "Connection: close\r\n" + text
	}
	status, handled := s.ask(line + " HTTP/1.1\r\n" + text)
	// A request with an empty host, or another one, is no request for the site, and
	// net/http answers OPTIONS * itself.
	if status >= 200 && status < 400 && !strings.Contains(row, "|Host: ") && !strings.Contains(row, "other.example") && row != "OPTIONS *" {
		s.t.Errorf("%q is answered %d", row, status)
	}
	return handled
}

// refusals checks that each request that a handler answered has one record, by
// its agent, and counts the records by protocol. Only requests for other sites
// have none of a refusal.
func (s *site) refusals(handled map[string]string) map[string]int {
	s.t.Helper()
	count, outcomes := map[string]int{}, map[string]string{}
	_, err := records.Dir{FS: os.DirFS(s.dir())}.Scan(0, func(_ int64, b []byte) error {
		var r struct {
			Request  struct{ Agent, Proto string }
			Access   struct{ Outcome, Reason string }
			Response struct{ Status int }
		}
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		if !strings.HasPrefix(r.Request.Agent, "bypass ") {
			return nil
		}
		if _, twice := outcomes[r.Request.Agent]; twice {
			s.t.Errorf("%s has two records", r.Request.Agent)
		}
		if !strings.HasSuffix(r.Request.Agent, r.Request.Proto) {
			s.t.Errorf("the record of %s says %s", r.Request.Agent, r.Request.Proto)
		}
		outcomes[r.Request.Agent] = r.Access.Outcome + " " + r.Access.Reason
		if r.Access.Outcome == "" && r.Response.Status == 405 {
			outcomes[r.Request.Agent] = "deny method" // TRACE, by the handler of headers
		}
		count[r.Request.Proto]++
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for agent, row := range handled {
		elsewhere := strings.Contains(row, "|Host: ") || strings.Contains(row, "other.example")
		outcome, reason, _ := strings.Cut(outcomes[agent], " ")
		if (outcome != "deny" || reason == "") && !elsewhere {
			s.t.Errorf("%q: the record of %s says %q", row, agent, outcomes[agent])
		}
	}
	return count
}

// boundary is what reached no handler, by protocol.
func boundary() map[string]int {
	m := map[string]int{}
	for _, t := range wire.All.Totals() {
		switch reason := t.Reason.String(); {
		case strings.HasSuffix(reason, "_unused"):
		case t.Layer == wire.HTTP1:
			m["HTTP/1.1"] += int(t.Count)
		case t.Layer == wire.HTTP2:
			m["HTTP/2.0"] += int(t.Count)
		}
	}
	return m
}

// awaitBoundary waits until so many more are counted.
func awaitBoundary(t *testing.T, proto string, before map[string]int, more int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	got := 0
	for range 3000 {
		if got = boundary()[proto] - before[proto]; got >= more {
			return
		}
		<-tick.C
	}
	t.Errorf("%s: %d rows have no record, and %d are counted at the boundary", proto, more, got)
}

// sendH2 sends a request as HTTP/2 frames, with whatever is wrong about it, and
// reports whether a handler answered.
func (s *site) sendH2(list fields) (handled bool) {
	s.t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"h2"}}
	conn, err := (&tls.Dialer{Config: config}).DialContext(s.t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", s.https))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range list {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			s.t.Fatal(err)
		}
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		s.t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	return awaitStream(framer)
}

// awaitStream reads until the stream or the connection ends, and reports whether
// a handler answered.
func awaitStream(framer *http2.Framer) (handled bool) {
	decoder := hpack.NewDecoder(4096, func(f hpack.HeaderField) { handled = handled || f.Name == "x-request-id" })
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			return handled
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = framer.WriteSettingsAck()
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return handled
		case *http2.HeadersFrame:
			_, _ = decoder.Write(f.HeaderBlockFragment())
			if f.StreamEnded() {
				return handled
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return handled
			}
		}
	}
}

// h3 sends requests as frames of HTTP/3 (RFC 9114), with whatever is wrong about
// them, over a connection that it makes anew when the server ended the last.
type h3 struct {
	s    *site
	conn *quic.Conn
}

func (c *h3) close() {
	if c.conn != nil {
		_ = c.conn.CloseWithError(0x100, "") // H3_NO_ERROR
	}
}

func (c *h3) dial(ctx context.Context) {
	c.s.t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"h3"}}
	conn, err := quic.DialAddr(ctx, fmt.Sprintf("127.0.0.1:%d", c.s.https), config, nil)
	if err != nil {
		c.s.t.Fatal(err)
	}
	control, err := conn.OpenUniStream()
	if err != nil {
		c.s.t.Fatal(err)
	}
	_, _ = control.Write([]byte{0x00, 0x04, 0x00}) // a control stream, with empty settings
	c.conn = conn
}

// The types of frames.
const (
	dataFrame    = 0x0
	headersFrame = 0x1
)

// send sends a request without a body, and reports whether a handler answered:
// quic-go resets the stream of one that it refuses itself.
func (c *h3) send(list fields) bool {
	c.s.t.Helper()
	return c.frames(frame(headersFrame, list.qpack()))
}

// afresh sends frames on a stream of a new connection: what is against the rules of
// a connection ends it, and the next request might be sent on one that is ending.
func (c *h3) afresh(list ...[]byte) (handled bool) {
	c.s.t.Helper()
	c.close()
	c.conn = nil
	return c.frames(list...)
}

// frames sends frames on a new stream.
func (c *h3) frames(list ...[]byte) (handled bool) {
	c.s.t.Helper()
	ctx, cancel := context.WithTimeout(c.s.t.Context(), 30*time.Second)
	defer cancel()
	if c.conn == nil || c.conn.Context().Err() != nil {
		c.dial(ctx)
	}
	stream, err := c.conn.OpenStreamSync(ctx)
	if err != nil && c.conn.Context().Err() != nil { // it ended meanwhile
		c.dial(ctx)
		stream, err = c.conn.OpenStreamSync(ctx)
	}
	if err != nil {
		c.s.t.Fatal(err)
	}
	_ = stream.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = stream.Write(bytes.Join(list, nil))
	_ = stream.Close()
	answer, err := io.ReadAll(io.LimitReader(stream, 1<<20))
	if os.IsTimeout(err) {
		c.s.t.Errorf("there is no answer, and no end: %v", err)
	}
	return len(answer) > 0 && answer[0] == headersFrame
}

func frame(kind uint64, payload []byte) []byte {
	b := quicvarint.Append(nil, kind)
	b = quicvarint.Append(b, uint64(len(payload)))
	return append(b, payload...)
}

// qpack writes fields as literals, without Huffman codes and without a table (RFC
// 9204, section 4.5.6).
func (list fields) qpack() []byte {
	b := []byte{0, 0}
	for _, f := range list {
		b = prefixed(b, 0x20, 3, len(f[0]))
		b = append(b, f[0]...)
		b = prefixed(b, 0, 7, len(f[1]))
		b = append(b, f[1]...)
	}
	return b
}

// prefixed writes a number behind some bits (RFC 7541, section 5.1).
func prefixed(b []byte, first byte, bits, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(b, first|byte(n))
	}
	b = append(b, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// games are what requests of HTTP/2 and HTTP/3 for a protected path can have
// besides their fields.
var games = map[string]fields{
	"a second path":         {{":path", "/public"}},
	"a second method":       {{":method", "GET"}},
	"a second authority":    {{":authority", "public.example"}},
	"a second scheme":       {{":scheme", "http"}},
	"an unknown one":        {{":user", "root"}},
	"a status":              {{":status", "200"}},
	"a protocol":            {{":protocol", "websocket"}},
	"a host field":          {{"host", "public.example"}},
	"one after a field":     {{"x", "y"}, {":path", "/public"}},
	"a capital in a name":   {{"X-User", "root"}},
	"a capital in a pseudo": {{":Path", "/public"}},
	"a line break":          {{"x", "y\r\nX-User: root"}},
	"a line break, name":    {{"x\r\nx-user", "root"}},
	"a null":                {{"x", "y\x00"}},
	"a space in a name":     {{"x-user ", "root"}},
	"an empty name":         {{"", "root"}},
	"transfer-encoding":     {{"transfer-encoding", "chunked"}},
	"connection":            {{"connection", "x-user"}},
	"upgrade":               {{"upgrade", "websocket"}},
	"te":                    {{"te", "gzip"}},
	"a length that lies":    {{"content-length", "5"}},
	"identity":              {{"x-user", "root"}, {"x-roles", "admin"}},
	"identity, underscore":  {{"x_user", "root"}, {"x_roles", "admin"}},
	"cookies in crumbs":     {{"cookie", "a=1"}, {"cookie", "path=/public"}},
}

// TestNoGameWithPseudoHeadersReachesTheUpstream holds requests that only HTTP/2
// and HTTP/3 can make.
func TestNoGameWithPseudoHeadersReachesTheUpstream(t *testing.T) {
	up := newProtected(t)
	s := newSite(t)
	if err := s.load(strings.ReplaceAll(guardedSite, "UPSTREAM", up.Listener.Addr().String())); err != nil {
		t.Fatal(err)
	}
	host := fmt.Sprintf("localhost:%d", s.https)
	quic := &h3{s: s}
	defer quic.close()
	for proto, send := range map[string]func(fields) bool{"HTTP/2": s.sendH2, "HTTP/3": quic.send} {
		for name, more := range games {
			for _, path := range []string{"/admin", "/admin/x"} {
				send(append(of(host, "GET", path, nil), more...))
				// The same before the others, so that it may be the one that counts.
				send(append(slices.Clip(more), of(host, "GET", path, nil)...))
				if seen := up.take(); len(seen) > 0 {
					t.Errorf("%s: over %s it reached the upstream as %s", name, proto, seen[0].RequestURI)
				}
			}
		}
		for name, list := range map[string]fields{
			"extended CONNECT":  append(of(host, "CONNECT", "/admin", nil), [2]string{":protocol", "websocket"}),
			"CONNECT":           {{":method", "CONNECT"}, {":authority", host}},
			"no path":           {{":method", "GET"}, {":scheme", "https"}, {":authority", host}},
			"an empty path":     of(host, "GET", "", nil),
			"a relative path":   of(host, "GET", "admin", nil),
			"an absolute form":  of(host, "GET", "https://"+host+"/admin", nil),
			"no method":         {{":scheme", "https"}, {":authority", host}, {":path", "/admin"}},
			"no scheme":         {{":method", "GET"}, {":authority", host}, {":path", "/admin"}},
			"the scheme http":   {{":method", "GET"}, {":scheme", "http"}, {":authority", host}, {":path", "/admin"}},
			"host alone":        {{":method", "GET"}, {":scheme", "https"}, {":path", "/admin"}, {"host", host}},
			"user information":  of("root@"+host, "GET", "/admin", nil),
			"a method of two":   of(host, "GET /public HTTP/1.1\r\nX: DELETE", "/admin", nil),
			"nothing":           {},
			"no pseudo headers": {{"host", host}},
		} {
			send(list)
			if seen := up.take(); len(seen) > 0 {
				t.Errorf("%s: over %s it reached the upstream as %s", name, proto, seen[0].RequestURI)
			}
		}
		send(of(host, "GET", "/public", nil))
		if seen := up.take(); len(seen) != 1 || seen[0].URL.Path != "/public" {
			t.Errorf("over %s %d requests reached the upstream", proto, len(seen))
		}
	}
	for name, list := range map[string][][]byte{
		"DATA first":          {frame(dataFrame, []byte("x")), frame(headersFrame, of(host, "GET", "/admin", nil).qpack())},
		"a reserved frame":    {frame(0x21, []byte("x")), frame(headersFrame, of(host, "GET", "/admin", nil).qpack())},
		"settings":            {frame(0x4, nil), frame(headersFrame, of(host, "GET", "/admin", nil).qpack())},
		"an indexed path":     {frame(headersFrame, append([]byte{0, 0, 0xc1}, of(host, "GET", "/admin", nil).qpack()[2:]...))},
		"an unknown index":    {frame(headersFrame, append([]byte{0, 0, 0xff, 0x40}, of(host, "GET", "/admin", nil).qpack()[2:]...))},
		"a dynamic table":     {frame(headersFrame, append([]byte{2, 0, 0x80}, of(host, "GET", "/admin", nil).qpack()[2:]...))},
		"a head cut off":      {frame(headersFrame, of(host, "GET", "/admin", nil).qpack())[:40]},
		"a path in a trailer": {frame(headersFrame, of(host, "GET", "/admin", nil).qpack()), frame(headersFrame, fields{{":path", "/public"}}.qpack())},
		"two heads":           {frame(headersFrame, of(host, "GET", "/admin", nil).qpack()), frame(headersFrame, of(host, "GET", "/public", nil).qpack())},
	} {
		quic.afresh(list...)
		if seen := up.take(); len(seen) > 0 {
			t.Errorf("%s: over HTTP/3 it reached the upstream as %s", name, seen[0].RequestURI)
		}
	}
	trailed := append(of(host, "POST", "/public", nil), [2]string{"trailer", "x-user"})
	quic.afresh(frame(headersFrame, trailed.qpack()), frame(dataFrame, []byte("x")), frame(headersFrame, fields{{"x-user", "root"}}.qpack()))
	if seen := up.take(); len(seen) != 1 || seen[0].Trailer.Get("X-User") != "" || seen[0].Header.Get("X-User") != "" {
		t.Errorf("%d requests, with what a trailer says: %v", len(seen), seen)
	}
}
