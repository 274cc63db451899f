package soc2

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/tlogproof"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
	"github.com/caddy-soc2/caddy-soc2/evidence/population/file"
	"github.com/caddy-soc2/caddy-soc2/evidence/population/ocsf"
	"github.com/caddy-soc2/caddy-soc2/evidence/reconcile"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

const periodHelp = `--from and --to are times such as 2026-01-31T00:00:00Z, or dates, which are their
beginnings in UTC. The period is from one to before the other: January is
--from 2026-01-01 --to 2026-02-01. The default is the whole log.`

// periodFlags adds --from and --to.
func periodFlags(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().String("from", "", "first moment of the period; default: no bound")
	cmd.Flags().String("to", "", "first moment after the period; default: no bound")
	cmd.Flags().Bool("damaged", false, "go on where the log cannot be read, say what is missing, and exit with 1")
	return cmd
}

// populationOf reads the flags of a population and opens the log.
func populationOf(cmd *cobra.Command, args []string, named bool) (log *population.Log, opt population.Options, err error) {
	from, _ := cmd.Flags().GetString("from")
	to, _ := cmd.Flags().GetString("to")
	if opt.Period, err = population.ParsePeriod(from, to, time.Now()); err != nil {
		return nil, opt, err
	}
	if named {
		name, _ := cmd.Flags().GetString("population")
		if name == "" {
			return nil, opt, fmt.Errorf("--population is needed: one of %s", strings.Join(population.Names(), ", "))
		}
		if opt.Population, err = population.Find(name); err != nil {
			return nil, opt, err
		}
	}
	opt.Tolerant, _ = cmd.Flags().GetBool("damaged")
	opt.Progress = progress(cmd)
	dir, err := recordsOf(logDir(args))
	if err != nil {
		return nil, opt, err
	}
	log, err = population.Open(dir, publicKey(logDir(args)))
	return log, opt, err
}

// publicKey is the verifier key of this host's log, or empty where the directory
// has no key: an auditor's copy.
func publicKey(dir string) string {
	key, err := audit.LoadKey(filepath.Join(filepath.Dir(filepath.Clean(dir)), filepath.FromSlash(keyFile)))
	if err != nil {
		return ""
	}
	return key.Public()
}

// toolVersion names this program in provenance.
func toolVersion() string { return "caddy-soc2 " + programVersion() }

// covered prints what a coverage says, and returns the exit status.
func covered(cmd *cobra.Command, c population.Coverage) int {
	w := cmd.ErrOrStderr()
	for _, m := range c.Missing {
		fmt.Fprintf(w, "missing: records %d to %d cannot be read: %s\n", m.First, m.Next-1, plain(m.Error))
	}
	for _, n := range c.Notes {
		fmt.Fprintf(w, "note: %s\n", plain(n.Text))
	}
	if c.Omitted > 0 {
		fmt.Fprintf(w, "note: and %d more\n", c.Omitted)
	}
	switch c.State {
	case population.Unknown:
		fmt.Fprintln(w, "The result is UNKNOWN: the log is damaged. Verify it.")
		return 1
	case population.Partial:
		fmt.Fprintln(w, "The result is PARTIAL: the log does not have all of the period.")
	}
	return 0
}

func populationsCommand() *cobra.Command {
	cmd := periodFlags(command("populations [DIR]", "Count the populations of an examination in a period",
		`Prints the populations with their numbers of rows in a period, as the newest checkpoint
of the log in DIR signs it. Sealed segments whose rollups answer are not read, unless
--exact is given: see docs/evidence.md.

`+periodHelp, cobra.MaximumNArgs(1), runPopulations))
	cmd.Flags().Bool("exact", false, "look at each record")
	cmd.Flags().Bool("json", false, "print the counts as JSON")
	return cmd
}

func runPopulations(cmd *cobra.Command, args []string) (int, error) {
	log, opt, err := populationOf(cmd, args, false)
	if err != nil {
		return 2, err
	}
	exact, _ := cmd.Flags().GetBool("exact")
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	counted, coverage, err := population.Count(ctx, log, population.All(), opt, exact)
	if err != nil {
		return 1, err
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		err = printJSON(cmd, struct {
			Period   population.Period    `json:"period"`
			Size     int64                `json:"tree_size"`
			Root     string               `json:"tree_root"`
			Coverage population.Coverage  `json:"coverage"`
			Counts   []population.Counted `json:"counts"`
		}{opt.Period, log.Head.Size, log.Head.Root.String(), coverage, counted})
		return covered(cmd, coverage), err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "POPULATION\tROWS\tCOUNTED BY\tWHAT")
	for i, c := range counted {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", c.Population, c.Count, c.By, population.All()[i].Title)
	}
	return covered(cmd, coverage), w.Flush()
}

