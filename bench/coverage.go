package main

import (
	"context"

	"github.com/caddy-soc2/caddy-soc2/bench/coverage"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// This measures what counting costs that reaches no handler.
func init() {
	children[coverage.ServeCommand] = coverage.Serve
	subjects["coverage"] = inRounds("coverage", 7, func(ctx context.Context, plan measure.Plan, self string) ([]measure.Figure, error) {
		b := &coverage.Bench{Rounds: plan.Rounds, Each: plan.Each, Progress: plan.Progress, Self: self}
		return b.Run(ctx)
	})
}
