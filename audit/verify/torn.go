package verify

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// sector is what a disk writes as a whole: a write that a crash interrupts may
// lack any of its sectors.
const sector = 512

// maxOpen is more than a log.open record has bytes.
const maxOpen = 8 * sector

// tornOpen reports whether the bytes b, which follow a log.close, are what a
// crash can leave of the log.open that was to be record seq: its beginning, or
// zeros in place of the first sector, and behind that text; or nothing but the
// reserve that was written after it. at is where b lies in its file.
func tornOpen(b []byte, at int, seq int64) bool {
	all := len(b)
	b = bytes.TrimRight(b, "\x00")
	if len(b) > maxOpen || len(b) == 0 && all <= maxOpen {
		return false
	}
	begin := b[:min(len(b), sector-at%sector)]
	if len(bytes.Trim(begin, "\x00")) > 0 {
		head := fmt.Appendf(nil, `{"v":1,"seq":%d,"pos":0,"time":"`, seq)
		text := begin[min(len(begin), 2):] // after the length
		if n := min(len(text), len(head)); !bytes.Equal(text[:n], head[:n]) {
			return false
		}
		whole := len(b) >= 2 && len(b) == 2+int(binary.BigEndian.Uint16(b))
		if end := at + len(b); end%sector != 0 && !whole {
			return false // sectors are written as a whole, so that only the record's own end can be in one
		}
		b = b[min(len(b), 2):]
	}
	return !bytes.ContainsFunc(b, func(c rune) bool { return c > 0 && c < ' ' })
}
