package soc2

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "soc2",
		Usage: "<command>",
		Short: "Edge proxy with evidence: audit log, security headers, verification",
		Long: `
Runs a proxy that keeps a tamper-evident record of each request, and works with
the log that it leaves. The log is verified offline by anyone who has its
verifier key; it is evidence for an auditor, not an attestation.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(proxyCommand(), verifyCommand(), showCommand(), tailCommand(),
				exportCommand(), populationsCommand(), sampleCommand(), reconcileCommand(), limitCommand(), openCommand(), pseudonymCommand(), apiKeyCommand(), keyCommand(), forgetCommand(), holdCommand(),
				healthcheckCommand(), boundaryCommand(), upstreamsCommand(), headersCommand(),
				accessCommand(), reportCommand(), packCommand(), checkCommand(), explainCommand(), criteriaCommand(),
				findingsCommand(), triageCommand(), acceptCommand(), drillCommand(),
				dockerfileCommand(), sbomCommand())
		},
	})
}

// command makes a subcommand that exits with the code that run returns. An
// error is printed in one line.
func command(use, short, long string, args cobra.PositionalArgs, run func(cmd *cobra.Command, args []string) (int, error)) *cobra.Command {
	exit := func(cmd *cobra.Command, code int, err error) {
		if err != nil {
			fmt.Fprintln(cmd.ErrOrStderr(), "Error: "+strings.ReplaceAll(err.Error(), "\n", "; "))
			code = max(code, 1)
		}
		if code != 0 {
			os.Exit(code)
		}
	}
	usage := func(cmd *cobra.Command, err error) error {
		exit(cmd, verify.ExitUsage, fmt.Errorf("%w: see %s --help", err, cmd.CommandPath()))
		return nil // not reached
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: func(cmd *cobra.Command, list []string) error {
			if err := args(cmd, list); err != nil {
				return usage(cmd, err)
			}
			return nil
		},
		Run: func(cmd *cobra.Command, args []string) {
			code, err := run(cmd, args)
			exit(cmd, code, err)
		},
	}
	cmd.SetFlagErrorFunc(usage)
	return cmd
}

// logDir is the log that a command works on.
func logDir(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return filepath.Join(defaultDataDir(), logFolder)
}

// dirFlag adds --dir to commands whose argument is something else.
func dirFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().String("dir", logDir(nil), "directory of the log")
	return cmd
}

func dirOf(cmd *cobra.Command) string {
	dir, _ := cmd.Flags().GetString("dir")
	return dir
}

// recordsOf opens the records of a log for reading.
func recordsOf(dir string) (records.Dir, error) {
	if inside := records.Inside(dir); inside != "" {
		return records.Dir{}, fmt.Errorf("%s is not an audit log: did you mean %s?", dir, inside)
	}
	if _, err := os.Stat(filepath.Join(dir, records.Folder)); err != nil {
		return records.Dir{}, fmt.Errorf("%s is not an audit log: %w: name its directory with --dir", dir, err)
	}
	return records.Dir{FS: os.DirFS(dir), Index: new(records.Index)}, nil
}

func verifyCommand() *cobra.Command {
	cmd := command("verify [DIR|PACK]", "Verify an audit log, or an evidence pack, offline",
		`With a pack it verifies all that it says: see soc2-verify. Otherwise it verifies that the checkpoint of the log in DIR is signed by the key, and that the
records, hash tiles and segments are all there and are what the checkpoint signs.

Without --key it takes the key of this host, keys/log.key beside DIR. An auditor
uses a key that came another way, and the command soc2-verify.

