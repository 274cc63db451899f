package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// rollups keeps the file of rollups, which is a copy of the rollup records. It
// belongs to the sealer. What cannot be read or written of the file is no
// failure of the log: the file is made again when the log is opened.
type rollups struct {
	newest int64 // newest rollup record, or -1
	size   int64 // bytes of the file
	known  bool  // whether newest is known
	lost   bool  // the file is not what it should be
}

// open finds the newest rollup record and checks that the file ends with it.
func (r *rollups) open(l *Log, stop <-chan struct{}) {
	list, err := l.dir.Segments()
	if err == nil {
		r.newest, err = newestRollup(l.dir, list)
		r.known = err == nil
	}
	if err == nil {
		err = r.mend(l, list, stop)
	}
	if err != nil {
		r.lost = true
		l.cfg.Logger.Warn("the file of rollups of the audit log could not be checked; it will be at the next start", "error", err)
	}
}

// before returns the newest rollup record, which the next one names. It is read
// from the log if it is not known which one that is.
func (r *rollups) before(l *Log) (int64, error) {
	if r.known {
		return r.newest, nil
	}
	if err := l.Err(); err != nil { // what was not acknowledged may be there still
		return 0, err
	}
	if r.open(l, nil); !r.known {
		return 0, errors.New("the last rollup record cannot be read")
	}
	return r.newest, nil
}

// add appends the newest rollup record, which is durable, to the file.
func (r *rollups) add(l *Log, seq int64) {
	r.newest = seq
	if r.lost {
		return
	}
	err := r.copy(l, []int64{seq}, nil)
	if err != nil {
		r.lost = true
		l.cfg.Logger.Warn("the file of rollups of the audit log could not be written; it will be made again at the next start", "error", err)
	}
}

// copy appends records to the file.
func (r *rollups) copy(l *Log, seqs []int64, stop <-chan struct{}) error {
	f, err := l.cfg.FS.OpenFile(filepath.Join(l.cfg.Dir, rollup.File), os.O_RDWR|os.O_CREATE, durable.FileMode)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it is synced before
	if err := f.Truncate(r.size); err != nil {
		return fmt.Errorf("cutting %s: %w", rollup.File, err)
	}
	list, err := l.dir.Segments()
	if err != nil {
		return err
	}
	for i, seq := range seqs {
		if i%patience == patience-1 && isClosed(stop) {
			return errClosing
		}
		record, err := recordIn(l.dir, list, seq)
		if err != nil {
			return err
		}
		frame := rollup.AppendFrame(nil, record)
		if _, err := f.WriteAt(frame, r.size); err != nil {
			return fmt.Errorf("writing %s: %w", rollup.File, err)
		}
		r.size += int64(len(frame))
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", rollup.File, err)
	}
	return nil
}

// mend brings the file to where it should be. If its frames are a chain and the
// last is a record of the log, the file is right as far as it goes; otherwise it
// is made again, but for the frames of records that were removed and whose
// hashes the tiles still have.
func (r *rollups) mend(l *Log, list []records.Segment, stop <-chan struct{}) error {
	oldest := int64(0)
	if len(list) > 0 {
		oldest = list[0].First
	}
	last, err := r.last(l, oldest, func(seq int64, record []byte) bool {
		if seq < oldest {
			return hasLeaf(l, seq, record)
		}
		own, err := recordIn(l.dir, list, seq)
		return err == nil && bytes.Equal(own, record)
	})
	if err != nil || last == r.newest {
		return err
	}
	missing, err := missingRollups(l.dir, list, r.newest, max(last, oldest-1), stop)
	if err != nil {
		return err
	}
	return r.copy(l, missing, stop)
}

// last returns the record of the last frame of the file that belongs to a chain
// of frames from the first on, or -1, and sets the size that the file has up to
// there. The last frame must be true; if it is not, each is looked at.
func (r *rollups) last(l *Log, oldest int64, isTrue func(seq int64, record []byte) bool) (int64, error) {
	r.size = 0
	f, err := l.cfg.FS.OpenFile(filepath.Join(l.cfg.Dir, rollup.File), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	defer func() { _ = f.Close() }() // it was only read
	last, size, good := chained(f, oldest, nil)
	if good != nil && !isTrue(last, good) {
		last, size, _ = chained(f, oldest, isTrue)
	}
	r.size = size
	return last, nil
}

// chained reads frames as long as each names the one before it, and is true if
// that is to be asked. It returns the last, and the bytes up to its end.
func chained(f io.ReaderAt, oldest int64, isTrue func(seq int64, record []byte) bool) (last, size int64, record []byte) {
	last = -1
	for {
		n := frameSize(f, size)
		if n == 0 {
			return last, size, record
		}
		b := make([]byte, n-2)
		if _, err := f.ReadAt(b, size+2); err != nil {
			return last, size, record
		}
		h, err := rollup.Parse(b)
		follows := err == nil && h.Seq > last && (h.Members.Prev == nil || h.Prev == last || last < 0 && h.Prev < oldest)
		if !follows || isTrue != nil && !isTrue(h.Seq, b) {
			return last, size, record
		}
		last, size, record = h.Seq, size+n, b
	}
}

// frameSize returns the size of the whole frame at a place, or 0.
func frameSize(f io.ReaderAt, at int64) int64 {
	var b [2]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return 0
	}
	n := int64(binary.BigEndian.Uint16(b[:]))
	if n == 0 {
		return 0
	}
	if _, err := f.ReadAt(b[:1], at+1+n); err != nil {
		return 0
	}
	return n + 2
}

