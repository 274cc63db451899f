package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// startApp starts the Node.js example and returns its address.
func startApp(t *testing.T) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		needs(t, "node")
	}
	app := filepath.Join("..", "examples", "node-app")
	if _, err := os.Stat(filepath.Join(app, "node_modules")); err != nil {
		needs(t, "npm ci in examples/node-app")
	}
	h := newHome(t)
	p := &process{t: t, ready: make(chan struct{}), ended: make(chan struct{})}
	p.cmd = exec.Command(node, "server.js")
	p.cmd.Dir = app
	p.cmd.Env = append(os.Environ(), "PORT=0", "HOME="+h.dir)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(out, "listening on")
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.ended })
	select {
	case <-p.ready:
	case <-time.After(30 * time.Second):
		t.Fatal("the application does not start: " + p.text())
	}
	m := regexp.MustCompile(`http://([^\s/]+)`).FindStringSubmatch(p.text())
	if m == nil {
		t.Fatal("no address in: " + p.text())
	}
	return m[1]
}

// startProxy runs the proxy command and returns the address of its HTTPS.
func (h home) startProxy(args ...string) (*process, string) {
	h.t.Helper()
	addr := fmt.Sprintf("localhost:%d", freePort(h.t))
	args = append([]string{"soc2", "proxy", "--from", addr, "--http-port", strconv.Itoa(freePort(h.t))}, args...)
	return h.start("ready after", "caddy", args...), addr
}

// call is a request that a client makes.
type call struct {
	method, path string
	body         int // bytes
	status       int // that the application is known to answer
}

var calls = []call{
	{"GET", "/", 0, 200},
	{"GET", "/healthz", 0, 200},
	{"GET", "/api/notes", 0, 200},
	{"POST", "/api/notes", -1, 201},
	{"POST", "/api/notes", 5, 400},
	{"GET", "/api/notes/nobody", 0, 404},
	{"DELETE", "/api/notes/nobody", 0, 404},
	{"GET", "/api/slow?ms=20&secret=x", 0, 200},
	{"GET", "/stream?n=5", 0, 200},
	{"GET", "/events?n=3", 0, 200},
	{"GET", "/big?size=1", 0, 200},
	{"GET", "/big?size=65536", 0, 200},
	{"GET", "/big?size=1048576", 0, 200},
	{"HEAD", "/big?size=1000", 0, 200},
	{"HEAD", "/", 0, 200},
	{"POST", "/echo", 1, 200},
	{"POST", "/echo", 100_000, 200},
	{"POST", "/echo", 1 << 20, 200},
	{"POST", "/echo", 2 << 20, 413},
	{"GET", "/status/418", 0, 418},
	{"GET", "/status/204", 0, 204},
	{"GET", "/status/503", 0, 503},
	{"GET", "/cookie", 0, 200},
	{"GET", "/missing/%2e%2e/ä", 0, 404},
}

// seen is what a client saw of a response.
type seen struct {
	id, proto, method, path string
	status                  int
	bytes                   int64
}

func (c call) do(ctx context.Context, client *http.Client, base string) (seen, http.Header, error) {
	var body io.Reader
	if c.body > 0 {
		body = bytes.NewReader(bytes.Repeat([]byte("x"), c.body))
	} else if c.body < 0 {
		body = strings.NewReader(`{"title":"a note","text":"with text"}`)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, base+c.path, body)
	if err != nil {
		return seen{}, nil, err
	}
	if c.body < 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return seen{}, nil, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return seen{}, nil, err
	}
	return seen{resp.Header.Get("X-Request-Id"), resp.Proto, c.method, req.URL.EscapedPath(), resp.StatusCode, n}, resp.Header, nil
}

// TestOneRecordForEachRequest puts the Node.js application behind the proxy,
// makes 1,000 mixed requests over three protocols and holds the log against
// what the clients saw.
func TestOneRecordForEachRequest(t *testing.T) {
	upstream := startApp(t)
	h := newHome(t)
	p, addr := h.startProxy("--to", upstream)
	const total, sockets, workers = 1000, 40, 12
	var mu sync.Mutex
	all := map[string]seen{}
	add := func(s seen) {
		mu.Lock()
		defer mu.Unlock()
		if _, twice := all[s.id]; twice || s.id == "" {
			t.Errorf("request id %q was given twice or not at all", s.id)
		}
		all[s.id] = s
	}
	protos := []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"}
	work := make(chan int)
	var wg sync.WaitGroup
	for w := range workers {
		client := newClient(t, protos[w%3])
		wg.Go(func() {
			for i := range work {
				c := calls[i%len(calls)]
				s, header, err := c.do(t.Context(), client, "https://"+addr)
				if err != nil {
					t.Errorf("%s %s: %v", c.method, c.path, err)
					continue
				}
				if s.status != c.status || s.proto != protos[w%3] {
					t.Errorf("%s %s: %s %d, want %d", c.method, c.path, s.proto, s.status, c.status)
				}
				checkHeaders(t, c, header)
				add(s)
			}
		})
	}
	order := rand.Perm(total - sockets)
	for _, i := range order {
		work <- i
	}
	close(work)
	wg.Wait()
	for range sockets {
		add(talk(t, addr))
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, p.text())
	}
	compare(t, h, all, total)
	t.Log("\n" + h.verify())
}

