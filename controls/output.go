package controls

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// severityRank orders severities, the worst first.
func severityRank(s Severity) int { return slices.Index(Severities(), s) }

// Worse reports whether the report has a check of a severity, or of a worse one,
// with something to be done: it fails, and no exception is in force. Checks that
// are unknown count on a running server, and not on a configuration alone.
func (r *Report) Worse(than Severity) bool {
	return slices.ContainsFunc(r.Checks, func(f Finding) bool {
		return f.Open() && severityRank(f.Severity) <= severityRank(than) && (f.Result == Fail || r.Source == SourceServer)
	})
}

// sorted returns the results, what is to be done first.
func (r *Report) sorted() []Finding {
	list := slices.Clone(r.Checks)
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(Results(), a.Result), slices.Index(Results(), b.Result)),
			cmp.Compare(severityRank(a.Severity), severityRank(b.Severity)),
			cmp.Compare(a.ID, b.ID))
	})
	return list
}

// WriteText writes a report for people. What passes is written in a line, the
// rest with what was found and what to do.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	var untold []string
	for _, f := range r.sorted() {
		if f.Result == Unknown && f.Summary == onlyServer {
			untold = append(untold, f.ID)
			continue
		}
		fmt.Fprintf(&b, "%-14s %-8s %-8s %s\n", f.Result, f.Severity, f.ID, f.Title)
		if f.Result == Pass || f.Result == NotApplicable {
			continue
		}
		fmt.Fprintf(&b, "    %s\n", f.Summary)
		if !f.Failing.IsZero() {
			fmt.Fprintf(&b, "    since %s\n", f.Failing.UTC().Format(time.RFC3339))
		}
		if f.Result == Unknown {
			continue
		}
		for _, v := range f.Evidence {
			fmt.Fprintf(&b, "      - %s\n", v.text())
		}
		if f.Omitted > 0 {
			fmt.Fprintf(&b, "      - and %d more\n", f.Omitted)
		}
		fmt.Fprintf(&b, "    -> %s\n", f.Remediation)
		if f.Exception != nil {
			state := "until"
			if f.Exception.Expired {
				state = "EXPIRED"
			}
			fmt.Fprintf(&b, "    exception: %s (%s), %s %s\n", f.Exception.Reason, f.Exception.Approver, state, f.Exception.Until.Format(time.DateOnly))
		}
	}
	if len(untold) > 0 {
		fmt.Fprintf(&b, "%-14s %s:\n    %s\n", Unknown, onlyServer, strings.Join(untold, " "))
	}
	b.WriteString("\n")
	for _, result := range Results() {
		fmt.Fprintf(&b, "%d %s  ", r.Counts[result], result)
	}
	fmt.Fprintf(&b, "\n%d to be done, %d accepted; of the %s, %s\n%s\n", r.Open, r.Accepted, r.Source, r.Time.Format(time.RFC3339), r.Notice)
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes a report for machines.
func (r *Report) WriteJSON(w io.Writer) error { return indented(w, r) }

func indented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// WriteCriteria writes the states of criteria for people.
func WriteCriteria(w io.Writer, list []CriterionState) error {
	var b strings.Builder
	for _, c := range list {
		fmt.Fprintf(&b, "%-6s %-18s %s\n", c.ID, c.State, c.Title)
		if c.Strength == NotAssessed {
			fmt.Fprintf(&b, "         %s\n", c.Limits)
			continue
		}
		fmt.Fprintf(&b, "         %s evidence: %s\n", c.Strength, strings.Join(c.Collected, "; "))
		for _, line := range [][2]string{
			{"records", strings.Join(c.Populations, "; ")},
			{"checks", strings.Join(c.Checks, " ")},
			{"exceptions", strings.Join(c.Exceptions, " ")},
			{"accepted", strings.Join(c.Accepted, " ")},
			{"no data", strings.Join(c.NoData, " ")},
			{"not assessed", c.Limits},
		} {
			if line[1] != "" {
				fmt.Fprintf(&b, "         %s: %s\n", line[0], line[1])
			}
		}
	}
	fmt.Fprintf(&b, "\n%s.\n%s\n", Criteria().Basis, Notice)
	_, err := io.WriteString(w, b.String())
	return err
}

// Write writes the definition of a check for people.
func (d *Definition) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n\n%s, %s; criteria %s; version %d, SHA-256 %s\n\n%s\n\nLooks at: %s\n", d.ID, d.Title,
		d.Severity, d.Class, strings.Join(d.Criteria, " "), d.Version, d.SHA256, d.Explain, strings.Join(d.Reads, "; "))
	if len(d.Thresholds) > 0 {
		b.WriteString("\nThresholds:\n")
		for _, t := range d.Thresholds {
			fmt.Fprintf(&b, "  %s (%s): %s; default: %s\n", t.Name, t.Kind, t.Meaning, cmp.Or(strings.Join(t.Default, " "), "none"))
		}
	}
	fmt.Fprintf(&b, "\nWhat to do: %s\n", d.Remediation)
	_, err := io.WriteString(w, b.String())
	return err
}

// Write writes what is collected for a criterion for people.
func (c *Criterion) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n\n", c.ID, c.Title)
	for _, line := range [][2]string{
		{"Evidence of an edge", strings.ReplaceAll(string(c.Strength), "_", " ")},
		{"About", strings.Join(c.Focus, "; ")},
		{"Collected", strings.Join(c.Collected, "; ")},
		{"Records", strings.Join(c.Populations, "; ")},
		{"Checks", strings.Join(c.Checks(), " ")},
		{"How to test", c.Test},
		{"Not assessed", c.Limits},
	} {
		if line[1] != "" {
			fmt.Fprintf(&b, "%s: %s\n", line[0], line[1])
		}
	}
	fmt.Fprintf(&b, "\n%s.\n%s\n", Criteria().Basis, Notice)
	_, err := io.WriteString(w, b.String())
	return err
}
