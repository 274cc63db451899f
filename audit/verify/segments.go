package verify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/caddy-soc2/caddy-soc2/audit/digest"
	"github.com/caddy-soc2/caddy-soc2/audit/member"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// scan is the reading of one segment.
type scan struct {
	c     *check
	s     records.Segment
	last  bool // segment of the log
	late  bool // it was sealed since it was listed: its rollup may be in a segment that was not
	count *rollup.Counter

	next  int64 // index of the next record
	at    int64 // bytes of frames before hold
	hold  []byte
	blank bool // the records ended, and zeros follow
	tail  int64
	batch batch
}

// segment verifies one segment and reports whether to go on.
func (c *check) segment(s records.Segment, last bool) (ok bool, err error) {
	f, err := c.open(s.Path())
	late := errors.Is(err, fs.ErrNotExist) && !s.Sealed
	if late {
		s.Sealed = true
		f, err = c.open(s.Path())
	}
	if errors.Is(err, errCannotTell) {
		return false, err
	}
	var st *records.Stream
	if err == nil {
		if st, err = records.NewStream(f, s); err != nil {
			_ = f.Close()
		}
	}
	if errors.Is(err, records.ErrRead) {
		return false, fmt.Errorf("%s: %w", s.Path(), err)
	}
	if err != nil {
		c.badRecord(s.Path(), s.First, fmt.Sprintf("the segment cannot be read: %v", err))
		return false, nil
	}
	defer st.Close()
	if s.Sealed && !late {
		c.Sealed++
	} else if c.prefix {
		c.position() // an open segment may still grow: the state ends before it
		c.prefix = false
	}
	sc := &scan{c: c, s: s, last: last, late: late, count: rollup.NewCounter(s.First), next: s.First}
	if ok, err = sc.run(st); err != nil || !ok {
		return ok, err
	}
	return true, c.finish(sc, st)
}

// finish notes what a segment holds, for its rollup record.
func (c *check) finish(sc *scan, st *records.Stream) error {
	p := &pending{path: sc.s.Path(), sealed: sc.s.Sealed && !sc.late, segment: sc.count.Segment}
	if sc.s.Sealed {
		p.file.Bytes, p.file.SHA256 = st.Sum()
		if c.prefix {
			c.verified = append(c.verified, File{First: sc.s.First, Next: sc.next, Bytes: p.file.Bytes, SHA256: p.file.SHA256})
		}
	} else if err := c.twin(sc.s, p); err != nil {
		return err
	}
	p.members = sc.count.Members(p.file, 0)
	p.segment = sc.count.Segment
	c.rollups.found[sc.s.First] = p
	return nil
}

// run reads the segment piece by piece.
func (sc *scan) run(st *records.Stream) (ok bool, err error) {
	feed := newFeed(st)
	defer feed.stop()
	for {
		piece, err := feed.next()
		sc.c.done.Bytes += piece.read
		sc.c.done.Records += int64(len(piece.frames))
		sc.c.progress(false)
		if errors.Is(err, records.ErrRead) {
			return false, fmt.Errorf("%s: %w", sc.s.Path(), err)
		}
		eof := errors.Is(err, io.EOF)
		if err != nil && !eof {
			return false, sc.bad(fmt.Sprintf("%v", err))
		}
		bad := sc.frames(piece.frames, eof)
		if sc.c.failed != nil {
			return false, sc.c.failed
		}
		if bad != nil {
			return sc.broken(feed, bad, eof)
		}
		if eof {
			return sc.ended()
		}
	}
}

// frames takes the records of a piece.
func (sc *scan) frames(piece []byte, eof bool) error {
	b := piece
	if len(sc.hold) > 0 {
		sc.hold = append(sc.hold, piece...)
		b = sc.hold
	}
	taken, bad := sc.take(b, eof)
	sc.batch.flush(sc.c)
	sc.at += int64(taken)
	sc.hold = append(sc.hold[:0], b[taken:]...)
	return bad
}

// take reads records from the front of b and returns the bytes of those that
// are whole and valid.
func (sc *scan) take(b []byte, eof bool) (taken int, bad error) {
	for rest := b; ; {
		if sc.blank {
			return sc.zeros(b, len(b)-len(rest))
		}
		record, after, err := segment.Next(rest)
		if errors.Is(err, segment.ErrTorn) && !eof || record == nil && err == nil && len(rest) < 2 && !eof {
			return len(b) - len(rest), nil // the rest of it comes with the next piece
		}
		if err == nil && record == nil {
			if len(rest) == 0 {
				return len(b), nil
			}
			sc.blank = true
			continue
		}
		if err == nil {
			err = segment.Check(record, sc.next)
		}
		if err != nil {
			return len(b) - len(rest), fmt.Errorf("record %d at byte %d: %w", sc.next, sc.at+int64(len(b)-len(rest)), err)
		}
		sc.record(record)
		rest = after
	}
}

// zeros checks that nothing lies behind the records.
func (sc *scan) zeros(b []byte, at int) (taken int, bad error) {
	if i := segment.NotBlank(b[at:]); i >= 0 {
		return at, fmt.Errorf("byte %d is not zero, but lies after the last record", sc.at+int64(at+i))
	}
	sc.tail += int64(len(b) - at)
	return len(b), nil
}

