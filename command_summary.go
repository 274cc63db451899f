package soc2

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// summary is what "caddy soc2 report --rollups" writes.
type summary struct {
	Notice string       `json:"notice"`
	Period pack.Period  `json:"period"`
	Logs   []logSummary `json:"logs"`
}

// logSummary is that of a log.
type logSummary struct {
	Origin      string                      `json:"origin"`
	Size        int64                       `json:"tree_size"`
	Root        string                      `json:"tree_root"`
	Coverage    population.Coverage         `json:"coverage"`
	FromRollups int64                       `json:"records_from_rollups"`
	Read        int64                       `json:"records_read"`
	Records     int64                       `json:"records"`
	Requests    int64                       `json:"requests"`
	Bytes       int64                       `json:"bytes"`
	Authentic   int64                       `json:"authenticated"`
	Kinds       map[string]int64            `json:"kinds"`
	By          map[string]map[string]int64 `json:"by"`
	Populations []population.Counted        `json:"populations"`
	Untold      []string                    `json:"populations_not_told"`
}

// summaryTables are the tables that rollups have. Names that a rollup leaves out
// are counted as (other).
var summaryTables = []string{"status", "method", "proto", "tls", "access", "limit", "cache", "end", "host", "upstream"}

func runSummary(cmd *cobra.Command, dirs []string, opt packer.Options, out string) (int, error) {
	format, _ := cmd.Flags().GetString("format")
	if !cmd.Flags().Changed("format") {
		format = "text"
	}
	if format != "text" && format != "json" {
		return verify.ExitUsage, fmt.Errorf("--format %q: choose text or json for --rollups", format)
	}
	logs, err := packLogs(cmd, dirs)
	if err != nil {
		return 1, err
	}
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	s := summary{Notice: pack.Notice, Period: opt.Period}
	for _, l := range logs {
		sum, err := summarize(ctx, l, opt)
		if err != nil {
			return 1, err
		}
		s.Logs = append(s.Logs, sum)
	}
	write := func(w io.Writer) error { return s.write(w, format) }
	if out == "" {
		err = write(cmd.OutOrStdout())
	} else {
		err = newFile(out, write)
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

func summarize(ctx context.Context, l packer.Log, opt packer.Options) (s logSummary, err error) {
	log, err := population.Open(l.Dir, "")
	if err != nil {
		return s, err
	}
	sum, err := population.Summarize(ctx, log, population.Options{Period: population.Period{From: opt.Period.From, To: opt.Period.To}})
	if err != nil {
		return s, err
	}
	t := &sum.Total
	s = logSummary{
		Origin: log.Head.Origin, Size: log.Head.Size, Root: log.Head.Root.String(), Coverage: sum.Coverage,
		FromRollups: sum.Rollups, Read: sum.Read, Records: t.Records, Requests: t.Requests, Bytes: t.ResponseBytes, Authentic: t.Authenticated,
		Kinds: named(t.Kinds(), 0), By: map[string]map[string]int64{}, Populations: sum.Populations, Untold: sum.Untold,
	}
	for _, table := range summaryTables {
		s.By[table] = named(t.By(table))
	}
	return s, nil
}

// named makes a table of counts.
func named(list []rollup.Count, other int64) map[string]int64 {
	m := map[string]int64{}
	for _, c := range list {
		m[c.Name] = c.N
	}
	if other > 0 {
		m["(other)"] += other
	}
	return m
}

// write writes the summary as text or as JSON.
func (s *summary) write(out io.Writer, format string) error {
	if format == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(s)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, l := range s.Logs {
		fmt.Fprintf(w, "log\t%s: %d records, root %s\n", plain(l.Origin), l.Size, l.Root)
		fmt.Fprintf(w, "counted\t%d records from rollups, %d read\tcoverage %s\n", l.FromRollups, l.Read, l.Coverage.State)
		fmt.Fprintf(w, "requests\t%d\t%d bytes, %d with a principal\n", l.Requests, l.Bytes, l.Authentic)
		for _, p := range l.Populations {
			fmt.Fprintf(w, "population\t%s\t%d\n", p.Population, p.Count)
		}
		if len(l.Untold) > 0 {
			fmt.Fprintf(w, "not told\t%s\twithout --rollups they are\n", strings.Join(l.Untold, " "))
		}
	}
	fmt.Fprintln(w, s.Notice)
	return w.Flush()
}
