package soc2

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/decision"
	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
)

func acceptCommand() *cobra.Command {
	cmd := deciding(command("accept CHECK --until WHEN --reason WHY --owner WHO --approved-by WHO", "Accept the risk of a check that does not pass, for a time",
		`Has the running server record that a risk is accepted, as a record review.exception.
The check goes on, and its result stays what it is: it says that it is accepted, by whom
and until when, and does not count as something to be done until then. At that time the
exception expires by itself. A newer one of the check takes the place of an older one.

Exceptions that belong to the configuration are written there: soc2 { checks { except … } }.

Exit status: 0 recorded, 1 not, 2 wrong usage.`,
		cobra.ExactArgs(1), runAccept))
	f := cmd.Flags()
	f.String("until", "", "when it expires: a time, a day (at its end, UTC) or a duration like 30d; at most 366 days")
	f.String("owner", "", "who bears the risk")
	f.String("approved-by", "", "who accepted it")
	cmd.AddCommand(acceptedCommand(), withdrawCommand())
	return cmd
}

func runAccept(cmd *cobra.Command, args []string) (int, error) {
	text := texts(cmd)
	a := &decision.Acceptance{
		By: text("by"), Check: args[0], Reason: text("reason"), Owner: text("owner"), ApprovedBy: text("approved-by"), Until: ending(text("until")), Ticket: text("ticket"),
	}
	if controls.Checks().Check(args[0]) == nil {
		return 2, fmt.Errorf("there is no check %q: caddy soc2 findings lists those that do not pass", args[0])
	}
	if err := a.Vet(time.Now()); err != nil {
		return 2, flagged(err)
	}
	return decide(cmd, http.MethodPost, "/exceptions", a)
}

func acceptedCommand() *cobra.Command {
	cmd := command("list", "List the accepted risks that records of the log have",
		`Lists the exceptions of the running server's log, newest first: in force, expired,
withdrawn, or superseded by a newer one of the check. Those of the configuration are not
among them: "caddy soc2 check" shows them with the checks.

Exit status: 0 listed, 1 the server could not be asked, 2 wrong usage.`,
		cobra.NoArgs, runAccepted)
	cmd.Flags().String("address", adminAddress, "address of the admin API: HOST:PORT, or unix//PATH")
	cmd.Flags().Bool("json", false, "print JSON")
	return cmd
}

func runAccepted(cmd *cobra.Command, _ []string) (int, error) {
	return show(cmd, "/exceptions", func(w io.Writer, list *checks.ExceptionList) {
		for i := range list.Exceptions {
			writeException(w, &list.Exceptions[i])
		}
		fmt.Fprintf(w, "%d exceptions, %d of them in force, as of %s\n", len(list.Exceptions), list.InForce, list.Time.Format(time.RFC3339))
	})
}

func writeException(w io.Writer, x *controls.AcceptedState) {
	fmt.Fprintf(w, "%d  %s  %s  until %s\n", x.Record, x.Check, x.State, x.Until.Format(time.RFC3339))
	fmt.Fprintf(w, "    owner %s, accepted by %s on %s: %s%s\n", printable(x.Owner), printable(x.Approver), x.From.Format(time.RFC3339), printable(x.Reason), ticketed(x.Ticket))
	if x.Withdrawn != nil {
		fmt.Fprintf(w, "    withdrawn %s by record %d: %s\n", x.Withdrawn.Time.Format(time.RFC3339), x.Withdrawn.Record, printable(x.Withdrawn.Reason))
	}
}

func withdrawCommand() *cobra.Command {
	return deciding(command("withdraw EXCEPTION --reason WHY", "Withdraw an accepted risk before it expires",
		`Has the running server record that an exception is withdrawn, with who does so and why.
EXCEPTION is the index of its record, which "caddy soc2 accept list" shows.

Exit status: 0 recorded, 1 not, 2 wrong usage.`,
		cobra.ExactArgs(1), runWithdraw))
}

func runWithdraw(cmd *cobra.Command, args []string) (int, error) {
	seq, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || seq <= 0 {
		return 2, fmt.Errorf("%q is not the index of a record: caddy soc2 accept list shows them", args[0])
	}
	text := texts(cmd)
	w := &decision.Withdrawal{By: text("by"), Reason: text("reason"), Ticket: text("ticket")}
	if err := w.Vet(); err != nil {
		return 2, flagged(err)
	}
	return decide(cmd, http.MethodDelete, "/exceptions/"+strconv.FormatInt(seq, 10), w)
}
