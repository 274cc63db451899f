package soc2

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/decision"
	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
)

func findingsCommand() *cobra.Command {
	cmd := command("findings", "List the checks that fail or are unknown, and what was done about each",
		`Lists the findings of the running server: each check that fails or is unknown, since
when, its triage and the exception that accepts it. The worst and the oldest come first.

Exit status: 0 listed, 1 the server could not be asked, 2 wrong usage.`,
		cobra.NoArgs, runFindings)
	cmd.Flags().String("address", adminAddress, "address of the admin API: HOST:PORT, or unix//PATH")
	cmd.Flags().Bool("json", false, "print JSON")
	return cmd
}

func runFindings(cmd *cobra.Command, _ []string) (int, error) {
	return show(cmd, "/findings", func(w io.Writer, list *checks.FindingList) {
		now := list.Time
		for i := range list.Findings {
			writeCase(w, &list.Findings[i], now)
		}
		fmt.Fprintf(w, "%d findings, %d of them open, as of %s\n", len(list.Findings), list.Open, now.Format(time.RFC3339))
	})
}

func writeCase(w io.Writer, c *controls.Case, now time.Time) {
	fmt.Fprintf(w, "%s  %s  %s  %s since %s (%s)\n", c.Check, c.Severity, c.State, c.Result, c.Since.Format(time.RFC3339), lasted(now.Sub(c.Since)))
	fmt.Fprintf(w, "    %s\n", printable(c.Summary))
	if !c.Due.IsZero() && c.State == controls.CaseOpen {
		fmt.Fprintf(w, "    to be triaged by %s\n", c.Due.Format(time.RFC3339))
	}
	if t := c.Triage; t != nil {
		fmt.Fprintf(w, "    triage %s%s: %s, owner %s: %s%s\n", t.Time.Format(time.RFC3339), standing(t.Until, t.Expired), t.Verdict, printable(t.Owner), printable(t.Reason), ticketed(t.Ticket))
	}
	if x := c.Exception; x != nil {
		fmt.Fprintf(w, "    accepted by %s%s: %s\n", printable(x.Approver), standing(x.Until, x.Expired), printable(x.Reason))
	}
}

// lasted writes a duration for people.
func lasted(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.Round(time.Second).String()
}

func standing(until time.Time, over bool) string {
	switch {
	case until.IsZero():
		return ""
	case over:
		return ", over since " + until.Format(time.RFC3339)
	}
	return " until " + until.Format(time.RFC3339)
}

func ticketed(ticket string) string {
	if ticket == "" {
		return ""
	}
	return " (" + printable(ticket) + ")"
}

func triageCommand() *cobra.Command {
	cmd := deciding(command("triage CHECK --verdict VERDICT --owner WHO --reason WHY", "Record what a finding is",
		`Has the running server record the triage of a finding, as a record review.triage: the
verdict, who is to act, and why. CHECK is a check that fails or is unknown, such as
AUD-003, or the SHA-256 of the configuration that a change led to which weakens something
(CHG-004). The check goes on, and its result stays what it is.

With --until the verdict stands until then, after which the finding counts as not triaged
again. --record names the check.transition record of a finding of the past.

Exit status: 0 recorded, 1 not, 2 wrong usage.`,
		cobra.ExactArgs(1), runTriage))
	f := cmd.Flags()
	f.String("verdict", "", strings.Join(controls.Verdicts(), ", "))
	f.String("owner", "", "who is to act")
	f.String("until", "", "how long it stands: a time, a day (to its end, UTC) or a duration like 30d; default: as long as the finding")
	f.Int64("record", 0, "index of the check.transition record that it answers; default: the one that began the finding")
	return cmd
}

