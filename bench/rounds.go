package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// inRounds makes a subject of what is measured whole, in rounds, with this
// program as its servers.
func inRounds(name string, count int, run func(ctx context.Context, p measure.Plan, self string) ([]measure.Figure, error)) func(context.Context, []string) error {
	return func(ctx context.Context, args []string) error {
		flags := flag.NewFlagSet(name, flag.ContinueOnError)
		rounds := flags.Int("rounds", count, "rounds that count")
		seconds := flags.Float64("seconds", 2, "seconds of each variant in a round")
		file := flags.String("json", "", "file for the figures as JSON")
		if err := flags.Parse(args); err != nil {
			return err
		}
		if *rounds < 1 || *seconds <= 0 {
			return errors.New("it takes at least 1 round and some time")
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		report := &measure.Report{Subject: name, Machine: measure.ThisMachine("."), Rounds: *rounds, Seconds: *seconds}
		plan := measure.Plan{Rounds: *rounds, Each: time.Duration(*seconds * float64(time.Second)), Progress: os.Stderr}
		if report.Figures, err = run(ctx, plan, self); err != nil {
			return fmt.Errorf("measuring: %w", err)
		}
		report.Machine.LoadAfter = measure.Load()
		return write(report, *file)
	}
}
