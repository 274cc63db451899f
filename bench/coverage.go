package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/caddy-soc2/caddy-soc2/bench/coverage"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

func init() {
	subjects["coverage"] = runCoverage
	children[coverage.ServeCommand] = coverage.Serve
}

// runCoverage measures what counting costs that reaches no handler.
func runCoverage(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("coverage", flag.ContinueOnError)
	rounds := flags.Int("rounds", 7, "rounds that count")
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
	report := &measure.Report{Subject: "coverage", Machine: measure.ThisMachine("."), Rounds: *rounds, Seconds: *seconds}
	b := &coverage.Bench{Rounds: *rounds, Each: time.Duration(*seconds * float64(time.Second)), Progress: os.Stderr, Self: self}
	if report.Figures, err = b.Run(ctx); err != nil {
		return fmt.Errorf("measuring: %w", err)
	}
	report.Machine.LoadAfter = measure.Load()
	return write(report, *file)
}