func printJSON(cmd *cobra.Command, v any) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// exportPopulation is the command export with --population.
func exportPopulation(ctx context.Context, cmd *cobra.Command, args []string, format string) (int, error) {
	if cmd.Flags().Changed("kind") {
		return 2, errors.New("--kind does not go with --population, which is of some kinds")
	}
	log, opt, err := populationOf(cmd, args, true)
	if err != nil {
		return 2, err
	}
	x := population.Export{Options: opt, Format: format, Encoder: ocsf.New(format, toolVersion()), Tool: toolVersion(), MadeAt: time.Now()}
	name, _ := cmd.Flags().GetString("out")
	var p population.Provenance
	if name == "" {
		p, err = population.Write(ctx, log, cmd.OutOrStdout(), x)
	} else {
		p, err = file.Write(ctx, durable.OS{}, log, name, x)
	}
	if err != nil {
		return 1, err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "exported %d rows of %s of %s, of the %d records that its checkpoint signs; SHA-256 %s\n", p.Count, opt.Population.Name, p.Origin, p.Size, p.SHA256)
	return covered(cmd, p.Coverage), nil
}

func sampleCommand() *cobra.Command {
	cmd := periodFlags(command("sample [DIR] --population NAME --n N --seed SEED", "Draw a sample of a population, with inclusion proofs",
		`Draws N rows of a population of the log in DIR, in a way in which anybody who has the
log and the seed draws the same: see docs/evidence.md. The auditor chooses SEED, after
the checkpoint is known.

Prints a JSON document with the rows, their records and their inclusion proofs. With
--out it writes to a new directory: sample.json, and for each row SEQ.json, the record,
and SEQ.tlog-proof, which are verified with
"soc2-verify --proof SEQ.tlog-proof --record SEQ.json --key VKEY".

`+periodHelp, cobra.MaximumNArgs(1), runSample))
	cmd.Flags().String("population", "", "population: "+strings.Join(population.Names(), ", "))
	cmd.Flags().Int("n", 25, "rows, at most "+strconv.Itoa(population.MaxSample))
	cmd.Flags().String("seed", "", "text of 1 to 200 printable ASCII characters")
	cmd.Flags().String("out", "", "new directory; default: the standard output")
	return cmd
}

func runSample(cmd *cobra.Command, args []string) (int, error) {
	log, opt, err := populationOf(cmd, args, true)
	if err != nil {
		return 2, err
	}
	n, _ := cmd.Flags().GetInt("n")
	seed, _ := cmd.Flags().GetString("seed")
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	doc, _, err := population.Draw(ctx, log, opt, n, seed)
	if errors.Is(err, population.ErrOption) {
		return 2, err
	}
	if err != nil {
		return 1, err
	}
	if out, _ := cmd.Flags().GetString("out"); out != "" {
		err = writeSample(out, doc)
	} else {
		err = printJSON(cmd, doc)
	}
	if err != nil {
		return 1, err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "drew %d of %d rows of %s, of the tree %s\n", len(doc.Rows), doc.Count, doc.Population, doc.Root)
	return covered(cmd, doc.Coverage), nil
}

// writeSample writes a sample to a directory that must not exist.
func writeSample(dir string, doc population.Document) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("writing the sample: %w: name a directory that is not there", err)
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the sample: %w", err)
	}
	write := func(name string, b []byte) error {
		if err := os.WriteFile(filepath.Join(dir, name), b, durable.FileMode); err != nil {
			return fmt.Errorf("writing the sample: %w", err)
		}
		return nil
	}
	for _, row := range doc.Rows {
		name := strconv.FormatInt(row.Seq, 10)
		if err := errors.Join(write(name+".json", row.Record), write(name+tlogproof.Suffix, []byte(row.Proof))); err != nil {
			return err
		}
	}
	return write("sample.json", append(text, '\n'))
}

