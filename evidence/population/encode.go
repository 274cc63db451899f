package population

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Encoder writes rows in a format. It is used for one export, by one goroutine.
type Encoder interface {
	// Begin is called once, before the first row. What the encoder writes to w,
	// which is buffered, is the export.
	Begin(w *bufio.Writer, p *Population, log *Log) error
	// Row is called for each row, in order. The row is valid only during the call.
	Row(row *Row) error
	// End is called once after the last row, unless there was an error.
	End() error
}

// Formats makes the encoders of this package, by the names of the formats.
var Formats = map[string]func() Encoder{
	"csv":    func() Encoder { return new(CSV) },
	"ndjson": func() Encoder { return new(NDJSON) },
}

// CSV writes a line for each row (RFC 4180) after one with the names of the
// columns, each line with CR LF at its end.
//
// Much of the text is what clients sent. In columns of texts and lists, control
// characters and those that change the direction of text are written as \xHH for
// each byte of their UTF-8, so that a row is a line, and a cell that begins with
// an apostrophe or with what makes a spreadsheet take it for a formula (= + - @
// and their wide forms) has an apostrophe before it. Guard says how.
type CSV struct {
	w   *csv.Writer
	p   *Population
	row []string
}

// Begin implements Encoder.
func (e *CSV) Begin(w *bufio.Writer, p *Population, _ *Log) error {
	e.w, e.p = csv.NewWriter(w), p
	e.w.UseCRLF = true // RFC 4180, section 2
	return e.w.Write(p.header())
}

// Row implements Encoder.
func (e *CSV) Row(row *Row) error {
	e.row = e.row[:0]
	for i, c := range row.Cells {
		if t := e.p.Columns[i].Type; t == Text || t == List || !plainJSON(c) {
			c = Guard(c)
		}
		e.row = append(e.row, c)
	}
	return e.w.Write(e.row)
}

// plainJSON reports whether a cell is a number, true, false or null.
func plainJSON(c string) bool {
	switch c {
	case "", "true", "false", "null":
		return true
	}
	digits := strings.TrimPrefix(c, "-")
	return digits != "" && len(digits) < 20 && strings.Trim(digits, "0123456789") == ""
}

// End implements Encoder.
func (e *CSV) End() error {
	e.w.Flush()
	return e.w.Error()
}

// Guard makes a text safe for spreadsheets and terminals. What it adds can be
// taken away again: an apostrophe at the beginning.
func Guard(s string) string {
	s = visible(s)
	if r, _ := utf8.DecodeRuneInString(s); s != "" && strings.ContainsRune("'=+-@＝＋－＠", r) {
		return "'" + s
	}
	return s
}

// acts reports whether a character does something to what shows it.
func acts(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == '\ufeff'
}

// visible writes what acts as \xHH. Backslashes and bytes that are not UTF-8 are
// that already.
func visible(s string) string {
	if !strings.ContainsFunc(s, acts) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if !acts(r) {
			b.WriteRune(r)
			continue
		}
		for _, c := range []byte(string(r)) {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

// NDJSON writes a line for each row: the record as it is stored, whose leaf hash
// is over the line without its line feed; or, of a derived population, an object
// with a member for each column.
type NDJSON struct {
	w   *bufio.Writer
	p   *Population
	buf []byte
}

// Begin implements Encoder.
func (e *NDJSON) Begin(w *bufio.Writer, p *Population, _ *Log) error {
	e.w, e.p = w, p
	return nil
}

// Row implements Encoder.
func (e *NDJSON) Row(row *Row) error {
	line := row.Record
	if line == nil {
		var err error
		if e.buf, err = e.p.AppendJSON(e.buf[:0], row); err != nil {
			return err
		}
		line = e.buf
	}
	if bytes.IndexByte(line, '\n') >= 0 {
		return fmt.Errorf("record %d has a line feed in it: %w", row.Seq, ErrDamaged)
	}
	if _, err := e.w.Write(line); err != nil {
		return err
	}
	return e.w.WriteByte('\n')
}

// End implements Encoder.
func (*NDJSON) End() error { return nil }

// AppendJSON appends a row to dst as an object with a member for each column
// that has a value: a number or a flag as JSON has it, all else as a text.
func (p *Population) AppendJSON(dst []byte, row *Row) ([]byte, error) {
	dst = append(dst, '{')
	for i, c := range row.Cells {
		if c == "" {
			continue
		}
		name, err := json.Marshal(p.Columns[i].Name)
		if err != nil {
			return dst, err
		}
		value := []byte(c)
		if t := p.Columns[i].Type; t == Text || t == List || !plainJSON(c) {
			if value, err = json.Marshal(c); err != nil {
				return dst, err
			}
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, name...), ':'), value...)
	}
	return append(dst, '}'), nil
}
