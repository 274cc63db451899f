package soc2_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// protected is an upstream that must see only what the rules allow.
type protected struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
}

func newProtected(t *testing.T) *protected {
	t.Helper()
	p := &protected{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		p.mu.Lock()
		p.seen = append(p.seen, r)
		p.mu.Unlock()
		_, _ = io.WriteString(w, "secret")
	}))
	t.Cleanup(p.Close)
	return p
}

// take returns the requests since it was last called.
func (p *protected) take() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.seen
	p.seen = nil
	return list
}

const guardedSite = `
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
	}
}
SITE {
	soc2_access {
		rule admin {
			role admin
			path /admin/*
		}
		rule no_admin {
			deny
			path /admin/*
		}
		rule public {
			anonymous
			method GET POST
			path /*
		}
		identity {
			header X-User user
			header X-Roles roles
		}
	}
	reverse_proxy UPSTREAM
}`

// send sends bytes on a new connection, and returns the status of the answer, or
// 0 if there is none.
func (s *site) send(request string) int {
	s.t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"}}
	conn, err := (&tls.Dialer{Config: config}).DialContext(s.t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", s.https))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return 0
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

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

// TestNoBypassReachesTheUpstream sends each over HTTP/1.1, and those that HTTP/2
// can carry over HTTP/2 too.
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
	for _, row := range bypasses {
		parts := strings.Split(strings.ReplaceAll(row, "HOST", host), "|")
		fields := "Host: " + host + "\r\n"
		for _, f := range parts[1:] {
			if strings.HasPrefix(f, "Host:") {
				fields = ""
			}
		}
		fields += strings.Join(append(parts[1:], "", ""), "\r\n")
		if !strings.Contains(fields, "Connection:") {
			fields = "Connection: close\r\n" + fields
		}
		status := s.send(parts[0] + " HTTP/1.1\r\n" + fields)
		if seen := up.take(); len(seen) > 0 {
			// A request with an empty host is no request for the site.
			t.Errorf("%q reached the upstream as %s %s", row, seen[0].Method, seen[0].RequestURI)
		} else if status >= 200 && status < 400 && !strings.Contains(row, "Host: ") && !strings.Contains(row, "other.example") && row != "OPTIONS *" { // which net/http answers itself
			t.Errorf("%q is answered %d", row, status)
		}
		method, target, _ := strings.Cut(parts[0], " ")
		s.sendH2(host, method, target, parts[1:])
		if seen := up.take(); len(seen) > 0 {
			t.Errorf("over HTTP/2 %q reached the upstream as %s %s", row, seen[0].Method, seen[0].RequestURI)
		}
	}
	if len(bypasses) < 100 {
		t.Errorf("there are only %d", len(bypasses))
	}
}

// sendH2 sends a request as HTTP/2 frames, with whatever is wrong about it.
func (s *site) sendH2(authority, method, path string, fields []string, more ...hpack.HeaderField) {
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
	list := []hpack.HeaderField{{Name: ":method", Value: method}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: authority}, {Name: ":path", Value: path}}
	list = append(list, more...)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		if name = strings.ToLower(strings.TrimSuffix(name, ":")); name != "connection" && name != "upgrade" && name != "transfer-encoding" {
			list = append(list, hpack.HeaderField{Name: name, Value: value})
		}
	}
	for _, f := range list {
		if err := enc.WriteField(f); err != nil {
			s.t.Fatal(err)
		}
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		s.t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	awaitStream(conn, framer)
}

// awaitStream reads until the stream or the connection ends.
func awaitStream(_ net.Conn, framer *http2.Framer) {
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = framer.WriteSettingsAck()
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				return
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return
			}
		}
	}
}

// TestNoGameWithPseudoHeadersReachesTheUpstream holds requests that only HTTP/2
// can make.
func TestNoGameWithPseudoHeadersReachesTheUpstream(t *testing.T) {
	up := newProtected(t)
	s := newSite(t)
	if err := s.load(strings.ReplaceAll(guardedSite, "UPSTREAM", up.Listener.Addr().String())); err != nil {
		t.Fatal(err)
	}
	host := fmt.Sprintf("localhost:%d", s.https)
	field := func(name, value string) hpack.HeaderField { return hpack.HeaderField{Name: name, Value: value} }
	for name, more := range map[string][]hpack.HeaderField{
		"a second path":        {field(":path", "/public")},
		"a second method":      {field(":method", "GET")},
		"a second authority":   {field(":authority", "public.example")},
		"an unknown one":       {field(":user", "root")},
		"a protocol":           {field(":protocol", "websocket")},
		"a host field":         {field("host", "public.example")},
		"one after a field":    {field("x", "y"), field(":path", "/public")},
		"a capital in a name":  {field("X-User", "root")},
		"a line break":         {field("x", "y\r\nX-User: root")},
		"transfer-encoding":    {field("transfer-encoding", "chunked")},
		"connection":           {field("connection", "x-user")},
		"identity":             {field("x-user", "root"), field("x-roles", "admin")},
		"identity, underscore": {field("x_user", "root"), field("x_roles", "admin")},
	} {
		for _, path := range []string{"/admin", "/admin/x"} {
			s.sendH2(host, "GET", path, nil, more...)
			if seen := up.take(); len(seen) > 0 {
				t.Errorf("%s: reached the upstream as %s", name, seen[0].RequestURI)
			}
		}
	}
	s.sendH2(host, "CONNECT", "/admin", nil, field(":protocol", "websocket"))
	s.sendH2(host, "GET", "", nil)
	s.sendH2(host, "GET", "admin", nil)
	s.sendH2(host, "GET", "/public", nil)
	if seen := up.take(); len(seen) != 1 || seen[0].URL.Path != "/public" {
		t.Errorf("%d requests reached the upstream", len(seen))
	}
}

