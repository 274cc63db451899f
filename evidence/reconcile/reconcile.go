// Package reconcile compares the requests of a log with a second source: Caddy's
// own access log, which Caddy writes without this program, and the counters of
// upstreams.
//
// Requests are matched by their ids, which responses carry as X-Request-Id and
// Caddy's access log has among resp_headers. For those with an id both sides have
// the same time, the one in the id, so that they lie in the same minute and on
// the same side of the bounds of the period. Entries without an id are of
// requests that no recorder saw, or whose header something removed.
//
// Whatever the size of both sides, about 100 MB are in memory at most: ids are
// compared in as many readings as that takes.
package reconcile

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// Options say what is compared.
type Options struct {
	Log       *population.Log
	Period    population.Period
	Files     []string         // access logs
	Upstreams map[string]int64 // requests that upstreams counted, by address
	Tolerant  bool             // go on where the log cannot be read: the sources do not agree then
	Now       func() time.Time // default: time.Now
}

const (
	maxExamples = 100 // ids that a report lists
	maxMinutes  = 1000
)

// pass is how many ids of each side are in memory.
var pass = int64(1 << 20)

// Report says how the sides compare. It agrees if each request of either side is
// on the other, with the same status, and upstreams counted what the log has.
type Report struct {
	Agrees   bool                `json:"agrees"`
	Period   population.Period   `json:"period"`
	Origin   string              `json:"origin"`
	Size     int64               `json:"tree_size"`
	Root     string              `json:"tree_root"`
	Coverage population.Coverage `json:"coverage"`

	Files      []File `json:"files"`
	Lines      int64  `json:"lines"`
	Others     int64  `json:"other_lines"`      // of something else than requests
	Unreadable int64  `json:"unreadable_lines"` // each is a difference
	Problem    string `json:"first_problem,omitempty"`
	Outside    int64  `json:"outside_of_period"`

	InLog     int64 `json:"requests_in_log"`
	InAccess  int64 `json:"requests_in_access_log"`
	WithoutID int64 `json:"access_log_without_id"` // counted by status and minute only

	Both          int64    `json:"in_both"`
	StatusDiffers int64    `json:"status_differs"`
	OnlyLog       int64    `json:"only_in_log"`
	OnlyAccess    int64    `json:"only_in_access_log"`
	TwiceLog      int64    `json:"twice_in_log"`
	TwiceAccess   int64    `json:"twice_in_access_log"`
	ExamplesLog   []string `json:"examples_only_in_log,omitempty"` // ids, 100 at most
	ExamplesOther []string `json:"examples_only_in_access_log,omitempty"`

	Statuses       []Status   `json:"statuses,omitempty"`
	MinutesSame    int64      `json:"minutes_that_agree"`
	MinutesDiffer  int64      `json:"minutes_that_differ"`
	Minutes        []Minute   `json:"differing_minutes,omitempty"` // the first 1,000
	UpstreamCounts []Upstream `json:"upstreams,omitempty"`
}

// Status compares the requests with a status.
type Status struct {
	Status int   `json:"status"`
	Log    int64 `json:"log"`
	Access int64 `json:"access_log"`
}

// Minute compares the requests that began in a minute.
type Minute struct {
	Minute time.Time `json:"minute"`
	Log    int64     `json:"log"`
	Access int64     `json:"access_log"`
}

// Upstream compares the requests that an upstream answered.
type Upstream struct {
	Address string `json:"address"`
	Log     int64  `json:"log"`
	Counted int64  `json:"counted"`
}

// side is what one side has of a request.
type side struct {
	id     id
	status int32
}

// comparing is a comparison under way.
type comparing struct {
	opt      Options
	r        Report
	statuses map[int]*Status
	minutes  map[int64]*Minute
	requests *population.Population
	columns  map[string]int
	upstream map[string]int64
}

// ErrNothing means that no second source is named.
var ErrNothing = errors.New("nothing to compare with: name an access log, or the count of an upstream")

