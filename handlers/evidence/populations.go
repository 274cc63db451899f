package evidence

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
	"github.com/caddy-soc2/caddy-soc2/evidence/population/ocsf"
)

// exports is how many requests read whole populations at a time.
const exports = 2

const tool = "caddy-soc2"

// typeOf is the media type of a format.
var typeOf = map[string]string{
	"csv": "text/csv; charset=utf-8; header=present", "ndjson": typeNDJSON, "ocsf": typeNDJSON, "json": typeJSON,
}

// populations answers requests for populations. It reports false for other
// paths.
func (a *API) populations(w http.ResponseWriter, r *http.Request, src Source, path string) bool {
	rest, ok := strings.CutPrefix(path, "/populations")
	if !ok || rest != "" && rest[0] != '/' {
		return false
	}
	name, what, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	serve := map[string]func(*inquest){"": (*inquest).rows, "provenance": (*inquest).provenance, "sample": (*inquest).sample}[what]
	names := map[string][]string{"": {"from", "to", "format", "limit", "cursor"}, "provenance": {"from", "to", "format"}, "sample": {"from", "to", "n", "seed"}}[what]
	q := &inquest{api: a, w: w, r: r}
	if rest == "" {
		serve, names = (*inquest).index, []string{"from", "to", "count"}
	} else {
		var err error
		if q.p, err = population.Find(name); err != nil || serve == nil || strings.HasSuffix(rest, "/") {
			readingOf(r).name(name)
			problem(w, r, http.StatusNotFound, "There is no such population: "+strings.Join(population.Names(), ", ")+" are there.")
			return true
		}
	}
	var err error
	if q.inquiry, err = parseInquiry(r.URL.RawQuery, a.now(), names...); err != nil {
		badQuery(w, r, err)
		return true
	}
	if q.p != nil {
		q.of = q.p.Name
	}
	a.inquire(q, src, serve)
	return true
}

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
	select {
	case a.exports <- struct{}{}:
		defer func() { <-a.exports }()
	default:
		q.w.Header().Set("Retry-After", "5")
		problem(q.w, q.r, http.StatusServiceUnavailable, "Too many populations are being read: ask again in a moment.")
		return
	}
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	if a.ending().Err() != nil {
		cancel() // at once
	}
	defer context.AfterFunc(a.ending(), cancel)()
	if q.within {
		var late context.CancelFunc
		ctx, late = context.WithTimeout(ctx, a.patience)
		defer late()
		err = q.bound()
	}
	q.ctx = ctx
	if err != nil {
		q.failed(err)
		return
	}
	if q.cursor.size > 0 {
		if q.cursor.of != mark(q.of, q.period) {
			problemOf(q.w, q.r, http.StatusBadRequest, "cursor", "The cursor is of another question or period: begin again without one.")
			return
		}
		if q.log, err = q.log.At(ctx, q.cursor.size); err != nil {
			q.failed(err)
			return
		}
	}
	if q.p != nil {
		readingOf(q.r).population(q.p, q.period, q.format, q.log)
	} else {
		readingOf(q.r).span(q.period, q.log)
	}
	serve(q)
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
	h := q.w.Header()
	h.Set("Soc2-Tree-Size", strconv.FormatInt(q.log.Head.Size, 10))
	h.Set("Soc2-Tree-Root", q.log.Head.Root.String())
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

// index lists the populations with their counts.
func (q *inquest) index() {
	type entry struct {
		*population.Population
		Count *int64 `json:"count"`
		By    string `json:"count_by,omitempty"`
	}
	list := make([]entry, 0, len(population.All()))
	var coverage *population.Coverage
	if q.fresh() {
		return
	}
	if q.count == "none" {
		for _, p := range population.All() {
			list = append(list, entry{Population: p})
		}
	} else {
		counted, c, err := population.Count(q.ctx, q.log, population.All(), q.options(), q.count == "exact")
		if err != nil {
			q.failed(err)
			return
		}
		coverage = &c
		for i, p := range population.All() {
			list = append(list, entry{p, &counted[i].Count, counted[i].By})
		}
	}
	sendJSON(q.w, q.r, http.StatusOK, typeJSON, struct {
		standing
		Coverage    *population.Coverage `json:"coverage,omitempty"`
		Populations []entry              `json:"populations"`
	}{q.standing(), coverage, list})
}

// rows answers with rows: a page in JSON, or all that are left in another
// format.
func (q *inquest) rows() {
	if q.fresh() {
		return
	}
	switch {
	case q.format == "json" && q.r.Method == http.MethodHead:
		q.counts()
	case q.format == "json":
		q.page()
	default:
		q.stream()
	}
}

// counts answers HEAD: how many rows there are, whatever the page would hold.
func (q *inquest) counts() {
	bare := q.options()
	bare.Bare = true
	result, err := population.Rows(q.ctx, q.log, bare, func(*population.Row) error { return nil })
	if err != nil {
		q.failed(err)
		return
	}
	q.head(result)
	q.w.Header().Set("Content-Type", typeJSON)
	q.w.WriteHeader(http.StatusOK)
}

