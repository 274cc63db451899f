package soc2

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-soc2/caddy-soc2/happenings/metrics"
)

const metricsDoc = "docs/metrics.md"

// The rows of the document's table lie between these lines.
const (
	tableHead = "| metric | type | labels | meaning |\n|---|---|---|---|\n"
	tableEnd  = "\n\n"
)

// TestEachMetricIsDocumented compares the table in docs/metrics.md with the
// metrics that are registered. The flag -update writes it again.
func TestEachMetricIsDocumented(t *testing.T) {
	doc, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), tableHead)
	rows, after, end := strings.Cut(rest, tableEnd)
	if !ok || !end {
		t.Fatalf("%s has no table of metrics", metricsDoc)
	}
	want := strings.Join(metricRows(t), "\n")
	if rows == want {
		return
	}
	if f := flag.Lookup("update"); f == nil || f.Value.String() != "true" {
		t.Fatalf("%s is not up to date (go test . -run TestEachMetricIsDocumented -update):\n%s", metricsDoc, want)
	}
	if err := os.WriteFile(metricsDoc, []byte(before+tableHead+want+tableEnd+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

func metricRows(t *testing.T) (rows []string) {
	t.Helper()
	for _, f := range metricFamilies() {
		kind := "gauge"
		if f.Type == prometheus.CounterValue {
			kind = "counter"
		}
		if strings.HasSuffix(f.Name, "_total") != (kind == "counter") {
			t.Errorf("%s: the names of counters, and of no others, end in _total", f.Name)
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |", f.FullName(), kind, quoted(f.Labels), f.Help))
	}
	for _, c := range metrics.Histograms() {
		name, help := described(t, c)
		rows = append(rows, fmt.Sprintf("| `%s` | histogram |  | %s |", name, help))
	}
	return rows
}

func quoted(labels []string) string {
	var list []string
	for _, l := range labels {
		list = append(list, "`"+l+"`")
	}
	return strings.Join(list, ", ")
}

// described gathers a collector, for its name and its help.
func described(t *testing.T, c prometheus.Collector) (name, help string) {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	list, err := r.Gather()
	if err != nil || len(list) != 1 {
		t.Fatalf("%d metrics, %v", len(list), err)
	}
	return list[0].GetName(), list[0].GetHelp()
}
