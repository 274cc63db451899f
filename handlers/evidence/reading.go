package evidence

import (
	"context"
	"net/http"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/jobs"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// reading is a request for evidence, of which a record is kept: who looked at
// what, and what was given. Its methods do nothing on nil, which is where the
// caller keeps the record: on the admin API each call is one (admin.call).
type reading struct {
	record audit.EvidenceRead
	source Source
	writer *countingWriter
}

type readingKey struct{}

// readingOf returns the reading of a request.
func readingOf(r *http.Request) *reading {
	v, _ := r.Context().Value(readingKey{}).(*reading)
	return v
}

// begin opens the reading of a request.
func begin(w http.ResponseWriter, r *http.Request, src Source, who reader, resource string, now time.Time) (*reading, *http.Request) {
	v := &reading{source: src, writer: &countingWriter{ResponseWriter: w}}
	v.record = audit.EvidenceRead{
		Time: now, Actor: who.actor, Role: string(who.role), Resource: resource, Path: r.URL.Path, Query: r.URL.RawQuery, Outcome: "allowed",
	}
	if r.Method != http.MethodGet {
		v.record.Filter = "method " + r.Method
	}
	return v, r.WithContext(context.WithValue(r.Context(), readingKey{}, v))
}

// population notes what population is read, and on which tree.
func (v *reading) population(p *population.Population, period population.Period, format string, log *population.Log) {
	if v == nil {
		return
	}
	v.record.Name, v.record.Format = p.Name, format
	v.record.From, v.record.To = period.From, period.To
	v.record.TreeSize, v.record.TreeRoot = log.Head.Size, log.Head.Root.String()
}

// span notes what period is read, and on which tree.
func (v *reading) span(period population.Period, log *population.Log) {
	if v == nil {
		return
	}
	v.record.From, v.record.To = period.From, period.To
	v.record.TreeSize, v.record.TreeRoot = log.Head.Size, log.Head.Root.String()
}

// rows notes which rows were given.
func (v *reading) rows(n, first, last int64) {
	if v == nil || n == 0 {
		return
	}
	v.record.Rows, v.record.First, v.record.Last = n, first, last
}

// pack notes which pack was given.
func (v *reading) pack(j *jobs.Job) {
	if v == nil {
		return
	}
	v.record.Format, v.record.From, v.record.To = "zip", j.Order.From, j.Order.To
	v.record.TreeSize, v.record.TreeRoot = j.Size, j.Root
}

func (v *reading) seed(seed string) {
	if v != nil {
		v.record.Seed = seed
	}
}

func (v *reading) name(name string) {
	if v != nil {
		v.record.Name = name
	}
}

// started records a read that may last for days, when it begins. Another record
// follows when it has ended.
func (v *reading) started() error {
	if v == nil {
		return nil
	}
	begun := v.record
	begun.Filter = "follow begins"
	return keep(v.source, &begun)
}

// keep appends the record.
func (v *reading) keep() error {
	w := v.writer
	v.record.Status, v.record.Bytes = w.status, w.bytes
	switch {
	case w.status == http.StatusUnauthorized, w.status == http.StatusForbidden, w.status == http.StatusMethodNotAllowed, w.status == http.StatusTooManyRequests:
		v.record.Outcome = "denied"
	case w.status >= http.StatusInternalServerError:
		v.record.Outcome = "error"
	}
	return keep(v.source, &v.record)
}

// keep appends a record to the log of a source, and waits until it is durable.
func keep(src Source, body audit.Body) error {
	if book := ledger.Current(); book != nil && book.Log() == src.Log() && book.Hold() {
		defer book.Release()
		return book.Write(body, true)
	}
	_, err := src.Log().Append(context.Background(), body.AppendBody(nil, src.Instance()))
	return err
}

// countingWriter counts what is answered, and lets no cache keep it.
type countingWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (w *countingWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
		w.Header().Set("Cache-Control", "no-store")
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *countingWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
