package soc2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/export"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
	"github.com/caddy-soc2/caddy-soc2/evidence/population/ocsf"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// untilInterrupted is a context that ends when the user or the system stops the
// command.
func untilInterrupted(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
}

func showCommand() *cobra.Command {
	cmd := dirFlag(command("show REQUEST-ID|INDEX", "Print a record, and prove that it is in the log",
		`Prints the record of the request that has the given id, which the response
carries as X-Request-Id, or the record with the given index. The record is
printed as it is stored: JSON, in one line.

With --proof it also writes FILE, a C2SP tlog-proof: what shows, to anybody who has
the log's verifier key, that the record is in the log. It is verified with
"soc2-verify --proof FILE --record RECORD --key VKEY".`,
		cobra.ExactArgs(1), runShow))
	cmd.Flags().String("proof", "", "file for the record's proof; it is replaced if it exists")
	return cmd
}

func runShow(cmd *cobra.Command, args []string) (int, error) {
	seq, err := strconv.ParseInt(args[0], 10, 64)
	byIndex := err == nil && seq >= 0
	id, err := audit.ParseID(args[0])
	if err != nil && !byIndex {
		return 2, err
	}
	dir, err := recordsOf(dirOf(cmd))
	if err != nil {
		return 1, err
	}
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	var record []byte
	if byIndex {
		record, err = dir.Record(seq)
	} else {
		seq, record, err = audit.Find(ctx, dir, id)
	}
	if err != nil {
		return 1, err
	}
	if name, _ := cmd.Flags().GetString("proof"); name != "" {
		p, err := audit.Prove(ctx, dir, seq)
		if errors.Is(err, audit.ErrUnsigned) {
			err = fmt.Errorf("%w: try again when the next one is signed, which a running server does every few seconds", err)
		}
		if err == nil {
			err = durable.WriteFile(durable.OS{}, name, p.Append(nil))
		}
		if err != nil {
			return 1, err
		}
	}
	_, err = printer(cmd).Write(append(record, '\n'))
	return 0, err
}

func tailCommand() *cobra.Command {
	cmd := dirFlag(command("tail", "Print the newest records, or those from an index on",
		`Prints the newest records as they are stored, one JSON object a line, and with
--follow those that come until it is interrupted.

With --from it begins with the record of that index instead: to go on where an
earlier run ended, give it the "seq" of the last record plus one.

With --follow a record is printed when it is known to be on disk, which the next
one or a signed checkpoint shows: the last one may so be seconds late.`,
		cobra.NoArgs, runTail))
	cmd.Flags().IntP("lines", "n", 10, "how many of the newest records to print")
	cmd.Flags().Int64("from", -1, "index of the first record to print, instead of the newest")
	cmd.Flags().BoolP("follow", "f", false, "go on with new records")
	cmd.Flags().Bool("json", false, "print JSON on a terminal too, where the default is a short line for a record")
	return cmd
}

