package soc2

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/apikey"
)

// apiKeyCommand makes a key for a program.
func apiKeyCommand() *cobra.Command {
	cmd := command("apikey ID", "Make an API key for a program",
		`Makes a key and prints it to standard error, once: it is kept nowhere. To standard
output goes the entry for the file of the option api_key of soc2_auth, which has
its hash. The file is a JSON list of such entries.

Exit status: 0 made; 2 wrong usage.`,
		cobra.ExactArgs(1), runAPIKey)
	flags := cmd.Flags()
	flags.StringSlice("role", nil, "role of the program; may be given several times")
	flags.StringArray("scope", nil, `what the key is for, such as "GET,HEAD /reports/*"; may be given several times`)
	flags.StringSlice("network", nil, "network that the program is in, such as 10.1.0.0/16; may be given several times")
	flags.String("for", "90d", "how long the key is good")
	return cmd
}

func runAPIKey(cmd *cobra.Command, args []string) (int, error) {
	text, _ := cmd.Flags().GetString("for")
	good, err := caddy.ParseDuration(text)
	if err != nil || good <= 0 {
		return 2, fmt.Errorf("--for %q: it is not a duration like 90d", text)
	}
	key, hash, err := apikey.New(args[0])
	if err != nil {
		return 2, fmt.Errorf("%q: %w", args[0], err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	entry := apikey.Key{ID: args[0], Hash: hash, NotBefore: now, Expires: now.Add(good)}
	entry.Roles, _ = cmd.Flags().GetStringSlice("role")
	entry.Scopes, _ = cmd.Flags().GetStringArray("scope")
	entry.Networks, _ = cmd.Flags().GetStringSlice("network")
	out, err := json.MarshalIndent(entry, "", "  ")
	if err != nil {
		return 2, err
	}
	if _, err := apikey.Parse([]byte("[" + string(out) + "]")); err != nil {
		return 2, err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), key)
	fmt.Fprintln(cmd.OutOrStdout(), string(out))
	return 0, nil
}
