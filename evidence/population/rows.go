package population

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Options say which rows of a population are read and how.
type Options struct {
	Population *Population
	Period     Period

	// After is the key of a row: rows up to and with it are left out, and the
	// records that they stand on are not read again. Default: none are.
	After string

	// Tolerant goes on where records cannot be read: see Log.Scan.
	Tolerant bool

	// Bare leaves out the cells of rows that have a record.
	Bare bool

	Progress func(done, total int64) // told of records looked at, every 4,096. Default: nobody is
	Now      func() time.Time        // default: time.Now
}

func (o *Options) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

// Result says what was read.
type Result struct {
	Count    int64    // rows
	First    int64    // smallest index of a record that a row stands on; -1 if there is none
	Last     int64    // largest
	Coverage Coverage // of the period
}

func (r *Result) add(first, last int64) {
	if r.Count == 0 || first < r.First {
		r.First = first
	}
	if r.Count == 0 || last > r.Last {
		r.Last = last
	}
	r.Count++
}

// Rows calls fn for each row, in the population's order: that of the log or, of
// principals, that of source and name. The row is valid only during the call. If
// fn returns ErrStop, that is the end, and what was counted and covered is what
// came before.
func Rows(ctx context.Context, log *Log, opt Options, fn func(*Row) error) (Result, error) {
	if opt.Population.Derived {
		return principals(ctx, log, opt, fn)
	}
	r := Result{First: -1, Last: -1}
	after := int64(-1)
	if opt.After != "" {
		var err error
		if after, err = strconv.ParseInt(opt.After, 10, 64); err != nil || after < 0 {
			return r, fmt.Errorf("%w: %q is not the key of a row", ErrOption, opt.After)
		}
	}
	s := opt.Population.Selector(opt.Period)
	s.bare = opt.Bare
	var read []known // by who had the rows before
	if after >= 0 {
		read = []known{{0, min(after, log.Head.Size-1) + 1}}
	}
	var err error
	r.Coverage, err = log.scan(ctx, opt.Period, opt.now(), opt.Tolerant, read, func(seq int64, record []byte) error {
		opt.progress(seq, log)
		if seq <= after {
			return nil
		}
		row, err := s.Row(seq, record)
		if row == nil || err != nil {
			return err
		}
		if err := fn(row); err != nil {
			return err
		}
		r.add(seq, seq)
		return nil
	})
	r.empty()
	return r, stopped(err)
}

func (r *Result) empty() {
	if r.Count == 0 {
		r.Coverage.note(NoteEmpty, -1, "the log has no such record in the period")
	}
}

func (o *Options) progress(seq int64, log *Log) {
	if o.Progress != nil && seq%4096 == 0 {
		o.Progress(seq, log.Head.Size)
	}
}
