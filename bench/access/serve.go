package access

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
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-soc2/caddy-soc2" // is measured
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// ServeCommand is how this program runs itself as the server that is measured.
const ServeCommand = "access-serve"

// Serve runs Caddy with the configuration on the first line of the standard
// input. To each further line it answers with its CPU time in nanoseconds. It
// ends with its input.
func Serve(context.Context, []string) error {
	in := bufio.NewReader(os.Stdin)
	config, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		if _, err := in.ReadBytes('\n'); err != nil {
			return caddy.Stop()
		}
		fmt.Println(measure.CPU().Nanoseconds())
	}
}

type object = map[string]any

// The sites of the server.
const (
	sitePlain  = "plain"
	siteAccess = "soc2_access"
	siteAll    = "soc2_auth and soc2_access"
)

var page = strings.Repeat("A line of a page.\n", 64)

func (c *credentials) handle(site string) []object {
	respond := object{"handler": "static_response", "body": page}
	policy := make([]object, 0, 100)
	for i := range 100 {
		rule := object{"name": fmt.Sprint("r", i), "roles": []string{fmt.Sprint("role", i)}, "paths": []string{fmt.Sprintf("/app%d/*", i)}}
		if site == siteAccess && i == 99 {
			delete(rule, "roles")
			rule["anonymous"] = true
		}
		policy = append(policy, rule)
	}
	access := object{"handler": "soc2_access", "rules": policy}
	auth := object{
		"handler": "soc2_auth",
		"jwt":     []object{{"issuer": issuer, "audience": []string{audience}, "jwks_file": c.file("jwks.json"), "roles": "groups"}},
		"clients": object{"file": c.file("keys.json")}, "accounts": object{"file": c.file("accounts")},
	}
	switch site {
	case siteAccess:
		return []object{access, respond}
	case siteAll:
		return []object{auth, access, respond}
	}
	return []object{respond}
}

// server is a Caddy in a process of its own.
type server struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	addrs map[string]string // by site
}

// start starts a server of the sites, each on a port of its own, over TLS.
// Clients are behind a proxy on the same machine, as which the load poses: so
// it can come from many addresses.
func (b *Bench) start(ctx context.Context, c *credentials, sites ...string) (*server, error) {
	cert, key, err := measure.SelfSigned()
	if err != nil {
		return nil, err
	}
	s := &server{addrs: map[string]string{}}
	servers := object{}
	for i, site := range sites {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		s.addrs[site] = ln.Addr().String()
		_ = ln.Close()
		servers[fmt.Sprint("s", i)] = object{
			"listen": []string{s.addrs[site]}, "protocols": []string{"h1"}, "automatic_https": object{"disable": true}, "tls_connection_policies": []object{{}},
			"trusted_proxies": object{"source": "static", "ranges": []string{"127.0.0.1/32"}},
			"routes":          []object{{"handle": c.handle(site)}},
		}
	}
	config, err := json.Marshal(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"writer": object{"output": "discard"}}}},
		"apps": object{
			"http": object{"servers": servers},
			"tls":  object{"certificates": object{"load_pem": []object{{"certificate": cert, "key": key}}}},
		},
	})
	if err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, b.Self, ServeCommand) //nolint:gosec // this very program
	s.cmd.Stderr = b.Progress
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := s.in.Write(append(config, '\n')); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if line, err := s.out.ReadString('\n'); err != nil || line != "ready\n" {
		return nil, errors.Join(fmt.Errorf("the server says %q: %w", line, err), s.stop())
	}
	return s, nil
}

func (s *server) stop() error {
	_ = s.in.Close()
	return s.cmd.Wait()
}

// cpu is the server's time so far.
func (s *server) cpu() (d time.Duration, err error) {
	if _, err := fmt.Fprintln(s.in, "cpu"); err != nil {
		return 0, err
	}
	_, err = fmt.Fscanln(s.out, &d)
	return d, err
}