// page answers with a page of rows.
func (q *inquest) page() {
	var body bytes.Buffer
	n, next := 0, ""
	last := ""
	result, err := population.Rows(q.ctx, q.log, q.options(), func(row *population.Row) error {
		if n == q.limit || body.Len() > 4<<20 {
			next = cursor{q.log.Head.Size, mark(q.of, q.period), last}.String()
			return population.ErrStop
		}
		if n > 0 {
			body.WriteByte(',')
		}
		n++
		last = row.Key()
		text, err := q.p.AppendJSON(nil, row)
		body.Write(text)
		return err
	})
	if err != nil {
		q.failed(err)
		return
	}
	readingOf(q.r).rows(result.Count, result.First, result.Last)
	var link *string
	if next != "" {
		v := q.r.URL.Query()
		v.Set("cursor", next)
		text := "?" + v.Encode()
		link = &text
		q.w.Header().Set("Link", "<"+text+`>; rel="next"`)
	}
	q.head(result)
	sendJSON(q.w, q.r, http.StatusOK, typeJSON, struct {
		Population string `json:"population"`
		standing
		Coverage population.Coverage `json:"coverage"`
		Rows     json.RawMessage     `json:"rows"`
		Next     *string             `json:"next"`
	}{q.p.Name, q.standing(), result.Coverage, json.RawMessage("[" + body.String() + "]"), link})
}

// stream answers with all rows. They are counted before, so that the fields of
// the response can say how many they are, and so that a log that cannot be read
// is not noticed in the middle only.
func (q *inquest) stream() {
	bare := q.options()
	bare.Bare = true
	if q.format == ocsf.Format && q.p.Derived {
		problemOf(q.w, q.r, http.StatusBadRequest, "format", "The rows of "+q.p.Name+" are not records, of which OCSF has events: ask for csv or ndjson.")
		return
	}
	result, err := population.Rows(q.ctx, q.log, bare, func(*population.Row) error { return nil })
	if err != nil {
		q.failed(err)
		return
	}
	q.head(result)
	h := q.w.Header()
	h.Set("Content-Type", typeOf[q.format])
	h.Set("Content-Disposition", `attachment; filename="`+q.p.Name+`.`+q.format+`"`)
	h.Set("Trailer", "Soc2-Sha256")
	q.w.WriteHeader(http.StatusOK)
	if q.r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(q.w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	prov, err := population.Write(q.ctx, q.log, patient{q.w, control}, q.export())
	readingOf(q.r).rows(prov.Count, result.First, result.Last)
	if err != nil {
		if q.ctx.Err() == nil {
			report(err)
		}
		panic(http.ErrAbortHandler) // so that the client does not take it for whole
	}
	h.Set("Soc2-Sha256", prov.SHA256)
}

func (q *inquest) export() population.Export {
	return population.Export{Options: q.options(), Format: q.format, Encoder: ocsf.New(q.format, ""), Tool: tool}
}

// patient gives a client some time for each piece that it is sent.
type patient struct {
	w       io.Writer
	control *http.ResponseController
}

func (p patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(writeTime)) // not all writers can
	return p.w.Write(b)
}

// provenance answers with what belongs beside a file of rows, which is made once
// more and thrown away.
func (q *inquest) provenance() {
	if q.format == "json" {
		q.format = "csv"
	}
	if q.fresh() {
		return
	}
	prov, err := population.Write(q.ctx, q.log, io.Discard, q.export())
	if err != nil {
		q.failed(err)
		return
	}
	sendJSON(q.w, q.r, http.StatusOK, typeJSON, prov)
}

// sample answers with a sample.
func (q *inquest) sample() {
	if err := population.CheckSeed(q.seed); err != nil {
		problemOf(q.w, q.r, http.StatusBadRequest, "seed", sentence(err))
		return
	}
	if q.fresh() {
		return
	}
	doc, result, err := population.Draw(q.ctx, q.log, q.options(), q.inquiry.sample, q.seed)
	if err != nil {
		q.failed(err)
		return
	}
	readingOf(q.r).seed(q.seed)
	readingOf(q.r).rows(int64(len(doc.Rows)), result.First, result.Last)
	q.head(result)
	sendJSON(q.w, q.r, http.StatusOK, typeJSON, doc)
}

// sentence makes a sentence of an error.
func sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// proofs answers requests for proofs of the tree alone. It reports false for
// other paths.
func (a *API) proofs(w http.ResponseWriter, r *http.Request, src Source, path string) bool {
	names := map[string][2]string{"/log/proof/inclusion": {"seq", "size"}, "/log/proof/consistency": {"from", "to"}}[path]
	if names[0] == "" {
		return false
	}
	log := src.Log()
	_, head, _ := log.Checkpoint()
	values := r.URL.Query()
	number := func(name string, missing int64) int64 {
		list, ok := values[name]
		delete(values, name)
		if !ok {
			return missing
		}
		n, err := strconv.ParseInt(list[0], 10, 64)
		if err != nil || len(list) != 1 || n < 0 {
			return -1
		}
		return n
	}
	first, second := number(names[0], -1), number(names[1], head.Size)
	blame := names[1]
	if first < 0 || names[0] == "from" && first == 0 {
		blame = names[0]
	}
	for name := range values {
		blame = name[:min(len(name), maxName)]
	}
	if inclusion := names[0] == "seq"; first < 0 || second < 0 || len(values) > 0 || first > second || inclusion && first == second || !inclusion && first == 0 || second > head.Size {
		problemOf(w, r, http.StatusBadRequest, blame, fmt.Sprintf("The query has %s and %s, by default the newest size, %d, that is signed: numbers, the first smaller than the second.", names[0], names[1], head.Size))
		return true
	}
	var hashes any
	var err error
	if names[0] == "seq" {
		hashes, err = tiles.Reader{Records: log.Records(), Size: second}.Prove(r.Context(), first)
	} else {
		hashes, err = log.ProveConsistency(r.Context(), first, second)
	}
	if err != nil {
		broken(w, r, err)
		return true
	}
	text, err := json.Marshal(hashes)
	if err != nil {
		broken(w, r, err)
		return true
	}
	if string(text) == "null" {
		text = []byte("[]")
	}
	sendJSON(w, r, http.StatusOK, typeJSON, map[string]any{names[0]: first, names[1]: second, "hashes": json.RawMessage(text)})
	return true
}
