// Package measure runs variants against each other on a machine that others
// use too, and reports what they reached as ratios.
//
// The rule is: alternate. Each round runs every variant for the same short
// time, in an order that rotates from round to round; the ratio of two variants
// is taken within each round, and the figure is the median of these ratios with
// their least and greatest. Drift of the machine then hits both sides alike.
package measure

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// Spread is a median with the extremes that it was taken from.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpreadOf sorts values, which must not be empty.
func SpreadOf(values []float64) Spread {
	slices.Sort(values)
	n := len(values)
	return Spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}

// Figure is one line of the result.
type Figure struct {
	Name    string `json:"name"`
	Asked   string `json:"asked,omitempty"` // empty: only informs
	Unit    string `json:"unit,omitempty"`
	Reached Spread `json:"reached"`
	Result  string `json:"result"` // pass, miss, info or skipped
	Note    string `json:"note,omitempty"`
}

// AtLeast makes a figure that passes if its median is at least want.
func AtLeast(name string, want float64, unit string, got Spread) Figure {
	return Figure{name, fmt.Sprintf("≥ %g %s", want, unit), unit, got, passIf(got.Median >= want), ""}
}

// AtMost makes a figure that passes if its median is at most want.
func AtMost(name string, want float64, unit string, got Spread) Figure {
	return Figure{name, fmt.Sprintf("≤ %g %s", want, unit), unit, got, passIf(got.Median <= want), ""}
}

// Info makes a figure that nothing was asked of.
func Info(name, unit string, got Spread) Figure {
	return Figure{name, "", unit, got, "info", ""}
}

// Skipped makes a line for what could not be measured here.
func Skipped(name, why string) Figure { return Figure{Name: name, Result: "skipped", Note: why} }

// With adds a note.
func (f Figure) With(format string, args ...any) Figure {
	f.Note = fmt.Sprintf(format, args...)
	return f
}

func passIf(ok bool) string {
	if ok {
		return "pass"
	}
	return "MISS"
}

// Report is the outcome of a run.
type Report struct {
	Subject string   `json:"subject"`
	Machine Machine  `json:"machine"`
	Rounds  int      `json:"rounds"`
	Seconds float64  `json:"seconds"`
	Figures []Figure `json:"figures"`
	Text    []string `json:"text,omitempty"` // what a figure alone does not tell
}

// Missed counts the figures that were not reached.
func (r *Report) Missed() (n int) {
	for _, f := range r.Figures {
		if f.Result == "MISS" {
			n++
		}
	}
	return n
}

// JSON writes the report for machines.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// Table writes the report for people, as Markdown that is also readable as
// it is.
func (r *Report) Table(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n%d rounds of %g s a variant; ratios: median (min..max) of the ratios within each round.\n\n", r.Machine, r.Rounds, r.Seconds)
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintf(t, "| figure\t| asked\t| reached\t| spread\t| result\t| note\t|\n|---\t|---\t|---\t|---\t|---\t|---\t|\n")
	for _, f := range r.Figures {
		reached, spread := "-", "-"
		if f.Result != "skipped" {
			reached = strings.TrimSpace(number(f.Reached.Median) + " " + f.Unit)
			spread = number(f.Reached.Min) + ".." + number(f.Reached.Max)
		}
		fmt.Fprintf(t, "| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t|\n", f.Name, dash(f.Asked), reached, spread, f.Result, f.Note)
	}
	_ = t.Flush() // errors show at the next write
	for _, s := range r.Text {
		fmt.Fprintf(w, "\n%s\n", s)
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// number writes three significant digits, and all digits before the point.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1 || a == 0:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}
