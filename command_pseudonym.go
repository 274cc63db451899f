package soc2

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit/personal"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// pseudonymCommand answers whether a value is in the log, to who has the keys.
func pseudonymCommand() *cobra.Command {
	cmd := command("pseudonym VALUE --member client_ip|peer|user", "Print the pseudonym of a value, to search the log for it",
		`Prints what stands for VALUE in the records of a period, one pseudonym a line, to
search the log or an export of it. It needs no server, makes no key and changes
nothing. There is no way from a pseudonym to its value but to try values.

--period names the period, such as 2026-11, --at a time in it. Without both there is a
line for each period whose key exists.

Exit status: 0 there is a pseudonym; 1 there is no key, or it was destroyed; 2 wrong
usage.`,
		cobra.ExactArgs(1), runPseudonym)
	flags := cmd.Flags()
	flags.String("member", "", "whose value it is: client_ip, peer or user")
	flags.String("period", "", "period, such as 2026-11-21, 2026-W47, 2026-11 or 2026-Q4")
	flags.String("at", "", "a time like 2026-11-21T12:00:00Z, instead of the period")
	flags.String("keys", filepath.Join(defaultDataDir(), keysFolder), "directory of keys, or a copy of it")
	flags.Bool("json", false, "print a JSON object a line, with member, period, from, to and pseudonym")
	return cmd
}

func runPseudonym(cmd *cobra.Command, args []string) (int, error) {
	short, _ := cmd.Flags().GetString("member")
	member := memberName(short)
	if member != personal.ClientIP && member != personal.Peer && member != personal.User {
		return 2, fmt.Errorf("--member %q: name client_ip, peer or user", short)
	}
	if member == personal.ClientIP && !isAddress(args[0]) || args[0] == "" {
		return 2, fmt.Errorf("%q is not the address of a client, such as 192.0.2.1", args[0])
	}
	keys, _ := cmd.Flags().GetString("keys")
	if info, err := os.Stat(keys); err != nil || !info.IsDir() {
		return 2, fmt.Errorf("%s is not a directory of keys: name the server's, or a copy of it, with --keys", keys)
	}
	periods, err := periodsOf(cmd, keys)
	if err != nil {
		return 2, err
	}
	if len(periods) == 0 {
		return 1, fmt.Errorf("%s has no key of pseudonyms for that time: no record of it has pseudonyms, its key was destroyed, or the keys are elsewhere (--keys)", keys)
	}
	asJSON, _ := cmd.Flags().GetBool("json")
	for _, p := range periods {
		text, err := personal.Lookup(durable.OS{}, keys, p.Name, member, args[0])
		if err != nil {
			return 1, err
		}
		if asJSON {
			line, err := json.Marshal(pseudonymLine{member, p.Name, p.From, p.To, text})
			if err != nil {
				return 1, err
			}
			text = string(line)
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
			return 1, err
		}
	}
	return 0, nil
}

// pseudonymLine is the answer in JSON.
type pseudonymLine struct {
	Member    string    `json:"member"`
	Period    string    `json:"period"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	Pseudonym string    `json:"pseudonym"`
}

// periodsOf are the periods that the flags name.
func periodsOf(cmd *cobra.Command, keys string) ([]personal.Period, error) {
	name, _ := cmd.Flags().GetString("period")
	text, _ := cmd.Flags().GetString("at")
	if name != "" && text != "" {
		return nil, errors.New("give --period or --at, not both")
	}
	if name != "" {
		p, err := personal.ParsePeriod(name)
		if err != nil {
			return nil, fmt.Errorf("--period: %w", err)
		}
		return []personal.Period{p}, nil
	}
	list, err := personal.Periods(durable.OS{}, keys)
	if err != nil || text == "" {
		return list, err
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return nil, fmt.Errorf("--at %q is not a time like 2026-11-21T12:00:00Z", text)
	}
	var within []personal.Period
	for _, p := range list {
		if !at.Before(p.From) && at.Before(p.To) {
			within = append(within, p)
		}
	}
	return within, nil
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}
