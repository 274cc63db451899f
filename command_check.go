package soc2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

func checkCommand() *cobra.Command {
	cmd := command("check [--config FILE [--adapter NAME] | --address ADDR]", "Make the checks of controls, on a configuration or on the running server",
		`Makes the checks of the catalogue (docs/controls.md) and prints what they found.

With --config it looks at a configuration without a server: a Caddyfile, or JSON. What
only a running server can tell is unknown then, and says so. Thresholds and exceptions
are those of its option soc2 { checks { … } }.

Without --config the running server makes the checks now, and is asked for the results
by its admin API, at --address: HOST:PORT, or unix//PATH.

With --format sarif the results that do not pass are printed as SARIF 2.1.0, for views
of code scanning.

Exit status: 0 nothing to be done, 1 a check of the severity --fail-on or worse fails
(on a running server: or is unknown) and has no exception, 2 wrong usage, 3 the checks
could not be made.`,
		cobra.NoArgs, runCheck)
	f := cmd.Flags()
	f.StringP("config", "c", "", "configuration to look at, - for the standard input")
	f.StringP("adapter", "a", "", "its format; default: caddyfile for a name that begins with Caddyfile or ends with .caddyfile, else JSON")
	f.String("address", adminAddress, "address of the admin API")
	f.String("format", "text", "text, json or sarif")
	f.String("fail-on", "high", "critical, high, medium, low, or never")
	return cmd
}

const (
	exitFindings = 1
	exitUsage    = 2
	exitCannot   = 3
)

func runCheck(cmd *cobra.Command, _ []string) (int, error) {
	f := cmd.Flags()
	file, _ := f.GetString("config")
	adapter, _ := f.GetString("adapter")
	format, _ := f.GetString("format")
	failOn, _ := f.GetString("fail-on")
	severities := controls.Severities()
	switch {
	case !slices.Contains([]string{"text", "json", "sarif"}, format):
		return exitUsage, fmt.Errorf("--format %q: choose text, json or sarif", format)
	case failOn != "never" && !slices.Contains(severities, controls.Severity(failOn)):
		return exitUsage, fmt.Errorf("--fail-on %q: choose critical, high, medium, low or never", failOn)
	case file != "" && f.Changed("address"):
		return exitUsage, errors.New("give --config, a configuration, or --address, a running server: one of them")
	case file == "" && adapter != "":
		return exitUsage, errors.New("--adapter is for --config")
	}
	var report *controls.Report
	var err error
	if file != "" {
		report, err = checkConfig(cmd.InOrStdin(), file, adapter)
	} else {
		report, err = checkServer(cmd)
	}
	if err != nil {
		return exitCannot, err
	}
	if err := printReport(cmd.OutOrStdout(), report, format, file); err != nil {
		return exitCannot, err
	}
	if failOn != "never" && report.Worse(controls.Severity(failOn)) {
		return exitFindings, nil
	}
	return 0, nil
}

func printReport(w io.Writer, r *controls.Report, format, file string) error {
	switch format {
	case "json":
		return r.WriteJSON(w)
	case "sarif":
		return r.WriteSARIF(w, relative(file))
	}
	if isTerminal(w) {
		w = plainWriter{w}
	}
	return r.WriteText(w)
}

// relative names a file as seen from the working directory, if it is below it.
func relative(file string) string {
	if file == "-" {
		return ""
	}
	here, err := os.Getwd()
	if err != nil || !filepath.IsAbs(file) {
		return file
	}
	if rel, err := filepath.Rel(here, file); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return file
}

// checkConfig makes the checks on a configuration.
func checkConfig(stdin io.Reader, file, adapter string) (*controls.Report, error) {
	doc, err := parseConfig(stdin, file, adapter)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	settings, err := settingsIn(doc, now)
	if err != nil {
		return nil, err
	}
	s := &controls.Snapshot{Time: now, Config: doc, AdminDefault: caddy.DefaultAdminListen}
	return controls.Run(s, settings), nil
}

// parseConfig reads a configuration.
func parseConfig(stdin io.Reader, file, adapter string) (any, error) {
	b, err := readConfig(stdin, file, adapter)
	if err != nil {
		return nil, err
	}
	doc, err := jsonpatch.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("--config %s is no JSON: %w: if it is a Caddyfile give --adapter caddyfile", file, err)
	}
	if _, ok := doc.(map[string]any); !ok {
		return nil, fmt.Errorf("--config %s is no configuration: it is not a JSON object", file)
	}
	return doc, nil
}

