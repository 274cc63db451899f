package soc2

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit/availability"
)

func upstreamsCommand() *cobra.Command {
	cmd := command("upstreams [DIR]", "Print how available the upstreams were, from the log alone",
		`Prints for each upstream of a period how long it was up, down and unknown, its outages,
and how many of its requests failed. All of it is computed from the records upstream.*
of the log in DIR, so that anyone who has the log gets the same.

  AVAILABLE  time up / (time up + time down)
  WATCHED    (time up + time down) / period: the rest of the time nobody looked
  ANSWERED   requests that did not fail / requests
  MTTR       mean time from the beginning of an outage to its end
  MTBF       time up / outages

--from and --to are times such as 2026-01-31T00:00:00Z, from one to before the other,
or durations such as 24h, which are so long ago. The default is the whole log, up to
its last record.`,
		cobra.MaximumNArgs(1), runUpstreams)
	cmd.Flags().String("from", "", "beginning of the period; default: the first record")
	cmd.Flags().String("to", "", "end of the period; default: the last record")
	cmd.Flags().Bool("json", false, "print the report as JSON")
	return cmd
}

func runUpstreams(cmd *cobra.Command, args []string) (int, error) {
	var bounds [2]time.Time
	for i, name := range []string{"from", "to"} {
		given, _ := cmd.Flags().GetString(name)
		var err error
		if bounds[i], err = parseMoment(given, time.Now()); err != nil {
			return 2, fmt.Errorf("--%s %w", name, err)
		}
	}
	if !bounds[0].IsZero() && !bounds[1].IsZero() && !bounds[0].Before(bounds[1]) {
		return 2, fmt.Errorf("--from %s is not before --to %s", bounds[0].UTC().Format(time.RFC3339), bounds[1].UTC().Format(time.RFC3339))
	}
	dir, err := recordsOf(logDir(args))
	if err != nil {
		return 1, err
	}
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	report, err := availability.Read(ctx, dir, bounds[0], bounds[1])
	if err != nil {
		return 1, err
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		err = e.Encode(report)
	} else {
		err = printUpstreams(printer(cmd), report)
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// parseMoment reads a time, or a duration before now. Nothing is the zero time.
func parseMoment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.IsZero() {
		return t, fmt.Errorf("%q is neither a time like 2026-01-31T00:00:00Z nor a duration like 24h", s)
	}
	return t, nil
}

func printUpstreams(w io.Writer, r availability.Report) error {
	if _, err := fmt.Fprintf(w, "%s to %s\n\n", r.From.Format(time.RFC3339), r.To.Format(time.RFC3339)); err != nil {
		return err
	}
	if len(r.Upstreams) == 0 {
		_, err := fmt.Fprintln(w, "No record of an upstream is in this period.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SERVER\tUPSTREAM\tCHECK\tSTATE\tAVAILABLE\tWATCHED\tOUTAGES\tLONGEST\tMTTR\tMTBF\tREQUESTS\tANSWERED")
	for _, u := range r.Upstreams {
		check := u.Check
		if check == "" {
			check = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%d\t%s\n", u.Server, u.Address, check, u.State,
			percent(u.Availability), percent(&u.Coverage), u.Outages, span(&u.Longest), span(u.MTTR), span(u.MTBF), u.Served, percent(u.RequestAvailability))
	}
	return t.Flush()
}

func percent(ratio *float64) string {
	if ratio == nil {
		return "-"
	}
	return strconv.FormatFloat(*ratio*100, 'f', 4, 64) + " %"
}

func span(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return time.Duration(*seconds * float64(time.Second)).Round(time.Millisecond).String()
}
