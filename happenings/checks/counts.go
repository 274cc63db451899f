package checks

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/happenings/metrics"
)

// counts are for metrics.
type counts struct {
	mu          sync.Mutex
	runs        map[string]int64 // by trigger
	transitions map[controls.Result]int64
}

func (c *counts) ran(r *controls.Report, records []*audit.CheckTransition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs == nil {
		c.runs, c.transitions = map[string]int64{}, map[controls.Result]int64{}
	}
	c.runs[r.Trigger]++
	for _, t := range records {
		if t.Before != t.After {
			c.transitions[controls.Result(t.After)]++
		}
	}
}

// Families are the metrics of the checks.
func Families() []metrics.Family {
	return []metrics.Family{
		{
			Name: "check_failing", Type: prometheus.GaugeValue, Labels: []string{"check", "severity"}, Read: failing,
			Help: "1 if a check of the catalogue fails and no exception is in force, 0 otherwise.",
		}, {
			Name: "check_failing_since_timestamp_seconds", Type: prometheus.GaugeValue, Labels: []string{"check"}, Read: failingSince,
			Help: "Since when a check fails or is unknown, in seconds since 1970. Without a sample it does neither.",
		}, {
			Name: "checks", Type: prometheus.GaugeValue, Labels: []string{"result"}, Read: results,
			Help: "Checks by the result of the last run: pass, fail, warn, not_applicable, unknown.",
		}, {
			Name: "checks_accepted", Type: prometheus.GaugeValue, Read: accepted,
			Help: "Checks that do not pass and have an exception in force.",
		}, {
			Name: "check_runs_total", Type: prometheus.CounterValue, Labels: []string{"trigger"}, Read: runs,
			Help: "How often the checks were made, by trigger: start, change, interval, demand.",
		}, {
			Name: "check_transitions_total", Type: prometheus.CounterValue, Labels: []string{"result"}, Read: transitions,
			Help: "Changes of results of checks, by the result that they came to.",
		}, {
			Name: "check_last_run_timestamp_seconds", Type: prometheus.GaugeValue, Read: lastRun,
			Help: "When the checks were made last, in seconds since 1970.",
		}, {
			Name: "check_last_run_duration_seconds", Type: prometheus.GaugeValue, Read: lastTook,
			Help: "How long that took.",
		},
	}
}

func failing(emit metrics.Emit) {
	if r := Last(); r != nil {
		for i := range r.Checks {
			f := &r.Checks[i]
			v := 0.0
			if f.Result == controls.Fail && !f.Accepted() {
				v = 1
			}
			emit(v, f.ID, string(f.Severity))
		}
	}
}

func failingSince(emit metrics.Emit) {
	if r := Last(); r != nil {
		for _, f := range r.Checks {
			if !f.Failing.IsZero() {
				emit(seconds(f.Failing), f.ID)
			}
		}
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / float64(time.Second) }

func results(emit metrics.Emit) {
	if r := Last(); r != nil {
		for _, result := range controls.Results() {
			emit(float64(r.Counts[result]), string(result))
		}
	}
}

func accepted(emit metrics.Emit) {
	if r := Last(); r != nil {
		emit(float64(r.Accepted))
	}
}

func runs(emit metrics.Emit) {
	shared.counts.mu.Lock()
	defer shared.counts.mu.Unlock()
	for _, trigger := range []string{controls.TriggerStart, controls.TriggerChange, controls.TriggerInterval, controls.TriggerDemand} {
		emit(float64(shared.counts.runs[trigger]), trigger)
	}
}

func transitions(emit metrics.Emit) {
	shared.counts.mu.Lock()
	defer shared.counts.mu.Unlock()
	for _, result := range controls.Results() {
		emit(float64(shared.counts.transitions[result]), string(result))
	}
}

func lastRun(emit metrics.Emit) {
	if r := Last(); r != nil {
		emit(seconds(r.Time))
	}
}

func lastTook(emit metrics.Emit) {
	if r := Last(); r != nil {
		emit(r.Took.Seconds())
	}
}
