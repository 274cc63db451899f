package access

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// busy is how many connections of legitimate clients are busy at a time.
const busy = 8

// conn is a kept connection.
type conn struct {
	*tls.Conn
	r *bufio.Reader
}

func dial(addr string) (*conn, error) {
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"}}) //nolint:noctx,gosec // our own server
	if err != nil {
		return nil, err
	}
	return &conn{c, bufio.NewReader(c)}, nil
}

func dialAll(addr string, n int) (list []*conn, err error) {
	for range n {
		c, err := dial(addr)
		if err != nil {
			return nil, errors.Join(err, closeAll(list))
		}
		list = append(list, c)
	}
	return list, nil
}

func closeAll(list []*conn) error {
	for _, c := range list {
		_ = c.Close()
	}
	return nil
}

// ask sends a request and returns the status of the answer.
func (c *conn) ask(request string) (int, error) {
	if _, err := io.WriteString(c.Conn, request); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode, err
}

// request is a request of a client, with a field by which it says who it is.
func request(from, field string) string {
	return "GET /app99/things HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
		"Accept: text/html\r\nAccept-Language: en\r\nX-Forwarded-For: " + from + "\r\n" + field + "\r\n"
}

func basic(name, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password)) + "\r\n"
}

// legitimate are requests that must always be served: with a token, with an API
// key, and with a password.
func (c *credentials) legitimate() []string {
	return []string{
		request("192.0.2.1", "Authorization: Bearer "+c.token+"\r\n"), request("192.0.2.2", "X-Api-Key: "+c.apiKey+"\r\n"),
		request("192.0.2.3", basic("alice", c.password)),
	}
}

// greet sends each request until it is served: the password of nobody known yet
// may have to wait.
func greet(c *conn, requests []string) error {
	for _, text := range requests {
		status, err := 0, error(nil)
		for range 20 {
			if status, err = c.ask(text); err != nil || status == http.StatusOK {
				break
			}
		}
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("the server answers %d: %w", status, err)
		}
	}
	return nil
}

// load sends requests in turn on all connections for a time. Each must be served.
func (s *server) load(conns []*conn, requests []string, d time.Duration) (measure.Sample, error) {
	before, err := s.cpu()
	if err != nil {
		return measure.Sample{}, err
	}
	start := time.Now()
	var count atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			for n := i; time.Since(start) < d && failed.Load() == nil; n++ {
				status, err := c.ask(requests[n%len(requests)])
				if err == nil && status != http.StatusOK {
					err = fmt.Errorf("a legitimate request is answered %d", status)
				}
				if err != nil {
					failed.Store(&err)
					return
				}
				count.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return measure.Sample{}, *err
	}
	elapsed := time.Since(start)
	after, err := s.cpu()
	return measure.Sample{Ops: count.Load(), Elapsed: elapsed, CPU: after - before}, err
}

// Server measures the processor time of a request that is served.
func (b *Bench) Server(ctx context.Context) (_ []measure.Figure, err error) {
	c, err := newCredentials(b.Dir)
	if err != nil {
		return nil, err
	}
	s, err := b.start(ctx, c, sitePlain, siteAccess, siteAll)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	all := c.legitimate()
	plain, open := b.variant(s, sitePlain, sitePlain, all[0]), b.variant(s, siteAccess, siteAccess, all[0])
	token, key, password := b.variant(s, "JWT", siteAll, all[0]), b.variant(s, "API key", siteAll, all[1]), b.variant(s, "password", siteAll, all[2])
	rounds, err := b.plan().Run(ctx, plain, open, token, key, password)
	if err != nil {
		return nil, err
	}
	ratio := func(of string) measure.Spread {
		return measure.Over(rounds, func(r measure.Round) float64 { return r[of].CPUPerMillion() / r[sitePlain].CPUPerMillion() })
	}
	more := func(of string) float64 {
		return measure.Over(rounds, func(r measure.Round) float64 { return r[of].CPUPerMillion() - r[sitePlain].CPUPerMillion() }).Median
	}
	without := measure.Over(rounds, func(r measure.Round) float64 { return r[sitePlain].CPUPerMillion() })
	list := []measure.Figure{measure.Info("request over TLS, of a page of 1 KB", "µs CPU", without)}
	for _, v := range []struct{ of, name string }{
		{siteAccess, "with soc2_access, 100 rules, nobody"}, {"JWT", "with soc2_auth and soc2_access, JWT that is remembered"},
		{"API key", "with soc2_auth and soc2_access, API key"}, {"password", "with soc2_auth and soc2_access, password that is remembered"},
	} {
		list = append(list, measure.Info(v.name+", of the plain request", "× CPU", ratio(v.of)).With("%.1f µs more", more(v.of)))
	}
	return list, nil
}

func (b *Bench) variant(s *server, name, site, request string) measure.Variant {
	return measure.Variant{Name: name, Open: func(context.Context) (measure.Runner, error) {
		conns, err := dialAll(s.addrs[site], busy)
		if err != nil {
			return measure.Runner{}, err
		}
		if err := greet(conns[0], []string{request}); err != nil {
			return measure.Runner{}, errors.Join(err, closeAll(conns))
		}
		return measure.Runner{
			Run: func(_ context.Context, d time.Duration) (measure.Sample, error) {
				return s.load(conns, []string{request}, d)
			},
			Close: func() error { return closeAll(conns) },
		}, nil
	}}
}
