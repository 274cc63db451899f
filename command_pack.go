package soc2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

func packCommand() *cobra.Command {
	cmd := command("pack [DIR ...] --from T --to T", "Make a signed evidence pack of a period",
		`Makes an evidence pack, a signed ZIP file, of what the logs in DIR hold of the period
from the first time to before the second: report, populations, results of checks, and
the records or their hashes, with what leads from them to the signed checkpoint. Its
form is public (docs/pack-format.md). The same logs, heads, period and flags give the
same bytes. Anybody verifies it with soc2-verify, or with docs/verify.py, and the
verifier keys of the logs.

Times are such as 2026-01-31T00:00:00Z or 2026-01-31. With --full all raw records are
in the pack, so that everything that it says can be computed again; without, those of
requests are there by their hashes only, but for denied and limited ones.

--sample POPULATION=N draws N rows of a population, each with its inclusion proof, with
the seed of --seed, which the auditor chooses after the heads of the logs are known. It
may be repeated.

Each log signs with keys/log.key beside it, or with --key, in the order of the logs.
--old-key is the verifier key of an earlier key, which has signed earlier checkpoints.

Exit status: 0 the pack was made, 1 it could not be, 2 wrong usage.`,
		cobra.ArbitraryArgs, runPack)
	packFlags(cmd)
	cmd.Flags().Bool("full", false, "put all raw records in")
	cmd.Flags().StringArray("sample", nil, "POPULATION=N, a sample to be drawn; may be repeated")
	cmd.Flags().String("seed", "", "seed of the samples: 1 to 200 printable ASCII characters")
	return cmd
}

func reportCommand() *cobra.Command {
	cmd := command("report [DIR ...] --from T --to T", "Write the report on a period",
		`Writes the report that an evidence pack of the period would have, as a page that stands
alone (print it for a PDF), or as JSON. It is not signed: "caddy soc2 pack" signs.

With --rollups it does not look at each record: what it counts comes from the rollup
records of the segments that lie inside of the period, and from the records of the
others, and it says how many came from where. Results of checks, days, gaps, findings
and upstreams need all records, and are not in it. "soc2-verify" counts rollups again.`,
		cobra.ArbitraryArgs, runReport)
	packFlags(cmd)
	cmd.Flags().String("format", "html", "html or json; with --rollups: text or json")
	cmd.Flags().Bool("rollups", false, "answer from rollups where they are exact: figures of requests and populations alone")
	return cmd
}

func packFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("from", "", "beginning of the period")
	flags.String("to", "", "end of the period, which is not part of it")
	flags.String("out", "", "file to write, which must not exist")
	flags.StringArray("key", nil, "file with the private key of a log; default: keys/log.key beside it")
	flags.StringArray("old-key", nil, "verifier key of a key that was retired, NAME+HASH+KEY@N")
}

// packOptions reads the flags.
func packOptions(cmd *cobra.Command) (opt packer.Options, out string, err error) {
	text := func(name string) string { s, _ := cmd.Flags().GetString(name); return s }
	if text("from") == "" || text("to") == "" {
		return opt, "", errors.New("--from and --to are needed: the beginning of the period, and its end, which is not part of it")
	}
	p, err := population.ParsePeriod(text("from"), text("to"), time.Now())
	opt.Period = pack.Period{From: p.From, To: p.To}
	return opt, text("out"), err
}

// packSamples reads the flags that ask for samples.
func packSamples(cmd *cobra.Command) (samples []pack.Sample, err error) {
	list, _ := cmd.Flags().GetStringArray("sample")
	seed, _ := cmd.Flags().GetString("seed")
	if (len(list) > 0) != (seed != "") {
		return nil, errors.New("--sample and --seed go together: the auditor chooses the seed")
	}
	for _, text := range list {
		name, number, ok := strings.Cut(text, "=")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			return nil, fmt.Errorf("--sample %q: write it as POPULATION=N, like denials=25", text)
		}
		samples = append(samples, pack.Sample{Population: name, Rows: n, Seed: seed})
	}
	return samples, nil
}

