package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// part is a part of a subject that can be measured alone.
type part struct {
	name string
	run  func(ctx context.Context, s setting) ([]measure.Figure, []string, error)
}

// setting is how a part is measured, with this program as its servers.
type setting struct {
	rounds    int
	each      time.Duration
	dir, self string
}

// inParts makes a subject of parts. The help says what seconds are.
func inParts(name string, count int, each float64, help string, parts ...part) func(context.Context, []string) error {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return func(ctx context.Context, args []string) error {
		flags := flag.NewFlagSet(name, flag.ContinueOnError)
		rounds := flags.Int("rounds", count, "rounds that count")
		seconds := flags.Float64("seconds", each, help)
		only := flags.String("only", strings.Join(names, ","), "parts to measure, separated by commas")
		file := flags.String("json", "", "file for the figures as JSON")
		if err := flags.Parse(args); err != nil {
			return err
		}
		if *rounds < 1 || *seconds <= 0 {
			return errors.New("it takes at least 1 round and some time")
		}
		for chosen := range strings.SplitSeq(*only, ",") {
			if !slices.Contains(names, chosen) {
				return fmt.Errorf("there is no part %q", chosen)
			}
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
		report := &measure.Report{Subject: name, Machine: measure.ThisMachine(tmp), Rounds: *rounds, Seconds: *seconds}
		s := setting{*rounds, time.Duration(*seconds * float64(time.Second)), tmp, self}
		for _, p := range parts {
			if !strings.Contains(","+*only+",", ","+p.name+",") {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s (load %s)\n", p.name, measure.Load())
			figures, text, err := p.run(ctx, s)
			if err != nil {
				return fmt.Errorf("measuring %s: %w", p.name, err)
			}
			report.Figures, report.Text = append(report.Figures, figures...), append(report.Text, text...)
		}
		report.Machine.LoadAfter = measure.Load()
		return write(report, *file)
	}
}
