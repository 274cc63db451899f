package soc2

import (
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
	"github.com/caddy-soc2/caddy-soc2/happenings/metrics"
)

// metricFamilies are all metrics but the histograms.
func metricFamilies() []metrics.Family {
	return slices.Concat(metrics.Requests(), metrics.Log(), metrics.Happenings(), checks.Families())
}

// registerMetrics shows the metrics on the /metrics of the configuration that
// is being provisioned. The figures themselves outlive it.
func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil { // a test's context
		return nil
	}
	return registry.Register(metrics.New(metricFamilies(), metrics.Histograms()...))
}
