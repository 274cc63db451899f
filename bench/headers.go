package main

import (
	"context"

	"github.com/caddy-soc2/caddy-soc2/bench/headers"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// This measures what enforcing headers costs.
func init() {
	children[headers.ServeCommand] = headers.Serve
	subjects["headers"] = inRounds("headers", 9, func(ctx context.Context, plan measure.Plan, self string) ([]measure.Figure, error) {
		b := &headers.Bench{Rounds: plan.Rounds, Each: plan.Each, Progress: plan.Progress, Self: self}
		return b.Run(ctx)
	})
}
