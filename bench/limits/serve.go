package limits

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	_ "github.com/caddy-soc2/caddy-soc2" // is measured
	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// ServeCommand is how this program runs itself as the server that is measured.
const ServeCommand = "limit-serve"

// Serve runs Caddy with the configuration that stands on the standard input
// until that ends.
func Serve(ctx context.Context, _ []string) error {
	in := bufio.NewReader(os.Stdin)
	config, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, in)
	return caddy.Stop()
}

// The servers that are measured. All but nginx's are sites of one process.
const (
	siteNone         = "no limiter"
	siteStatic       = "static 429"
	siteStaticSame   = "static 429, same body and header"
	siteAllowed      = "soc2, allowed"
	siteRefused      = "soc2, refused"
	siteRingAllowed  = "caddy-ratelimit, allowed"
	siteRingRefused  = "caddy-ratelimit, refused"
	siteNginxNone    = "nginx, no limiter"
	siteNginxAllowed = "nginx limit_req, allowed"
	siteNginxRefused = "nginx limit_req, refused"
)

type object = map[string]any

func zone(name, limit string) object {
	return object{"handler": "soc2_rate_limit", "zones": []object{{"name": name, "limit": limit}}}
}

func ring(events int, window string) object {
	return object{"handler": "rate_limit", "rate_limits": object{"z": object{"key": "{http.request.remote.host}", "window": window, "max_events": events}}}
}

var (
	respondOK  = object{"handler": "static_response", "body": "ok"}
	problem    = `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too many requests","status":429,"detail":"This client has used up what it may ask for. Try again later.","violated-policies":["bench_refused"]}` + "\n"
	respond429 = object{"handler": "static_response", "status_code": 429}
	sameAsOurs = object{"handler": "static_response", "status_code": 429, "body": problem, "headers": map[string][]string{
		"Content-Type": {"application/problem+json"}, "Retry-After": {"3600"},
		"RateLimit-Policy": {`"bench_refused";q=1;w=3600`}, "RateLimit": {`"bench_refused";r=0;t=3600`},
	}}
)

var caddySites = []struct {
	name   string
	handle []object
	status int
}{
	{siteNone, []object{respondOK}, 200},
	{siteAllowed, []object{zone("bench_allowed", "1000000/1s"), respondOK}, 200},
	{siteRingAllowed, []object{ring(100_000, "1s"), respondOK}, 200},
	{siteStatic, []object{respond429}, 429},
	{siteStaticSame, []object{sameAsOurs}, 429},
	{siteRefused, []object{zone("bench_refused", "1/1h"), respondOK}, 429},
	{siteRingRefused, []object{ring(1, "1h"), respondOK}, 429},
}

// target is a server to send requests to.
type target struct {
	name string
	url  string
	pids func() []int
}

