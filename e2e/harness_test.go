// Package e2e_test tests the built programs: real processes, real sockets and
// real logs, all on the loopback interface.
package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// bin is the directory of the programs under test. SOC2_BIN names one that has
// them ready.
var bin = os.Getenv("SOC2_BIN")

func TestMain(m *testing.M) {
	if bin != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "soc2-e2e-")
	if err != nil {
		panic(err)
	}
	bin = dir
	build := exec.Command("go", "build", "-o", dir+"/", "../cmd/caddy", "../cmd/soc2-verify")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the programs: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// needs skips a test that lacks something. Under SOC2_REQUIRE_ALL it fails.
func needs(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SOC2_REQUIRE_ALL") != "" {
		t.Fatalf("%s is needed, because SOC2_REQUIRE_ALL is set", what)
	}
	t.Skipf("%s is needed", what)
}

// home is where a program under test keeps its files.
type home struct {
	t   *testing.T
	dir string
}

func newHome(t *testing.T) home { return home{t, t.TempDir()} }

func (h home) logDir() string { return filepath.Join(h.dir, "caddy", "soc2", "log") }

// command prepares a program with its own directories.
func (h home) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, name), args...)
	cmd.Env = append(os.Environ(), "HOME="+h.dir, "XDG_DATA_HOME="+h.dir, "XDG_CONFIG_HOME="+h.dir)
	return cmd
}

// run runs a program to its end and returns its exit code and all its output.
func (h home) run(name string, args ...string) (int, string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	cmd := h.command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// key returns the log's verifier key.
func (h home) key() string {
	h.t.Helper()
	code, out := h.run("caddy", "soc2", "key", "show")
	if code != 0 {
		h.t.Fatalf("key show: exit %d: %s", code, out)
	}
	return strings.TrimSpace(out)
}

// verify runs soc2-verify and fails the test unless the log verifies.
func (h home) verify() string {
	h.t.Helper()
	code, out := h.run("soc2-verify", h.logDir(), "--key", h.key())
	if code != 0 || !strings.HasPrefix(out, "VERIFIED") {
		h.t.Fatalf("soc2-verify: exit %d:\n%s", code, out)
	}
	return out
}

// process is a running program.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	ready  chan struct{} // closed when a line of the output has the awaited text
	ended  chan struct{} // closed when the program has ended
	mu     sync.Mutex
	output bytes.Buffer
}

// start starts a program and returns when its output has the text ready, or,
// if that is empty, at once.
func (h home) start(ready, name string, args ...string) *process {
	h.t.Helper()
	p := &process{t: h.t, cmd: h.command(name, args...), ready: make(chan struct{}), ended: make(chan struct{})}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go p.read(out, ready)
	h.t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.ended })
	if ready == "" {
		return p
	}
	select {
	case <-p.ready:
	case <-p.ended:
		h.t.Fatalf("%s ended:\n%s", name, p.text())
	case <-time.After(30 * time.Second):
		h.t.Fatalf("%s is not ready after 30 s:\n%s", name, p.text())
	}
	return p
}

func (p *process) read(out io.Reader, ready string) {
	defer close(p.ended)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	told := false
	for lines.Scan() {
		p.mu.Lock()
		p.output.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		if !told && ready != "" && strings.Contains(lines.Text(), ready) {
			told = true
			close(p.ready)
		}
	}
	_ = p.cmd.Wait()
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// stop sends a signal and returns the exit code.
func (p *process) stop(sig syscall.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("still running 30 s after %v:\n%s", sig, p.text())
	}
	return p.cmd.ProcessState.ExitCode()
}

// freePort returns a port that is free for TCP and for UDP. It is below those
// that the system gives to outgoing connections, so that none of them takes it
// before the program under test does.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		if err != nil {
			continue
		}
		udp, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", addr)
		if err == nil {
			_ = udp.Close()
		}
		_ = ln.Close()
		if err == nil {
			return ln.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // a TCP listener
		}
	}
	t.Fatal("no port is free for TCP and UDP")
	return 0
}

// newClient returns a client that speaks one protocol.
func newClient(t *testing.T, proto string) *http.Client {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if proto == "HTTP/3.0" {
		tr := &http3.Transport{TLSClientConfig: config}
		t.Cleanup(func() { _ = tr.Close() })
		return &http.Client{Transport: tr, Timeout: time.Minute}
	}
	tr := &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 32, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(proto == "HTTP/1.1")
	tr.Protocols.SetHTTP2(proto == "HTTP/2.0")
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// atLeast returns when a count has grown to n.
func atLeast(t *testing.T, what string, n int, count func() int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 30_000 {
		if count() >= n {
			return
		}
		<-tick.C
	}
	t.Fatalf("%d %s, want %d", count(), what, n)
}

// tlsReady returns when a server has its certificate.
func tlsReady(t *testing.T, addr string) {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var err error
	for range 4000 {
		var conn net.Conn
		if conn, err = (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", addr); err == nil {
			_ = conn.Close()
			return
		}
		<-tick.C
	}
	t.Fatal(err)
}

// record is what the tests compare of a request record.
type record struct {
	Kind    string
	ID      string
	Request struct{ Proto, Method, Path string }

	Response struct {
		Status int
		Bytes  int64
		End    string
	}
}

// readLog returns the request records by id, and how many there are of each
// kind. It fails the test if a request is recorded twice.
func (h home) readLog() (map[string]record, map[string]int) {
	h.t.Helper()
	requests, kinds := map[string]record{}, map[string]int{}
	_, err := records.Dir{FS: os.DirFS(h.logDir())}.Scan(0, func(seq int64, b []byte) error {
		var r record
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		kinds[r.Kind]++
		if r.Kind != "request" {
			return nil
		}
		if _, twice := requests[r.ID]; twice {
			return fmt.Errorf("record %d: request %s is recorded twice", seq, r.ID)
		}
		requests[r.ID] = r
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return requests, kinds
}
