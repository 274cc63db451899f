package access

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/metrics"
	"github.com/caddy-soc2/caddy-soc2/internal/rules"
)

// The outcomes that are counted, by their place in a tally. no_route is also
// counted as what the rule said.
var outcomes = [...]string{rules.Allow, rules.Deny, shadowDeny, glassOpen, noRoute}

// The outcomes besides those of package rules.
const (
	shadowDeny = "shadow_deny"
	glassOpen  = "break_glass"
)

// tally counts the decisions of one rule.
type tally struct {
	refs   int  // handlers that have it
	denies bool // is what the rule does
	n      [len(outcomes)]atomic.Int64
}

func (t *tally) add(outcome string) {
	if t == nil { // the handler is only compiled
		return
	}
	for i, name := range outcomes {
		if name == outcome {
			t.n[i].Add(1)
			return
		}
	}
}

// tallies are those of all policies in force. A reload provisions the new
// handlers before it cleans up the old ones, so that counts go on.
var tallies = struct {
	mu sync.Mutex
	m  map[tallyKey]*tally
}{m: map[tallyKey]*tally{}}

type tallyKey struct{ policy, rule string }

// keepTallies has the decisions of the handler's rules counted, and those that
// no rule made.
func (h *Handler) keepTallies() {
	tallies.mu.Lock()
	defer tallies.mu.Unlock()
	h.tallies = make(map[string]*tally, len(h.Rules)+1)
	keep := func(rule string, denies bool) {
		key := tallyKey{h.Name, rule}
		t := tallies.m[key]
		if t == nil {
			t = new(tally)
			tallies.m[key] = t
		}
		t.refs, t.denies = t.refs+1, denies
		h.tallies[rule] = t
	}
	keep("", true)
	for _, r := range h.Rules {
		keep(r.Name, r.Effect == rules.Deny)
	}
}

func (h *Handler) dropTallies() {
	tallies.mu.Lock()
	defer tallies.mu.Unlock()
	for rule, t := range h.tallies { // the map stays: requests may still run
		if t.refs--; t.refs == 0 {
			delete(tallies.m, tallyKey{h.Name, rule})
		}
	}
}

// count counts a decision, and the rule in shadow that would have refused.
func (h *Handler) count(d audit.Decision, shadow string) {
	h.tallies[d.Rule].add(d.Outcome)
	if shadow != "" {
		h.tallies[shadow].add(shadowDeny)
	}
}

// Metrics are the families of access control. Their labels are names of the
// configuration and a fixed list of outcomes.
func Metrics() []metrics.Family {
	return []metrics.Family{
		{
			Name: "access_decisions_total", Type: prometheus.CounterValue, Labels: []string{"policy", "rule", "outcome"}, Read: readTallies,
			Help: "Decisions on requests by policy, rule (empty: none matched) and outcome: allow, deny, shadow_deny (served, but the policy or a rule in shadow would have refused), break_glass (let in past the rules), no_route (allowed, so also counted there, and answered by nothing). A rule that never decided shows 0 of what it does.",
		}, {
			Name: "access_break_glass_open", Type: prometheus.GaugeValue,
			Help: "Principals that are let in past the rules at present.",
			Read: func(emit metrics.Emit) { emit(float64(len(listGrants()))) },
		},
	}
}

func readTallies(emit metrics.Emit) {
	tallies.mu.Lock()
	defer tallies.mu.Unlock()
	for key, t := range tallies.m {
		for i, outcome := range outcomes {
			n := t.n[i].Load()
			if n > 0 || outcome == rules.Deny && t.denies || outcome == rules.Allow && !t.denies {
				emit(float64(n), key.policy, key.rule, outcome)
			}
		}
	}
}