func checkHeaders(t *testing.T, c call, header http.Header) {
	t.Helper()
	for _, name := range []string{"X-Powered-By", "Server"} {
		if v := header.Values(name); len(v) > 0 {
			t.Errorf("%s: leaks %s: %q", c.path, name, v)
		}
	}
	if len(header["X-Request-Id"]) != 1 || header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s: %v", c.path, header)
	}
	for _, cookie := range header.Values("Set-Cookie") {
		if !strings.Contains(cookie, "Secure") {
			t.Errorf("%s: a cookie without Secure: %s", c.path, cookie)
		}
	}
}

// compare holds the log against what clients saw.
func compare(t *testing.T, h home, all map[string]seen, total int) {
	t.Helper()
	got, kinds := h.readLog()
	if kinds["request"] != total || len(all) != total {
		t.Errorf("%d requests, %d records", len(all), kinds["request"])
	}
	for id, s := range all {
		r, ok := got[id]
		if !ok {
			t.Errorf("%+v is not recorded", s)
			continue
		}
		if r.Request.Proto != s.proto || r.Request.Method != s.method || r.Request.Path != s.path || r.Response.Status != s.status {
			t.Errorf("%+v is recorded as %+v", s, r)
		}
		if s.status == http.StatusSwitchingProtocols && r.Response.End != "hijacked" {
			t.Errorf("%+v is recorded as %+v", s, r.Response)
		}
		if s.status != http.StatusSwitchingProtocols && (r.Response.Bytes != s.bytes || r.Response.End != "complete") {
			t.Errorf("%+v is recorded as %+v", s, r.Response)
		}
	}
}

// spy keeps the header that a WebSocket handshake answers with, which the
// client does not show.
type spy struct {
	net.Conn
	head bytes.Buffer
}

func (s *spy) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if s.head.Len() < 4096 {
		s.head.Write(p[:n])
	}
	return n, err
}

// talk opens a WebSocket, sends a message, reads its echo and closes it.
func talk(t *testing.T, addr string) seen {
	t.Helper()
	s, ws := dialSocket(t, addr)
	_ = ws.Close()
	return s
}

// dialSocket opens a WebSocket, sends a message and reads its echo.
func dialSocket(t *testing.T, addr string) (seen, *websocket.Conn) {
	t.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &spy{Conn: conn}
	config, err := websocket.NewConfig("wss://"+addr+"/ws", "https://"+addr)
	if err != nil {
		t.Fatal(err)
	}
	ws, err := websocket.NewClient(config, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(ws, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64)
	n, err := ws.Read(got)
	if err != nil || !strings.Contains(string(got[:n]), "hello") {
		t.Fatalf("echo %q, %v", got[:n], err)
	}
	m := regexp.MustCompile(`(?i)x-request-id: (\S+)`).FindStringSubmatch(s.head.String())
	if m == nil {
		t.Fatalf("no request id in %q", s.head.String())
	}
	return seen{m[1], "HTTP/1.1", "GET", "/ws", http.StatusSwitchingProtocols, 0}, ws
}

// TestDemoIsReadyInTwoSeconds measures from the start of the process to the
// first proxied HTTPS response. The best of three counts: the machine may be
// busy.
func TestDemoIsReadyInTwoSeconds(t *testing.T) {
	best := time.Hour
	for range 3 {
		h := newHome(t)
		begin := time.Now()
		p, addr := h.startProxy("--demo")
		if _, _, err := (call{method: "GET", path: "/api/time"}).do(t.Context(), newClient(t, "HTTP/2.0"), "https://"+addr); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(begin))
		if code := p.stop(syscall.SIGINT); code != 0 {
			t.Errorf("exit %d:\n%s", code, p.text())
		}
		h.verify()
	}
	t.Logf("first proxied HTTPS response after %v", best)
	if best > 2*time.Second {
		t.Errorf("first proxied HTTPS response after %v", best)
	}
}
