package soc2

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/handlers/access"
	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

func accessCommand() *cobra.Command {
	cmd := command("access", "Try the rules of access control, and review who used them", "", cobra.NoArgs, func(cmd *cobra.Command, _ []string) (int, error) {
		return 0, cmd.Help()
	})
	cmd.AddCommand(accessTestCommand(), accessReviewCommand())
	return cmd
}

func accessTestCommand() *cobra.Command {
	cmd := command("test --config FILE [METHOD] PATH", "Explain which rule decides on a request, and why",
		`Asks the policy of soc2_access in the configuration about a request that is made
up, rule by rule. No server has to run, and nobody is asked. What authentication
would make of credentials is not tried: the flags say who the principal is.

Exit status: 0 the request is allowed, 1 it is refused, 2 wrong usage or a policy
that is not valid. A policy in shadow mode refuses nothing: 0.`,
		cobra.RangeArgs(1, 2), runAccessTest)
	f := cmd.Flags()
	f.String("config", "", "configuration with the policy")
	f.String("adapter", "", "format of the configuration, if it is not JSON and not a Caddyfile")
	f.String("policy", "", "name of the policy, if there are several")
	f.String("as", "", "principal; none: not authenticated")
	f.StringSlice("role", nil, "role of the principal, or SOURCE:ROLE; may be repeated")
	f.StringArray("claim", nil, "claim of the principal, NAME=VALUE; may be repeated")
	f.String("auth-method", "", "how the principal was authenticated, like oidc")
	f.Bool("mfa", false, "it was authenticated by more than one factor")
	f.Duration("token-age", -1, "how long ago its credential was issued; default: not known")
	f.String("ip", "", "address of the client")
	f.String("host", "", "host that the request is for")
	f.StringArray("header", nil, `field of the request, "NAME: VALUE"; may be repeated`)
	f.String("at", "", "time of the request, like 2026-11-21T08:00:00Z; default: now")
	f.Bool("json", false, "print the result as JSON")
	return cmd
}

func runAccessTest(cmd *cobra.Command, args []string) (int, error) {
	trial, err := trialOf(cmd, args)
	if err != nil {
		return 2, err
	}
	list, err := policiesOf(cmd, trial.Host)
	if err != nil {
		return 2, err
	}
	var outcomes []*access.Outcome
	for _, h := range list {
		o, err := h.Try(trial)
		if err != nil {
			return 2, err
		}
		o.Site = strings.Join(h.Site, " ")
		outcomes = append(outcomes, o)
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		err = e.Encode(outcomes)
	} else {
		printOutcomes(cmd.OutOrStdout(), outcomes)
	}
	if slices.ContainsFunc(outcomes, func(o *access.Outcome) bool { return o.Outcome == "deny" }) {
		return 1, err
	}
	return 0, err
}

func trialOf(cmd *cobra.Command, args []string) (*access.Trial, error) {
	f := cmd.Flags()
	t := &access.Trial{Target: args[len(args)-1], Claims: map[string]string{}, Header: http.Header{}}
	if len(args) == 2 {
		t.Method = args[0]
	}
	t.User, _ = f.GetString("as")
	t.Roles, _ = f.GetStringSlice("role")
	t.How, _ = f.GetString("auth-method")
	t.MFA, _ = f.GetBool("mfa")
	t.Age, _ = f.GetDuration("token-age")
	t.IP, _ = f.GetString("ip")
	t.Host, _ = f.GetString("host")
	claims, _ := f.GetStringArray("claim")
	for _, s := range claims {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--claim %q: write NAME=VALUE", s)
		}
		t.Claims[name] = value
	}
	headers, _ := f.GetStringArray("header")
	for _, s := range headers {
		name, value, ok := strings.Cut(s, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("--header %q: write NAME: VALUE", s)
		}
		t.Header.Add(name, strings.TrimSpace(value))
	}
	at, _ := f.GetString("at")
	if at == "" {
		return t, nil
	}
	var err error
	if t.Now, err = time.Parse(time.RFC3339, at); err != nil {
		return nil, fmt.Errorf("--at %q: it is not a time like 2026-11-21T08:00:00Z", at)
	}
	return t, nil
}

// policiesOf finds the handlers that the command is about: those of the policy
// and of the host that are named, else all.
func policiesOf(cmd *cobra.Command, host string) ([]access.Placed, error) {
	file, _ := cmd.Flags().GetString("config")
	adapter, _ := cmd.Flags().GetString("adapter")
	name, _ := cmd.Flags().GetString("policy")
	if file == "" {
		return nil, errors.New("give --config, a file with the policy")
	}
	config, err := readConfig(cmd.InOrStdin(), file, adapter)
	if err != nil {
		return nil, err
	}
	all, err := access.Find(caddy.RemoveMetaFields(config))
	if err != nil {
		return nil, err
	}
	var list []access.Placed
	for _, h := range all {
		named := h.Name == name || h.Name == "" && name == "default"
		if (name == "" || named) && (host == "" || len(h.Site) == 0 || slices.Contains(h.Site, host)) {
			if err := secret.Fill(h.Handler); err != nil { // as Provision does
				return nil, fmt.Errorf("soc2_access: %w", err)
			}
			list = append(list, h)
		}
	}
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("%s has no soc2_access", file)
	case len(list) == 0:
		return nil, fmt.Errorf("%s has no soc2_access with this name or for this host", file)
	}
	return list, nil
}

func printOutcomes(w io.Writer, list []*access.Outcome) {
	for i, o := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		for _, s := range o.Warnings {
			fmt.Fprintln(w, "warning:", s)
		}
		fmt.Fprintf(w, "%s   policy %s (%s, %s)", strings.ToUpper(o.Outcome), o.Policy, o.Mode, o.Hash)
		if o.Site != "" {
			fmt.Fprintf(w, "   site %s", o.Site)
		}
		fmt.Fprintf(w, "\nrule     %s\nreason   %s\n", orNone(o.Rule), o.Reason)
		if o.Shadow != "" {
			fmt.Fprintf(w, "shadow   rule %s would refuse it\n", o.Shadow)
		}
		for _, r := range o.Readings {
			fmt.Fprintf(w, "\nread as  %s %s\n", r.Method, r.Path)
			for _, s := range r.Steps {
				printStep(w, s.Rule, s.Effect, s.Matches, s.Shadow, s.Why)
			}
		}
	}
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

func printStep(w io.Writer, rule, effect string, matches, shadow bool, why string) {
	mark, text := "  -", "does not match"
	if matches {
		mark, text = "  *", "matches"
	}
	if why != "" {
		text += ": " + why
	}
	if shadow {
		effect += ", in shadow"
	}
	fmt.Fprintf(w, "%s %s (%s) %s\n", mark, rule, effect, text)
}
