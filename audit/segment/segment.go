// Package segment is the on-disk form of a log's records. It reads and makes
// bytes and does no input or output of its own.
//
// # Records
//
// A record is one JSON object in one line. The log writes its first three
// members and its last, whoever appends writes those between:
//
//	{"v":1,"seq":4711,"pos":3,"time":"…","kind":"request", … ,"crc":"9ae0daaf"}
//	└── log ─────────────────┘└── body ──────────────────┘└── log ───────────┘
//
// v is the version of this format, seq the record's index in the log, counted
// from 0 without a gap, pos its place in the commit that wrote it, counted from
// 0: a commit is durable before the next one is written, so a bad record with a
// later commit behind it was damaged, and is not the torn end of a crash. crc is the CRC-32C (RFC 9260, appendix A) of all bytes before ,"crc", in hex. The checksum makes a torn or rotted record known by
// itself; the tree over the records, not the checksum, is what shows tampering.
// The leaf hash covers all of the record.
//
// # Open segments
//
// A segment is a run of records. Its file is named by the index of its first:
//
//	00000000000000004096.log
//	┌────────┬────────┬────────┬────────┬─ ─ ─┬───────────────┐
//	│ uint16 │ record │ uint16 │ record │     │ zeros         │
//	└────────┴────────┴────────┴────────┴─ ─ ─┴───────────────┘
//	  big-endian length                         reserve, only while open
//
// Without the reserve these are the bytes of C2SP tlog-tiles entry bundles, one
// after the other: the bundle of records 256·n … 256·n+255 is a range of bytes
// of a segment, or of the end of one and the beginning of the next. A length of
// 0, which no record has, ends the records.
//
// # Sealed segments
//
// A segment that is no longer written is compressed:
//
//	00000000000000004096.zst
//	┌────────────┬────────────┬─ ─ ─┬────────────────────────────┐
//	│ zstd frame │ zstd frame │     │ seek table, in a zstd      │
//	│ 1st bundle │ 2nd bundle │     │ skippable frame            │
//	└────────────┴────────────┴─ ─ ─┴────────────────────────────┘
//
// This is the Zstandard Seekable Format, version 0.1.0: any zstd tool
// decompresses it to the bytes of the open segment without its reserve. A frame
// holds the records of one bundle, so the first and the last may hold fewer
// than 256. A rollup record in a later segment carries the file's SHA-256.
package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// Limits. Part of the on-disk format; do not change.
const (
	Version   = 1
	MaxRecord = 1<<16 - 1 // a record's length is a uint16 (C2SP tlog-tiles)
	prefix    = 2         // bytes of the length before a record
)

// ReplacedSuffix follows the name of an open segment in that of a file which
// had taken the segment's name under a running log, and was set aside. It is
// evidence, and no part of the log.
const ReplacedSuffix = ".replaced"

// MaxBody is the largest body that fits in a record with any index.
const MaxBody = MaxRecord - len(recordHead) - 19 - len(posMember) - 19 - 1 - crcTail

const (
	recordHead = `{"v":1,"seq":`
	posMember  = `,"pos":`
	crcMember  = `,"crc":"`
	crcTail    = len(crcMember) + 8 + len(`"}`)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The names of segment files.
const (
	suffixOpen   = ".log"
	suffixSealed = ".zst"
)

// Name returns the file name of the segment that begins with a record.
func Name(first int64, sealed bool) string {
	if sealed {
		return fmt.Sprintf("%020d%s", first, suffixSealed)
	}
	return fmt.Sprintf("%020d%s", first, suffixOpen)
}

// ParseName is the inverse of Name. Other names are not segments.
func ParseName(name string) (first int64, sealed, ok bool) {
	base, sealed := strings.CutSuffix(name, suffixSealed)
	if !sealed {
		if base, ok = strings.CutSuffix(name, suffixOpen); !ok {
			return 0, false, false
		}
	}
	first, err := strconv.ParseInt(base, 10, 64)
	if err != nil || first < 0 || Name(first, sealed) != name {
		return 0, false, false
	}
	return first, sealed, true
}

// AppendFrame appends the frame of record seq, which is the pos-th of its
// commit, to dst. The body is the record's
// members from "time" on, without the braces around them; it is not checked.
func AppendFrame(dst []byte, seq, pos int64, body []byte) ([]byte, error) {
	if len(body) == 0 || len(body) > MaxBody {
		return dst, fmt.Errorf("a record body of %d bytes: it must have 1 to %d", len(body), MaxBody)
	}
	start := len(dst)
	dst = append(dst, 0, 0)
	dst = append(dst, recordHead...)
	dst = strconv.AppendInt(dst, seq, 10)
	dst = append(dst, posMember...)
	dst = strconv.AppendInt(dst, pos, 10)
	dst = append(dst, ',')
	dst = append(dst, body...)
	sum := crc32.Checksum(dst[start+prefix:], castagnoli)
	dst = append(dst, crcMember...)
	dst = appendHex32(dst, sum)
	dst = append(dst, '"', '}')
	binary.BigEndian.PutUint16(dst[start:], uint16(len(dst)-start-prefix))
	return dst, nil
}

func appendHex32(dst []byte, v uint32) []byte {
	const digits = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, digits[v>>shift&0xf])
	}
	return dst
}

