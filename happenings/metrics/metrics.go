// Package metrics shows the figures of the audit log, and of what the taps see,
// to Prometheus, through Caddy's registry and so on its /metrics.
//
// All figures are kept for the life of the process where they are counted, and
// are read when a scrape asks for them. Caddy makes a registry for each
// configuration; a reload registers a new Collector over the same figures.
// Labels take their values from fixed lists and from the configuration, never
// from traffic.
package metrics

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

// prefix begins the name of each metric.
const prefix = "caddy_soc2_"

// Family is a metric: its name, without prefix, what it means, and how its
// samples are read.
type Family struct {
	Name   string
	Help   string
	Labels []string
	Type   prometheus.ValueType
	Read   func(emit Emit)
}

// Emit takes a sample: its value and the values of the labels, in their order.
type Emit func(value float64, labels ...string)

// FullName is the name that a scrape shows.
func (f *Family) FullName() string { return prefix + f.Name }

// Collector reads families. It implements prometheus.Collector.
type Collector struct {
	families []Family
	descs    []*prometheus.Desc
	others   []prometheus.Collector
}

// New makes a collector of families and of collectors that keep their samples
// themselves, such as histograms.
func New(families []Family, others ...prometheus.Collector) *Collector {
	c := &Collector{families: families, others: others}
	for _, f := range families {
		c.descs = append(c.descs, prometheus.NewDesc(f.FullName(), f.Help, f.Labels, nil))
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
	for _, o := range c.others {
		o.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	for i, f := range c.families {
		f.Read(func(value float64, labels ...string) {
			for j, text := range labels {
				if !utf8.ValidString(text) { // of the environment; it would fail the whole scrape
					labels = slices.Clone(labels)
					labels[j] = strings.ToValidUTF8(text, "\ufffd")
				}
			}
			out <- prometheus.MustNewConstMetric(c.descs[i], f.Type, value, labels...)
		})
	}
	for _, o := range c.others {
		o.Collect(out)
	}
}
