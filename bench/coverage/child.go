package coverage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
	"github.com/caddy-soc2/caddy-soc2/happenings/wire"
)

// ServeCommand is the command that the program runs itself with: a server is
// measured as a process of its own, so that the client's time does not count.
const ServeCommand = "serve-coverage"

func init() { caddy.RegisterModule(new(wrapper)) }

// wrapper is what caddy.listeners.soc2 does to count, and nothing of what it
// does to record.
type wrapper struct{}

// CaddyModule returns the Caddy module information.
func (*wrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.bench_wire", New: func() caddy.Module { return new(wrapper) }}
}

// Provision hooks the server at hand.
func (*wrapper) Provision(ctx caddy.Context) error {
	srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return errors.New("there is no server")
	}
	srv.Routes[0].MatcherSets = caddyhttp.MatcherSets{{wire.Entered{}}}
	wire.Watch(srv, wire.Pass)
	return nil
}

// WrapListener implements caddy.ListenerWrapper.
func (*wrapper) WrapListener(ln net.Listener) net.Listener { return wire.All.Listen(ln) }

// Serve runs a Caddy, with the wrapper if the first argument is "wrapped", on
// the ports for HTTP and for HTTPS that follow. To each line of its input it
// answers with its CPU time in nanoseconds and its memory in bytes. It ends with
// its input.
func Serve(_ context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("which variant, and on which ports?")
	}
	config, err := config(args[0] == "wrapped", args[1], args[2])
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() == "memory" {
			runtime.GC()
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Println(measure.CPU().Nanoseconds(), m.HeapAlloc+m.StackInuse)
	}
	return caddy.Stop()
}

func config(wrapped bool, httpPort, httpsPort string) ([]byte, error) {
	cert, key, err := measure.SelfSigned()
	if err != nil {
		return nil, err
	}
	type m = map[string]any
	server := func(port string, secure bool) m {
		s := m{
			"listen":          []string{"127.0.0.1:" + port},
			"routes":          []m{{"handle": []m{{"handler": "static_response", "body": "hello"}}}},
			"automatic_https": m{"disable": true},
			"protocols":       []string{"h1", "h2"},
		}
		if secure {
			s["tls_connection_policies"] = []m{{}}
		}
		if wrapped {
			s["listener_wrappers"] = []m{{"wrapper": "bench_wire"}, {"wrapper": "tls"}}
		}
		return s
	}
	return json.Marshal(m{
		"admin":   m{"disabled": true, "config": m{"persist": false}},
		"logging": m{"logs": m{"default": m{"level": "ERROR"}}},
		"apps": m{
			"http": m{"http_port": 1, "servers": m{"plain": server(httpPort, false), "secure": server(httpsPort, true)}},
			"tls":  m{"certificates": m{"load_pem": []m{{"certificate": cert, "key": key}}}},
		},
	})
}