// Errors that tell how the records of a segment ended.
var (
	// ErrTorn means that the bytes end inside a frame.
	ErrTorn = errors.New("the record is cut off")
	// ErrDamaged means that a whole frame does not hold a valid record.
	ErrDamaged = errors.New("the record is damaged")
)

// Next splits the first record off the frames in b. At the end, which is the
// end of b or a length of 0, it returns a nil record and no error.
func Next(b []byte) (record, rest []byte, err error) {
	if len(b) == 0 {
		return nil, b, nil
	}
	if len(b) < prefix {
		if b[0] == 0 {
			return nil, b, nil
		}
		return nil, b, ErrTorn
	}
	n := int(binary.BigEndian.Uint16(b))
	if n == 0 {
		return nil, b, nil
	}
	if len(b) < prefix+n {
		return nil, b, ErrTorn
	}
	return b[prefix : prefix+n], b[prefix+n:], nil
}

// Record returns the record of a frame that AppendFrame made.
func Record(frame []byte) []byte { return frame[prefix:] }

// Check verifies that a record is record seq and that its checksum holds.
func Check(record []byte, seq int64) error {
	body := len(record) - crcTail
	if body < len(recordHead) || !bytes.HasPrefix(record, []byte(recordHead)) ||
		!bytes.HasPrefix(record[body:], []byte(crcMember)) || !bytes.HasSuffix(record, []byte(`"}`)) {
		return fmt.Errorf("%w: it is not framed by v, seq and crc", ErrDamaged)
	}
	text := record[body+len(crcMember) : body+len(crcMember)+8]
	want, ok := hex32(text)
	if !ok {
		return fmt.Errorf("%w: crc %q is not eight hex digits", ErrDamaged, text)
	}
	if got := crc32.Checksum(record[:body], castagnoli); got != want {
		return fmt.Errorf("%w: its checksum is %08x, not %s", ErrDamaged, got, text)
	}
	got, _, ok := numbers(record[:body])
	if !ok {
		return fmt.Errorf("%w: its seq and pos are not numbers", ErrDamaged)
	}
	if got != seq {
		return fmt.Errorf("%w: it is record %d, not %d", ErrDamaged, got, seq)
	}
	return nil
}

// hex32 is the inverse of appendHex32.
func hex32(text []byte) (v uint32, ok bool) {
	for _, c := range text {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | uint32(c-'0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | uint32(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// numbers returns the seq and pos of a record that begins as one.
func numbers(record []byte) (seq, pos int64, ok bool) {
	seq, n := digits(record[len(recordHead):])
	rest := record[len(recordHead)+n:]
	if n == 0 || !bytes.HasPrefix(rest, []byte(posMember)) {
		return 0, 0, false
	}
	pos, n = digits(rest[len(posMember):])
	rest = rest[len(posMember)+n:]
	return seq, pos, n > 0 && len(rest) > 0 && rest[0] == ',' && pos <= seq
}

// digits reads a number as strconv.AppendInt writes it, and returns its length,
// or 0.
func digits(b []byte) (v int64, n int) {
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		if n == 18 || n == 1 && b[0] == '0' {
			return 0, 0
		}
		v = v*10 + int64(b[n]-'0')
		n++
	}
	return v, n
}

// LaterCommit reports whether b, which begins with the bad record bad, holds a
// valid record of a later commit. Then the bad one was durable, and is damaged:
// a crash leaves nothing behind the commit that it interrupts.
func LaterCommit(b []byte, bad int64) bool {
	for {
		i := bytes.Index(b, []byte(recordHead))
		if i < 0 {
			return false
		}
		if i >= prefix {
			n := int(binary.BigEndian.Uint16(b[i-prefix:]))
			if n >= len(recordHead) && i+n <= len(b) {
				record := b[i : i+n]
				if seq, pos, ok := numbers(record); ok && seq-pos > bad && Check(record, seq) == nil {
					return true
				}
			}
		}
		b = b[i+len(recordHead):]
	}
}

// Scan calls fn for each record of an open segment's bytes, or of any frames
// that begin with record first. It returns the number of bytes of whole valid
// frames, the index that the next record would have, and the first error: of a
// record, wrapping ErrTorn or ErrDamaged, or of fn.
func Scan(b []byte, first int64, fn func(seq int64, record []byte) error) (valid int, next int64, err error) {
	rest, next := b, first
	for {
		record, after, err := Next(rest)
		if err == nil && record != nil {
			err = Check(record, next)
		}
		if err != nil {
			return len(b) - len(rest), next, fmt.Errorf("record %d at byte %d: %w", next, len(b)-len(rest), err)
		}
		if record == nil {
			return len(b) - len(rest), next, nil
		}
		if fn != nil {
			if err := fn(next, record); err != nil {
				return len(b) - len(rest), next, err
			}
		}
		rest, next = after, next+1
	}
}

// NotBlank returns the offset of the first byte of b that is not zero, or -1:
// a reserve holds zeros only.
func NotBlank(b []byte) int {
	for at := 0; at < len(b); at += len(blank) {
		chunk := b[at:min(at+len(blank), len(b))]
		if bytes.Equal(chunk, blank[:len(chunk)]) {
			continue
		}
		for i, c := range chunk {
			if c != 0 {
				return at + i
			}
		}
	}
	return -1
}

var blank [4096]byte

// bundleEnd returns the index after the last record of the bundle that holds
// record seq.
func bundleEnd(seq int64) int64 { return seq - seq%tree.Width + tree.Width }
