package evidence

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

const (
	// reach is how long a period is if nothing is said of its beginning.
	reach = 30 * 24 * time.Hour
	// documentTime is how long it may take to compute an answer out of a period's
	// records.
	documentTime = 5 * time.Minute
)

// question is a resource that is computed from a log, as a checkpoint signs it.
type question struct {
	pattern string   // as in routes
	names   []string // of the parameters of the query
	within  bool     // it is of a period with a beginning and an end, and has to be computed in documentTime
	light   bool     // it reads few records
	serve   func(*inquest)
}

var (
	spanNames = []string{"from", "to"}
	pageNames = []string{"from", "to", "limit", "cursor"}
)

// questions are what computed answers.
var questions = []question{
	{"/checks/{id}/history", pageNames, true, false, (*inquest).history},
	{"/log/checkpoints", pageNames, false, true, (*inquest).checkpoints},
	{"/config/changes", pageNames, false, false, (*inquest).changes},
	{"/config/changes/{seq}", nil, false, true, (*inquest).change},
	{"/access/matrix", spanNames, true, false, (*inquest).matrix},
	{"/access/principals", pageNames, true, false, (*inquest).principals},
	{"/certificates", pageNames, true, false, (*inquest).certificates},
	{"/oscal/catalog", spanNames, true, true, (*inquest).catalog},
	{"/oscal/component-definition", spanNames, true, true, (*inquest).component},
	{"/oscal/assessment-results", spanNames, true, false, (*inquest).assessment},
	{"/report", spanNames, true, false, (*inquest).report},
}

// computed answers requests for what is computed from the log. It reports false
// for other paths.
func (a *API) computed(w http.ResponseWriter, r *http.Request, src Source, path string) bool {
	for i := range questions {
		if !matches(questions[i].pattern, path) {
			continue
		}
		q := &inquest{api: a, w: w, r: r, of: strings.TrimPrefix(path, "/"), within: questions[i].within, light: questions[i].light}
		readingOf(r).name(q.of)
		if id, ok := strings.CutPrefix(q.of, "checks/"); ok && controls.Checks().Check(strings.TrimSuffix(id, "/history")) == nil {
			notFound(w, r)
			return true
		}
		var err error
		if q.inquiry, err = parseInquiry(r.URL.RawQuery, a.now(), questions[i].names...); err != nil {
			badQuery(w, r, err)
			return true
		}
		a.inquire(q, src, questions[i].serve)
		return true
	}
	return false
}

// bound gives the period the bounds that it lacks. It ends when the newest record
// that is signed was appended, so that one tree has one answer, and begins a month
// before that.
func (q *inquest) bound() error {
	if q.period.To.IsZero() {
		record, err := q.log.Dir.Record(q.log.Head.Size - 1)
		if err != nil {
			return err
		}
		at, err := records.Appended(record)
		if err != nil {
			return fmt.Errorf("record %d: %w", q.log.Head.Size-1, err)
		}
		q.period.To = at.UTC()
		if !q.period.From.Before(q.period.To) { // it has begun, and nothing has been recorded since
			q.period.To = q.api.now().UTC()
		}
	}
	if q.period.From.IsZero() {
		q.period.From = q.period.To.Add(-reach)
	}
	return nil
}

// next is the query of the next page, whose rows come after one. It has the period
// in it, so that all pages are of one.
func (q *inquest) next(after string) string {
	v := q.r.URL.Query()
	for name, bound := range map[string]time.Time{"from": q.period.From, "to": q.period.To} {
		if !bound.IsZero() {
			v.Set(name, bound.Format(time.RFC3339Nano))
		}
	}
	v.Set("cursor", cursor{q.log.Head.Size, mark(q.of, q.period), after}.String())
	text := "?" + v.Encode()
	q.w.Header().Set("Link", "<"+text+`>; rel="next"`)
	return text
}

// place is where a page begins, of rows that have no other names than their
// numbers, from 1 on: behind that row.
func (q *inquest) place() (int64, bool) {
	if q.cursor.size == 0 {
		return 0, true
	}
	n, err := strconv.ParseInt(q.cursor.after, 10, 64)
	if err != nil || n < 1 {
		problemOf(q.w, q.r, http.StatusBadRequest, "cursor", "The cursor is not one that was given out.")
		return 0, false
	}
	return n, true
}

// rooted tells on which tree an answer stands.
func (q *inquest) rooted() {
	h := q.w.Header()
	h.Set("Soc2-Tree-Size", strconv.FormatInt(q.log.Head.Size, 10))
	h.Set("Soc2-Tree-Root", q.log.Head.Root.String())
}

// listed notes and tells how many rows an answer has, of how many there are.
func (q *inquest) listed(rows int, of int64) {
	q.rooted()
	q.w.Header().Set("Soc2-Row-Count", strconv.FormatInt(of, 10))
	if v := readingOf(q.r); v != nil {
		v.record.Rows = int64(rows)
	}
}

// basis is what an answer stands on.
type basis struct {
	Origin string            `json:"origin"`
	Size   int64             `json:"tree_size"`
	Root   string            `json:"tree_root"`
	Period population.Period `json:"period"`
}

func (q *inquest) basis() basis {
	return basis{q.log.Head.Origin, q.log.Head.Size, q.log.Head.Root.String(), q.period}
}