// record takes one record whose frame is valid.
func (sc *scan) record(record []byte) {
	c, seq := sc.c, sc.next
	sc.next++
	c.Records++
	sc.batch.add(record)
	r := &c.record
	if err := r.Read(record); err != nil {
		c.badRecord(sc.s.Path(), seq, err.Error())
		sc.count.Skip(len(record))
		return
	}
	kind := r.Text(member.Kind)
	if (seq == 0 || c.closed) && string(kind) != "log.open" {
		c.badRecord(sc.s.Path(), seq, "a log begins, and goes on after a log.close, with a log.open")
	}
	c.time = append(c.time[:0], r.Text(member.Time)...)
	if c.From == "" {
		c.From = string(c.time)
	}
	c.closed = false
	switch string(kind) {
	case "log.open":
		c.opened = seq
		if err := c.ring.record(seq, record); err != nil {
			c.badRecord(sc.s.Path(), seq, err.Error())
		}
	case "log.close":
		c.closed = true
	case "log.erase":
		c.erased(record)
	case rollup.Kind:
		c.rollup(sc.s.Path(), seq, record)
	}
	sc.count.Add(r)
}

// ended is the end of a segment without a bad record.
func (sc *scan) ended() (bool, error) {
	c := sc.c
	signed := c.signed != nil && sc.next <= c.signed.Size
	if sc.tail > 0 && (sc.s.Sealed || !sc.last || c.closed && signed && sc.tail <= maxOpen) { // a reserve is cut off before the close is signed
		return false, sc.bad(fmt.Sprintf("%d bytes follow the last record", sc.tail))
	}
	if sc.tail > 0 && c.closed && signed {
		c.note("%s has %d zeros after its log.close: a start that was cut off leaves the reserve that it made", sc.s.Path(), sc.tail)
	}
	return true, nil
}

// bad reports that the segment cannot be read from the next record on.
func (sc *scan) bad(what string) error {
	sc.c.badRecord(sc.s.Path(), sc.next, what)
	return nil
}

// broken decides whether a bad record is the torn end that a crash leaves: in
// the last segment, behind what is signed, and without a later commit.
func (sc *scan) broken(feed *feed, bad error, eof bool) (bool, error) {
	c := sc.c
	if !sc.last || sc.s.Sealed || c.closed && !tornOpen(sc.hold, int(sc.at), sc.next) || c.signed == nil || sc.next < c.signed.Size {
		return false, sc.bad(bad.Error())
	}
	valid, used, window := sc.at, sc.at, bytes.Clone(sc.hold)
	for {
		if n := len(bytes.TrimRight(window, "\x00")); n > 0 {
			used = sc.at + int64(n)
		}
		if segment.LaterCommit(window, sc.next) {
			return false, sc.bad(bad.Error())
		}
		if eof {
			break
		}
		piece, err := feed.next()
		if eof = errors.Is(err, io.EOF); err != nil && !eof {
			return false, fmt.Errorf("%s: %w", sc.s.Path(), err)
		}
		keep := min(len(window), 2*segment.MaxRecord) // a record that begins in this window
		sc.at += int64(len(window) - keep)
		window = append(window[:copy(window, window[len(window)-keep:])], piece.frames...)
	}
	c.note("%s has %d bytes of an unfinished write after record %d, the last one; a crash leaves such a tail", sc.s.Path(), used-valid, sc.next-1)
	return true, nil
}

// twin compares a segment with its sealed form, if that is there already.
func (c *check) twin(s records.Segment, p *pending) error {
	other := records.Segment{First: s.First, Sealed: true}
	f, err := c.open(other.Path())
	if errors.Is(err, errCannotTell) {
		return err
	}
	if err != nil {
		return nil // there is none
	}
	sealed, err := records.NewStream(f, other)
	if err != nil {
		_ = f.Close()
		return c.twinProblem(other, err)
	}
	defer sealed.Close()
	f, err = c.open(s.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile; the next verification reads the sealed form
	} else if err != nil {
		return c.twinProblem(s, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	var buf, mine []byte
	for {
		if buf, err = sealed.Next(buf[:0]); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return c.twinProblem(other, err)
		}
		mine = append(mine[:0], buf...)
		if n, err := io.ReadFull(f, mine); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: %s: %w", errCannotTell, s.Path(), err)
		} else if !bytes.Equal(mine[:n], buf) {
			c.problem(other.Path(), "it differs from %s", s.Path())
			return nil
		}
	}
	if n, err := io.ReadFull(f, make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		c.problem(other.Path(), "it differs from %s", s.Path())
		return nil
	}
	p.hasFile = true
	p.file.Bytes, p.file.SHA256 = sealed.Sum()
	return nil
}

func (c *check) twinProblem(s records.Segment, err error) error {
	if errors.Is(err, records.ErrRead) || errors.Is(err, errCannotTell) {
		return fmt.Errorf("%s: %w", s.Path(), err)
	}
	c.problem(s.Path(), "%v", err)
	return nil
}

// batch is records whose frames are valid and that are not yet in the tree. It
// holds parts of the piece that is being read.
type batch struct {
	records [][]byte
	leaves  []tree.Hash
}

func (b *batch) add(record []byte) { b.records = append(b.records, record) }

// flush adds the records to the tree.
func (b *batch) flush(c *check) {
	b.leaves = digest.Leaves(b.leaves[:0], b.records)
	for _, h := range b.leaves {
		c.tree.Append(h, c.tile)
		c.root()
	}
	b.records = b.records[:0]
}