func runTriage(cmd *cobra.Command, args []string) (int, error) {
	text := texts(cmd)
	t := &decision.Triage{By: text("by"), Verdict: text("verdict"), Owner: text("owner"), Reason: text("reason"), Ticket: text("ticket"), Until: ending(text("until"))}
	t.Seq, _ = cmd.Flags().GetInt64("record")
	subject := args[0]
	if d := controls.Checks().Check(subject); d != nil {
		subject = d.ID
	} else if !decision.IsSHA256(subject) {
		return 2, fmt.Errorf("%q is neither a check, such as AUD-003, nor the SHA-256 of a configuration", subject)
	}
	if err := t.Vet(time.Now()); err != nil {
		return 2, flagged(err)
	}
	return decide(cmd, http.MethodPost, "/findings/"+subject+"/triage", t)
}

// deciding adds the flags of a command that records what somebody decides.
func deciding(cmd *cobra.Command) *cobra.Command {
	ordering(cmd)
	cmd.Flags().Lookup("by").Usage = "who decides it, as the record says; default: $USER"
	cmd.Flags().String("ticket", "", "ticket that has the rest")
	cmd.Flags().Bool("json", false, "print JSON")
	return cmd
}

// texts reads flags.
func texts(cmd *cobra.Command) func(name string) string {
	return func(name string) string { s, _ := cmd.Flags().GetString(name); return s }
}

// ending makes an RFC 3339 time of a day, whose end it is, or of a duration. What
// is neither is left to those who check it.
func ending(s string) string {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t.Add(24 * time.Hour).Format(time.RFC3339)
	}
	if d, err := controls.ParseDuration(s); err == nil && s != "" {
		return time.Now().Add(d).UTC().Format(time.RFC3339)
	}
	return s
}

// firstMember is the name of a member with which an error begins.
var firstMember = regexp.MustCompile(`^"([a-z_]+)"`)

// flagged names in an error the flag, and not the member of the request.
func flagged(err error) error {
	return errors.New(firstMember.ReplaceAllStringFunc(err.Error(), func(s string) string {
		return "--" + strings.ReplaceAll(strings.Trim(s, `"`), "_", "-")
	}))
}

// request asks the admin API and returns its answer, or what it says is wrong.
func request(cmd *cobra.Command, method, path string, v any) ([]byte, error) {
	var body []byte
	var err error
	if v != nil {
		if body, err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	quiet, out := *cmd, new(strings.Builder)
	quiet.SetOut(out)
	_, err = call(&quiet, method, path, body)
	return []byte(out.String()), err
}

// decide sends a decision and prints its record.
func decide(cmd *cobra.Command, method, path string, v any) (int, error) {
	answer, err := request(cmd, method, path, v)
	if err != nil {
		return 1, err
	}
	var e checks.Entered
	if err := json.Unmarshal(answer, &e); err != nil {
		return 1, fmt.Errorf("the server's answer: %w", err)
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		_, err = cmd.OutOrStdout().Write(answer)
	} else {
		err = writeEntered(printer(cmd), &e)
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

func writeEntered(w io.Writer, e *checks.Entered) error {
	who := e.Known
	if e.Actor != "" {
		who += " " + printable(e.Actor)
	}
	if e.Claim != "" {
		who += ", says to be " + printable(e.Claim)
	}
	_, err := fmt.Fprintf(w, "%s: %s%s; record %d (%s; caller: %s)\n", printable(e.Subject), e.Verdict, standing(e.Until, false), e.Record, e.Kind, who)
	return err
}

// show prints a list of the admin API.
func show[T any](cmd *cobra.Command, path string, write func(io.Writer, *T)) (int, error) {
	answer, err := request(cmd, http.MethodGet, path, nil)
	if err != nil {
		return 1, err
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		if _, err := cmd.OutOrStdout().Write(answer); err != nil {
			return 1, err
		}
		return 0, nil
	}
	list := new(T)
	if err := json.Unmarshal(answer, list); err != nil {
		return 1, fmt.Errorf("the server's answer: %w", err)
	}
	write(printer(cmd), list)
	return 0, nil
}
