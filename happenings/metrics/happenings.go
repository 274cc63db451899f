package metrics

import (
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-soc2/caddy-soc2/happenings/certificates"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/happenings/process"
	"github.com/caddy-soc2/caddy-soc2/happenings/upstreams"
	"github.com/caddy-soc2/caddy-soc2/happenings/wire"
)

// Happenings are the families of what the taps see.
func Happenings() []Family {
	return []Family{
		{
			Name: "config_changes_total", Type: prometheus.CounterValue, Labels: []string{"outcome", "source", "actor"}, Read: configChanges,
			Help: "Records of changes of the configuration, and of attempts, by outcome (applied, rejected, unchanged, error), source (admin, reload, file, signal, loader, start, plugin, unknown) and by how the actor is known (verified, asserted, none).",
		}, {
			Name: "admin_calls_total", Type: prometheus.CounterValue, Labels: []string{"outcome"}, Read: adminCalls,
			Help: "Records of calls of the admin API by outcome: allowed, denied, error.",
		}, {
			Name: "admin_endpoint_deviates", Type: prometheus.GaugeValue, Read: deviates,
			Help: "1 if the admin endpoint does not listen where it is configured to.",
		}, {
			Name: "protocol_errors_total", Type: prometheus.CounterValue, Labels: []string{"layer", "reason"}, Read: protocolErrors,
			Help: "Requests and connections that reached no handler, by layer (tcp, tls, http1, http2) and reason, of the fixed list in docs/boundary.md.",
		}, {
			Name: "certificate_not_after_timestamp_seconds", Type: prometheus.GaugeValue, Labels: []string{"name"}, Read: ends,
			Help: "When the certificate ends that serves a name of the configuration, in seconds since 1970.",
		}, {
			Name: "certificate_records_total", Type: prometheus.CounterValue, Labels: []string{"kind"}, Read: certificateRecords,
			Help: "Records of certificates by kind: obtained, renewed, failed, revoked, loaded, expiring, expired.",
		}, {
			Name: "upstream_up", Type: prometheus.GaugeValue, Labels: []string{"server", "upstream", "handler"}, Read: up,
			Help: "1 if an upstream of the configuration is up, 0 if it is down. Without a sample nothing watches it.",
		}, {
			Name: "upstream_requests_total", Type: prometheus.CounterValue, Labels: []string{"server", "upstream", "result"}, Read: upstreamRequests,
			Help: "Requests that an upstream of the configuration was given, by result: answered, failed.",
		}, {
			Name: "process_limit_reached", Type: prometheus.GaugeValue, Labels: []string{"limit"}, Read: limits,
			Help: "1 if a limit of the process is nearly reached: files, memory, cgroup_memory, disk.",
		},
	}
}

func configChanges(emit Emit) {
	for l, n := range changes.Count().Changes {
		emit(float64(n), l.Outcome, l.Source, l.Known)
	}
}

func adminCalls(emit Emit) {
	calls := changes.Count().Calls
	for _, outcome := range []string{"allowed", "denied", "error"} {
		emit(float64(calls[outcome]), outcome)
	}
}

func deviates(emit Emit) { emit(truth(changes.Count().Deviates)) }

// protocolErrors always shows malformed requests, so that the metric is there
// before the first error.
func protocolErrors(emit Emit) {
	totals := wire.All.Totals()
	first := wire.Total{Layer: wire.HTTP1, Reason: wire.Malformed}
	if !slices.ContainsFunc(totals, func(t wire.Total) bool { return t.Layer == first.Layer && t.Reason == first.Reason }) {
		totals = append(totals, first)
	}
	for _, t := range totals {
		emit(float64(t.Count), t.Layer.String(), t.Reason.String())
	}
}

func ends(emit Emit) {
	for name, end := range certificates.Current().Sites {
		emit(seconds(end), name)
	}
}

func certificateRecords(emit Emit) {
	f := certificates.Current()
	emit(float64(f.Obtained), "obtained")
	emit(float64(f.Renewed), "renewed")
	emit(float64(f.Failed), "failed")
	emit(float64(f.Revoked), "revoked")
	emit(float64(f.Loaded), "loaded")
	emit(float64(f.Expiring), "expiring")
	emit(float64(f.Expired), "expired")
}

func up(emit Emit) {
	list, _ := upstreams.Current()
	for _, f := range list {
		if f.State == "up" || f.State == "down" {
			emit(truth(f.State == "up"), f.Server, f.Address, strconv.Itoa(f.Handler))
		}
	}
}

func upstreamRequests(emit Emit) {
	list, _ := upstreams.Current()
	for _, f := range list {
		if f.Handler == 0 {
			emit(float64(f.Served-f.Failed), f.Server, f.Address, "answered")
			emit(float64(f.Failed), f.Server, f.Address, "failed")
		}
	}
}

func limits(emit Emit) {
	reached := process.Shared().Reached()
	for _, name := range process.Limits() {
		emit(truth(slices.Contains(reached, name)), name)
	}
}
