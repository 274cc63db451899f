package soc2

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/handlers/ratelimit"
)

func limitCommand() *cobra.Command {
	cmd := command("limit", "Try rate limits on recorded traffic", "", cobra.NoArgs, func(cmd *cobra.Command, _ []string) (int, error) {
		return 0, cmd.Help()
	})
	cmd.AddCommand(simulateCommand())
	return cmd
}

func simulateCommand() *cobra.Command {
	cmd := command("simulate --config FILE", "Show who would have been limited",
		`Asks the zones of soc2_rate_limit in the configuration about each request that is
recorded in the log, at the time at which it came, and shows how many and whose they
would have refused. Nothing is changed, and no server has to run.

The log does not have all that a request had: limits of concurrency are left out, and
header fields are empty unless the records have them. Addresses that the log has as
pseudonyms are told apart, but not grouped to networks.`,
		cobra.NoArgs, runSimulate)
	cmd.Flags().String("config", "", "configuration with the limits to try")
	cmd.Flags().String("adapter", "", "format of the configuration, if it is not JSON and not a Caddyfile")
	cmd.Flags().String("log", logDir(nil), "directory of the log")
	cmd.Flags().String("from", "", "time of the first request, like 2026-11-20T00:00:00Z")
	cmd.Flags().String("to", "", "time before which the requests came")
	cmd.Flags().Int("top", 10, "how many keys to show of each zone")
	cmd.Flags().Bool("json", false, "print the result as JSON")
	return cmd
}

func runSimulate(cmd *cobra.Command, _ []string) (int, error) {
	file, _ := cmd.Flags().GetString("config")
	adapter, _ := cmd.Flags().GetString("adapter")
	logName, _ := cmd.Flags().GetString("log")
	top, _ := cmd.Flags().GetInt("top")
	asJSON, _ := cmd.Flags().GetBool("json")
	if file == "" || top < 0 {
		return 2, errors.New("give --config, a file with the limits to try")
	}
	from, to, err := spanOf(cmd)
	if err != nil {
		return 2, err
	}
	config, _, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return 2, err
	}
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	module, end := caddy.NewContext(caddy.Context{Context: ctx})
	defer end()
	replay, err := ratelimit.NewReplay(module, config, top)
	if err != nil {
		return 2, err
	}
	dir, err := recordsOf(logName)
	if err != nil {
		return 1, err
	}
	requests := 0
	if _, err = dir.Range(ctx, 0, math.MaxInt64, func(_ int64, record []byte) error {
		r, err := audit.Decode(record)
		ev, ok := r.Body.(*audit.Event)
		if err != nil || !ok || r.Kind != audit.KindRequest || ev.Start.Before(from) || !to.IsZero() && !ev.Start.Before(to) {
			return err
		}
		requests++
		return replay.Request(ev)
	}); err != nil {
		return 1, err
	}
	return 0, printReplay(cmd.OutOrStdout(), replay.Report(), requests, asJSON)
}

// spanOf reads --from and --to.
func spanOf(cmd *cobra.Command) (from, to time.Time, err error) {
	for name, t := range map[string]*time.Time{"from": &from, "to": &to} {
		text, _ := cmd.Flags().GetString(name)
		if text == "" {
			continue
		}
		if *t, err = time.Parse(time.RFC3339, text); err != nil {
			return from, to, fmt.Errorf("--%s %q: it is not a time like 2026-11-20T00:00:00Z", name, text)
		}
	}
	return from, to, nil
}

func printReplay(w io.Writer, zones []ratelimit.ReplayedZone, requests int, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"requests": requests, "zones": zones})
	}
	fmt.Fprintf(w, "%d recorded requests\n", requests)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, z := range zones {
		mode := z.Mode
		if z.Shadow && mode != "shadow" {
			mode += ", shadow"
		}
		share := 0.0
		if z.Asked > 0 {
			share = 100 * float64(z.Refused) / float64(z.Asked)
		}
		fmt.Fprintf(t, "\nzone %s: %s, %s\n", z.Zone, z.Limit, mode)
		fmt.Fprintf(t, "  asked\t%d\n  refused\t%d (%.2f %%) of %d keys\n", z.Asked, z.Refused, share, z.Keys)
		if z.Exempt+z.Denied+z.Empty+z.Lost > 0 {
			fmt.Fprintf(t, "  exempt %d, denied %d, empty keys %d, keys lost for want of capacity %d\n", z.Exempt, z.Denied, z.Empty, z.Lost)
		}
		if len(z.Notes) > 0 {
			fmt.Fprintf(t, "  note: %s\n", strings.Join(z.Notes, "; "))
		}
		for _, k := range z.Top {
			fmt.Fprintf(t, "  %d\t%q\t%s\t%s\n", k.Refused, k.Key, k.First.Format(time.RFC3339), k.Last.Format(time.RFC3339))
		}
	}
	return t.Flush()
}
