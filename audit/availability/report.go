package availability

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// Report says how available the upstreams were in a period. Times are in
// seconds, ratios from 0 to 1.
type Report struct {
	From      time.Time  `json:"from"`
	To        time.Time  `json:"to"`
	Upstreams []Upstream `json:"upstreams"`
}

// Upstream is one upstream's part of a report.
type Upstream struct {
	Server  string `json:"server"`
	Address string `json:"address"`
	Handler int    `json:"handler,omitempty"` // which of the server's health checks of the address, from 2 on
	Check   string `json:"check,omitempty"`   // active health check that watches it

	State string    `json:"state"` // at the end of the period: up, down, unknown, gone
	Since time.Time `json:"since"` // of that state

	Up      float64 `json:"up_seconds"`
	Down    float64 `json:"down_seconds"`
	Unknown float64 `json:"unknown_seconds"`

	// Availability is up / (up + down). It is absent if the upstream was
	// neither.
	Availability *float64 `json:"availability,omitempty"`
	// Coverage is (up + down) / period.
	Coverage float64 `json:"coverage"`

	Served int64 `json:"served"` // requests, up to the last record of the upstream
	Failed int64 `json:"failed"` // of those
	// RequestAvailability is (served - failed) / served. It is absent if nothing
	// was served.
	RequestAvailability *float64 `json:"request_availability,omitempty"`

	Outages int `json:"outages"` // that began in the period
	// MTTR is the mean time from the beginning of an outage to its end, of
	// those that ended in the period. It is absent if none did.
	MTTR *float64 `json:"mttr_seconds,omitempty"`
	// MTBF is the time up divided by the outages that began. It is absent if
	// none did.
	MTBF    *float64 `json:"mtbf_seconds,omitempty"`
	Longest float64  `json:"longest_outage_seconds"`

	List     []Outage `json:"outage_list,omitempty"`
	NotShown int      `json:"outages_not_listed,omitempty"`
}

// Outage is a time in which an upstream was down.
type Outage struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to,omitzero"`     // zero: it was not over at the end of the period
	Seconds float64   `json:"seconds_counted"` // in the period
}

// Report returns what the added records say. It may be called more than once.
func (a *Account) Report() Report {
	r := Report{From: a.from, To: a.to}
	if r.From.IsZero() {
		r.From = a.first
	}
	if r.To.IsZero() {
		r.To = a.last
	}
	r.From, r.To = r.From.UTC(), r.To.UTC()
	for _, k := range slices.SortedFunc(maps.Keys(a.upstreams), sortKeys) {
		u := *a.upstreams[k] // what goes on is added up in the copy
		u.outages = slices.Clone(u.outages)
		end := a.last
		if !r.To.IsZero() && end.After(r.To) {
			end = r.To
		}
		a.spend(&u, end)
		if !u.outage.IsZero() && end.After(u.outage) {
			a.ended(&u, end, false)
		}
		if u.final != nil {
			u.state, u.since = u.final.state, u.final.since
		}
		if s := u.report(k, r.To.Sub(r.From)); s.State != names[gone] || s.Up+s.Down+s.Unknown > 0 {
			r.Upstreams = append(r.Upstreams, s)
		}
	}
	return r
}

func (u *upstream) report(k key, period time.Duration) Upstream {
	known := u.spent[up] + u.spent[down]
	r := Upstream{
		Server: k.server, Address: k.address, Handler: k.handler, Check: u.check,
		State: names[u.state], Since: u.since.UTC(),
		Up: u.spent[up].Seconds(), Down: u.spent[down].Seconds(), Unknown: max(0, period-known-u.spent[gone]).Seconds(),
		Served: u.served, Failed: u.failed, Outages: u.begun, Longest: u.longest.Seconds(),
		List: u.outages, NotShown: u.omittedOutages,
	}
	if period > 0 {
		r.Coverage = float64(known) / float64(period)
	}
	r.Availability = ratio(float64(u.spent[up]), float64(known))
	r.RequestAvailability = ratio(float64(u.served-u.failed), float64(u.served))
	r.MTTR = ratio(u.repair.Seconds(), float64(u.repaired))
	r.MTBF = ratio(u.spent[up].Seconds(), float64(u.begun))
	return r
}

func ratio(a, b float64) *float64 {
	if b == 0 {
		return nil
	}
	q := a / b
	return &q
}

// margin is how long before the period records are read, for the states with
// which it begins. It is more than Repeat, the longest time without a record of
// an upstream, and some for the log's order, which is not quite that of time.
const margin = 2 * Repeat

// Repeat is how often a record of each upstream is written although its state
// goes on, so that a report need not read a log from its beginning.
const Repeat = time.Hour

// Read reports on a period of the log in a directory. Zero times mean its first
// and its last record.
func Read(ctx context.Context, dir records.Dir, from, to time.Time) (Report, error) {
	a := New(from, to)
	start, err := dir.First()
	if err == nil && !from.IsZero() {
		start, err = dir.Search(ctx, func(record []byte) (bool, error) {
			r, err := audit.Decode(record)
			return err == nil && r.Time.Before(from.Add(-margin)), err
		})
	}
	if err != nil {
		return Report{}, err
	}
	var after int // records in a row that are later than the period
	_, err = dir.Range(ctx, start, 1<<62, func(_ int64, record []byte) error {
		if err := a.Add(record); err != nil {
			return err
		}
		if to.IsZero() || !a.last.After(to.Add(margin)) {
			return nil
		}
		if after++; after > stragglers {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return Report{}, err
	}
	return a.Report(), nil
}

// stragglers is how many records are read after the period is surely over. The
// record of a request has the time of its beginning.
const stragglers = 1000

var errEnough = errors.New("all records of the period were read")
