package headers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls"

	_ "github.com/caddy-soc2/caddy-soc2" // is measured
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
	soc2 "github.com/caddy-soc2/caddy-soc2/handlers/headers"
)

// ServeCommand is the command that the program runs itself with: a server is
// measured as a process of its own, so that the client's and the upstream's
// time do not count.
const ServeCommand = "serve-headers"

// The variants of the server.
const (
	bare  = "without"
	ours  = "soc2_headers strict"
	stock = "header"

	// The same, before an upstream that sends the fields itself.
	bareRight = "without, fields sent"
	oursRight = "soc2_headers, fields sent"
)

// Serve runs a Caddy as the variant on a port for HTTPS before an upstream. To
// each line of its input it answers with its CPU time in nanoseconds. It ends
// with its input.
func Serve(_ context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("which variant, on which port, before which upstream?")
	}
	config, err := config(args[0], args[1], args[2])
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(measure.CPU().Nanoseconds())
	}
	return caddy.Stop()
}

type object = map[string]any

func config(variant, port, upstream string) ([]byte, error) {
	cert, key, err := measure.SelfSigned()
	if err != nil {
		return nil, err
	}
	handle := []object{{"handler": "reverse_proxy", "upstreams": []object{{"dial": upstream}}}}
	switch variant {
	case ours, oursRight:
		handle = append([]object{{"handler": "soc2_headers", "profile": "strict"}}, handle...)
	case stock:
		set, remove := same()
		handle = append([]object{{"handler": "headers", "response": object{"deferred": true, "set": set, "delete": remove}}}, handle...)
	}
	return json.Marshal(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"level": "ERROR"}}},
		"apps": object{
			"http": object{"servers": object{"secure": object{
				"listen": []string{"127.0.0.1:" + port}, "routes": []object{{"handle": handle}},
				"automatic_https": object{"disable": true}, "protocols": []string{"h1", "h2"}, "tls_connection_policies": []object{{}},
			}}},
			"tls": object{"certificates": object{"load_pem": []object{{"certificate": cert, "key": key}}}},
		},
	})
}

// same are the fields that the profile strict sets on a page, with its values,
// and those that it removes, for Caddy's own handler.
func same() (set map[string][]string, remove []string) {
	set = map[string][]string{}
	for name, value := range soc2.Sent(soc2.Strict) {
		set[http.CanonicalHeaderKey(name)] = []string{value}
	}
	set["Cache-Control"] = []string{"no-store"}
	return set, soc2.Removed(soc2.Strict)
}
