package soc2

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit/boundary"
)

// boundaryCommand prints what a log holds and what it cannot.
func boundaryCommand() *cobra.Command {
	cmd := command("boundary [--json]", "Print what is recorded, what is counted and what stays unseen",
		`Prints the classes of events at the edge, how each is covered, and why: one record
each, counted in protocol.error records, or unseen. A claim that a log is complete
holds within this boundary.`,
		cobra.NoArgs, func(cmd *cobra.Command, _ []string) (int, error) {
			asJSON, _ := cmd.Flags().GetBool("json")
			return 0, printBoundary(cmd.OutOrStdout(), asJSON)
		})
	cmd.Flags().Bool("json", false, "print it for machines")
	return cmd
}

func printBoundary(w io.Writer, asJSON bool) error {
	b := boundary.Now()
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(b)
	}
	fmt.Fprintln(w, b.Holds)
	for _, part := range []boundary.Coverage{boundary.Record, boundary.Count, boundary.Invisible} {
		fmt.Fprintf(w, "\n%s\n", part)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, c := range b.Classes {
			if c.Covered == part {
				fmt.Fprintf(t, "  %s\t%s\n  \t  %s\n", c.ID, c.What, c.Why)
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}
