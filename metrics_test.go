package soc2_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// figures are the samples of this project that a scrape of the configuration in
// force shows, by name and values of labels. The figures are the process's:
// compare them with those from before.
func figures(t *testing.T) map[string]float64 {
	t.Helper()
	ctx := caddy.ActiveContext()
	list, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]float64{}
	for _, family := range list {
		name, ours := strings.CutPrefix(family.GetName(), "caddy_soc2_")
		for _, sample := range family.GetMetric() {
			if !ours || sample.GetHistogram() != nil {
				continue
			}
			key := name
			for _, l := range sample.GetLabel() { // in the order of their names
				key += fmt.Sprintf(" %s=%s", l.GetName(), l.GetValue())
			}
			m[key] = sample.GetCounter().GetValue() + sample.GetGauge().GetValue()
		}
	}
	return m
}

// grew checks by how much figures grew.
func grew(t *testing.T, before map[string]float64, want map[string]float64) {
	t.Helper()
	after := figures(t)
	for name, n := range want {
		if _, there := after[name]; !there || after[name]-before[name] != n {
			t.Errorf("%s grew by %v to %v, want by %v", name, after[name]-before[name], after[name], n)
		}
	}
}
