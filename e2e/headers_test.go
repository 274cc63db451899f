package e2e_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// headersConfig has no write_idle: with it Caddy reads files in pieces, and the
// kernel sends none.
const headersConfig = `{
	admin off
	skip_install_trust
	default_bind 127.0.0.1
	http_port %[1]d
	soc2
	servers {
		timeouts {
			write_idle -1s
		}
		listener_wrappers {
			soc2
			tls
		}
	}
}
https://localhost:%[2]d {
	tls internal
	soc2_headers strict {
		reports_to /reports
		set X-Robots-Tag noindex {
			types document
		}
	}
	soc2_headers /api/* api
	encode gzip
	soc2_nonces /pages/*
	soc2_reports /reports {
		interval 1s
	}
	handle /files/* {
		root %[3]s
		uri strip_prefix /files
		file_server
	}
	reverse_proxy %[4]s
}
http://localhost:%[5]d {
	soc2_headers strict
	root %[3]s
	file_server
}
`

// headersSite starts a site before an upstream, and one without TLS that serves
// the files.
func headersSite(t *testing.T, files, upstream string) (h home, p *process, addr, plain string) {
	t.Helper()
	h = newHome(t)
	redirects, secure, open := freePort(t), freePort(t), freePort(t)
	name := filepath.Join(h.dir, "Caddyfile")
	if err := os.WriteFile(name, fmt.Appendf(nil, headersConfig, redirects, secure, files, upstream, open), 0o600); err != nil {
		t.Fatal(err)
	}
	p = h.start("serving initial configuration", "caddy", "run", "--config", name, "--adapter", "caddyfile")
	addr = fmt.Sprintf("localhost:%d", secure)
	tlsReady(t, addr)
	return h, p, addr, fmt.Sprintf("localhost:%d", open)
}

var longPage = "<!doctype html><style>p{}</style>" + strings.Repeat("<p>text</p>", 200) + "<script>1</script>"

// oddUpstream answers in the ways that a proxy must leave as they are.
func oddUpstream(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/pages/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Server", "Apache")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Error("the upstream may encode a page that needs a nonce")
		}
		_, _ = io.WriteString(w, longPage)
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	mux.HandleFunc("/socket", func(w http.ResponseWriter, _ *http.Request) {
		conn, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = brw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nServer: Apache\r\n\r\n")
		_ = brw.Flush()
		line, _ := brw.ReadString('\n')
		_, _ = brw.WriteString(line)
		_ = brw.Flush()
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// fetched is a response without its body.
type fetched struct {
	StatusCode int
	Proto      string
	Header     http.Header
}

func fetch(t *testing.T, client *http.Client, url string, header http.Header) (fetched, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fetched{resp.StatusCode, resp.Proto, resp.Header}, body
}

// TestNoncesWithinEncodeAndOverAllProtocols asks for a page that is compressed
// on its way, and wants each inline element to have the nonce of its policy.
func TestNoncesWithinEncodeAndOverAllProtocols(t *testing.T) {
	_, _, addr, _ := headersSite(t, t.TempDir(), oddUpstream(t))
	nonce := regexp.MustCompile(`script-src 'self' 'nonce-([^']+)'; style-src 'self' 'nonce-([^']+)'`)
	seen := map[string]bool{}
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
		resp, body := fetch(t, newClient(t, proto), "https://"+addr+"/pages/a", http.Header{"Accept-Encoding": {"gzip"}})
		if resp.Header.Get("Content-Encoding") != "gzip" || resp.Proto != proto {
			t.Fatalf("%s: %v", resp.Proto, resp.Header)
		}
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		m := nonce.FindStringSubmatch(resp.Header.Get("Content-Security-Policy"))
		if m == nil || m[1] != m[2] || seen[m[1]] {
			t.Fatalf("%s: policy %q", proto, resp.Header.Values("Content-Security-Policy"))
		}
		seen[m[1]] = true
		want := strings.NewReplacer("<style>", `<style nonce="`+m[1]+`">`, "<script>", `<script nonce="`+m[1]+`">`).Replace(longPage)
		if string(page) != want {
			t.Errorf("%s: page %.80q", proto, page)
		}
		if got := resp.Header.Values("Cache-Control"); !slices.Equal(got, []string{"private, no-store"}) {
			t.Errorf("Cache-Control %q", got)
		}
		if resp.Header.Get("X-Robots-Tag") != "noindex" || resp.Header.Get("Reporting-Endpoints") != `soc2="/reports"` {
			t.Errorf("%v", resp.Header)
		}
		resp, _ = fetch(t, newClient(t, proto), "https://"+addr+"/api/x", nil)
		if got := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'; frame-ancestors 'none'; base-uri") {
			t.Errorf("the path has the policy %q", got)
		}
	}
}

