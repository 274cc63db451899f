package auditlog

import (
	"encoding/binary"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// shaSpeed is how many MB of 600-byte records one core hashes in a second. No
// verification that hashes each record by itself can be faster.
func shaSpeed() float64 {
	record := make([]byte, recordSize)
	const n = 500_000
	cpu := measure.CPU()
	for range n {
		record[0] ^= tlog.RecordHash(record)[0]
	}
	return n * recordSize / 1e6 / (measure.CPU() - cpu).Seconds()
}

// unsealedSize reads the size of a sealed segment's records from its seek table:
// entries of a compressed and a decompressed size before a footer of nine bytes.
func unsealedSize(sealed []byte) (n int64) {
	const footer, entry = 9, 8
	end := len(sealed) - footer
	count := int(binary.LittleEndian.Uint32(sealed[end:]))
	for at := end - count*entry; at < end; at += entry {
		n += int64(binary.LittleEndian.Uint32(sealed[at+4:]))
	}
	return n
}