Exit status: 0 verified, 1 evidence of tampering or gaps, 2 wrong usage,
3 the verification could not be made.`,
		cobra.MaximumNArgs(1), runVerify)
	cmd.Flags().StringArray("key", nil, "verifier key, NAME+HASH+KEY, or a file with it; a retired one with @N, the log.open record that retired it; may be repeated")
	cmd.Flags().StringArray("checkpoint", nil, "file with a checkpoint that was kept, with which the log must be consistent; may be repeated")
	cmd.Flags().String("state", "", "file that keeps how far the log was verified, to go on from there and to find a log that was put back")
	cmd.Flags().Bool("full", false, "read all of the log again, in spite of the state")
	cmd.Flags().StringArray("witness", nil, "verifier key of a witness, which must have cosigned the log; may be repeated")
	cmd.Flags().String("timestamp-roots", "", "file with root certificates (PEM) of time-stamping authorities")
	cmd.Flags().Bool("json", false, "print the report as JSON")
	return cmd
}

func runVerify(cmd *cobra.Command, args []string) (int, error) {
	dir := logDir(args)
	if inside := records.Inside(dir); inside != "" {
		return verify.ExitUsage, fmt.Errorf("%s is not an audit log: did you mean %s?", dir, inside)
	}
	list, _ := cmd.Flags().GetStringArray("key")
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return verifyPack(cmd, dir, list)
	}
	if len(list) == 0 {
		name := filepath.Join(filepath.Dir(filepath.Clean(dir)), filepath.FromSlash(keyFile))
		key, err := audit.LoadKey(name)
		if err != nil {
			return verify.ExitUsage, fmt.Errorf("no --key is given, and the key of this host cannot be used: %w", err)
		}
		list = []string{key.Public()}
	}
	keys, err := verify.Keys(list)
	if err != nil {
		return verify.ExitUsage, err
	}
	asJSON, _ := cmd.Flags().GetBool("json")
	checkpoints, _ := cmd.Flags().GetStringArray("checkpoint")
	witnesses, _ := cmd.Flags().GetStringArray("witness")
	roots, _ := cmd.Flags().GetString("timestamp-roots")
	outsiders, err := verify.NewOutsiders(keys, witnesses, roots)
	if err != nil {
		return verify.ExitUsage, err
	}
	state, _ := cmd.Flags().GetString("state")
	full, _ := cmd.Flags().GetBool("full")
	return verify.Command{
		Dir: dir, Keys: keys, JSON: asJSON, Checkpoints: checkpoints, State: state, Full: full,
		Outsiders: outsiders, Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(),
	}.Run(), nil
}

func healthcheckCommand() *cobra.Command {
	cmd := command("healthcheck", "Ask a running server whether it can keep records",
		"Exits with 0 if the server at the URL answers 200, and with 1 if it does not. The\ndefault asks the admin API whether the audit log takes records. Of a server on this\nhost the certificate is not verified.",
		cobra.NoArgs, runHealthcheck)
	cmd.Flags().String("url", "http://localhost:2019/soc2/v1/healthz", "what to ask")
	cmd.Flags().String("address", "", "ask the admin API at this address instead: HOST:PORT, or unix//PATH")
	cmd.Flags().Duration("timeout", 3*time.Second, "how long to wait")
	return cmd
}

func runHealthcheck(cmd *cobra.Command, _ []string) (int, error) {
	target, _ := cmd.Flags().GetString("url")
	address, _ := cmd.Flags().GetString("address")
	timeout, _ := cmd.Flags().GetDuration("timeout")
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return 2, fmt.Errorf("--url %q is not an http or https URL", target)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
	defer cancel()
	resp, err := askHealth(ctx, address, u)
	if err != nil {
		return 1, fmt.Errorf("unhealthy: %w", err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != http.StatusOK {
		return 1, fmt.Errorf("unhealthy: %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "healthy")
	return 0, err
}

// askHealth asks the admin API at an address, or, without one, what is at a URL.
func askHealth(ctx context.Context, address string, u *url.URL) (*http.Response, error) {
	if address != "" {
		return askAdmin(ctx, address, http.MethodGet, "/healthz", nil)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if onThisHost(u.Hostname()) { // an admin API with enforce_origin asks for it
		req.Header.Set("Origin", u.Scheme+"://"+u.Host)
	}
	client := http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: onThisHost(u.Hostname())}, //nolint:gosec // loopback only: the internal CA is not in the container's store
	}}
	return client.Do(req)
}

func onThisHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
