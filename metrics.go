package soc2

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-soc2/caddy-soc2/handlers/access"
	"github.com/caddy-soc2/caddy-soc2/handlers/headers"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity"
	"github.com/caddy-soc2/caddy-soc2/handlers/ratelimit"
	"github.com/caddy-soc2/caddy-soc2/handlers/reports"
	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
	"github.com/caddy-soc2/caddy-soc2/happenings/metrics"
)

// metricFamilies are all metrics but the histograms.
func metricFamilies() []metrics.Family {
	return slices.Concat(metrics.Requests(), metrics.Log(), metrics.Happenings(), ratelimit.Metrics(), access.Metrics(), identity.Metrics(), headerFamilies(), checks.Families())
}

// headerFamilies are the metrics of the rules for headers and of what browsers
// report about them.
func headerFamilies() []metrics.Family {
	return []metrics.Family{
		{
			Name: "headers_findings_total", Type: prometheus.CounterValue, Labels: []string{"rule", "action"},
			Help: "Responses and requests whose headers broke a rule, by rule and by what was done: mended, reported (nothing was changed), refused (the request).",
			Read: func(emit metrics.Emit) {
				headers.Counts(func(rule string, a headers.Action, n int64) { emit(float64(n), rule, a.String()) })
			},
		},
		{
			Name: "browser_reports_total", Type: prometheus.CounterValue, Labels: []string{"outcome"},
			Help: "Reports of browsers by what became of them: counted, overflowed (counted, but not told apart), foreign (about pages of other hosts), malformed, limited.",
			Read: func(emit metrics.Emit) {
				reports.Counts(func(outcome string, n int64) { emit(float64(n), outcome) })
			},
		},
	}
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
