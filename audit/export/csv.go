package export

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/inert"
)

// CSV writes each record as a row (RFC 4180). Records of requests have their
// members in columns of their own; the column record has, of all others, the
// record itself.
//
// Much of the text is what clients sent. A cell that a spreadsheet would take
// for a formula begins with an apostrophe, and control characters, bytes that
// are not UTF-8 and backslashes are written \xHH, so that a row is a line.
type CSV struct {
	w   *csv.Writer
	row []string
}

// columns are those of a CSV export. Part of the format.
var columns = [...]string{
	"seq", "time", "kind", "instance", "request_id", "client_ip", "user", "method", "host", "path", "query",
	"protocol", "tls_version", "status", "bytes", "end", "duration_ms", "upstream", "access", "access_rule",
	"limit", "limit_rule", "cache", "user_agent", "record",
}

// Begin implements Encoder.
func (e *CSV) Begin(w io.Writer, _ string) error {
	e.w = csv.NewWriter(w)
	e.w.UseCRLF = true // RFC 4180, section 2
	return e.w.Write(columns[:])
}

// Record implements Encoder.
func (e *CSV) Record(_ int64, record []byte) error {
	r, err := audit.Decode(record)
	if err != nil {
		return err
	}
	e.row = append(e.row[:0], strconv.FormatInt(r.Seq, 10), string(audit.AppendTime(nil, r.Time)), string(r.Kind), r.Instance)
	switch b := r.Body.(type) {
	case *audit.Event:
		e.request(b, true)
	case *audit.Opening:
		e.request((*audit.Event)(b), true)
	case *audit.Intent:
		e.request((*audit.Event)(b), false)
	default:
		for len(e.row) < len(columns)-1 {
			e.row = append(e.row, "")
		}
		e.row = append(e.row, string(record))
	}
	for i := range len(e.row) - 1 { // a record has no text that acts
		e.row[i] = cell(e.row[i])
	}
	return e.w.Write(e.row)
}

// request appends the columns of a request.
func (e *CSV) request(b *audit.Event, answered bool) {
	status, size, took := "", "", ""
	if answered {
		status, size = strconv.Itoa(b.Status), strconv.FormatInt(b.Bytes, 10)
		took = strconv.FormatFloat(float64(b.Duration)/float64(time.Millisecond), 'f', 3, 64)
	}
	e.row = append(
		e.row, b.ID.String(), b.ClientIP, b.User, b.Method, b.Host, b.Path, b.Query,
		b.Proto, b.TLS.Version, status, size, string(b.End), took, b.Upstream.Address, b.Access.Outcome, b.Access.Rule,
		b.Limit.Outcome, b.Limit.Rule, b.Cache, b.Agent, "",
	)
}

// End implements Encoder.
func (e *CSV) End() error {
	e.w.Flush()
	return e.w.Error()
}

// cell makes text safe for spreadsheets and terminals.
func cell(s string) string { return Guard(visible(s)) }

// visible writes bytes that are not UTF-8, characters that act and backslashes
// as \xHH.
func visible(s string) string {
	plain := func(r rune, size int) bool {
		return r != '\\' && !inert.Acts(r) && (r != utf8.RuneError || size > 1)
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if plain(r, size) {
			b.WriteString(s[:size])
		} else {
			for _, c := range []byte(s[:size]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		}
		s = s[size:]
	}
	return b.String()
}
