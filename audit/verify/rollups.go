package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
)

// pending is a segment that was read and whose rollup record was not yet found
// true.
type pending struct {
	path    string
	sealed  bool // the file that was read is the sealed one
	hasFile bool // there is a sealed file beside the open one
	segment rollup.Segment
	file    rollup.Sealed
	members rollup.Members // that the rollup record must have

	differs string // how its newest rollup record so far differs
	seq     int64  // of that
}

// matched identifies what a true rollup record said.
type matched struct{ segment, kinds, requests [sha256.Size]byte }

// rollupCheck compares rollup records with the segments that they are of.
type rollupCheck struct {
	torn    tornTail           // of the file of rollups
	wrong   string             // how the file of rollups differs from the records
	found   map[int64]*pending // by first record
	matched map[int64]matched
	newest  int64 // newest rollup record, or -1
	known   bool  // whether newest is known: it is not at the beginning of a pruned log

	file    fs.File // the log's file of rollups, or nil
	in      *frames
	missing int64
	bad     bool // the file was reported
}

func (r *rollupCheck) init() {
	r.found, r.matched = map[int64]*pending{}, map[int64]matched{}
	r.newest, r.known = -1, true
}

// rollup compares a rollup record with its segment.
func (c *check) rollup(path string, seq int64, record []byte) {
	r, err := rollup.Parse(record)
	if err != nil {
		c.badRecord(path, seq, err.Error())
		return
	}
	c.rollupFrame(seq, record)
	k := &c.rollups
	if r.Members.Prev != nil && (k.known && r.Prev != k.newest || !k.known && r.Prev >= c.Pruned) {
		c.badRecord(path, seq, fmt.Sprintf("it says that the rollup before it is record %d, but that is record %d", r.Prev, k.newest))
	}
	k.newest, k.known = seq, true
	switch p, m := k.found[r.First], k.matched[r.First]; {
	case r.First < c.Pruned:
		if r.First+r.Records > c.Pruned {
			c.badRecord(path, seq, fmt.Sprintf("it is the rollup of records %d to %d, of which those before %d were removed and the others not", r.First, r.First+r.Records-1, c.Pruned))
		}
	case p != nil:
		if what := p.compare(r); what != "" {
			p.differs, p.seq = what, seq
			return
		}
		k.matched[r.First] = matched{sha256.Sum256(r.Members.Segment), sha256.Sum256(p.members.Kinds), sha256.Sum256(p.members.Requests)}
		delete(k.found, r.First)
	case m != matched{}:
		c.again(path, r, m)
	case r.First < c.Resumed:
		c.again(path, r, m)
	default:
		c.badRecord(path, seq, fmt.Sprintf("it is the rollup of a segment that begins with record %d, and there is none before it", r.First))
	}
}

// compare tells how a segment is not what a rollup record says.
func (p *pending) compare(r *rollup.Rollup) string {
	want := p.members
	if !p.sealed && !p.hasFile { // only the rollup knows the sealed file
		claimed := rollup.Sealed{Bytes: r.SealedBytes}
		if sum, err := hex.DecodeString(r.SHA256); err == nil && len(sum) == len(claimed.SHA256) {
			claimed.SHA256 = [32]byte(sum)
		}
		want.Segment = p.segment.Member(claimed)
	} else {
		want.Segment = p.segment.Member(p.file)
	}
	got := r.Members
	got.Prev, want.Prev = nil, nil // it is compared with the log
	if got.Kinds == nil {
		got.Kinds = []byte("{}")
	}
	switch what := got.Differs(want); what {
	case "":
		return ""
	case "segment.sealed_bytes", "segment.sha256":
		return "is not the file with the size and SHA-256"
	case "segment.records", "segment.bytes":
		return "does not hold as many records and bytes"
	case "segment.from", "segment.to":
		return "does not begin and end at the times"
	default:
		return "does not give the counter " + strconv.Quote(what)
	}
}

// again is a further rollup record of a segment that another one was true of.
// The newest counts, as it is of the file that was made last.
func (c *check) again(path string, r *rollup.Rollup, m matched) {
	if m == (matched{}) {
		c.needFull("a segment that was verified before has a new rollup record")
		return
	}
	same := m.segment == sha256.Sum256(r.Members.Segment) &&
		(r.Members.Kinds == nil || m.kinds == sha256.Sum256(r.Members.Kinds)) &&
		(r.Members.Requests == nil || m.requests == sha256.Sum256(r.Members.Requests))
	if !same {
		c.badRecord(path, r.Seq, fmt.Sprintf("the segment that begins with record %d is not as this newer rollup record says", r.First))
	}
}

// end reports the segments that no rollup record is true of.
func (r *rollupCheck) end(c *check) {
	for _, first := range sorted(r.found) {
		switch p := r.found[first]; {
		case p.differs != "":
			c.problem(p.path, "it %s as rollup record %d says", p.differs, p.seq)
		case p.sealed:
			c.problem(p.path, "no rollup record vouches for this sealed segment")
		}
	}
}

// frames is the file of rollups while it is compared with the records.
type frames struct {
	r    io.Reader
	hold []byte // read and not yet compared
	eof  bool
	size int64 // of what was compared
}

// openRollups opens the file of rollups. What is in it now is all in the log
// when its segments are listed.
func (c *check) openRollups() error {
	f, err := c.open(rollup.File)
	if errors.Is(err, errCannotTell) {
		return err
	}
	if err != nil {
		return nil // it is made again
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("%w: %s: %w", errCannotTell, rollup.File, err)
	}
	c.rollups.file = f
	c.rollups.in = &frames{r: io.LimitReader(f, info.Size())}
	return nil
}

