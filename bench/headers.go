package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/caddy-soc2/caddy-soc2/bench/headers"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

func init() {
	subjects["headers"] = runHeaders
	children[headers.ServeCommand] = headers.Serve
}

// runHeaders measures what enforcing headers costs.
func runHeaders(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("headers", flag.ContinueOnError)
	rounds := flags.Int("rounds", 9, "rounds that count")
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
	report := &measure.Report{Subject: "headers", Machine: measure.ThisMachine("."), Rounds: *rounds, Seconds: *seconds}
	b := &headers.Bench{Rounds: *rounds, Each: time.Duration(*seconds * float64(time.Second)), Progress: os.Stderr, Self: self}
	if report.Figures, err = b.Run(ctx); err != nil {
		return fmt.Errorf("measuring: %w", err)
	}
	report.Machine.LoadAfter = measure.Load()
	return write(report, *file)
}