// settingsIn reads the settings of the checks in a configuration.
func settingsIn(doc any, now time.Time) (*controls.Settings, error) {
	var c struct {
		Apps struct {
			SOC2 struct {
				Checks controls.Settings `json:"checks"`
			} `json:"soc2"`
		} `json:"apps"`
	}
	b, err := jsonpatch.Canonical(doc)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	var mistyped *json.UnmarshalTypeError
	if err != nil && (!errors.As(err, &mistyped) || strings.Contains(mistyped.Field, "checks")) {
		return nil, fmt.Errorf("soc2 checks: %w", err)
	}
	s := &c.Apps.SOC2.Checks
	if err := s.Validate(now); err != nil {
		return nil, fmt.Errorf("soc2 checks: %w", err)
	}
	return s, nil
}

// maxReport is the largest report that is read, in bytes.
const maxReport = 16 << 20

// checkServer has the running server make the checks.
func checkServer(cmd *cobra.Command) (*controls.Report, error) {
	b, err := ask(cmd, http.MethodPost, "/checks/run")
	if err != nil {
		return nil, err
	}
	r := new(controls.Report)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("the server's answer: %w", err)
	}
	for _, d := range controls.Checks().Checks {
		if r.Check(d.ID) == nil {
			return nil, fmt.Errorf("the server is of another version: it has no check %s", d.ID)
		}
	}
	return r, nil
}

// ask asks the admin API, also one on a Unix socket, and returns its answer.
func ask(cmd *cobra.Command, method, path string) ([]byte, error) {
	address, _ := cmd.Flags().GetString("address")
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
	defer cancel()
	resp, err := askAdmin(ctx, address, method, path, nil)
	if err != nil {
		return nil, fmt.Errorf("asking the running server: %w: start it, name its admin API with --address, or a configuration with --config", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReport))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		var p struct{ Detail, Error string }
		if json.Unmarshal(b, &p) != nil || p.Detail+p.Error == "" {
			p.Detail = strings.TrimSpace(string(b))
		}
		return nil, fmt.Errorf("%s: %s%s", resp.Status, p.Detail, p.Error)
	}
	return b, nil
}

func explainCommand() *cobra.Command {
	return command("explain CHECK|CRITERION", "Explain a check or a criterion",
		"Prints what a check looks at, why, its thresholds and what to do when it fails; or what\nis collected for a criterion.",
		cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) (int, error) {
			w := cmd.OutOrStdout()
			if d := controls.Checks().Check(args[0]); d != nil {
				return 0, d.Write(w)
			}
			if c := controls.Criteria().Criterion(args[0]); c != nil {
				return 0, c.Write(w)
			}
			return exitUsage, fmt.Errorf("%q is neither a check, such as TLS-001, nor a criterion, such as CC6.1", args[0])
		})
}

func criteriaCommand() *cobra.Command {
	cmd := command("criteria [--config FILE | --live]", "Print for each criterion what is collected, and what is not assessed",
		`Prints the Trust Services Criteria by their ids, in this project's own words: how strong
the evidence of an edge proxy is for each, what is collected, which checks have to do with it,
and what is not assessed. With --config or --live it says too which of them have exceptions
or no data. It is no verdict on any criterion.`,
		cobra.NoArgs, runCriteria)
	f := cmd.Flags()
	f.StringP("config", "c", "", "configuration to look at, - for the standard input")
	f.StringP("adapter", "a", "", "its format, as for check")
	f.Bool("live", false, "look at the running server")
	f.String("address", adminAddress, "address of the admin API")
	f.Bool("json", false, "print it for machines")
	return cmd
}

func runCriteria(cmd *cobra.Command, _ []string) (int, error) {
	f := cmd.Flags()
	file, _ := f.GetString("config")
	adapter, _ := f.GetString("adapter")
	live, _ := f.GetBool("live")
	var report *controls.Report
	var err error
	switch {
	case file != "" && live:
		return exitUsage, errors.New("give --config or --live: one of them")
	case file != "":
		report, err = checkConfig(cmd.InOrStdin(), file, adapter)
	case live:
		report, err = checkServer(cmd)
	}
	if err != nil {
		return exitCannot, err
	}
	list := controls.Criteria().States(report)
	if asJSON, _ := f.GetBool("json"); asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		err = e.Encode(map[string]any{"notice": controls.Notice, "basis": controls.Criteria().Basis, "version": controls.Criteria().Version, "sha256": controls.Criteria().SHA256, "criteria": list})
	} else {
		err = controls.WriteCriteria(cmd.OutOrStdout(), list)
	}
	if err != nil {
		return exitCannot, err
	}
	return 0, nil
}
