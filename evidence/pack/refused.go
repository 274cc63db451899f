package pack

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
)

// refusals are the counters of a segment that records which are always given give
// whole, if all of its requests are in the period.
type refusals struct {
	Status   map[string]int64 `json:"status"`
	Access   map[string]int64 `json:"access"`
	Limit    map[string]int64 `json:"limit"`
	Duration map[string]int64 `json:"duration_ns"`
	Other    map[string]int64 `json:"other"`
}

func (r *refusals) table(name string) map[string]int64 {
	return map[string]map[string]int64{"access": r.Access, "limit": r.Limit, "status": r.Status}[name]
}

// refused compares how many requests a rollup record says were denied or limited
// with those that are given of its segment.
func (k *rollupCheck) refused(said *rollup.Rollup, kinds map[string]int64, c *tally) string {
	var theirs, ours refusals
	if said.Members.Requests == nil || json.Unmarshal(said.Members.Requests, &theirs) != nil {
		return ""
	}
	if c.members.Requests != nil && json.Unmarshal(c.members.Requests, &ours) != nil {
		return ""
	}
	inside := kinds["log.clock"] == 0 && kinds["log.open"] == 0 && said.From <= said.To && theirs.inside(said, k.period)
	for _, name := range []string{"access", "limit", "status"} {
		if theirs.Other[name] > 0 {
			continue // it does not tell all
		}
		for _, value := range exact[name] {
			n, given := theirs.table(name)[value], ours.table(name)[value]
			if n < given || inside && n > given {
				return fmt.Sprintf("%d requests with the %s %s, but %d are given", n, name, value, given)
			}
		}
	}
	return ""
}

// inside reports whether all requests of a segment surely are in a period: they
// began earlier than they were appended by no more than the longest lasted, and a
// day is left for what clocks do. Part of the format.
func (r *refusals) inside(said *rollup.Rollup, p Period) bool {
	const day = 24 * time.Hour
	longest := time.Duration(0)
	for lower := range r.Duration {
		n, err := strconv.ParseInt(lower, 10, 64)
		if err != nil || n < 0 || n > int64(1000*day) {
			return false
		}
		longest = max(longest, 2*time.Duration(n)) // a bucket ends before twice its beginning
	}
	from, err1 := time.Parse(TimeForm, said.From)
	to, err2 := time.Parse(TimeForm, said.To)
	return err1 == nil && err2 == nil && !from.Add(-longest-day).Before(p.From) && to.Add(longest+day).Before(p.To)
}
