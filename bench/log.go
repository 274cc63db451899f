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

	"github.com/caddy-soc2/caddy-soc2/bench/auditlog"
	"github.com/caddy-soc2/caddy-soc2/bench/limits"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// logPart is a group of figures that are measured together.
type logPart struct {
	name string
	run  func(b *auditlog.Bench, ctx context.Context) ([]measure.Figure, []string, error)
}

var logParts = []logPart{
	{"append", (*auditlog.Bench).Append},
	{"cpu", (*auditlog.Bench).CPU},
	{"latency", (*auditlog.Bench).Latency},
	{"disk", (*auditlog.Bench).Disk},
	{"allocs", (*auditlog.Bench).Allocs},
	{"start", (*auditlog.Bench).Start},
	{"rollup", (*auditlog.Bench).Rollup},
}

// children are the commands that this program gives itself.
var children = map[string]func(ctx context.Context, args []string) error{
	auditlog.FillCommand:   auditlog.Fill,
	auditlog.VerifyCommand: auditlog.Verify,
	limits.ServeCommand:    limits.Serve,
}

// runLog measures the audit log.
func runLog(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("log", flag.ContinueOnError)
	dir := flags.String("dir", ".", "directory on the disk to measure; files are made below it and removed")
	rounds := flags.Int("rounds", 7, "rounds that count")
	seconds := flags.Float64("seconds", 2, "seconds of each variant in a round")
	only := flags.String("only", "", "parts to measure, separated by commas: append, cpu, latency, disk, allocs, start, rollup")
	file := flags.String("json", "", "file for the figures as JSON")
	count := flags.Int64("records", 10_000_000, "records of the log for start, proofs and verification")
	if err := flags.Parse(args); err != nil {
		return err
	}
	parts, err := choose(*only)
	if err != nil {
		return err
	}
	if *rounds < 1 || *seconds <= 0 || *count < 1000 {
		return errors.New("it takes at least 1 round, some time and 1000 records")
	}
	tmp, err := os.MkdirTemp(*dir, "bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if tmp, err = filepath.Abs(tmp); err != nil {
		return err
	}
	report := &measure.Report{Subject: "log", Machine: measure.ThisMachine(tmp), Rounds: *rounds, Seconds: *seconds}
	if measure.InMemory(report.Machine.FileSystem) {
		return fmt.Errorf("%s is on %s, which has no disk: name another --dir", *dir, report.Machine.FileSystem)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b := &auditlog.Bench{
		Dir: tmp, Rounds: *rounds, Each: time.Duration(*seconds * float64(time.Second)),
		Records: *count, Progress: os.Stderr, Self: self,
	}
	for _, p := range parts {
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

// choose returns the named parts, or all.
func choose(only string) ([]logPart, error) {
	if only == "" {
		return logParts, nil
	}
	var chosen []logPart
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(logParts, func(p logPart) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no part %q", name)
		}
		chosen = append(chosen, logParts[i])
	}
	return chosen, nil
}

// write prints the report, and keeps it as JSON if a file is named.
func write(r *measure.Report, file string) error {
	r.Table(os.Stdout)
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(r.JSON(f), f.Close())
}
