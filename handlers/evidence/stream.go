package evidence

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

const (
	typeNDJSON = "application/x-ndjson"

	streams      = 16      // clients that are sent records at a time
	defaultLimit = 1000    // records of an answer
	maxLimit     = 10_000  // records of an answer that does not follow
	batchBytes   = 1 << 18 // records in memory for a client, besides the last
	writeTime    = 10 * time.Second
)

// listing is a request for records in order.
type listing struct {
	from   int64 // -1: the oldest
	limit  int64
	follow bool
}

const badListing = "The query has from, the index of a record; limit, how many records, 1 to 10000, or any number with follow; and follow, 0 or 1."

// parseListing reads a query. What it does not know is refused: a client that
// misspelled a name would take all records for some. Wrong names the parameter
// that is; none, if it is not a query.
func parseListing(query string) (l listing, wrong string, ok bool) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return l, "", false
	}
	ok = true
	number := func(name string, missing, least, most int64) int64 {
		list, given := values[name]
		delete(values, name)
		if !given {
			return missing
		}
		n, err := strconv.ParseInt(list[0], 10, 64)
		if err != nil || len(list) != 1 || n < least || n > most {
			wrong, ok = name, false
		}
		return n
	}
	l.follow = number("follow", 0, 0, 1) == 1
	limit, most := int64(defaultLimit), int64(maxLimit)
	if l.follow {
		limit, most = math.MaxInt64, math.MaxInt64
	}
	l.from = number("from", -1, 0, math.MaxInt64)
	l.limit = number("limit", limit, 1, most)
	for name := range values {
		wrong, ok = name[:min(len(name), maxName)], false
	}
	return l, wrong, ok
}

// records sends records in order, one a line, in the bytes that were hashed.
// Each is on disk when it is sent.
func (a *API) records(w http.ResponseWriter, r *http.Request, src Source) {
	l, wrong, ok := parseListing(r.URL.RawQuery)
	if !ok {
		problemOf(w, r, http.StatusBadRequest, wrong, badListing)
		return
	}
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
	default:
		w.Header().Set("Retry-After", "5")
		problem(w, r, http.StatusServiceUnavailable, "Too many clients are being sent records.")
		return
	}
	log := src.Log()
	first, err := log.Records().First()
	if err != nil {
		broken(w, r, err)
		return
	}
	if l.from < 0 {
		l.from = first
	}
	if l.from < first {
		problem(w, r, http.StatusGone, fmt.Sprintf("The log no longer holds record %d: it begins with record %d.", l.from, first))
		return
	}
	s := stream{api: a, log: log, next: l.from, to: l.from + min(l.limit, math.MaxInt64-l.from), follow: l.follow}
	if durable := log.Durable(); !l.follow {
		s.to = min(s.to, durable)
		if s.to < durable && s.to > s.next {
			w.Header().Set("Link", fmt.Sprintf(`<?from=%d&limit=%d>; rel="next"`, s.to, l.limit))
		}
	}
	if l.follow {
		if err := readingOf(r).started(); err != nil {
			problem(w, r, http.StatusServiceUnavailable, "The audit log takes no records, so that this read could not be recorded.")
			return
		}
	}
	secure(w.Header())
	w.Header().Set("Content-Type", typeNDJSON)
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		first := s.next
		defer func() { readingOf(r).rows(s.next-first, first, s.next-1) }()
		s.serve(w, r)
	}
}

// stream sends records to a client.
type stream struct {
	api    *API
	log    *audit.Log
	next   int64 // index of the record to send next
	to     int64 // index of the first not to send
	follow bool
	buf    []byte
}

// serve sends until all is sent, the client has left or the server stops. If
// the log cannot be read, the response is broken off, so that the client does
// not take it for whole.
func (s *stream) serve(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.api.ending(), cancel)() // deadlines are not set from there: Caddy's writer has no lock
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	_ = control.Flush() // the client of a log in which nothing happens learns that it is connected
	for s.next < s.to {
		if err := s.fill(ctx); err != nil {
			switch {
			case ctx.Err() != nil, errors.Is(err, audit.ErrClosed):
				return
			default:
				report(err)
				panic(http.ErrAbortHandler)
			}
		}
		_ = control.SetWriteDeadline(time.Now().Add(writeTime)) // not all writers can
		if ctx.Err() != nil {                                   // after that, or the server might wait so long
			return
		}
		if _, err := w.Write(s.buf); err != nil {
			return
		}
		if control.Flush() != nil && s.follow {
			return
		}
	}
}

var errFull = errors.New("the batch is full")

// fill reads the next batch, and waits for one record at least. Like all
// look-ups it takes its turn, but not while the client is being written to.
func (s *stream) fill(ctx context.Context) error {
	durable, err := s.log.Wait(ctx, s.next)
	if err != nil {
		return err
	}
	select {
	case s.api.slots <- struct{}{}:
		defer func() { <-s.api.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	s.buf = s.buf[:0]
	_, err = s.log.Records().Range(ctx, s.next, min(s.to, durable), func(seq int64, record []byte) error {
		if seq != s.next {
			return fmt.Errorf("record %d: %w", s.next, audit.ErrRemoved)
		}
		s.next++
		s.buf = append(append(s.buf, record...), '\n')
		if len(s.buf) >= batchBytes {
			return errFull
		}
		return nil
	})
	if err == nil && len(s.buf) == 0 {
		err = fmt.Errorf("record %d: %w: it is missing", s.next, audit.ErrDamaged)
	}
	if errors.Is(err, errFull) {
		err = nil
	}
	return err
}
