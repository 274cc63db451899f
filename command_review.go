package soc2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/evidence/review"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// reviewFormats are what a review can be written as.
var reviewFormats = map[string]func(*review.Document, io.Writer) error{
	"text": (*review.Document).Text, "csv": (*review.Document).CSV, "html": (*review.Document).HTML,
	"json": func(d *review.Document, w io.Writer) error {
		b, err := d.JSON()
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	},
}

func accessReviewCommand() *cobra.Command {
	cmd := dirFlag(command("review --from TIME --to TIME", "Review who could, who did, and who was refused",
		`Makes a review of access from the log in --dir, of the period from --from to before
--to, each a time like 2026-10-01T00:00:00Z or a day like 2026-10-01 (UTC): who could
(rules, and the principals that the configuration and its files name), who did, which
grants nobody used, who was refused and why, what shadow rules would have refused,
break-glass and lockouts, and what the review cannot know.

The log is only read, and may be open in a running server. The review stands on the
tree that its newest checkpoint signs, and names it: of one period, tree and
configuration it is always the same bytes. --size makes one again that stood on an
older tree. The log is not verified here: see "caddy soc2 verify".

The configuration is the one that the log says was in force at the end of the period,
read from the history beside it, or that of --config. Files of API keys, accounts and
roles that it names are read as they are now.

--format csv and html have what json has, text the beginnings of long lists. "sign"
signs the review in JSON; the rows of the table (csv) with their columns decision and
note filled in are what it takes as decisions.

Exit status: 0 made; 1 the log could not be read; 2 wrong usage, or a period that
cannot be reviewed.`,
		cobra.NoArgs, runAccessReview))
	f := cmd.Flags()
	f.String("from", "", "first moment of the period")
	f.String("to", "", "end of the period, which is not part of it")
	f.String("config", "", "configuration that says who could; default: the one that the log recorded")
	f.String("adapter", "", "format of the configuration, if it is not JSON and not a Caddyfile")
	f.Bool("no-config", false, "review without a configuration: who did, and who was refused")
	f.Bool("missing-files", false, "go on if a file that the configuration names is not there, and say so in the review")
	f.String("keys", "", "directory of keys, to find accounts behind pseudonyms; default: keys beside the log, if it is there")
	f.Int64("size", 0, "size of the tree to stand on; default: the newest that is signed")
	f.Bool("partial", false, "review a period of whose beginning retention removed records")
	f.Int("max-principals", review.DefaultPrincipals, "how many principals are listed; requests of others are counted")
	f.String("format", "text", "text, json, csv or html")
	f.Bool("json", false, "the same as --format json")
	f.String("out", "", "file to write; it is replaced if it exists; default: the standard output")
	cmd.AddCommand(reviewSignCommand(), reviewSignedCommand())
	return cmd
}

func runAccessReview(cmd *cobra.Command, _ []string) (int, error) {
	format, _ := cmd.Flags().GetString("format")
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		format = "json"
	}
	write := reviewFormats[format]
	if write == nil {
		return 2, fmt.Errorf("--format %q: choose text, json, csv or html", format)
	}
	o, err := reviewOptions(cmd)
	if err != nil {
		return 2, err
	}
	dir, err := recordsOf(dirOf(cmd))
	if err != nil {
		return 1, err
	}
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	grants, err := reviewedGrants(cmd, dir, dirOf(cmd), o)
	if err != nil {
		return 2, err
	}
	d, err := review.Make(ctx, dir, grants, *o)
	if errors.Is(err, review.ErrPeriod) || errors.Is(err, review.ErrNoData) {
		return 2, err
	}
	if err != nil {
		return 1, err
	}
	if err := writeReview(cmd, d, write); err != nil {
		return 1, err
	}
	return 0, nil
}

func reviewOptions(cmd *cobra.Command) (*review.Options, error) {
	o := new(review.Options)
	var err error
	if o.Period.From, err = moment(cmd, "from"); err != nil {
		return nil, err
	}
	if o.Period.To, err = moment(cmd, "to"); err != nil {
		return nil, err
	}
	o.Size, _ = cmd.Flags().GetInt64("size")
	o.Partial, _ = cmd.Flags().GetBool("partial")
	o.Principals, _ = cmd.Flags().GetInt("max-principals")
	if o.Size < 0 || o.Principals < 1 {
		return nil, errors.New("--size cannot be negative, and --max-principals is at least 1")
	}
	return o, nil
}

