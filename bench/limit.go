package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/bench/limits"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

type limitPart struct {
	name string
	run  func(b *limits.Bench, ctx context.Context) ([]measure.Figure, []string, error)
}

var limitParts = []limitPart{
	{"decide", (*limits.Bench).Decide},
	{"memory", (*limits.Bench).Memory},
	{"server", (*limits.Bench).Server},
}

// runLimit measures the rate limiter.
func runLimit(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("limit", flag.ContinueOnError)
	rounds := flags.Int("rounds", 7, "rounds that count")
	seconds := flags.Float64("seconds", 1, "seconds of each variant in a round; of the server ten times as many, since its load comes in whole seconds")
	only := flags.String("only", "decide,memory,server", "parts to measure, separated by commas")
	file := flags.String("json", "", "file for the figures as JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 || *seconds <= 0 {
		return errors.New("it takes at least 1 round and some time")
	}
	tmp, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if tmp, err = filepath.Abs(tmp); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b := &limits.Bench{Rounds: *rounds, Each: time.Duration(*seconds * float64(time.Second)), Progress: os.Stderr, Dir: tmp, Self: self}
	report := &measure.Report{Subject: "limit", Machine: measure.ThisMachine(tmp), Rounds: *rounds, Seconds: *seconds}
	for _, p := range limitParts {
		if !strings.Contains(","+*only+",", ","+p.name+",") {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s (load %s)\n", p.name, measure.Load())
		figures, text, err := p.run(b, ctx)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", p.name, err)
		}
		report.Figures = append(report.Figures, figures...)
		report.Text = append(report.Text, text...)
	}
	report.Machine.LoadAfter = measure.Load()
	return write(report, *file)
}
