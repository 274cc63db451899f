package soc2

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/handlers/headers"
)

func headersCommand() *cobra.Command {
	cmd := command("headers URL", "Compare a response's headers with a profile",
		`Asks for the URL once and prints the security headers of the response beside those
of a profile, with what is missing, weaker or tells too much, and advice. Any site
will do, whatever serves it. Redirects are not followed.

  ok       as the profile wants it, or stronger
  missing  the profile adds it
  weaker   the profile changes it; the parts are listed
  leak     the profile removes it

Of cookies only the names are printed. The certificate of a server on this host is
not verified.

Exit status: 0 nothing found, 1 findings, 2 wrong usage, 3 there was no response.`,
		cobra.ExactArgs(1), runHeaders)
	cmd.Flags().String("profile", headers.Baseline, "profile to compare with: baseline, strict or api")
	cmd.Flags().Bool("json", false, "print the findings as JSON")
	cmd.Flags().Duration("timeout", 10*time.Second, "how long to wait for the response")
	cmd.Flags().Bool("insecure", false, "do not verify the server's certificate")
	return cmd
}

// The exit status of the command headers.
const (
	headersClean = iota
	headersFindings
	headersUsage
	headersNoResponse
)

// headersReport is what the command headers prints.
type headersReport struct {
	URL      string             `json:"url"`
	Profile  string             `json:"profile"`
	Status   int                `json:"status"`
	Protocol string             `json:"protocol"`
	TLS      string             `json:"tls,omitempty"`
	Findings int                `json:"findings"`
	Notes    []string           `json:"notes,omitempty"`
	Fields   []headers.Judgment `json:"fields"`
}

func runHeaders(cmd *cobra.Command, args []string) (int, error) {
	profile, _ := cmd.Flags().GetString("profile")
	if !headers.Known(profile) {
		return headersUsage, fmt.Errorf("--profile %q: there are %s, %s and %s", profile, headers.Baseline, headers.Strict, headers.API)
	}
	u, err := url.Parse(args[0])
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return headersUsage, fmt.Errorf("%q is not an http or https URL", args[0])
	}
	timeout, _ := cmd.Flags().GetDuration("timeout")
	insecure, _ := cmd.Flags().GetBool("insecure")
	ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
	defer cancel()
	report, err := examine(ctx, u, profile, insecure || onThisHost(u.Hostname()))
	if err != nil {
		return headersNoResponse, fmt.Errorf("asking %s: %w", u.Redacted(), err)
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		err = e.Encode(report)
	} else {
		err = report.print(cmd.OutOrStdout())
	}
	switch {
	case err != nil:
		return headersNoResponse, err
	case report.Findings > 0:
		return headersFindings, nil
	}
	return headersClean, nil
}

// foreignOrigin is an origin that no site knows: one that names it in
// Access-Control-Allow-Origin names any.
const foreignOrigin = "https://origin.invalid"

// examine asks for a response and compares it with a profile.
func examine(ctx context.Context, u *url.URL, profile string, insecure bool) (*headersReport, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Origin", foreignOrigin)
	req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	req.Header.Set("User-Agent", "caddy-soc2")
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: insecure}, //nolint:gosec // asked for, or loopback
	}
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // the caller names the URL
		}
		return nil, err
	}
	defer resp.Body.Close()
	return newHeadersReport(u, profile, resp), nil
}

func newHeadersReport(u *url.URL, profile string, resp *http.Response) *headersReport {
	r := &headersReport{URL: u.Redacted(), Profile: profile, Status: resp.StatusCode, Protocol: resp.Proto}
	if resp.TLS != nil {
		r.TLS = tls.VersionName(resp.TLS.Version)
	} else {
		r.Notes = append(r.Notes, "The response came over plaintext: what is for TLS, as Strict-Transport-Security and Secure cookies, was not compared.")
	}
	if to := resp.Header.Get("Location"); to != "" && resp.StatusCode/100 == 3 {
		r.Notes = append(r.Notes, fmt.Sprintf("It redirects to %s, which was not asked.", to))
	}
	r.Fields = headers.Examine(profile, headers.Observed{
		Host: u.Host, Origin: foreignOrigin, TLS: resp.TLS != nil, Status: resp.StatusCode, Header: resp.Header,
	})
	for _, f := range r.Fields {
		if f.State != headers.OK {
			r.Findings++
		}
	}
	return r
}

// print writes the report for people: all fields side by side, then the findings
// with their parts and advice.
func (r *headersReport) print(w io.Writer) error {
	over := r.Protocol
	if r.TLS != "" {
		over += " and " + r.TLS
	}
	fmt.Fprintf(w, "%s answered %d over %s\n", inLine(r.URL), r.Status, over)
	for _, note := range r.Notes {
		fmt.Fprintln(w, inLine(note))
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "STATE\tFIELD\tSENT\tPROFILE %s\n", strings.ToUpper(r.Profile))
	for _, f := range r.Fields {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.State, inLine(f.Field), short(strings.Join(f.Sent, " | ")), short(f.Profile))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	advised := ""
	for _, f := range r.Fields {
		if f.State == headers.OK {
			continue
		}
		fmt.Fprintf(w, "\n%s %s\n", inLine(f.Field), f.State)
		for _, part := range f.Details {
			fmt.Fprintf(w, "  - %s\n", inLine(part))
		}
		if f.Advice != advised {
			fmt.Fprintf(w, "  %s\n", f.Advice)
		}
		advised = f.Advice
	}
	_, err := fmt.Fprintf(w, "\n%d of %d compared fields differ from the profile %s.\n", r.Findings, len(r.Fields), r.Profile)
	return err
}

// shown is how many characters of a value fit beside another.
const shown = 48

func short(s string) string {
	switch s = inLine(s); {
	case s == "":
		return "-"
	case utf8.RuneCountInString(s) > shown:
		return string([]rune(s)[:shown-1]) + "…"
	}
	return s
}

// inLine makes what a server sent safe to print in a line.
func inLine(s string) string { return strings.ReplaceAll(plain(s), "\n", "?") }