func runTail(cmd *cobra.Command, _ []string) (int, error) {
	dir, err := recordsOf(dirOf(cmd))
	if err != nil {
		return 1, err
	}
	n, _ := cmd.Flags().GetInt("lines")
	from, _ := cmd.Flags().GetInt64("from")
	follow, _ := cmd.Flags().GetBool("follow")
	asJSON, _ := cmd.Flags().GetBool("json")
	if cmd.Flags().Changed("from") == cmd.Flags().Changed("lines") && cmd.Flags().Changed("from") || n < 0 || from < -1 {
		return 2, errors.New("give --from, the index of a record, or --lines, a number of records")
	}
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	if from < 0 {
		if err := dir.Newest(func(seq int64, _ []byte) bool { from = max(0, seq+1-int64(n)); return false }); err != nil {
			return 1, err
		}
		first, err := dir.First()
		if err != nil {
			return 1, err
		}
		from = max(from, first)
	}
	out := printer(cmd)
	show := func(_ int64, record []byte) error {
		if isTerminal(cmd.OutOrStdout()) && !asJSON {
			_, err := fmt.Fprintln(out, brief(record))
			return err
		}
		_, err := fmt.Fprintf(out, "%s\n", record)
		return err
	}
	if follow {
		err = audit.Follow(ctx, dir, from, 0, show)
	} else {
		_, err = dir.Range(ctx, from, math.MaxInt64, show)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, syscall.EPIPE) {
		err = nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

func exportCommand() *cobra.Command {
	cmd := command("export [DIR] --format FORMAT | --tiles OUT", "Write records in a format, or a log as plain C2SP tlog-tiles files",
		`With --format it writes the records of the log in DIR that its checkpoint signs, to
--out FILE or to the standard output. The formats are:

  `+strings.Join(export.Names(), ", ")+`

ndjson is each record as it is stored, one a line. csv is a table, in which a text
that a spreadsheet would take for a formula begins with an apostrophe. ocsf is one
event of the Open Cybersecurity Schema Framework 1.8.0 a line. FILE must not exist. It has its
name only when it is whole, and FILE.provenance.json beside it: which log, which
checkpoint, which records, how many, and the SHA-256 of FILE.

With --population it writes the rows of a population of an examination, such as
requests or config_changes, in a period: docs/evidence.md lists them. csv then has the
columns of the population, and --from and --to are times or dates, such as 2026-01-31.

Without it --from and --to select a range, from the first to before the second: indexes of
records, or times such as 2026-01-31T00:00:00Z, which are compared with the "time" of
the records, for a request when it began. --kind selects kinds and may be repeated.

With --tiles it writes the records, hash tiles and checkpoint of the whole log to
the empty or new directory OUT, in the layout of C2SP tlog-tiles, for tools that read
such logs. --resume goes on with an export that was interrupted, or brings one up
to date.`,
		cobra.MaximumNArgs(1), runExport)
	flags := cmd.Flags()
	flags.String("tiles", "", "directory to write tlog-tiles files to")
	flags.Bool("resume", false, "with --tiles: keep what an earlier export of this log wrote")
	flags.String("format", "", "format of the records: "+strings.Join(export.Names(), ", "))
	flags.String("out", "", "file for the records; default: the standard output")
	flags.String("from", "", "index or time of the first record; default: the oldest")
	flags.String("to", "", "index or time before which to end; default: the newest that is signed")
	flags.String("population", "", "population: "+strings.Join(population.Names(), ", "))
	flags.Bool("damaged", false, "with --population: go on where the log cannot be read, say what is missing, and exit with 1")
	flags.StringArray("kind", nil, "kind of records, such as request; default: all")
	return cmd
}

func runExport(cmd *cobra.Command, args []string) (int, error) {
	tiles, _ := cmd.Flags().GetString("tiles")
	format, _ := cmd.Flags().GetString("format")
	if (tiles == "") == (format == "") {
		return 2, errors.New("--tiles is needed, the directory to write to, or --format, the format of records: one of them")
	}
	for _, name := range []string{"out", "from", "to", "kind", "population", "damaged", "resume"} {
		if cmd.Flags().Changed(name) && (name == "resume") == (tiles == "") {
			return 2, fmt.Errorf("--%s does not go with the other flags: it is for --%s", name, map[bool]string{true: "tiles", false: "format"}[name == "resume"])
		}
	}
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	if cmd.Flags().Changed("population") {
		if _, ok := export.Formats[format]; !ok {
			return 2, fmt.Errorf("--format %q: choose one of %s", format, strings.Join(ocsf.Formats(), ", "))
		}
		return exportPopulation(ctx, cmd, args, format)
	}
	if cmd.Flags().Changed("damaged") {
		return 2, errors.New("--damaged is for --population")
	}
	dir, err := recordsOf(logDir(args))
	if err != nil {
		return 1, err
	}
	if tiles == "" {
		return exportRecords(ctx, cmd, dir, format)
	}
	resume, _ := cmd.Flags().GetBool("resume")
	head, err := export.Tiles(ctx, dir, tiles, export.TilesOptions{Resume: resume, Progress: progress(cmd)})
	if err != nil {
		return 1, err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "exported %d records of %s to %s\n", head.Size, head.Origin, tiles)
	return 0, err
}

func exportRecords(ctx context.Context, cmd *cobra.Command, dir records.Dir, format string) (int, error) {
	opt := export.Options{Format: format, Progress: progress(cmd)}
	if _, ok := export.Formats[format]; !ok {
		return 2, fmt.Errorf("--format %q: choose one of %s", format, strings.Join(export.Names(), ", "))
	}
	opt.Selection.Kinds, _ = cmd.Flags().GetStringArray("kind")
	if err := selectionOf(cmd, &opt.Selection); err != nil {
		return 2, err
	}
	name, _ := cmd.Flags().GetString("out")
	var p export.Provenance
	var err error
	if name == "" {
		p, err = export.Write(ctx, dir, cmd.OutOrStdout(), opt)
	} else {
		p, err = export.File(ctx, durable.OS{}, dir, name, opt)
	}
	if err != nil {
		return 1, err
	}
	_, err = fmt.Fprintf(cmd.ErrOrStderr(), "exported %d records of %s, of %d that its checkpoint signs; SHA-256 %s\n", p.Count, p.Origin, p.Size, p.SHA256)
	return 0, err
}

// progress shows how far an export is, if a person is watching.
func progress(cmd *cobra.Command) func(done, total int64) {
	w := cmd.ErrOrStderr()
	if !isTerminal(w) {
		return nil
	}
	shown := int64(-1)
	return func(done, total int64) {
		if percent := done * 100 / max(total, 1); percent != shown {
			shown = percent
			fmt.Fprintf(w, "\rexporting: %d of %d records, %d %%", done, total, percent)
		}
		if done == total {
			fmt.Fprint(w, "\r\x1b[K")
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
