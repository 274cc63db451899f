// Command caddy is Caddy with its standard modules and soc2.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-soc2/caddy-soc2"
)

func main() { caddycmd.Main() }
