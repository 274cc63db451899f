package ratelimit

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-soc2/caddy-soc2/happenings/metrics"
)

// Metrics are the families of all zones. Their labels have the names and modes
// of zones and a fixed list of decisions: a scrape has the same size whatever
// the traffic is.
func Metrics() []metrics.Family {
	gauge := func(name, help string, value func(s *shared) float64) metrics.Family {
		return metrics.Family{
			Name: name, Help: help, Type: prometheus.GaugeValue, Labels: []string{"zone"},
			Read: func(emit metrics.Emit) { each(func(s *shared) { emit(value(s), s.name) }) },
		}
	}
	return []metrics.Family{
		{
			Name: "limit_decisions_total", Type: prometheus.CounterValue, Labels: []string{"zone", "decision", "mode"},
			Help: "Requests by what a zone of the rate limiter decided: allowed, quota, concurrency and ban (refused), shadow (would have been refused), denied (by a list, or for an empty key), exempt (by a list), empty_key (also counted by what became of them).",
			Read: func(emit metrics.Emit) {
				each(func(s *shared) {
					mode := s.info.Load().mode
					for kind, name := range countNames {
						emit(float64(s.counts[kind].Load()), s.name, name, mode)
					}
				})
			},
		},
		{
			Name: "limit_lost_keys_total", Type: prometheus.CounterValue, Labels: []string{"zone"},
			Help: "Keys that a zone forgot, or did not keep, although they had something to lose, and bans that had to go: its capacity is too small.",
			Read: func(emit metrics.Emit) { each(func(s *shared) { emit(float64(s.zone.Lost()), s.name) }) },
		},
		gauge("limit_keys", "Keys of a zone that have spent something which has not come back.", func(s *shared) float64 {
			return float64(s.zone.Live())
		}),
		gauge("limit_capacity_keys", "Keys that a zone can know at a time.", func(s *shared) float64 { return float64(s.zone.Capacity()) }),
		gauge("limit_banned_keys", "Keys that a zone has shut out.", func(s *shared) float64 {
			return float64(s.zone.Banned())
		}),
	}
}

// State is what a zone decided since the process began.
type State struct {
	Zone        string
	Limit       string
	Mode        string // gcra, strict, exact, concurrency; shadow: it refuses nothing
	Allowed     int64  // requests
	Refused     int64  // by the limit, a ban or a list
	WouldRefuse int64  // while it was a shadow
	LostKeys    int64  // for want of capacity
}

// Zones are the zones of the process, by their names.
func Zones() (list []State) {
	each(func(s *shared) {
		in, count := s.info.Load(), func(kind int) int64 { return s.counts[kind].Load() }
		list = append(list, State{
			Zone: s.name, Limit: in.limit, Mode: in.mode, Allowed: count(countAllowed),
			Refused:     count(countQuota) + count(countConcurrency) + count(countBan) + count(countDenied),
			WouldRefuse: count(countShadow), LostKeys: s.zone.Lost(),
		})
	})
	slices.SortFunc(list, func(a, b State) int { return cmp.Compare(a.Zone, b.Zone) })
	return list
}

// each calls fn with each zone of the process. A zone that changed between
// being persistent and not is there twice for as long as both configurations
// are; only the newer one is shown.
func each(fn func(s *shared)) {
	zones := make(map[string]*shared)
	pool.Range(func(_, v any) bool {
		if s, ok := v.(*shared); ok {
			if other := zones[s.name]; other == nil || other.zone.Before(s.zone) {
				zones[s.name] = s
			}
		}
		return true
	})
	for _, s := range zones {
		fn(s)
	}
}
