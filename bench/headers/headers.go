// Package headers measures what it costs a server that its responses are
// enforced: the same Caddy with soc2_headers strict, with Caddy's own handler
// header doing the same sets and deletes, and with neither, each over TLS before
// an upstream.
package headers

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// Bench says how to measure.
type Bench struct {
	Rounds   int
	Each     time.Duration
	Progress io.Writer
	Self     string // this program
}

// asked is how much more CPU time a server may use with soc2_headers strict.
const asked = 1.03

// clients is how many connections are busy at a time.
const clients = 8

// page is what the upstream answers: a small page with two fields that leak.
func page(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Etag", `"6540b2c4-7d1"`)
	h.Set("Last-Modified", "Sat, 21 Nov 2026 00:00:00 GMT")
	h.Set("Vary", "Accept-Encoding")
	h.Set("Server", "Apache")
	h.Set("X-Powered-By", "Express")
	_, _ = io.WriteString(w, body)
}

// right is the page of an upstream that sends the fields of the profile strict
// itself, and leaks nothing.
func right(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	for name, values := range sent {
		h[name] = values
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Etag", `"6540b2c4-7d1"`)
	h.Set("Last-Modified", "Sat, 21 Nov 2026 00:00:00 GMT")
	h.Set("Vary", "Accept-Encoding")
	_, _ = io.WriteString(w, body)
}

var sent, _ = same()

var body = "<!doctype html><title>page</title>" + strings.Repeat("<p>A line of a page.</p>\n", 80)

// Run measures.
func (b *Bench) Run(ctx context.Context) ([]measure.Figure, error) {
	upstream := httptest.NewServer(http.HandlerFunc(page))
	defer upstream.Close()
	better := httptest.NewServer(http.HandlerFunc(right))
	defer better.Close()
	to, same := upstream.Listener.Addr().String(), better.Listener.Addr().String()
	rounds, err := measure.Plan{Rounds: b.Rounds, Each: b.Each, Progress: b.Progress}.Run(ctx,
		b.variant(bare, to), b.variant(ours, to), b.variant(stock, to), b.variant(bareRight, same), b.variant(oursRight, same))
	if err != nil {
		return nil, err
	}
	ratio := func(of, to string) measure.Spread {
		return measure.Over(rounds, func(r measure.Round) float64 { return r[of].CPUPerMillion() / r[to].CPUPerMillion() })
	}
	without := measure.Over(rounds, func(r measure.Round) float64 { return r[bare].CPUPerMillion() })
	return []measure.Figure{
		measure.AtMost("CPU a request, soc2_headers strict, of the server without; the upstream sends the fields itself", asked, "×", ratio(oursRight, bareRight)),
		measure.AtMost("CPU a request, soc2_headers strict, of the server without where the upstream sends the fields itself", asked, "×", ratio(ours, bareRight)),
		measure.AtMost("CPU a request, soc2_headers strict, of the server with header", 1, "×", ratio(ours, stock)),
		measure.Info("CPU a request, soc2_headers strict, of a server that sends no such fields", "×", ratio(ours, bare)).With("%.0f µs without", without.Median),
		measure.Info("CPU a request, header, of a server that sends no such fields", "×", ratio(stock, bare)),
	}, nil
}

func (b *Bench) variant(name, upstream string) measure.Variant {
	return measure.Variant{Name: name, Open: func(ctx context.Context) (measure.Runner, error) {
		c, err := b.start(ctx, name, upstream)
		if err != nil {
			return measure.Runner{}, err
		}
		return measure.Runner{Run: func(_ context.Context, d time.Duration) (measure.Sample, error) { return c.load(d) }, Close: c.stop}, nil
	}}
}

// child is a server in a process of its own, with the connections to it.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	addr  string
	conns []*tls.Conn
}

func (b *Bench) start(ctx context.Context, variant, upstream string) (*child, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &child{addr: ln.Addr().String()}
	_ = ln.Close()
	_, port, _ := net.SplitHostPort(c.addr)
	c.cmd = exec.CommandContext(ctx, b.Self, ServeCommand, variant, port, upstream) //nolint:gosec // this very program
	c.cmd.Stderr = b.Progress
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := c.out.ReadString('\n'); err != nil || line != "ready\n" {
		return nil, errors.Join(fmt.Errorf("the server says %q: %w", line, err), c.stop())
	}
	for range clients {
		conn, err := tls.Dial("tcp", c.addr, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"}}) //nolint:noctx,gosec // our own server
		if err != nil {
			return nil, errors.Join(err, c.stop())
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

func (c *child) stop() error {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	_ = c.in.Close()
	return c.cmd.Wait()
}

// cpu is the server's time so far.
func (c *child) cpu() (d time.Duration, err error) {
	if _, err := fmt.Fprintln(c.in, "cpu"); err != nil {
		return 0, err
	}
	_, err = fmt.Fscanln(c.out, &d)
	return d, err
}

const request = "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
	"Accept: text/html\r\nAccept-Language: en\r\nCookie: id=4bf92f3577b34da6\r\n\r\n"

// load sends requests on all connections for a time.
func (c *child) load(d time.Duration) (measure.Sample, error) {
	before, err := c.cpu()
	if err != nil {
		return measure.Sample{}, err
	}
	start := time.Now()
	var count atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for _, conn := range c.conns {
		wg.Go(func() {
			r := bufio.NewReader(conn)
			for time.Since(start) < d && failed.Load() == nil {
				if err := ask(conn, r); err != nil {
					failed.Store(&err)
				}
				count.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return measure.Sample{}, *err
	}
	after, err := c.cpu()
	return measure.Sample{Ops: count.Load(), Elapsed: time.Since(start), CPU: after - before}, err
}

func ask(conn net.Conn, r *bufio.Reader) error {
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err == nil && (resp.StatusCode != http.StatusOK || int(n) != len(body)) {
		err = fmt.Errorf("%s, %d bytes", resp.Status, n)
	}
	return err
}
