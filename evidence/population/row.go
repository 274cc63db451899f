package population

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// Errors that callers tell apart.
var (
	ErrName    = errors.New("there is no population")
	ErrPeriod  = errors.New("the period is none")
	ErrDamaged = errors.New("the log is damaged: verify it")
	ErrOption  = errors.New("that cannot be asked for")

	// ErrStop, returned by what Rows calls, ends it without an error.
	ErrStop = errors.New("enough")
)

// Row is a row of a population.
type Row struct {
	// Seq is the index of the row's record; of a derived row, of the first record
	// that it stands on. No two rows have the same.
	Seq int64

	// Record is the record as it is stored, the bytes of the leaf. Nil for a
	// derived row.
	Record []byte

	// Cells are in the order of the columns, empty where the record has no such
	// member. Texts are as the record has them after JSON's escapes are undone:
	// see docs/records.md. They are not yet safe for spreadsheets.
	Cells []string

	key string // of a derived row
}

// Key names the row in its population, for Options.After.
func (r *Row) Key() string {
	if r.key != "" {
		return r.key
	}
	return strconv.FormatInt(r.Seq, 10)
}

// Selector picks the rows of a population out of records. It belongs to one
// goroutine. A derived population has none.
type Selector struct {
	p        *Population
	from, to []byte
	values   [][]byte
	row      Row
	bare     bool // rows need no cells
}

// Selector returns a selector for a period.
func (p *Population) Selector(period Period) *Selector {
	return &Selector{p: p, from: period.from(), to: period.to()}
}

// Has reports whether a record is in the population and the period.
func (s *Selector) Has(record []byte) (bool, error) {
	if !s.p.hasKind(records.Kind(record)) || !s.within(record) {
		return false, nil
	}
	if !s.p.conditional() {
		return true, nil
	}
	var err error
	if s.values, err = s.p.paths.read(s.values, record); err != nil {
		return false, err
	}
	return s.holds(), nil
}

func (s *Selector) within(record []byte) bool {
	if s.from == nil && s.to == nil {
		return true
	}
	at := records.Time(record)
	return (s.from == nil || bytes.Compare(at, s.from) >= 0) && (s.to == nil || bytes.Compare(at, s.to) < 0)
}

// holds judges the values of the record that was read.
func (s *Selector) holds() bool {
	one := s.p.anys == 0
	for i := range s.p.conds {
		c := &s.p.conds[i]
		ok := c.holds(inside(s.values[c.at]))
		if i < s.p.anys {
			one = one || ok
		} else if !ok {
			return false
		}
	}
	return one
}

// Row returns the row of a record, or nil if it is not in the population and the
// period. The row and what it holds are valid until the next call.
func (s *Selector) Row(seq int64, record []byte) (*Row, error) {
	ok, err := s.Has(record)
	if err == nil && ok && !s.bare && !s.p.conditional() {
		s.values, err = s.p.paths.read(s.values, record)
	}
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", seq, err)
	}
	if !ok {
		return nil, nil
	}
	s.row.Seq, s.row.Record, s.row.Cells = seq, record, s.row.Cells[:0]
	if s.bare {
		return &s.row, nil
	}
	for i, c := range s.p.Columns {
		text, err := cell(s.values[s.p.at[i]], c.Type)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", seq, err)
		}
		s.row.Cells = append(s.row.Cells, text)
	}
	return &s.row, nil
}