// Server measures the processor time that a server takes for a request. The load
// comes from wrk on the same machine, over HTTP/1.1 on the loopback interface.
func (b *Bench) Server(ctx context.Context) ([]measure.Figure, []string, error) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		return []measure.Figure{measure.Skipped("whole server", "wrk is not installed: apt-get install wrk")}, nil, nil
	}
	targets, stop, err := b.startCaddy(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer stop()
	nginx, stopNginx, err := b.startNginx(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer stopNginx()
	targets = append(targets, nginx...)
	var variants []measure.Variant
	for _, t := range targets {
		variants = append(variants, measure.Variant{Name: t.name, Open: func(context.Context) (measure.Runner, error) {
			return measure.Runner{Run: func(ctx context.Context, d time.Duration) (measure.Sample, error) { return t.load(ctx, wrk, d) }}, nil
		}})
	}
	rounds, err := b.plan().Run(ctx, variants...)
	if err != nil {
		return nil, nil, err
	}
	return serverFigures(rounds, len(nginx) > 0), nil, nil
}

func serverFigures(rounds []measure.Round, nginx bool) []measure.Figure {
	ratio := func(a, b string) measure.Spread {
		return measure.Over(rounds, func(r measure.Round) float64 { return r[a].CPUPerMillion() / r[b].CPUPerMillion() })
	}
	micro := func(name string) measure.Figure {
		return measure.Info("CPU of a request, "+name, "µs", measure.Over(rounds, func(r measure.Round) float64 { return r[name].CPUPerMillion() }))
	}
	list := []measure.Figure{
		measure.AtMost("allowed, of no limiter", 1.03, "x CPU", ratio(siteAllowed, siteNone)),
		measure.AtMost("refused, of a static 429", 1.05, "x CPU", ratio(siteRefused, siteStatic)).With("which has no body and no fields"),
		measure.AtMost("refused, of a static 429 that says the same", 1.05, "x CPU", ratio(siteRefused, siteStaticSame)),
		measure.Info("refused, of allowed", "x CPU", ratio(siteRefused, siteAllowed)),
		measure.AtMost("allowed, of caddy-ratelimit's", 1, "x CPU", ratio(siteAllowed, siteRingAllowed)),
		measure.AtMost("refused, of caddy-ratelimit's", 1, "x CPU", ratio(siteRefused, siteRingRefused)),
		measure.Info("caddy-ratelimit allowed, of no limiter", "x CPU", ratio(siteRingAllowed, siteNone)),
		measure.Info("caddy-ratelimit refused, of a static 429", "x CPU", ratio(siteRingRefused, siteStatic)),
	}
	for _, s := range caddySites {
		list = append(list, micro(s.name))
	}
	if !nginx {
		return append(list, measure.Skipped("nginx limit_req", "nginx is not installed: apt-get install nginx-light"))
	}
	return append(list, measure.Info("nginx limit_req allowed, of no limiter", "x CPU", ratio(siteNginxAllowed, siteNginxNone)),
		measure.Info("nginx limit_req refused, of allowed", "x CPU", ratio(siteNginxRefused, siteNginxAllowed)),
		micro(siteNginxNone), micro(siteNginxAllowed), micro(siteNginxRefused))
}

var requestsIn = regexp.MustCompile(`(\d+) requests in `)

// load sends requests for a while and reads what the server's processes took.
func (t *target) load(ctx context.Context, wrk string, d time.Duration) (measure.Sample, error) {
	before, begin := cpuOf(t.pids()), time.Now()
	cmd := exec.CommandContext(ctx, wrk, "-t1", "-c32", "-d", strconv.Itoa(max(1, int(d.Seconds()+.5)))+"s", t.url) //nolint:gosec // wrk, at a server of this program
	out, err := cmd.CombinedOutput()
	if err != nil {
		return measure.Sample{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	m := requestsIn.FindSubmatch(out)
	if m == nil {
		return measure.Sample{}, fmt.Errorf("wrk says nothing of requests: %s", out)
	}
	n, _ := strconv.ParseInt(string(m[1]), 10, 64)
	if n == 0 {
		return measure.Sample{}, fmt.Errorf("%s served no request: %s", t.name, out)
	}
	return measure.Sample{Ops: n, Elapsed: time.Since(begin), CPU: cpuOf(t.pids()) - before}, nil
}

// cpuOf is the time that all threads of processes ran, to the nanosecond.
func cpuOf(pids []int) (sum time.Duration) {
	for _, pid := range pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, name := range tasks {
			b, err := os.ReadFile(name)
			if err != nil {
				continue // the thread has ended
			}
			ns, _, _ := strings.Cut(string(b), " ")
			n, _ := strconv.ParseInt(ns, 10, 64)
			sum += time.Duration(n)
		}
	}
	return sum
}

func (b *Bench) startCaddy(ctx context.Context) ([]target, func(), error) {
	servers := object{}
	ports := make([]int, len(caddySites))
	for i, s := range caddySites {
		port, err := freePort()
		if err != nil {
			return nil, nil, err
		}
		ports[i] = port
		servers[fmt.Sprintf("s%d", i)] = object{
			"listen": []string{fmt.Sprintf("127.0.0.1:%d", port)}, "automatic_https": object{"disable": true},
			"routes": []object{{"handle": s.handle}},
		}
	}
	config, err := json.Marshal(object{
		"admin": object{"disabled": true, "config": object{"persist": false}}, "apps": object{"http": object{"servers": servers}},
		"logging": object{"logs": object{"default": object{"writer": object{"output": "discard"}}}},
	})
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, b.Self, ServeCommand) //nolint:gosec // this program
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop := func() { _ = in.Close(); _ = cmd.Wait() }
	if _, err := in.Write(append(config, '\n')); err != nil {
		stop()
		return nil, nil, err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		stop()
		return nil, nil, errors.Join(errors.New("the server did not start"), err)
	}
	pids := func() []int { return []int{cmd.Process.Pid} }
	var targets []target
	for i, s := range caddySites {
		targets = append(targets, target{s.name, fmt.Sprintf("http://127.0.0.1:%d/", ports[i]), pids})
	}
	return targets, stop, nil
}

const nginxConfig = `
daemon off; master_process off; worker_processes 1; pid %[1]s/nginx.pid; error_log stderr crit;
events { worker_connections 256; }
http {
	access_log off; keepalive_requests 100000000;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	limit_req_zone $binary_remote_addr zone=wide:1m rate=1000000r/s;
	limit_req_zone $binary_remote_addr zone=tight:1m rate=1r/m;
	limit_req_status 429;
	root %[1]s;
	server { listen 127.0.0.1:%[2]d; }
	server { listen 127.0.0.1:%[3]d; limit_req zone=wide burst=100000 nodelay; }
	server { listen 127.0.0.1:%[4]d; limit_req zone=tight; }
}
`

// startNginx starts nginx, if there is one. Its sites serve a small file, since
// "return" answers before limit_req is asked.
func (b *Bench) startNginx(ctx context.Context) ([]target, func(), error) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		return nil, func() {}, nil //nolint:nilerr // it is skipped, and says so
	}
	dir := filepath.Join(b.Dir, "nginx")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // nginx may run as another user
		return nil, nil, err
	}
	var ports [3]int
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return nil, nil, err
		}
	}
	config := filepath.Join(dir, "nginx.conf")
	err = errors.Join(os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, ports[0], ports[1], ports[2]), 0o600),
		os.WriteFile(filepath.Join(dir, "index.html"), []byte("ok"), 0o644)) //nolint:gosec // it is served
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, nginx, "-p", dir, "-c", config) //nolint:gosec // nginx, with a file of this program
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop := func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }
	pids := func() []int { return []int{cmd.Process.Pid} }
	var targets []target
	for i, name := range []string{siteNginxNone, siteNginxAllowed, siteNginxRefused} {
		if err := answers(ports[i]); err != nil {
			stop()
			return nil, nil, fmt.Errorf("nginx: %w", err)
		}
		targets = append(targets, target{name, fmt.Sprintf("http://127.0.0.1:%d/", ports[i]), pids})
	}
	return targets, stop, nil
}

// answers waits until a port takes connections.
func answers(port int) error {
	var err error
	for range 200 {
		var conn net.Conn
		if conn, err = net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second); err == nil {
			return conn.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = ln.Close() }()
	addr, _ := ln.Addr().(*net.TCPAddr)
	return addr.Port, nil
}
