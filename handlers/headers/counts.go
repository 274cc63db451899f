package headers

import (
	"sync"
	"sync/atomic"
)

// Action is what a rule did.
type Action int

// The actions of rules.
const (
	Mended   Action = iota // it changed a header
	Reported               // it would have changed a header or refused a request
	Refused                // it refused a request
	actions
)

// String is the action's name on /metrics.
func (a Action) String() string {
	return [actions]string{"mended", "reported", "refused"}[a]
}

// counters are what rules did since the process began. The names of rules come
// from fixed lists and from the configuration.
var counters sync.Map // string -> *[actions]atomic.Int64

func count(rule string, a Action) {
	c, ok := counters.Load(rule)
	if !ok {
		c, _ = counters.LoadOrStore(rule, new([actions]atomic.Int64))
	}
	c.(*[actions]atomic.Int64)[a].Add(1)
}

// Counts tells how often each rule did what.
func Counts(emit func(rule string, a Action, n int64)) {
	counters.Range(func(rule, c any) bool {
		for a := range actions {
			if n := c.(*[actions]atomic.Int64)[a].Load(); n > 0 {
				emit(rule.(string), a, n)
			}
		}
		return true
	})
}