func (c *check) closeRollups() {
	if c.rollups.file != nil {
		_ = c.rollups.file.Close()
	}
}

// peek returns the next n bytes, or as many as there are.
func (f *frames) peek(n int) ([]byte, error) {
	for len(f.hold) < n && !f.eof {
		buf := make([]byte, max(n, 64<<10))
		m, err := io.ReadFull(f.r, buf)
		f.hold = append(f.hold, buf[:m]...)
		if f.eof = err != nil; f.eof && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%w: %s: %w", errCannotTell, rollup.File, err)
		}
	}
	return f.hold[:min(n, len(f.hold))], nil
}

func (f *frames) skip(n int) {
	f.hold = append(f.hold[:0], f.hold[n:]...)
	f.size += int64(n)
}

// rollupFrame compares a rollup record with the next frame of the file.
func (c *check) rollupFrame(seq int64, record []byte) {
	k := &c.rollups
	if k.in == nil || k.bad {
		k.missing++
		return
	}
	want := rollup.AppendFrame(nil, record)
	got, err := k.in.peek(len(want))
	switch {
	case err != nil:
		c.fail(err)
	case bytes.Equal(got, want):
		k.torn.follows(seq)
		k.in.skip(len(want))
	case unwritten(got, want, k.in.size):
		k.missing++ // as a power cut can leave it
		k.torn.at(seq, k.in.size, len(got))
		k.in.skip(len(got))
	default:
		if later, ok := c.laterFrame(seq); ok && later {
			k.missing++
			return
		}
		k.bad = true
		k.wrong = fmt.Sprintf("at byte %d it differs from the rollup record %d", k.in.size, seq)
	}
}

// unwritten reports whether got, which lies at a byte of its file and may be
// shorter, is want but for sectors of zeros, which were not on disk when the
// power was cut.
func unwritten(got, want []byte, at int64) bool {
	if len(got) > len(want) {
		return false
	}
	for i := 0; i < len(got); {
		end := min(len(got), i+sector-int((at+int64(i))%sector))
		if part := got[i:end]; !bytes.Equal(part, want[i:end]) && !blank(part) {
			return false
		}
		i = end
	}
	return true
}

// tornTail is where the file of rollups is not as the records are, in a way that
// a power cut can leave. The log syncs the file after each frame that it adds,
// and once after all that it adds when it is opened: what a cut can leave is the
// last frame, or frames of records before the last log.open, up to the end.
type tornTail struct {
	torn        bool
	first, last int64 // rollup record whose frame is the first such; that of the last frame in the file
	offset      int64 // of the first
}

func (t *tornTail) at(seq, offset int64, n int) {
	if n == 0 {
		return // the file has ended
	}
	if !t.torn {
		t.torn, t.first, t.offset = true, seq, offset
	}
	t.last = seq
}

func (t *tornTail) follows(seq int64) {
	if t.torn {
		t.last = seq
	}
}

// wrong tells what no power cut leaves. opened is the last log.open record.
func (t *tornTail) wrong(opened int64) string {
	if !t.torn || t.first == t.last || t.last < opened {
		return ""
	}
	return fmt.Sprintf("at byte %d it differs from the rollup record %d, though the log has written others behind it since", t.offset, t.first)
}

func blank(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// laterFrame reports whether the next frame is that of a record behind seq.
func (c *check) laterFrame(seq int64) (later, ok bool) {
	r, _, err := c.nextFrame()
	if err != nil || r == nil {
		return false, false
	}
	return r.Seq > seq, true
}

// nextFrame reads the next frame, whatever it is. At the end it returns nil.
func (c *check) nextFrame() (r *rollup.Rollup, size int, err error) {
	in := c.rollups.in
	head, err := in.peek(2)
	if err != nil || len(head) < 2 {
		return nil, 0, err
	}
	size = 2 + (int(head[0])<<8 | int(head[1]))
	b, err := in.peek(size)
	if err != nil || len(b) < size {
		return nil, 0, err
	}
	r, err = rollup.Parse(b[2:])
	return r, size, err
}

// endRollups looks at what is left of the file of rollups.
func (c *check) endRollups() error {
	k := &c.rollups
	if k.in != nil && !k.bad {
		rest, err := k.in.peek(3)
		if err != nil {
			return err
		}
		if len(rest) > 0 && !blank(rest) {
			k.bad = true
			k.wrong = fmt.Sprintf("from byte %d on it holds what is no rollup record of the log", k.in.size)
		}
	}
	if k.wrong == "" {
		k.wrong = k.torn.wrong(c.opened)
	}
	if k.wrong != "" {
		c.problem(rollup.File, "%s", k.wrong)
	}
	if k.missing > 0 && !k.bad {
		c.note("the file %s lacks %d of the log's rollup records; it is a copy of them and is made again when the log is opened", rollup.File, k.missing)
	}
	return nil
}

// oldRollups compares the frames of rollup records before one, which are not
// read, with the hashes of the records in the tiles.
func (c *check) oldRollups(before int64) error {
	k := &c.rollups
	for k.in != nil && !k.bad {
		r, size, err := c.nextFrame()
		if errors.Is(err, errCannotTell) {
			return err
		}
		if err != nil || r == nil || r.Seq >= before {
			return nil // the records say what is wrong with it
		}
		b, _ := k.in.peek(size)
		leaf, err := c.leaf(r.Seq)
		if err != nil {
			return err
		}
		if leaf != tlog.RecordHash(b[2:]) {
			k.bad = true
			c.problem(rollup.File, "at byte %d it holds a record %d that does not have the hash of that record", k.in.size, r.Seq)
			return nil
		}
		k.in.skip(size)
	}
	return nil
}
