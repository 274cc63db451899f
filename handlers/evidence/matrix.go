package evidence

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/caddy-soc2/caddy-soc2/evidence/review"
)

// Granter knows whom the configuration that runs lets do what. The soc2 app is
// one.
type Granter interface {
	// AccessGrants are merged, and without secrets.
	AccessGrants() (*review.Grants, error)
}

// listedPrincipals is how many principals are told apart. Requests of others are
// counted.
const listedPrincipals = 10_000

// review makes a review of access of the period, and answers if it cannot.
func (q *inquest) review() *review.Document {
	grants := &review.Grants{Configuration: review.Configuration{Source: "none"}}
	if g, ok := q.src.(Granter); ok {
		var err error
		if grants, err = g.AccessGrants(); err != nil {
			report(err)
			problem(q.w, q.r, http.StatusServiceUnavailable, "What the configuration grants cannot be told. The server's log says why.")
			return nil
		}
	}
	if q.freshWith("-" + grants.Configuration.SHA256[:min(len(grants.Configuration.SHA256), 24)]) {
		return nil
	}
	if q.r.URL.Query().Get("to") == "" {
		q.period.To = q.period.To.Add(1) // so that the newest record is in it: a log may have but one
	}
	period := review.Period{From: q.period.From, To: q.period.To}
	if now := q.api.now().UTC(); period.To.After(now) {
		period.To = now // what has not happened yet is in no review
	}
	d, err := review.Make(q.ctx, q.log.Dir, grants, review.Options{
		Period: period, Size: q.log.Head.Size, Principals: listedPrincipals, Partial: true, Now: q.api.now,
	})
	switch {
	case errors.Is(err, review.ErrNoData):
		problem(q.w, q.r, http.StatusNotFound, sentence(err))
		return nil
	case errors.Is(err, review.ErrPeriod):
		problemOf(q.w, q.r, http.StatusBadRequest, "from", sentence(err))
		return nil
	case err != nil:
		q.failed(err)
		return nil
	}
	return d
}

// matrix answers with who could do what, and which of that was used: the review of
// the period without the principals.
func (q *inquest) matrix() {
	d := q.review()
	if d == nil {
		return
	}
	q.listed(len(d.Policies)+len(d.Accounts), int64(len(d.Policies)+len(d.Accounts)))
	sendJSON(q.w, q.r, http.StatusOK, typeJSON, struct {
		basis
		Log           review.Log             `json:"log"`
		Configuration review.Configuration   `json:"configuration"`
		Policies      []review.PolicyReview  `json:"policies"`
		Accounts      []review.AccountReview `json:"accounts"`
		Dormant       review.Dormant         `json:"dormant"`
		Elsewhere     []review.Elsewhere     `json:"other_policies"`
		Glass         []review.GlassUse      `json:"break_glass"`
		LeftOut       []review.LeftOut       `json:"left_out"`
		Unknown       []string               `json:"what_it_cannot_know"`
	}{q.basis(), d.Log, d.Configuration, d.Policies, d.Accounts, d.Dormant, d.Elsewhere, d.Glass, d.LeftOut, d.Unknown})
}

// principals answers with who did something, a page of the review of the period.
func (q *inquest) principals() {
	after, ok := q.place()
	if !ok {
		return
	}
	d := q.review()
	if d == nil {
		return
	}
	count := int64(len(d.Principals))
	page := d.Principals[min(after, count):]
	rest := page[min(q.limit, len(page)):]
	page = page[:len(page)-len(rest)]
	var next *string
	if len(rest) > 0 {
		next = new(q.next(strconv.FormatInt(after+int64(len(page)), 10)))
	}
	q.listed(len(page), count)
	sendJSON(q.w, q.r, http.StatusOK, typeJSON, struct {
		basis
		Log        review.Log         `json:"log"`
		Count      int64              `json:"count"`
		Principals []review.Principal `json:"principals"`
		Anonymous  review.Tally       `json:"anonymous"`
		Sealed     review.Tally       `json:"sealed"`
		LeftOut    []review.LeftOut   `json:"left_out"`
		Unknown    []string           `json:"what_it_cannot_know"`
		Next       *string            `json:"next"`
	}{q.basis(), d.Log, count, page, d.Anonymous, d.Sealed, d.LeftOut, d.Unknown, next})
}