// writeReview writes a review to where the flags say, and tells the hash that a
// sign-off of it has.
func writeReview(cmd *cobra.Command, d *review.Document, write func(*review.Document, io.Writer) error) error {
	canonical, err := d.JSON()
	if err != nil {
		return err
	}
	if name, _ := cmd.Flags().GetString("out"); name != "" {
		var b bytes.Buffer
		if err := write(d, &b); err != nil {
			return err
		}
		if err := durable.WriteFile(durable.OS{}, name, b.Bytes()); err != nil {
			return err
		}
	} else {
		var b bytes.Buffer
		if err := write(d, &b); err != nil {
			return err
		}
		if _, err := printer(cmd).Write(b.Bytes()); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(cmd.ErrOrStderr(), "review of %d records of %s, tree of %d; SHA-256 of its JSON %s\n", d.Log.Records, d.Log.Origin, d.Log.Size, review.Hash(canonical))
	return err
}

func reviewSignCommand() *cobra.Command {
	cmd := ordering(command("sign REVIEW.json --decisions FILE --by WHO --reason WHY", "Sign a review, with a decision on each grant",
		`Sends the decisions on a review, which is a file in JSON as "review --json" writes it,
to the running server whose log was reviewed. The server checks that the review stands
on a tree of its log, and writes the sign-off as records access.review: who signs, as
stated and as far as the admin API knows who called, the SHA-256 of the review, and
each decision. The records are on disk when the command ends.

--decisions is a JSON list of {"grant", "decision", "note"}, or the table that
"review --format csv" writes with its columns decision and note filled in. A decision
is keep, revoke or change; the last two need a note. All grants of the review need
one, unless --rest keep is given. Nothing is revoked or changed by it.

Exit status: 0 signed; 1 not; 2 wrong usage, or decisions that are not complete.`,
		cobra.ExactArgs(1), runReviewSign))
	f := cmd.Flags()
	f.String("decisions", "", "file with the decisions, or - for the standard input")
	f.String("rest", "", "keep: what is decided on grants that have no decision")
	f.String("ticket", "", "ticket of the review")
	return cmd
}

func runReviewSign(cmd *cobra.Command, args []string) (int, error) {
	document, err := os.ReadFile(args[0])
	if err != nil {
		return 2, err
	}
	name, _ := cmd.Flags().GetString("decisions")
	rest, _ := cmd.Flags().GetString("rest")
	ticket, _ := cmd.Flags().GetString("ticket")
	var list []review.Decision
	if name != "" {
		b, err := readAll(cmd.InOrStdin(), name)
		if err != nil {
			return 2, fmt.Errorf("--decisions: %w", err)
		}
		if list, err = review.ParseDecisions(b); err != nil {
			return 2, fmt.Errorf("--decisions: %w", err)
		}
	} else if rest == "" {
		return 2, errors.New("--decisions is needed, a file with a decision on each grant, or --rest keep")
	}
	o := orderOf(cmd)
	s, err := review.NewSignOff(document, list, rest, o.By, o.Reason, ticket)
	if err != nil {
		return 2, fmt.Errorf("%s: %w", args[0], err)
	}
	body, err := json.Marshal(s)
	if err != nil {
		return 1, err
	}
	return call(cmd, http.MethodPost, "/access/reviews", body)
}

func readAll(stdin io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}

func reviewSignedCommand() *cobra.Command {
	cmd := dirFlag(command("signed REVIEW.json", "List the sign-offs of a review that a log has",
		`Finds the records access.review of a review, which is a file in JSON, by its SHA-256
in the log of --dir, and prints who signed it, when, what was decided, and the indexes of
the records, which "caddy soc2 show INDEX --proof" proves. It needs no server.

Exit status: 0 a whole sign-off is there; 1 there is none; 2 wrong usage.`,
		cobra.ExactArgs(1), runReviewSigned))
	cmd.Flags().Bool("json", false, "print JSON, with each decision")
	return cmd
}

func runReviewSigned(cmd *cobra.Command, args []string) (int, error) {
	document, err := os.ReadFile(args[0])
	if err != nil {
		return 2, err
	}
	if _, err := review.Parse(document); err != nil {
		return 2, fmt.Errorf("%s: %w", args[0], err)
	}
	dir, err := recordsOf(dirOf(cmd))
	if err != nil {
		return 2, err
	}
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	list, err := review.Signatures(ctx, dir, document)
	if err != nil {
		return 1, err
	}
	var b strings.Builder
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		err = e.Encode(list)
	} else {
		err = review.SignedText(&b, list)
	}
	if err != nil {
		return 1, err
	}
	if _, err := io.WriteString(printer(cmd), b.String()); err != nil {
		return 1, err
	}
	for i := range list {
		if list[i].Whole {
			return 0, nil
		}
	}
	return 1, fmt.Errorf("no whole sign-off of the review %s is in the log", review.Hash(document))
}
