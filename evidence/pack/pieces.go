package pack

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// The files of a log, below its folder. Part of the format.
const (
	LogFile         = "log.json"
	CheckpointFile  = "checkpoint"
	CheckpointsFile = "checkpoints"
	StampsFolder    = "stamps/"
)

// RecordsName is the name of a piece of raw records.
func RecordsName(first int64) string { return fmt.Sprintf("records/%020d.ndjson", first) }

// HashesName is the name of a piece of leaf hashes.
func HashesName(first int64) string { return fmt.Sprintf("hashes/%020d.bin", first) }

// KnownName is the name of the records that are there of a piece of leaf hashes.
func KnownName(first int64) string { return fmt.Sprintf("known/%020d.ndjson", first) }

// IsStamp reports whether a name in StampsFolder is that of the time stamp of a
// head of at most size records: their number, with 20 digits, and .tsr.
func IsStamp(name string, size int64) bool {
	digits, ok := strings.CutSuffix(name, ".tsr")
	n, err := strconv.ParseInt(digits, 10, 64)
	return ok && err == nil && n >= 0 && n <= size && digits == fmt.Sprintf("%020d", n)
}

// name is the name that a piece must have.
func (p *Piece) name() string {
	if p.Form == Raw {
		return RecordsName(p.First)
	}
	return HashesName(p.First)
}

// leafFunc takes a leaf. Record is nil if only its hash is there.
type leafFunc func(seq int64, hash tree.Hash, record []byte) error

// errPiece means that a file of a log does not hold what it must.
var errPiece = errors.New("the records are not there")

// lines reads records, one a line.
type lines struct {
	in   *bufio.Reader
	name string
}

func newLines(r io.Reader, name string) *lines {
	return &lines{bufio.NewReaderSize(r, segment.MaxRecord+2), name}
}

// next returns the next record, or nil at the end.
func (l *lines) next() ([]byte, error) {
	line, err := l.in.ReadSlice('\n')
	if errors.Is(err, io.EOF) && len(line) == 0 {
		return nil, nil
	}
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("%s: %w: a line is cut off or longer than a record", l.name, errPiece)
		}
		return nil, err
	}
	return line[:len(line)-1], nil
}

// raw reads a piece of raw records.
func (p *Piece) raw(r io.Reader, fn leafFunc) error {
	in := newLines(r, p.File)
	for seq := p.First; ; seq++ {
		record, err := in.next()
		if err != nil {
			return err
		}
		if record == nil {
			if seq != p.First+p.Count {
				return fmt.Errorf("%s: %w: it has %d records, not %d", p.File, errPiece, seq-p.First, p.Count)
			}
			return nil
		}
		if seq == p.First+p.Count {
			return fmt.Errorf("%s: %w: it has more than %d records", p.File, errPiece, p.Count)
		}
		if err := segment.Check(record, seq); err != nil {
			return fmt.Errorf("%s: record %d: %w", p.File, seq, err)
		}
		if err := fn(seq, tlog.RecordHash(record), record); err != nil {
			return err
		}
	}
}

// hashes reads a piece of leaf hashes, with the records of it that are there.
func (p *Piece) hashes(r, known io.Reader, fn leafFunc) error {
	in, rows := bufio.NewReader(r), newLines(known, KnownName(p.First))
	record, at, err := rows.numbered()
	var leaf tree.Hash
	for seq := p.First; err == nil && seq < p.First+p.Count; seq++ {
		if _, err := io.ReadFull(in, leaf[:]); err != nil {
			return fmt.Errorf("%s: %w: it has too few hashes: %w", p.File, errPiece, err)
		}
		if record == nil || at != seq {
			if err := fn(seq, leaf, nil); err != nil {
				return err
			}
			continue
		}
		if tlog.RecordHash(record) != leaf {
			return fmt.Errorf("%s: record %d is not the one whose hash is in the log", rows.name, seq)
		}
		if err := fn(seq, leaf, record); err != nil {
			return err
		}
		record, at, err = rows.numbered()
	}
	if err != nil {
		return err
	}
	if record != nil {
		return fmt.Errorf("%s: %w: record %d is not of this piece, or not in order", rows.name, errPiece, at)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w: it has more than %d hashes", p.File, errPiece, p.Count)
	}
	return nil
}

// numbered returns the next record with its index.
func (l *lines) numbered() (record []byte, seq int64, err error) {
	record, err = l.next()
	if err != nil || record == nil {
		return nil, 0, err
	}
	seq, err = indexOf(record)
	if err == nil {
		err = segment.Check(record, seq)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", l.name, err)
	}
	return record, seq, nil
}

// indexOf reads the index of a record, whose place in it is fixed.
func indexOf(record []byte) (seq int64, err error) {
	rest, ok := bytes.CutPrefix(record, []byte(`{"v":1,"seq":`))
	if !ok {
		return 0, fmt.Errorf("%w: a line is no record", errPiece)
	}
	n := 0
	for ; n < len(rest) && n < 18 && rest[n] >= '0' && rest[n] <= '9'; n++ {
		seq = seq*10 + int64(rest[n]-'0')
	}
	if n == 0 {
		return 0, fmt.Errorf("%w: a line is no record", errPiece)
	}
	return seq, nil
}
