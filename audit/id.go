package audit

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"
)

// ID is a request id: a UUID of version 7 (RFC 9562, section 5.7), whose first
// 48 bits are the Unix time in milliseconds.
type ID [16]byte

// NewID returns a fresh id for a request that began at t.
func NewID(t time.Time) (id ID) {
	ms := uint64(t.UnixMilli())
	binary.BigEndian.PutUint64(id[0:], ms<<16|rand.Uint64()>>48) //nolint:gosec // unique, not secret; ChaCha8 seeded by the system
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())            //nolint:gosec // as above
	id[6] = id[6]&0x0f | 0x70                                    // version 7
	id[8] = id[8]&0x3f | 0x80                                    // variant 10
	return id
}

// ParseID parses the canonical text form of an id.
func ParseID(s string) (id ID, err error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, fmt.Errorf("request id %q is not a UUID", s)
	}
	hexed := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	if _, err := hex.Decode(id[:], []byte(hexed)); err != nil {
		return ID{}, fmt.Errorf("request id %q is not a UUID", s)
	}
	return id, nil
}

// Time returns the time in the id, in milliseconds' precision.
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[0:]) >> 16))
}

// IsZero reports whether the id was never set.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the canonical text form: lower case, in groups of 8-4-4-4-12.
func (id ID) String() string { return string(id.AppendText(make([]byte, 0, 36))) }

// AppendText appends the canonical text form to dst.
func (id ID) AppendText(dst []byte) []byte {
	dst = hex.AppendEncode(dst, id[0:4])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[4:6])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[6:8])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[8:10])
	dst = append(dst, '-')
	return hex.AppendEncode(dst, id[10:16])
}
