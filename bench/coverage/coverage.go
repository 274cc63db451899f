// Package coverage measures what it costs a server that what reaches no handler
// is counted: the same Caddy with the listener wrapper's part that counts, and
// without.
package coverage

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
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

// asked is how much more CPU time a server may use with the wrapper.
const asked = 1.02

// clients is how many connections are busy at a time.
const clients = 16

// kinds are the loads. Each function does one operation on a client of its own.
var kinds = []struct {
	name string
	must bool
	open func(c *child) (op func() error, done func())
}{
	{"request, HTTP/1.1 kept alive", true, func(c *child) (func() error, func()) { return keptAlive(c.plain, nil) }},
	{"request, HTTP/1.1 kept alive, TLS", true, func(c *child) (func() error, func()) {
		return keptAlive(c.secure, only("http/1.1"))
	}},
	{"request, HTTP/2", true, func(c *child) (func() error, func()) { return multiplexed(c) }},
	{"connection of one request", true, func(c *child) (func() error, func()) { return onePer(c.plain, nil) }},
	{"connection of one request, TLS", true, func(c *child) (func() error, func()) {
		return onePer(c.secure, only("http/1.1"))
	}},
	{"connection without a request (counted)", false, func(c *child) (func() error, func()) {
		return func() error {
			conn, err := net.Dial("tcp", c.plain) //nolint:noctx // ends at once
			if err != nil {
				return err
			}
			_ = conn.(*net.TCPConn).CloseWrite()
			_, err = io.Copy(io.Discard, conn)
			_ = conn.Close()
			return err
		}, func() {}
	}},
}

// Run measures all loads, and the memory of idle connections. Each load also has
// the server without the wrapper twice: how far these differ is noise.
func (b *Bench) Run(ctx context.Context) ([]measure.Figure, error) {
	var figures []measure.Figure
	for _, k := range kinds {
		rounds, err := measure.Plan{Rounds: b.Rounds, Each: b.Each, Progress: b.Progress}.Run(ctx,
			b.variant("plain", k.open), b.variant("again", k.open), b.variant("wrapped", k.open))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		ratio := measure.Over(rounds, func(r measure.Round) float64 {
			return r["wrapped"].CPUPerMillion() / r["plain"].CPUPerMillion()
		})
		noise := measure.Over(rounds, func(r measure.Round) float64 {
			return r["again"].CPUPerMillion() / r["plain"].CPUPerMillion()
		})
		figures = append(figures, measure.Info("the server without against itself, "+k.name, "×", noise))
		plain := measure.Over(rounds, func(r measure.Round) float64 { return r["plain"].CPUPerMillion() })
		name := "CPU a " + k.name + ", of the server without"
		if k.must {
			figures = append(figures, measure.AtMost(name, asked, "×", ratio).With("%.1f µs without", plain.Median))
		} else {
			figures = append(figures, measure.Info(name, "×", ratio).With("%.1f µs without", plain.Median))
		}
	}
	for _, secure := range []bool{false, true} {
		figure, err := b.idle(ctx, secure)
		if err != nil {
			return nil, err
		}
		figures = append(figures, figure...)
	}
	return figures, nil
}

func (b *Bench) variant(name string, open func(c *child) (func() error, func())) measure.Variant {
	return measure.Variant{Name: name, Open: func(ctx context.Context) (measure.Runner, error) {
		c, err := b.start(ctx, name)
		if err != nil {
			return measure.Runner{}, err
		}
		ops, dones := make([]func() error, clients), make([]func(), clients)
		for i := range ops {
			ops[i], dones[i] = open(c)
		}
		return measure.Runner{
			Run: func(_ context.Context, d time.Duration) (measure.Sample, error) { return c.load(ops, d) },
			Close: func() error {
				for _, done := range dones {
					done()
				}
				return c.stop()
			},
		}, nil
	}}
}

// load runs operations for a time.
func (c *child) load(ops []func() error, d time.Duration) (measure.Sample, error) {
	cpu, _, err := c.usage("cpu")
	if err != nil {
		return measure.Sample{}, err
	}
	start := time.Now()
	var count atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for _, op := range ops {
		wg.Go(func() {
			for time.Since(start) < d && failed.Load() == nil {
				if err := op(); err != nil {
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
	after, _, err := c.usage("cpu")
	return measure.Sample{Ops: count.Load(), Elapsed: time.Since(start), CPU: after - cpu}, err
}

// only is for a client that speaks one protocol.
func only(protocol string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{protocol}} //nolint:gosec // our own server
}

const request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

func dial(addr string, config *tls.Config) (net.Conn, error) {
	if config == nil {
		return net.Dial("tcp", addr) //nolint:noctx // on the loopback interface
	}
	return tls.Dial("tcp", addr, config) //nolint:noctx // on the loopback interface
}

// ask sends a request and reads the response.
func ask(conn net.Conn, r *bufio.Reader) error {
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return err
}

func keptAlive(addr string, config *tls.Config) (func() error, func()) {
	var conn net.Conn
	var r *bufio.Reader
	return func() error {
			if conn == nil {
				c, err := dial(addr, config)
				if err != nil {
					return err
				}
				conn, r = c, bufio.NewReader(c)
			}
			return ask(conn, r)
		}, func() {
			if conn != nil {
				_ = conn.Close()
			}
		}
}

func onePer(addr string, config *tls.Config) (func() error, func()) {
	return func() error {
		conn, err := dial(addr, config)
		if err != nil {
			return err
		}
		err = ask(conn, bufio.NewReader(conn))
		_ = conn.Close()
		return err
	}, func() {}
}

func multiplexed(c *child) (func() error, func()) {
	tr := &http.Transport{TLSClientConfig: only("h2"), ForceAttemptHTTP2: true}
	client := &http.Client{Transport: tr}
	return func() error {
		resp, err := client.Get("https://" + c.secure) //nolint:noctx // on the loopback interface
		if err != nil {
			return err
		}
		if resp.ProtoMajor != 2 {
			err = errors.New("this is not HTTP/2")
		}
		_, copied := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return errors.Join(err, copied)
	}, tr.CloseIdleConnections
}

// start starts a server in a process of its own.
func (b *Bench) start(ctx context.Context, variant string) (*child, error) {
	ports := make([]string, 2)
	for i := range ports {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		_, ports[i], _ = net.SplitHostPort(ln.Addr().String())
		_ = ln.Close()
	}
	c := &child{cmd: exec.CommandContext(ctx, b.Self, ServeCommand, variant, ports[0], ports[1])} //nolint:gosec // this very program
	c.plain, c.secure = "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1]
	c.cmd.Stderr = b.Progress
	var err error
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
	return c, nil
}

// child is a server in a process of its own.
type child struct {
	cmd           *exec.Cmd
	in            io.WriteCloser
	out           *bufio.Reader
	plain, secure string // addresses
}

// usage asks the server for its CPU time and its memory.
func (c *child) usage(what string) (cpu time.Duration, memory int64, err error) {
	if _, err := fmt.Fprintln(c.in, what); err != nil {
		return 0, 0, err
	}
	_, err = fmt.Fscanln(c.out, &cpu, &memory)
	return cpu, memory, err
}

func (c *child) stop() error {
	_ = c.in.Close()
	return c.cmd.Wait()
}