func reconcileCommand() *cobra.Command {
	cmd := periodFlags(command("reconcile [DIR] --access-log FILE | --upstream ADDRESS=COUNT", "Compare the requests of a log with a second source",
		`Compares the requests of the log in DIR with those of Caddy's own access log (JSON, as
Caddy writes it by default; rotated and gzipped files, too), which Caddy writes without
this program: by id, status and minute. Ids are those that responses carry as
X-Request-Id. With --upstream it compares how many requests an upstream has answered,
as the log has it, with a count that comes from the upstream.

`+periodHelp+`

Exit status: 0 the sources agree, 1 they differ or the comparison could not be made,
2 wrong usage.`, cobra.MaximumNArgs(1), runReconcile))
	cmd.Flags().StringArray("access-log", nil, "access log of Caddy; may be repeated")
	cmd.Flags().StringArray("upstream", nil, "ADDRESS=COUNT of an upstream, as the log names it; may be repeated")
	cmd.Flags().Bool("json", false, "print the report as JSON")
	return cmd
}

func runReconcile(cmd *cobra.Command, args []string) (int, error) {
	log, opt, err := populationOf(cmd, args, false)
	if err != nil {
		return 2, err
	}
	o := reconcile.Options{Log: log, Period: opt.Period, Tolerant: opt.Tolerant, Upstreams: map[string]int64{}}
	o.Files, _ = cmd.Flags().GetStringArray("access-log")
	counts, _ := cmd.Flags().GetStringArray("upstream")
	for _, text := range counts {
		i := strings.LastIndexByte(text, '=')
		n, err := strconv.ParseInt(text[i+1:], 10, 64)
		if i < 1 || err != nil || n < 0 {
			return 2, fmt.Errorf("--upstream %q: write it as ADDRESS=COUNT, like 10.0.0.1:3000=1234", text)
		}
		o.Upstreams[text[:i]] = n
	}
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	r, err := reconcile.Compare(ctx, o)
	if errors.Is(err, reconcile.ErrNothing) {
		return 2, fmt.Errorf("%w: --access-log or --upstream", err)
	}
	if err != nil {
		return 1, err
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		err = printJSON(cmd, r)
	} else {
		err = printReconciled(cmd, r)
	}
	code := covered(cmd, r.Coverage)
	if !r.Agrees {
		code = 1
	}
	return code, err
}

func printReconciled(cmd *cobra.Command, r *reconcile.Report) error {
	out := bufio.NewWriter(cmd.OutOrStdout())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(r.Files) > 0 {
		fmt.Fprintf(w, "requests\tin the log %d\tin the access log %d\n", r.InLog, r.InAccess)
		fmt.Fprintf(w, "by id\tin both %d\tonly in the log %d\tonly in the access log %d\twith another status %d\n", r.Both, r.OnlyLog, r.OnlyAccess, r.StatusDiffers)
		fmt.Fprintf(w, "access log\twithout an id %d\ttwice %d\tunreadable %d\toutside of the period %d\n", r.WithoutID, r.TwiceAccess, r.Unreadable, r.Outside)
		for _, s := range r.Statuses {
			fmt.Fprintf(w, "status %d\t%d\t%d\n", s.Status, s.Log, s.Access)
		}
		fmt.Fprintf(w, "minutes\tthe same %d\tdiffer %d\n", r.MinutesSame, r.MinutesDiffer)
		for _, id := range r.ExamplesLog[:min(5, len(r.ExamplesLog))] {
			fmt.Fprintf(w, "only in the log\t%s\n", id)
		}
		for _, id := range r.ExamplesOther[:min(5, len(r.ExamplesOther))] {
			fmt.Fprintf(w, "only in the access log\t%s\n", id)
		}
		if r.Problem != "" {
			fmt.Fprintf(w, "unreadable\t%s\n", plain(r.Problem))
		}
	}
	for _, u := range r.UpstreamCounts {
		fmt.Fprintf(w, "upstream %s\tin the log %d\tcounted %d\n", plain(u.Address), u.Log, u.Counted)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.Agrees {
		fmt.Fprintln(out, "The sources agree.")
	} else {
		fmt.Fprintln(out, "The sources DIFFER.")
	}
	return out.Flush()
}
