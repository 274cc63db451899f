package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// Decision is what became of a request.
type Decision int

// The decisions on requests.
const (
	Served     Decision = iota // answered and recorded
	Denied                     // by access control, and recorded
	Limited                    // by the rate limiter, and recorded
	LeftOut                    // answered and, as the policy says, counted in place of a record
	Unrecorded                 // answered although its record could not be kept (on_failure count)
	Refused                    // because its record could not be kept (on_failure refuse)
	decisions
)

var decisionNames = [decisions]string{"served", "denied", "limited", "left_out", "unrecorded", "refused"}

var requests [decisions]atomic.Int64

// Count counts a request.
func Count(d Decision) { requests[d].Add(1) }

// Of is the decision on a request that was recorded.
func Of(ev *audit.Event) Decision {
	switch {
	case ev.Access.Outcome == "deny":
		return Denied
	case ev.Limit.Outcome == "limited":
		return Limited
	}
	return Served
}

// durability is the time that records wait for the disk. Its buckets reach from
// a fast disk's sync to the default deadline.
var durability = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    prefix + "log_durable_seconds",
	Help:    "Time from a record's making to its being durable, for those that waited for it.",
	Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
})

// Durable notes how long a record waited for the disk.
func Durable(d time.Duration) { durability.Observe(d.Seconds()) }

// Requests are the families of requests.
func Requests() []Family {
	return []Family{{
		Name: "requests_total", Type: prometheus.CounterValue, Labels: []string{"decision"},
		Help: "Requests by what became of them: served, denied, limited, left_out (counted in place of a record, as the policy says), unrecorded (answered while the log failed), refused (because the log failed).",
		Read: func(emit Emit) {
			for d, name := range decisionNames {
				emit(float64(requests[d].Load()), name)
			}
		},
	}}
}

// Histograms are the metrics that keep their samples themselves.
func Histograms() []prometheus.Collector { return []prometheus.Collector{durability} }
