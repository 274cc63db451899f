package evidence

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// The bounds of pages.
const (
	defaultPage = 100
	maxPage     = 1000
)

// inquiry is a query about a population.
type inquiry struct {
	period population.Period
	format string // json, csv, ndjson, ocsf
	limit  int    // rows of a page, in the format json
	cursor cursor
	sample int // rows of a sample
	seed   string
	count  string // of all populations: best, exact, none
}

// errQuery is what a client did wrong.
var errQuery = errors.New("the query is wrong")

// parameterError is what a client did wrong with a parameter.
type parameterError struct {
	name string
	why  error
}

func (e *parameterError) Error() string { return errQuery.Error() + ": " + e.why.Error() }

// Unwrap makes it an errQuery.
func (e *parameterError) Unwrap() []error { return []error{errQuery, e.why} }

func wrong(name, format string, args ...any) error {
	return &parameterError{name, fmt.Errorf(format, args...)}
}

// parseInquiry reads a query that may have the given names. What it does not
// know is refused: who misspelled a name would take all rows for some.
func parseInquiry(query string, now time.Time, names ...string) (q inquiry, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return q, fmt.Errorf("%w: it is not a query: %w", errQuery, err)
	}
	for name, list := range values {
		if !slices.Contains(names, name) {
			return q, wrong(name[:min(len(name), maxName)], "there is no %.40q here: %s", name, has(names))
		}
		if len(list) != 1 {
			return q, wrong(name, "%s is there more than once", name)
		}
	}
	if q.period, err = parsePeriod(values, now); err != nil {
		return q, err
	}
	if q.limit, err = number(values, "limit", defaultPage, maxPage); err != nil {
		return q, err
	}
	if q.sample, err = number(values, "n", 25, population.MaxSample); err != nil {
		return q, err
	}
	q.seed = values.Get("seed")
	if q.format, err = choice(values, "format", "json", "csv", "ndjson", "ocsf"); err != nil {
		return q, err
	}
	if q.count, err = choice(values, "count", "best", "exact", "none"); err != nil {
		return q, err
	}
	if text, ok := values["cursor"]; ok {
		q.cursor, err = parseCursor(text[0])
	}
	return q, err
}

// maxName is how much of a parameter's name an answer says again.
const maxName = 40

// has says which parameters there are.
func has(names []string) string {
	if len(names) == 0 {
		return "there are no parameters"
	}
	return "there is " + strings.Join(names, ", ")
}

// parsePeriod reads from and to.
func parsePeriod(values url.Values, now time.Time) (p population.Period, err error) {
	from, to := values.Get("from"), values.Get("to")
	if p, err = population.ParsePeriod(from, to, now); err == nil {
		return p, nil
	}
	name := "to"
	if _, alone := population.ParsePeriod(from, "", now); alone != nil {
		name = "from"
	}
	return p, &parameterError{name, err}
}

func choice(values url.Values, name string, list ...string) (string, error) {
	text, ok := values[name]
	if !ok {
		return list[0], nil
	}
	if !slices.Contains(list, text[0]) {
		return "", wrong(name, "%s is one of %s", name, strings.Join(list, ", "))
	}
	return text[0], nil
}

func number(values url.Values, name string, missing, most int) (int, error) {
	text, ok := values[name]
	if !ok {
		return missing, nil
	}
	n, err := strconv.Atoi(text[0])
	if err != nil || n < 1 || n > most {
		return 0, wrong(name, "%s is a number from 1 to %d", name, most)
	}
	return n, nil
}

// cursor says where a page begins: after a row, in the tree of so many records.
// Its zero value is the first page of the newest tree. A cursor gives no right:
// who makes one up reads a page that the same question would have led to.
type cursor struct {
	size  int64
	of    string // of which question and period: see mark
	after string // key of the row before
}

const cursorVersion = "1"

// maxCursor is more than any cursor has: the key of a principal is the longest.
const maxCursor = 8192

func (c cursor) String() string {
	return cursorVersion + "." + strconv.FormatInt(c.size, 10) + "." + c.of + "." + base64.RawURLEncoding.EncodeToString([]byte(c.after))
}

// parseCursor takes only what String writes.
func parseCursor(s string) (c cursor, err error) {
	bad := wrong("cursor", "the cursor is not one that was given out")
	parts := strings.Split(s, ".")
	if len(s) > maxCursor || len(parts) != 4 || parts[0] != cursorVersion {
		return c, bad
	}
	after, err := base64.RawURLEncoding.Strict().DecodeString(parts[3])
	if err != nil || len(after) == 0 {
		return c, bad
	}
	c.of, c.after = parts[2], string(after)
	if c.size, err = strconv.ParseInt(parts[1], 10, 64); err != nil || c.size < 1 || c.String() != s {
		return cursor{}, bad
	}
	return c, nil
}

// mark names a population, or another question, and a period, so that a cursor of
// another one is noticed.
func mark(of string, period population.Period) string {
	sum := sha256.Sum256([]byte(of + "\n" + period.From.Format(time.RFC3339Nano) + "\n" + period.To.Format(time.RFC3339Nano)))
	return hex.EncodeToString(sum[:8])
}
