package packer

import (
	"bytes"
	"encoding/json"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// How much a piece has at most.
const (
	pieceRecords = 65_536
	pieceBytes   = 256 << 20
)

// walk goes through the records, segment by segment. What cannot be read of one
// is there by its hashes.
func (l *logBuilder) walk() error {
	l.log.Pieces, l.log.Segments = []pack.Piece{}, []int64{}
	pos := l.log.First
	for i, s := range l.segments {
		end := l.log.Next
		if i+1 < len(l.segments) {
			end = min(end, l.segments[i+1].First)
		}
		if end <= pos {
			continue
		}
		if s.First >= l.log.Next {
			break
		}
		if s.First > pos {
			if err := l.missing(pos, s.First, "the segment is missing"); err != nil {
				return err
			}
			pos = s.First
		}
		if s.First == pos {
			l.log.Segments = append(l.log.Segments, pos)
		}
		next, err := l.segment(pos, end)
		if err != nil {
			return err
		}
		pos = next
	}
	if pos < l.log.Next {
		if err := l.missing(pos, l.log.Next, "the segment is missing"); err != nil {
			return err
		}
	}
	return l.endPiece()
}

// segment goes through the records of a segment.
func (l *logBuilder) segment(from, end int64) (next int64, err error) {
	var failed error
	pos := from
	_, err = l.Dir.Range(l.b.ctx, from, end, func(seq int64, record []byte) error {
		if seq != pos {
			return fmt.Errorf("record %d is missing", pos)
		}
		if failed = l.record(seq, record); failed != nil {
			return failed
		}
		pos++
		if l.b.done++; l.b.opt.Progress != nil && l.b.done%4096 == 0 {
			l.b.opt.Progress(l.b.done, l.b.total)
		}
		return nil
	})
	switch {
	case failed != nil:
		return pos, failed
	case l.b.ctx.Err() != nil:
		return pos, l.b.ctx.Err()
	case pos < end:
		why := "the segment ends before it"
		if err != nil {
			why = clean(err)
		}
		return end, l.missing(pos, end, why)
	}
	return pos, nil
}

// clean is an error in one line.
func clean(err error) string {
	s := pack.Visible(err.Error())
	return s[:min(len(s), 300)]
}

// record takes a record into the piece and into the account.
func (l *logBuilder) record(seq int64, record []byte) error {
	if l.dry {
		if err := l.account.Add(seq, record); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil
	}
	form := pack.Raw
	if !l.b.opt.Full {
		form = pack.Hashes
	}
	if err := l.room(seq, form, ""); err != nil {
		return err
	}
	hash := tlog.RecordHash(record)
	l.roll.Push(0, hash)
	if err := l.account.Add(seq, record); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	l.current.Count++
	l.bytes += int64(len(record))
	if form == pack.Raw {
		return writeLine(l.piece, record)
	}
	if _, err := l.piece.Write(hash[:]); err != nil {
		return err
	}
	return l.keep(seq, record, l.account.Listed())
}

func writeLine(w *spooled, record []byte) error {
	if bytes.IndexByte(record, '\n') >= 0 {
		return fmt.Errorf("%w: a record has a line feed in it", ErrDamaged)
	}
	if _, err := w.Write(record); err != nil {
		return err
	}
	_, err := w.Write([]byte("\n"))
	return err
}

// keep writes a record of a piece of hashes, if it is one that is given: one
// that is not of a request, one that a population lists, the first and the last of
// a piece, and the one before a log.open, which tells when a process was there
// last.
func (l *logBuilder) keep(seq int64, record []byte, listed bool) error {
	kind := string(records.Kind(record))
	give := kind != "request" && kind != "request.open" && kind != "request.intent" || seq == l.current.First || seq == l.log.Next-1 || listed
	if kind == "log.open" && l.heldSeq == seq-1 && l.heldSeq >= l.current.First {
		if err := writeLine(l.known, l.held); err != nil {
			return err
		}
	}
	l.heldSeq = -1
	if give {
		return writeLine(l.known, record)
	}
	l.held, l.heldSeq = append(l.held[:0], record...), seq
	return nil
}

// room begins a piece if the record does not go into the present one.
func (l *logBuilder) room(seq int64, form, why string) error {
	if l.piece != nil && l.current.Form == form && l.current.Why == why && l.current.Count < pieceRecords && l.bytes < pieceBytes {
		return nil
	}
	if err := l.endPiece(); err != nil {
		return err
	}
	name := pack.RecordsName(seq)
	if form == pack.Hashes {
		name = pack.HashesName(seq)
	}
	l.current, l.bytes = pack.Piece{File: name, Form: form, First: seq, Why: why}, 0
	var err error
	if l.piece, err = l.create(name); err != nil {
		return err
	}
	if form == pack.Hashes && why == "" {
		l.known, err = l.create(pack.KnownName(seq))
	}
	return err
}

// endPiece ends the present piece, whose last record is given: a log.open, or
// records that cannot be read, may come next.
func (l *logBuilder) endPiece() error {
	if l.piece == nil {
		return nil
	}
	if l.known != nil {
		if l.heldSeq >= l.current.First {
			if err := writeLine(l.known, l.held); err != nil {
				return err
			}
		}
		l.heldSeq = -1
		if err := l.known.Close(); err != nil {
			return err
		}
	}
	l.log.Pieces = append(l.log.Pieces, l.current)
	err := l.piece.Close()
	l.piece, l.known = nil, nil
	return err
}

// missing takes records that cannot be read, by the hashes that the log's tiles
// have of them.
func (l *logBuilder) missing(from, to int64, why string) error {
	if l.dry {
		return l.account.Missing(from, why)
	}
	for pos := from; pos < to; {
		if err := l.room(pos, pack.Hashes, why); err != nil {
			return err
		}
		if pos == l.current.First {
			if err := l.account.Missing(pos, why); err != nil {
				return err
			}
		}
		end := min(to, pos-pos%tree.Width+tree.Width)
		hashes, err := l.nodes.leaves(pos, end)
		if err != nil {
			return fmt.Errorf("%w: records %d to %d cannot be read (%s), and neither can their hashes: %w", ErrDamaged, pos, end-1, why, err)
		}
		for _, h := range hashes {
			l.roll.Push(0, h)
			if _, err := l.piece.Write(h[:]); err != nil {
				return err
			}
		}
		l.current.Count += end - pos
		pos = end
	}
	return nil
}

// erased finds the record that says that those before the first were removed.
func (l *logBuilder) erased() error {
	if l.log.First == 0 || len(l.segments) == 0 || l.log.First != l.segments[0].First {
		return nil
	}
	_, err := l.Dir.Range(l.b.ctx, l.log.First, l.log.Size, func(seq int64, record []byte) error {
		if string(records.Kind(record)) != "log.erase" || l.log.Erased != nil {
			return nil
		}
		var r struct {
			What string `json:"what"`
			Upto int64  `json:"upto"`
		}
		if err := json.Unmarshal(record, &r); err != nil || r.What != "retention" || r.Upto < l.log.First {
			return nil //nolint:nilerr // it is none that says so
		}
		l.log.Erased = &pack.Erased{Seq: seq, Record: string(record)}
		return nil
	})
	if err != nil || l.log.Erased == nil {
		return nil //nolint:nilerr // the verifier says that nothing says so
	}
	l.log.Erased.Proof, err = l.nodes.reader.Prove(l.b.ctx, l.log.Erased.Seq)
	return err
}
