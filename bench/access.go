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

	"github.com/caddy-soc2/caddy-soc2/bench/access"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

func init() {
	children[access.ServeCommand] = access.Serve
	subjects["access"] = runAccess
}

// runAccess measures access control and authentication.
func runAccess(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("access", flag.ContinueOnError)
	rounds := flags.Int("rounds", 5, "rounds that count")
	seconds := flags.Float64("seconds", 5, "seconds of each variant in a round; of an attack, of each of its four parts")
	only := flags.String("only", "decide,server,attack", "parts to measure, separated by commas")
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
	b := &access.Bench{Rounds: *rounds, Each: time.Duration(*seconds * float64(time.Second)), Progress: os.Stderr, Dir: tmp, Self: self}
	report := &measure.Report{Subject: "access", Machine: measure.ThisMachine(tmp), Rounds: *rounds, Seconds: *seconds}
	for _, p := range access.Parts {
		if !strings.Contains(","+*only+",", ","+p.Name+",") {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s (load %s)\n", p.Name, measure.Load())
		figures, err := p.Run(b, ctx)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", p.Name, err)
		}
		report.Figures = append(report.Figures, figures...)
	}
	report.Machine.LoadAfter = measure.Load()
	return write(report, *file)
}