// Compare compares.
func Compare(ctx context.Context, opt Options) (*Report, error) {
	if len(opt.Files) == 0 && len(opt.Upstreams) == 0 {
		return nil, ErrNothing
	}
	p, err := population.Find("requests")
	if err != nil {
		return nil, err
	}
	c := comparing{
		opt: opt, statuses: map[int]*Status{}, minutes: map[int64]*Minute{}, requests: p, columns: map[string]int{}, upstream: map[string]int64{},
		r: Report{Period: opt.Period, Origin: opt.Log.Head.Origin, Size: opt.Log.Head.Size, Root: opt.Log.Head.Root.String(), Files: []File{}},
	}
	for i, column := range p.Columns {
		c.columns[column.Name] = i
	}
	if err := c.count(ctx); err != nil {
		return nil, fmt.Errorf("reconciling: %w", err)
	}
	if len(opt.Files) > 0 {
		parts := max(c.r.InLog, c.r.InAccess)/pass + 1
		for part := range parts {
			if err := c.match(ctx, part, parts); err != nil {
				return nil, fmt.Errorf("reconciling: %w", err)
			}
		}
	}
	c.sum()
	return &c.r, nil
}

// ours calls fn for each request of the log.
func (c *comparing) ours(ctx context.Context, fn func(e entry, row *population.Row) error) (population.Result, error) {
	opt := population.Options{Population: c.requests, Period: c.opt.Period, Tolerant: c.opt.Tolerant, Now: c.opt.Now}
	return population.Rows(ctx, c.opt.Log, opt, func(row *population.Row) error {
		var e entry
		var ok bool
		if e.id, ok = parseID(row.Cells[c.columns["request_id"]]); ok {
			e.start = e.id.time()
		} else {
			e.start, _ = time.Parse(time.RFC3339Nano, row.Cells[c.columns["time"]])
		}
		e.status, _ = strconv.Atoi(row.Cells[c.columns["status"]])
		return fn(e, row)
	})
}

// theirs calls fn for each request of the access logs that is in the period.
func (c *comparing) theirs(ctx context.Context, first bool, fn func(e entry)) error {
	for _, name := range c.opt.Files {
		f, err := readFile(name, func(line []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			c.line(line, first, fn)
			return nil
		})
		if err != nil {
			return err
		}
		if first {
			c.r.Files = append(c.r.Files, f)
		} else if i := slices.IndexFunc(c.r.Files, func(g File) bool { return g.Name == f.Name }); c.r.Files[i] != f {
			return fmt.Errorf("the access log %s changed while it was read: copy it, or name one that was rotated", name)
		}
	}
	return nil
}

func (c *comparing) line(line []byte, first bool, fn func(e entry)) {
	e, err := parseEntry(line)
	p := c.opt.Period
	outside := err == nil && (!p.From.IsZero() && e.start.Before(p.From) || !p.To.IsZero() && !e.start.Before(p.To))
	if err == nil && !outside {
		fn(e)
	}
	if !first {
		return
	}
	c.r.Lines++
	switch {
	case errors.Is(err, errNoEntry):
		c.r.Others++
	case err != nil:
		c.r.Unreadable++
		if c.r.Problem == "" {
			c.r.Problem = fmt.Sprintf("line %d: %v", c.r.Lines, err)
		}
	case outside:
		c.r.Outside++
	}
}

// count counts both sides.
func (c *comparing) count(ctx context.Context) error {
	result, err := c.ours(ctx, func(e entry, row *population.Row) error {
		c.r.InLog++
		c.status(e.status).Log++
		c.minute(e.start).Log++
		if address := row.Cells[c.columns["upstream"]]; address != "" {
			if _, asked := c.opt.Upstreams[address]; asked {
				c.upstream[address]++
			}
		}
		return nil
	})
	c.r.Coverage = result.Coverage
	if err != nil {
		return err
	}
	return c.theirs(ctx, true, func(e entry) {
		c.r.InAccess++
		if e.id == (id{}) {
			c.r.WithoutID++
		}
		c.status(e.status).Access++
		c.minute(e.start).Access++
	})
}