// TestBrowsersReportsBecomeRecords posts a report as a browser does and looks
// for its record, and for what the upstream had sent wrong.
func TestBrowsersReportsBecomeRecords(t *testing.T) {
	h, p, addr, _ := headersSite(t, t.TempDir(), oddUpstream(t))
	client := newClient(t, "HTTP/2.0")
	fetch(t, client, "https://"+addr+"/pages/a", nil)
	body := `[{"type":"csp-violation","url":"https://localhost/pages/a?secret","body":{"documentURL":"https://localhost/pages/a","effectiveDirective":"img-src","blockedURL":"https://evil.example/secret","disposition":"enforce"}}]`
	resp, err := client.Post("https://"+addr+"/reports", "application/reports+json", strings.NewReader(body)) //nolint:noctx // loopback
	if err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Fatalf("exit %d:\n%s", code, p.text())
	}
	reports, mended := 0, false
	_, err = records.Dir{FS: os.DirFS(h.logDir())}.Scan(0, func(_ int64, b []byte) error {
		r, err := audit.Decode(b)
		switch body := r.Body.(type) {
		case *audit.BrowserReport:
			reports++
			if body.Host != "localhost" || body.Directive != "img-src" || body.Blocked != "https://evil.example" || body.Page != "/pages/a" || body.Count != 1 {
				t.Errorf("%+v", body)
			}
		case *audit.Event:
			if body.Path == "/pages/a" {
				mended = slices.Equal(body.Mended, []string{"server"}) && slices.Equal(body.Wrong, []audit.Header{{Name: "Server", Value: "Apache"}})
			}
		}
		return err
	})
	if err != nil || reports != 1 || !mended {
		t.Errorf("%d reports, mended %t, %v", reports, mended, err)
	}
	h.verify()
}

// size is that of a large file.
const size = 1 << 30

// bigFile makes a file of a GiB that takes no room: it is a hole.
func bigFile(t *testing.T, dir string) {
	t.Helper()
	big, err := os.Create(filepath.Join(dir, "big.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := big.Truncate(size); err != nil {
		t.Fatal(err)
	}
	_ = big.Close()
}

// TestStreamsPassUnchanged sends what must not be held back, changed or copied
// through the profile strict.
func TestStreamsPassUnchanged(t *testing.T) {
	files := t.TempDir()
	bigFile(t, files)
	_, _, addr, _ := headersSite(t, files, oddUpstream(t))
	base := "https://" + addr

	t.Run("large file", func(t *testing.T) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/files/big.bin", nil)
		resp, err := newClient(t, "HTTP/1.1").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || n != size || resp.ContentLength != size {
			t.Errorf("%d bytes of %d, %v", n, resp.ContentLength, err)
		}
	})
	t.Run("range", func(t *testing.T) {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
			resp, body := fetch(t, newClient(t, proto), base+"/files/big.bin", http.Header{"Range": {"bytes=5-9"}})
			if resp.StatusCode != 206 || len(body) != 5 || resp.Header.Get("Content-Range") != fmt.Sprintf("bytes 5-9/%d", size) {
				t.Errorf("%s: %d, %d bytes, %v", proto, resp.StatusCode, len(body), resp.Header)
			}
		}
	})
	t.Run("server-sent events", func(t *testing.T) {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/events", nil)
			resp, err := newClient(t, proto).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len("data: 0\n\ndata: 1\n\ndata: 2\n\n"))
			_, err = io.ReadFull(resp.Body, got) // the stream does not end
			_ = resp.Body.Close()
			if err != nil || string(got) != "data: 0\n\ndata: 1\n\ndata: 2\n\n" {
				t.Errorf("%s: %q, %v", proto, got, err)
			}
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		conn, r := talkTLS(t, addr, "GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err == nil {
			_ = resp.Body.Close() // a 101 has none
		}
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Server") != "" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Fatal(resp, err)
		}
		fmt.Fprint(conn, "hello\n")
		if line, err := r.ReadString('\n'); err != nil || line != "hello\n" {
			t.Errorf("%q, %v", line, err)
		}
	})
	t.Run("100-continue", func(t *testing.T) {
		conn, r := talkTLS(t, addr, "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusContinue || resp.Header.Get("Server") != "" {
			t.Fatal(resp, err)
		}
		fmt.Fprint(conn, "12345")
		// Caddy reads the body for the upstream and passes the upstream's own
		// 100 on: a client may see two (RFC 9110 section 15.2).
		for err == nil && resp.StatusCode == http.StatusContinue {
			resp, err = http.ReadResponse(r, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != 200 || string(body) != "5" {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
	})
}

// TestEvidenceStaysHiddenFromThoseWhoComeThroughAProxy asks the command proxy
// for the evidence as a tunnel on the same host does. That the rules for requests
// remove its fields must not open it.
func TestEvidenceStaysHiddenFromThoseWhoComeThroughAProxy(t *testing.T) {
	_, addr := newHome(t).startProxy("--demo")
	tlsReady(t, addr)
	for header, want := range map[string]int{"": 200, "X-Forwarded-For": 404, "Forwarded": 404, "X-Real-Ip": 404, "Via": 404} {
		var h http.Header
		if header != "" {
			h = http.Header{header: {"192.0.2.1"}}
		}
		if resp, _ := fetch(t, newClient(t, "HTTP/2.0"), "https://"+addr+"/.soc2/", h); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", header, resp.StatusCode, want)
		}
	}
}

// talkTLS opens a connection over TLS and sends the beginning of a request.
func talkTLS(t *testing.T, addr, request string) (net.Conn, *bufio.Reader) {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"}}}
	conn, err := dialer.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}