// TestUpstreamBelievesOnlyTheProxy sends what would change who asks for what, to
// a path that is public.
func TestUpstreamBelievesOnlyTheProxy(t *testing.T) {
	up := newProtected(t)
	s := newSite(t)
	if err := s.load(strings.ReplaceAll(guardedSite, "UPSTREAM", up.Listener.Addr().String())); err != nil {
		t.Fatal(err)
	}
	host := fmt.Sprintf("localhost:%d", s.https)
	for _, fields := range []string{
		"X-User: root", "x-user: root", "X_User: root", "X.User: root", "X-Roles: admin", "X_ROLES: admin", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X_Original_URL: /admin", "X_HTTP_METHOD_OVERRIDE: DELETE",
		"Connection: X-User\r\nX-User: root", "X-User: a\r\nX-User: b",
		"Trailer: X-User\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-User: root",
	} {
		status := s.send("POST /public HTTP/1.1\r\nHost: " + host + "\r\n" + fields + "\r\n\r\n")
		seen := up.take()
		if status != 200 || len(seen) != 1 {
			t.Fatalf("%q: %d, %d requests", fields, status, len(seen))
		}
		for name, values := range seen[0].Header {
			if slices.ContainsFunc([]string{"user", "roles", "original", "rewrite", "override"}, func(w string) bool {
				return strings.Contains(strings.ToLower(name), w) && !strings.Contains(name, "User-Agent")
			}) {
				t.Errorf("%q: the upstream got %s: %q", fields, name, values)
			}
		}
		if v := seen[0].Trailer.Get("X-User"); v != "" {
			t.Errorf("%q: the upstream got the trailer %q", fields, v)
		}
	}
}

// TestEachDecisionIsInTheRecord also shows what is answered where no route is.
func TestEachDecisionIsInTheRecord(t *testing.T) {
	s := newSite(t)
	if err := s.load(`
	{
		GLOBAL
		soc2 {
			instance test
			data_dir DATA
		}
	}
	SITE {
		soc2_access {
			rule try {
				deny
				shadow
				path /public/old
			}
			rule public {
				anonymous
				path /public/* /nothing
			}
			rule closed {
				deny
				path /closed
			}
		}
		handle /public/* {
			respond "ok"
		}
		handle /hidden {
			respond "hidden"
		}
	}`); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path                           string
		status                         int
		outcome, rule, reason, shadows string
	}{
		{"/public/x", 200, "allow", "public", "rule", ""},
		{"/public/old", 200, "allow", "public", "rule", "try"},
		{"/hidden", 401, "deny", "", "not_authenticated", ""},
		{"/unknown", 401, "deny", "", "not_authenticated", ""},
		{"/closed", 403, "deny", "closed", "rule", ""},
		{"/nothing", 404, "deny", "public", "no_route", ""},
		{"/public/a%2fx", 400, "deny", "", "path_encoded_slash", ""},
	} {
		a := s.get(s.url(c.path))
		if a.status != c.status {
			t.Errorf("%s: %d, want %d", c.path, a.status, c.status)
		}
		got := s.requests()[a.header.Get("X-Request-Id")].Access
		if got.Outcome != c.outcome || got.Rule != c.rule || got.Reason != c.reason || got.Shadow != c.shadows || len(got.Policy) != 32 {
			t.Errorf("%s: %+v", c.path, got)
		}
	}
}

// TestRulesFollowAuthentication has the directive written before the
// authentication, which it comes after all the same.
func TestRulesFollowAuthentication(t *testing.T) {
	up := newProtected(t)
	s := newSite(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.load(`
	{
		GLOBAL
		soc2 {
			instance test
			data_dir DATA
		}
	}
	SITE {
		reverse_proxy ` + up.Listener.Addr().String() + `
		soc2_access {
			assign admin alice
			rule admin {
				role admin
				path /admin/*
			}
			identity {
				header X-User user
				assertion {
					audience app
				}
			}
		}
		basic_auth {
			alice ` + string(hash) + `
			bob ` + string(hash) + `
		}
		handle /jwks {
			soc2_jwks
		}
	}`); err != nil {
		t.Fatal(err)
	}
	for who, want := range map[string]int{"alice": 200, "bob": 403} {
		a := s.get(s.url("/admin/x"), func(r *http.Request) { r.SetBasicAuth(who, "secret"); r.Header.Set("X-User", "root") })
		seen := up.take()
		if a.status != want || (len(seen) == 1) != (want == 200) {
			t.Fatalf("%s: %d, %d requests", who, a.status, len(seen))
		}
		if want == 200 && (seen[0].Header.Get("X-User") != who || strings.Count(seen[0].Header.Get("X-Soc2-Assertion"), ".") != 2) {
			t.Errorf("%v", seen[0].Header)
		}
		if r := s.requests()[a.header.Get("X-Request-Id")]; r.Auth.User != who {
			t.Errorf("%+v", r)
		}
	}
	if a := s.get(s.url("/admin/x")); a.status != 401 || len(up.take()) > 0 {
		t.Error(a.status)
	}
}