func (c *comparing) status(n int) *Status {
	s := c.statuses[n]
	if s == nil {
		s = &Status{Status: n}
		c.statuses[n] = s
	}
	return s
}

func (c *comparing) minute(t time.Time) *Minute {
	t = t.Truncate(time.Minute)
	m := c.minutes[t.Unix()]
	if m == nil {
		m = &Minute{Minute: t}
		c.minutes[t.Unix()] = m
	}
	return m
}

// match compares the ids of one part of several.
func (c *comparing) match(ctx context.Context, part, parts int64) error {
	var log, access []side
	mine := func(v id) bool { // the last bytes are random
		return v != (id{}) && (int64(v[13])<<16|int64(v[14])<<8|int64(v[15]))%parts == part
	}
	_, err := c.ours(ctx, func(e entry, _ *population.Row) error {
		if mine(e.id) {
			log = append(log, side{e.id, int32(e.status)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = c.theirs(ctx, false, func(e entry) {
		if mine(e.id) {
			access = append(access, side{e.id, int32(e.status)})
		}
	})
	if err != nil {
		return err
	}
	log, access = c.once(log, &c.r.TwiceLog), c.once(access, &c.r.TwiceAccess)
	i, j := 0, 0
	for i < len(log) || j < len(access) {
		order := 0
		switch {
		case i == len(log):
			order = 1
		case j == len(access):
			order = -1
		default:
			order = bytes.Compare(log[i].id[:], access[j].id[:])
		}
		switch {
		case order < 0:
			c.r.OnlyLog++
			c.r.ExamplesLog = example(c.r.ExamplesLog, log[i].id)
			i++
		case order > 0:
			c.r.OnlyAccess++
			c.r.ExamplesOther = example(c.r.ExamplesOther, access[j].id)
			j++
		default:
			c.r.Both++
			if log[i].status != access[j].status {
				c.r.StatusDiffers++
			}
			i, j = i+1, j+1
		}
	}
	return nil
}

// once sorts and counts what is there more than once.
func (c *comparing) once(list []side, twice *int64) []side {
	slices.SortFunc(list, func(a, b side) int {
		return cmp.Or(bytes.Compare(a.id[:], b.id[:]), cmp.Compare(a.status, b.status))
	})
	kept := slices.CompactFunc(list, func(a, b side) bool { return a.id == b.id })
	*twice += int64(len(list) - len(kept))
	return kept
}

func example(list []string, v id) []string {
	if len(list) < maxExamples {
		list = append(list, v.String())
	}
	return list
}

// sum makes the lists and the verdict.
func (c *comparing) sum() {
	r := &c.r
	if len(c.opt.Files) > 0 {
		for _, s := range c.statuses {
			r.Statuses = append(r.Statuses, *s)
		}
		sort.Slice(r.Statuses, func(i, j int) bool { return r.Statuses[i].Status < r.Statuses[j].Status })
		for _, m := range c.minutes {
			if m.Log == m.Access {
				r.MinutesSame++
				continue
			}
			r.MinutesDiffer++
			r.Minutes = append(r.Minutes, *m)
		}
		sort.Slice(r.Minutes, func(i, j int) bool { return r.Minutes[i].Minute.Before(r.Minutes[j].Minute) })
		r.Minutes = r.Minutes[:min(len(r.Minutes), maxMinutes)]
	}
	same := true
	for address, n := range c.opt.Upstreams {
		r.UpstreamCounts = append(r.UpstreamCounts, Upstream{address, c.upstream[address], n})
		same = same && c.upstream[address] == n
	}
	sort.Slice(r.UpstreamCounts, func(i, j int) bool { return r.UpstreamCounts[i].Address < r.UpstreamCounts[j].Address })
	r.Agrees = same && r.Unreadable == 0 && r.Coverage.State != population.Unknown
	if len(c.opt.Files) > 0 {
		r.Agrees = r.Agrees && r.InLog == r.InAccess && r.Both == r.InLog && r.StatusDiffers == 0
	}
}
