package soc2

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/handlers/evidence"
)

// forgetCommand destroys keys. It asks the running server, which has them.
func forgetCommand() *cobra.Command {
	cmd := ordering(command("forget --subject USER --by WHO --reason WHY | --period PERIOD --what pseudonyms|personal …",
		"Destroy the keys of a user, or of a period",
		`Destroys the keys under which the running server sealed what its records say of a
user, so that nobody can read it any more, or those of the pseudonyms of a period, or
of what was sealed on a day. The records stay, and the log still verifies. Copies of
the keys in backups are not reached. The log records who ordered it and why.`,
		cobra.NoArgs, func(cmd *cobra.Command, _ []string) (int, error) {
			o := orderOf(cmd)
			o.Subject, _ = cmd.Flags().GetString("subject")
			o.Period, _ = cmd.Flags().GetString("period")
			o.What, _ = cmd.Flags().GetString("what")
			if (o.Subject == "") == (o.Period == "") {
				return 2, errors.New("--subject is needed, or --period and --what: one of them")
			}
			if o.Subject != "" {
				return order(cmd, "/forget", o)
			}
			return order(cmd, "/destroy", o)
		}))
	cmd.Flags().String("subject", "", "user to forget, as the records name the user")
	cmd.Flags().String("period", "", "period of pseudonyms, such as 2026-11, or day of sealed members")
	cmd.Flags().String("what", "", "keys of the period: pseudonyms or personal")
	return cmd
}

// holdCommand sets and releases legal holds.
func holdCommand() *cobra.Command {
	set := ordering(command("set NAME", "Set a legal hold",
		"Sets a legal hold: until it is released the running server removes no records and\ndestroys no keys of the times that it covers, by default all.",
		cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) (int, error) {
			o := orderOf(cmd)
			o.Name = args[0]
			for name, to := range map[string]*time.Time{"from": &o.From, "to": &o.To} {
				text, _ := cmd.Flags().GetString(name)
				if text == "" {
					continue
				}
				t, err := time.Parse(time.RFC3339, text)
				if err != nil {
					return 2, fmt.Errorf("--%s %q is not a time like 2026-01-31T00:00:00Z", name, text)
				}
				*to = t
			}
			return order(cmd, "/holds", o)
		}))
	set.Flags().String("from", "", "first time of the records that are held; default: from the beginning")
	set.Flags().String("to", "", "first time after them; default: for all times to come")
	release := ordering(command("release NAME", "Release a legal hold", "Releases a legal hold.",
		cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) (int, error) {
			o := orderOf(cmd)
			o.Name = args[0]
			return order(cmd, "/holds/release", o)
		}))
	list := command("list", "List legal holds", "Lists the legal holds, also those that were released.",
		cobra.NoArgs, func(cmd *cobra.Command, _ []string) (int, error) {
			return call(cmd, http.MethodGet, "/holds", nil)
		})
	list.Flags().String("address", adminAddress, "address of the admin API")
	parent := &cobra.Command{Use: "hold", Short: "Set, release or list legal holds"}
	parent.AddCommand(set, release, list)
	return parent
}

// adminAddress is where Caddy's admin API is unless it is configured elsewhere.
const adminAddress = "localhost:2019"

// ordering adds the flags of a command that orders something.
func ordering(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().String("address", adminAddress, "address of the admin API: HOST:PORT, or unix//PATH")
	cmd.Flags().String("by", os.Getenv("USER"), "who orders it; default: $USER")
	cmd.Flags().String("reason", "", "why")
	return cmd
}

func orderOf(cmd *cobra.Command) (o evidence.Order) {
	o.By, _ = cmd.Flags().GetString("by")
	o.Reason, _ = cmd.Flags().GetString("reason")
	return o
}

func order(cmd *cobra.Command, path string, o evidence.Order) (int, error) {
	if o.By == "" || o.Reason == "" {
		return 2, errors.New("--by and --reason are needed: the log records who ordered it and why")
	}
	body, err := json.Marshal(o)
	if err != nil {
		return 1, err
	}
	return call(cmd, http.MethodPost, path, body)
}

// maxAnswer is the most of an answer that is read.
const maxAnswer = 1 << 20

// call asks the admin API and prints its answer.
func call(cmd *cobra.Command, method, path string, body []byte) (int, error) {
	address, _ := cmd.Flags().GetString("address")
	resp, err := askAdmin(cmd.Context(), address, method, path, body)
	if err != nil {
		return 1, fmt.Errorf("asking the running server: %w: start it, or name its admin API with --address", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 1, err
	}
	if resp.StatusCode != http.StatusOK {
		var p struct{ Detail string }
		if json.Unmarshal(answer, &p) != nil || p.Detail == "" {
			p.Detail = strings.TrimSpace(string(answer))
		}
		return 1, fmt.Errorf("%s: %s", resp.Status, p.Detail)
	}
	_, err = cmd.OutOrStdout().Write(answer)
	return 0, err
}
