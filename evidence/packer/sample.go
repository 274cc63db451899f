package packer

import (
	"errors"
	"fmt"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// sample writes the files of a sample: its rows with their proofs, and its
// records.
func (l *logBuilder) sample(d *pack.Drawn) error {
	table, err := pack.NewSampleTable(d.Population, l.b.opt.Period)
	if err != nil {
		return err
	}
	rows, err := l.create(d.Table())
	if err != nil {
		return err
	}
	given, err := l.create(d.Records())
	if err != nil {
		return err
	}
	line, err := table.Header()
	if err == nil {
		_, err = rows.Write(line)
	}
	for _, seq := range d.Seqs {
		if err != nil {
			break
		}
		err = l.sampled(table, seq, rows, given)
	}
	return errors.Join(err, rows.Close(), given.Close())
}

// sampled writes a row of a sample.
func (l *logBuilder) sampled(table *pack.SampleTable, seq int64, rows, given *spooled) error {
	if err := l.b.ctx.Err(); err != nil {
		return err
	}
	record, err := l.Dir.Record(seq)
	if err != nil {
		return fmt.Errorf("%w: record %d was read before and cannot be read again: %w", ErrDamaged, seq, err)
	}
	proof, err := l.nodes.reader.Prove(l.b.ctx, seq)
	if err != nil {
		return err
	}
	line, err := table.Row(seq, record, proof)
	if err != nil {
		return err
	}
	if _, err := rows.Write(line); err != nil {
		return err
	}
	return writeLine(given, record)
}
