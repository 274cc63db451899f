package evidence

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"

	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// inquest is a request for a population.
type inquest struct {
	inquiry
	api *API
	w   http.ResponseWriter
	r   *http.Request
	ctx context.Context //nolint:containedctx // of the request
	p   *population.Population
	of  string // what is asked for, in cursors and in records of reads
	log *population.Log
	src Source

	within bool // the answer has to be computed in documentTime, and its period has bounds
	light  bool // it reads few records
}

// inquire opens the log for a request, as its newest checkpoint signs it, and
// answers it when its turn has come.
func (a *API) inquire(q *inquest, src Source, serve func(*inquest)) {
	log := src.Log()
	q.src = src
	head, err := log.Head()
	if err == nil {
		q.log, err = population.From(log.Records(), tiles.Head{Note: head.Note, Size: head.Size, Tree: head.Tree}, log.Key().Public())
	}
	if err != nil {
		broken(q.w, q.r, err)
		return
	}
	turn := q.turn()
	if turn == nil {
		return
	}
	defer func() { <-turn }()
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	if a.ending().Err() != nil {
		cancel() // at once
	}
	defer context.AfterFunc(a.ending(), cancel)()
	if q.within {
		ctx, cancel = context.WithTimeout(ctx, a.patience)
		defer cancel()
	}
	q.ctx = ctx
	if q.stand() {
		serve(q)
	}
}

// turn waits for the turn of a request that reads some records, and has one that
// reads many ask again later. It returns what has to be given back; nil if the
// request was answered.
func (q *inquest) turn() chan struct{} {
	if q.light {
		select {
		case q.api.slots <- struct{}{}:
			return q.api.slots
		case <-q.r.Context().Done():
			return nil // nobody waits for the answer
		}
	}
	select {
	case q.api.exports <- struct{}{}:
		return q.api.exports
	default:
		q.w.Header().Set("Retry-After", "5")
		problem(q.w, q.r, http.StatusServiceUnavailable, "Too many populations are being read: ask again in a moment.")
		return nil
	}
}

// stand finds the period and the tree that the answer stands on. It reports false
// if it has answered itself.
func (q *inquest) stand() bool {
	if q.within {
		if err := q.bound(); err != nil {
			q.failed(err)
			return false
		}
	}
	if q.cursor.size > 0 {
		if q.cursor.of != mark(q.of, q.period) {
			problemOf(q.w, q.r, http.StatusBadRequest, "cursor", "The cursor is of another question or period: begin again without one.")
			return false
		}
		var err error
		if q.log, err = q.log.At(q.ctx, q.cursor.size); err != nil {
			q.failed(err)
			return false
		}
	}
	if q.p != nil {
		readingOf(q.r).population(q.p, q.period, q.format, q.log)
	} else {
		readingOf(q.r).span(q.period, q.log)
	}
	return true
}

func (q *inquest) options() population.Options {
	return population.Options{Population: q.p, Period: q.period, After: q.cursor.after, Now: q.api.now}
}

// failed answers that something cannot be had.
func (q *inquest) failed(err error) {
	switch {
	case errors.Is(q.ctx.Err(), context.DeadlineExceeded):
		problem(q.w, q.r, http.StatusServiceUnavailable, "It takes longer than "+documentTime.String()+" to read so much of the log: ask for a shorter period.")
	case q.ctx.Err() != nil: // nobody waits for the answer, or the server stops
		problem(q.w, q.r, http.StatusServiceUnavailable, "The server is stopping.")
	case errors.Is(err, population.ErrOption) && q.cursor.size > 0:
		problemOf(q.w, q.r, http.StatusBadRequest, "cursor", sentence(err))
	case errors.Is(err, population.ErrOption):
		problem(q.w, q.r, http.StatusBadRequest, sentence(err))
	default:
		broken(q.w, q.r, err)
	}
}

// fresh answers that nothing has changed, if the client has what the tree says
// (RFC 9110, section 13.1.2). The entity tag is the tree's head: what is asked of
// one tree is always the same, but for what the clock says of a period that is
// not over.
func (q *inquest) fresh() bool { return q.freshWith("") }

// freshWith is fresh for an answer that stands on something else too, which more
// names.
func (q *inquest) freshWith(more string) bool {
	etag := `"` + strconv.FormatInt(q.log.Head.Size, 10) + "-" + hex.EncodeToString(q.log.Head.Root[:12]) + more + `"`
	secure(q.w.Header())
	q.w.Header().Set("ETag", etag)
	if tiles.Matches(q.r.Header.Values("If-None-Match"), etag) {
		q.w.WriteHeader(http.StatusNotModified)
		return true
	}
	return false
}

// head sets the fields that tell what an answer stands on.
func (q *inquest) head(r population.Result) {
	q.rooted()
	h := q.w.Header()
	h.Set("Soc2-Row-Count", strconv.FormatInt(r.Count, 10))
	h.Set("Soc2-Coverage", r.Coverage.State)
	if r.Count > 0 {
		h.Set("Soc2-First-Seq", strconv.FormatInt(r.First, 10))
		h.Set("Soc2-Last-Seq", strconv.FormatInt(r.Last, 10))
	}
}

// standing is what all answers in JSON say of the log.
type standing struct {
	Origin     string            `json:"origin"`
	Size       int64             `json:"tree_size"`
	Root       string            `json:"tree_root"`
	Period     population.Period `json:"period"`
	Definition string            `json:"definition_sha256"`
}

func (q *inquest) standing() standing {
	_, sum := population.Definitions()
	return standing{q.log.Head.Origin, q.log.Head.Size, q.log.Head.Root.String(), q.period, sum}
}
