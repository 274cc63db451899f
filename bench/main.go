// Command bench measures what this project claims of its speed and size, each
// subject against its limits and its peers, as ratios in one run on one disk.
//
//	go -C bench run . log [--dir D] [--rounds N] [--seconds S] [--only name,...] [--json FILE]
//	go -C bench run . access [--rounds N] [--seconds S] [--only name,...] [--json FILE]
//	go -C bench run . coverage [--rounds N] [--seconds S] [--json FILE]
//	go -C bench run . limit [--rounds N] [--seconds S] [--only name,...] [--json FILE]
//	go -C bench run . headers [--rounds N] [--seconds S] [--json FILE]
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"syscall"
)

// subjects are what can be measured. Each has a file of its own.
var subjects = map[string]func(ctx context.Context, args []string) error{
	"limit": runLimit,
	"log":   runLog,
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	// A first signal ends the measurement, which removes its files.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 {
		return usage()
	}
	if c, ok := children[os.Args[1]]; ok {
		return c(ctx, os.Args[2:])
	}
	subject, ok := subjects[os.Args[1]]
	if !ok {
		return usage()
	}
	return subject(ctx, os.Args[2:])
}

func usage() error {
	names := make([]string, 0, len(subjects))
	for name := range subjects {
		names = append(names, name)
	}
	sort.Strings(names)
	return errors.New("which subject? Known are: " + fmt.Sprint(names))
}
