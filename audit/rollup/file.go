package rollup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// File is the name of the file, in a log's directory, that holds a copy of each
// of its rollup records: the frames of the records, a length of two bytes and
// the record, one after the other. It is made again from the records when it is
// lost; a report over a year reads it and no other file. Part of the on-disk
// format.
const File = "rollups"

// AppendFrame appends the frame of a record.
func AppendFrame(dst, record []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(record))), record...)
}

// Frames calls fn for each frame of the file until fn returns an error. The
// record is good until fn returns. A last frame that is not whole is left out,
// since a crash leaves such a one.
func Frames(r io.Reader, fn func(record []byte) error) error {
	in := bufio.NewReaderSize(r, 1<<20) // holds any frame
	for {
		head, err := in.Peek(2)
		if err != nil {
			return ended(err)
		}
		n := 2 + int(binary.BigEndian.Uint16(head))
		if n == 2 { // zeros, which a crash may leave
			return nil
		}
		frame, err := in.Peek(n)
		if err != nil {
			return ended(err)
		}
		if err := fn(frame[2:]); err != nil {
			return err
		}
		_, _ = in.Discard(n) // it is in the buffer
	}
}

func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return fmt.Errorf("reading %s: %w", File, err)
}

// timeForm is how records hold a time; such texts sort as the times do.
const timeForm = "2006-01-02T15:04:05.000000000Z"

// Read calls fn for the rollup of each sealed segment of a log that has records
// from a time up to, not including, another; a zero time is no limit. It reads
// the file of rollups only, and checks the checksum of each record: package
// verify checks that the file is the log's. Each rollup is good until fn
// returns. Of a segment that was sealed again only the last rollup counts.
func Read(dir fs.FS, from, to time.Time, fn func(*Rollup) error) error {
	low, high := "", "~"
	if !from.IsZero() {
		low = from.UTC().Format(timeForm)
	}
	if !to.IsZero() {
		high = to.UTC().Format(timeForm)
	}
	last := map[int64]int64{} // rollup record of a segment
	err := each(dir, func(record []byte) error {
		first, seq, err := heading(record)
		last[first] = seq
		return err
	})
	if err != nil {
		return err
	}
	return each(dir, func(record []byte) error {
		r, err := Parse(record)
		if err == nil {
			err = segment.Check(record, r.Seq)
		}
		if err != nil {
			return unreadable(err)
		}
		if r.To < low || r.From >= high || last[r.First] != r.Seq {
			return nil
		}
		return fn(r)
	})
}

func unreadable(err error) error {
	return fmt.Errorf("%s: %w; the log makes the file again when it is opened", File, err)
}

// heading reads the beginning of a rollup record.
func heading(record []byte) (first, seq int64, err error) {
	r := Rollup{}
	c, done := cursor{b: record}, false
	c.object(func(name []byte) {
		switch string(name) {
		case "seq":
			r.Seq = c.number()
		case "segment":
			r.segment(&c)
			done, c.bad = !c.bad, true // the rest is not asked for
		default:
			c.skip()
		}
	})
	if !done {
		return 0, 0, unreadable(ErrRollup)
	}
	return r.First, r.Seq, nil
}

func each(dir fs.FS, fn func(record []byte) error) error {
	f, err := dir.Open(File)
	if err != nil {
		return fmt.Errorf("reading rollups: %w; the log makes the file when it is opened", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	return Frames(f, fn)
}

// Sum adds up the rollups that Read finds.
func Sum(dir fs.FS, from, to time.Time) (*Total, error) {
	t := &Total{}
	if err := Read(dir, from, to, t.add); err != nil {
		return nil, err
	}
	return t, nil
}
