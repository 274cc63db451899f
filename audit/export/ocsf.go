package export

import (
	"io"

	"github.com/caddy-soc2/caddy-soc2/audit/ocsf"
)

// OCSF writes each record as an event of the Open Cybersecurity Schema
// Framework, one a line.
type OCSF struct {
	w    io.Writer
	conv ocsf.Converter
	buf  []byte
}

// Begin implements Encoder.
func (e *OCSF) Begin(w io.Writer, origin string) error {
	e.w, e.conv = w, ocsf.Converter{Origin: origin}
	return nil
}

// Record implements Encoder.
func (e *OCSF) Record(_ int64, record []byte) error {
	var err error
	if e.buf, err = e.conv.Append(e.buf[:0], record); err != nil {
		return err
	}
	_, err = e.w.Write(append(e.buf, '\n'))
	return err
}

// End implements Encoder.
func (*OCSF) End() error { return nil }
