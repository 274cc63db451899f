package main

import (
	"context"
	"os"

	"github.com/caddy-soc2/caddy-soc2/bench/limits"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// runLimit measures the rate limiter.
var runLimit = inParts("limit", 7, 1, "seconds of each variant in a round; of the server ten times as many, since its load comes in whole seconds",
	limitPart("decide", (*limits.Bench).Decide),
	limitPart("memory", (*limits.Bench).Memory),
	limitPart("server", (*limits.Bench).Server))

func limitPart(name string, run func(*limits.Bench, context.Context) ([]measure.Figure, []string, error)) part {
	return part{name, func(ctx context.Context, s setting) ([]measure.Figure, []string, error) {
		return run(&limits.Bench{Rounds: s.rounds, Each: s.each, Progress: os.Stderr, Dir: s.dir, Self: s.self}, ctx)
	}}
}
