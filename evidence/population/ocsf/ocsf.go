// Package ocsf writes the rows of a population as events of the Open
// Cybersecurity Schema Framework.
package ocsf

import (
	"bufio"
	"fmt"

	"github.com/caddy-soc2/caddy-soc2/audit/ocsf"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// Format is the name of the format.
const Format = "ocsf"

// Encoder writes each row as an event (package audit/ocsf), one a line. It is a
// population.Encoder. A derived population has no events, because its rows are
// not records.
type Encoder struct {
	Product string // version of this program; optional

	w    *bufio.Writer
	conv ocsf.Converter
	buf  []byte
}

// Begin implements population.Encoder.
func (e *Encoder) Begin(w *bufio.Writer, p *population.Population, log *population.Log) error {
	if p.Derived {
		return fmt.Errorf("%w: the rows of %s are not records, of which OCSF has events: ask for csv or ndjson", population.ErrOption, p.Name)
	}
	e.w, e.conv = w, ocsf.Converter{Origin: log.Head.Origin, Product: e.Product}
	return nil
}

// Row implements population.Encoder.
func (e *Encoder) Row(row *population.Row) (err error) {
	if e.buf, err = e.conv.Append(e.buf[:0], row.Record); err != nil {
		return err
	}
	_, err = e.w.Write(append(e.buf, '\n'))
	return err
}

// End implements population.Encoder.
func (*Encoder) End() error { return nil }

// New returns the encoder of a format: one of population.Formats, or OCSF. It
// returns nil if there is no such format.
func New(format, product string) population.Encoder {
	if format == Format {
		return &Encoder{Product: product}
	}
	if fresh, ok := population.Formats[format]; ok {
		return fresh()
	}
	return nil
}

// Formats lists the names of all formats.
func Formats() []string { return []string{"csv", "ndjson", Format} }

var _ population.Encoder = (*Encoder)(nil)