// packLogs opens the logs that are named.
func packLogs(cmd *cobra.Command, dirs []string) (logs []packer.Log, err error) {
	if len(dirs) == 0 {
		dirs = []string{logDir(nil)}
	}
	files, _ := cmd.Flags().GetStringArray("key")
	old, _ := cmd.Flags().GetStringArray("old-key")
	var retired []note.Verifier
	if len(old) > 0 {
		if retired, err = verify.Keys(old); err != nil {
			return nil, err
		}
	}
	for i, name := range dirs {
		dir, err := recordsOf(name)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(filepath.Dir(filepath.Clean(name)), filepath.FromSlash(keyFile))
		if i < len(files) {
			file = files[i]
		}
		key, err := audit.LoadKey(file)
		if err != nil {
			return nil, fmt.Errorf("the key that signs for the log in %s: %w: name it with --key", name, err)
		}
		v, err := key.Verifier()
		if err != nil {
			return nil, err
		}
		logs = append(logs, packer.Log{Dir: dir, Signer: key, Keys: append([]note.Verifier{v}, retired...)})
	}
	return logs, nil
}

func runPack(cmd *cobra.Command, args []string) (int, error) {
	opt, out, err := packOptions(cmd)
	if err != nil {
		return verify.ExitUsage, err
	}
	opt.Full, _ = cmd.Flags().GetBool("full")
	if opt.Samples, err = packSamples(cmd); err != nil {
		return verify.ExitUsage, err
	}
	logs, err := packLogs(cmd, args)
	if err != nil {
		return 1, err
	}
	if out == "" {
		const form = "20060102T150405Z"
		out = fmt.Sprintf("soc2-evidence_%s_%s.zip", opt.Period.From.Format(form), opt.Period.To.Format(form))
	}
	opt.Temp, opt.Progress = filepath.Dir(out), progress(cmd)
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	var m *pack.Manifest
	err = newFile(out, func(w io.Writer) error {
		m, err = packer.Write(ctx, w, logs, opt)
		return err
	})
	if err != nil {
		return packExit(err), err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: pack %s of %d logs, %d files; verify it with soc2-verify %s --key VKEY\n", out, m.PackID, len(m.Logs), len(m.Files), out)
	return 0, err
}

func packExit(err error) int {
	if errors.Is(err, packer.ErrPeriod) {
		return verify.ExitUsage
	}
	return 1
}

func runReport(cmd *cobra.Command, args []string) (int, error) {
	opt, out, err := packOptions(cmd)
	if err != nil {
		return verify.ExitUsage, err
	}
	if quick, _ := cmd.Flags().GetBool("rollups"); quick {
		return runSummary(cmd, args, opt, out)
	}
	format, _ := cmd.Flags().GetString("format")
	if format != "html" && format != "json" {
		return verify.ExitUsage, fmt.Errorf("--format %q: choose html or json", format)
	}
	logs, err := packLogs(cmd, args)
	if err != nil {
		return 1, err
	}
	opt.Progress = progress(cmd)
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	write := func(w io.Writer) error { return writeReport(ctx, w, format, logs, opt) }
	if out == "" {
		err = write(cmd.OutOrStdout())
	} else {
		err = newFile(out, write)
	}
	if err != nil {
		return packExit(err), err
	}
	return 0, nil
}

func writeReport(ctx context.Context, w io.Writer, format string, logs []packer.Log, opt packer.Options) error {
	r, page, err := packer.Report(ctx, logs, opt)
	if err != nil {
		return err
	}
	if format == "html" {
		_, err = w.Write(page)
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// newFile writes a file that must not exist. It has its name when it is whole.
func newFile(name string, write func(io.Writer) error) error {
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already: name another file with --out", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".soc2-*.tmp")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // after it was renamed there is none
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// verifyPack verifies an evidence pack.
func verifyPack(cmd *cobra.Command, file string, list []string) (int, error) {
	for _, name := range []string{"checkpoint", "state", "full", "witness", "timestamp-roots"} {
		if cmd.Flags().Changed(name) {
			return verify.ExitUsage, fmt.Errorf("--%s is for logs: an evidence pack is verified with --key and --json alone", name)
		}
	}
	if len(list) == 0 {
		key, err := audit.LoadKey(filepath.Join(defaultDataDir(), filepath.FromSlash(keyFile)))
		if err != nil {
			return verify.ExitUsage, fmt.Errorf("no --key is given, and the key of this host cannot be used: %w", err)
		}
		list = []string{key.Public()}
	}
	keys, err := verify.Keys(list)
	if err != nil {
		return verify.ExitUsage, err
	}
	asJSON, _ := cmd.Flags().GetBool("json")
	return pack.Command{File: file, Keys: keys, JSON: asJSON, Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr()}.Run(), nil
}