func hasLeaf(l *Log, seq int64, record []byte) bool {
	hashes, err := loadTile(l.dir.FS)(0, seq/tree.Width)
	return err == nil && hashes[seq%tree.Width] == tlog.RecordHash(record)
}

// missingRollups follows the chain of rollup records back to one, and returns
// those after it, oldest first. Records of the first version are no chain: from
// the first of them on all of the log is read.
func missingRollups(dir records.Dir, list []records.Segment, newest, after int64, stop <-chan struct{}) ([]int64, error) {
	var seqs []int64
	for seq := newest; seq > after; {
		if len(seqs)%patience == patience-1 && isClosed(stop) {
			return nil, errClosing
		}
		record, err := recordIn(dir, list, seq)
		if err != nil {
			return nil, err
		}
		r, err := rollup.Parse(record)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", seq, err)
		}
		seqs = append(seqs, seq)
		if r.Members.Prev == nil {
			older, err := rollupsBetween(dir, list, after+1, seq)
			slices.Reverse(older)
			seqs = append(seqs, older...)
			slices.Reverse(seqs)
			return seqs, err
		}
		seq = r.Prev
	}
	slices.Reverse(seqs)
	return seqs, nil
}

// patience is how many records are copied before the next look at whether the
// log is being closed: a few are always copied.
const patience = 256

var errClosing = errors.New("the log is being closed")

func isClosed(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// rollupsBetween reads the log for rollup records.
func rollupsBetween(dir records.Dir, list []records.Segment, from, to int64) (seqs []int64, err error) {
	for i, s := range list {
		if s.First >= to || i+1 < len(list) && list[i+1].First <= from {
			continue
		}
		_, err := walkFrames(dir, s, func(seq int64, record []byte) bool {
			if seq >= from && seq < to && kindOf(record) == KindRollup {
				seqs = append(seqs, seq)
			}
			return seq < to
		})
		if err != nil {
			return nil, err
		}
	}
	return seqs, nil
}

// newestRollup reads segments from the newest back until one has a rollup
// record. Before the first sealed segment there is none.
func newestRollup(dir records.Dir, list []records.Segment) (int64, error) {
	if !slices.ContainsFunc(list, func(s records.Segment) bool { return s.Sealed || s.First > 0 }) {
		return -1, nil // the rollup of the first segment lies in a later one
	}
	for _, s := range slices.Backward(list) {
		newest := int64(-1)
		_, err := walkFrames(dir, s, func(seq int64, record []byte) bool {
			if kindOf(record) == KindRollup {
				newest = seq
			}
			return true
		})
		if err != nil || newest >= 0 {
			return newest, err
		}
	}
	return -1, nil
}

// recordIn reads one record.
func recordIn(dir records.Dir, list []records.Segment, seq int64) (record []byte, err error) {
	i, ok := slices.BinarySearchFunc(list, seq, func(s records.Segment, seq int64) int { return int(min(max(s.First-seq, -1), 1)) })
	if !ok {
		i--
	}
	if i < 0 {
		return nil, fmt.Errorf("record %d: %w", seq, records.ErrNotFound)
	}
	_, err = walkFrames(dir, list[i], func(n int64, r []byte) bool {
		if n == seq {
			record = bytes.Clone(r)
		}
		return n < seq
	})
	if err == nil && record == nil {
		err = records.ErrNotFound
	}
	if err == nil {
		err = segment.Check(record, seq)
	}
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", seq, err)
	}
	return record, nil
}

// walkFrames calls fn for each record of a segment until fn returns false. It
// does not check the records: that was done when the log was opened.
func walkFrames(dir records.Dir, s records.Segment, fn func(seq int64, record []byte) bool) (next int64, err error) {
	f, err := dir.FS.Open(s.Path())
	if errors.Is(err, fs.ErrNotExist) && !s.Sealed {
		s.Sealed = true
		f, err = dir.FS.Open(s.Path())
	}
	if err != nil {
		return s.First, err
	}
	st, err := records.NewStream(f, s)
	if err != nil {
		_ = f.Close()
		return s.First, err
	}
	defer st.Close()
	next = s.First
	var b []byte
	for {
		b, err = st.Next(b)
		if err != nil && !errors.Is(err, io.EOF) {
			return next, fmt.Errorf("%s: %w", s.Path(), err)
		}
		rest := b
		for {
			record, after, bad := segment.Next(rest)
			if bad != nil || record == nil {
				break
			}
			if !fn(next, record) {
				return next, nil
			}
			next, rest = next+1, after
		}
		if err != nil || len(rest) >= 2 && rest[0] == 0 && rest[1] == 0 {
			return next, nil
		}
		b = append(b[:0], rest...)
	}
}
