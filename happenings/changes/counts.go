package changes

import (
	"maps"
	"sync"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// Counts are what happened since the process began. Their names come from the
// fixed lists of outcomes and sources.
type Counts struct {
	Changes  map[ChangeLabels]int64
	Calls    map[string]int64 // by outcome: allowed, denied, error
	Deviates bool             // the admin endpoint is not where it is configured
}

// ChangeLabels tell changes apart.
type ChangeLabels struct{ Outcome, Source, Known string }

// counters is Counts at work.
type counters struct {
	mu      sync.Mutex
	changes map[ChangeLabels]int64
	calls   map[string]int64
}

func (c *counters) change(r *audit.ConfigChange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == nil {
		c.changes = map[ChangeLabels]int64{}
	}
	c.changes[ChangeLabels{r.Outcome, r.Source, r.Actor.Known}]++
}

func (c *counters) call(r *audit.AdminCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = map[string]int64{}
	}
	c.calls[r.Outcome]++
}

// Count returns the counts. It is for metrics.
func Count() Counts {
	process.mu.Lock()
	deviates := process.endpoint.State == stateDeviates
	process.mu.Unlock()
	c := &process.counters
	c.mu.Lock()
	defer c.mu.Unlock()
	return Counts{maps.Clone(c.changes), maps.Clone(c.calls), deviates}
}

// Running returns the configuration that runs, with its secrets, and the hash
// that records have for it. It reports false while that is not known, and before
// this process has loaded one.
func Running() (config any, sha256 string, known bool) {
	v := process.running()
	return v.raw, v.hash, v.known && v.secrets != nil
}
