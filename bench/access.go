package main

import (
	"context"
	"os"

	"github.com/caddy-soc2/caddy-soc2/bench/access"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

func init() {
	children[access.ServeCommand] = access.Serve
	subjects["access"] = runAccess
}

// runAccess measures access control and authentication.
var runAccess = inParts("access", 5, 5, "seconds of each variant in a round; of an attack, of each of its four parts",
	accessPart("decide", (*access.Bench).Decide),
	accessPart("server", (*access.Bench).Server),
	accessPart("attack", (*access.Bench).Attack))

func accessPart(name string, run func(*access.Bench, context.Context) ([]measure.Figure, error)) part {
	return part{name, func(ctx context.Context, s setting) ([]measure.Figure, []string, error) {
		figures, err := run(&access.Bench{Rounds: s.rounds, Each: s.each, Progress: os.Stderr, Dir: s.dir, Self: s.self}, ctx)
		return figures, nil, err
	}}
}
