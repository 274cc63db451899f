package evidence

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

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
