package evidence

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/availability"
)

// defaultPeriod is how far back a report on upstreams goes if nothing is said.
const defaultPeriod = 24 * time.Hour

const badPeriod = "The query has from and to, times such as 2026-01-31T00:00:00Z, the first before the second."

// parseSpan reads a query. What it does not know is refused.
// Wrong names the parameter that is; none, if it is not a query.
func parseSpan(query string, now time.Time) (from, to time.Time, wrong string, ok bool) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return from, to, "", false
	}
	for name, bound := range map[string]*time.Time{"from": &from, "to": &to} {
		list, given := values[name]
		delete(values, name)
		if !given {
			continue
		}
		if *bound, err = time.Parse(time.RFC3339Nano, list[0]); err != nil || len(list) != 1 || bound.IsZero() {
			return from, to, name, false
		}
	}
	if from.IsZero() {
		from = now.Add(-defaultPeriod)
		if !to.IsZero() {
			from = to.Add(-defaultPeriod)
		}
	}
	for name := range values {
		return from, to, name[:min(len(name), maxName)], false
	}
	return from, to, "to", to.IsZero() || from.Before(to)
}

// upstreams says how available the upstreams were, as the log has it.
func (a *API) upstreams(w http.ResponseWriter, r *http.Request, src Source) {
	from, to, wrong, ok := parseSpan(r.URL.RawQuery, a.now())
	if !ok {
		problemOf(w, r, http.StatusBadRequest, wrong, badPeriod)
		return
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-r.Context().Done():
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(a.ending(), cancel)()
	report, err := availability.Read(ctx, src.Log().Records(), from, to)
	if errors.Is(err, context.Canceled) {
		return
	}
	if err != nil {
		broken(w, r, err)
		return
	}
	if report.Upstreams == nil {
		report.Upstreams = []availability.Upstream{} // an empty list, not null
	}
	sendJSON(w, r, http.StatusOK, typeJSON, report)
}
