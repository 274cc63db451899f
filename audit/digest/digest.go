// Package digest hashes the leaves and nodes of a log's tree (RFC 6962, section
// 2.1), many at a time.
//
// On a processor that has AVX-512 but no instructions for SHA-256 it hashes 16
// messages side by side, which is several times as fast as one after the other.
// Everywhere else it is crypto/sha256.
package digest

import (
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a SHA-256 hash of a leaf or node.
type Hash = tlog.Hash

// The first bytes of what is hashed (RFC 6962, section 2.1).
const (
	leafPrefix = 0
	nodePrefix = 1
)

// Leaves appends the hashes of records to dst.
func Leaves(dst []Hash, records [][]byte) []Hash {
	if !wide || len(records) < lanes/2 {
		for _, r := range records {
			dst = append(dst, tlog.RecordHash(r))
		}
		return dst
	}
	from := len(dst)
	dst = append(dst, make([]Hash, len(records))...)
	var s sideBySide
	s.run(leafPrefix, len(records), func(i int) []byte { return records[i] }, dst[from:])
	return dst
}

// Nodes replaces hashes by those of the nodes above each two of them, and
// returns the half as many. Their number must be even.
func Nodes(hashes []Hash) []Hash {
	n := len(hashes) / 2
	if !wide || n < lanes/2 {
		for i := range n {
			hashes[i] = tlog.NodeHash(hashes[2*i], hashes[2*i+1])
		}
		return hashes[:n]
	}
	var buf [2 * tlog.HashSize * maxNodes]byte
	for done := 0; done < n; done += maxNodes {
		part := hashes[2*done : min(2*(done+maxNodes), 2*n)]
		for i := range part {
			copy(buf[i*tlog.HashSize:], part[i][:])
		}
		var s sideBySide
		s.run(nodePrefix, len(part)/2, func(i int) []byte {
			return buf[2*i*tlog.HashSize : 2*(i+1)*tlog.HashSize]
		}, hashes[done:done+len(part)/2])
	}
	return hashes[:n]
}

// maxNodes is how many nodes are hashed at a time.
const maxNodes = 128

// lanes is how many messages are hashed side by side.
const lanes = 16

// block is how many bytes SHA-256 takes at a time.
const block = sha256.BlockSize

// sideBySide hashes a list of messages, one in each lane. A lane whose message
// ended takes the next.
type sideBySide struct {
	state [8][lanes]uint32
	words [16][lanes]uint32 // of the next block of each lane
	lane  [lanes]struct {
		message []byte
		index   int // of the message, or -1
		at      int // bytes of the message, with its prefix, before the next block
	}
	next int
}

// initial is the state before the first block (FIPS 180-4, section 5.3.3).
var initial = [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}

func (s *sideBySide) run(prefix byte, n int, message func(int) []byte, out []Hash) {
	left := n
	for l := range s.lane {
		s.refill(l, n, message)
	}
	for left > 0 {
		var ended [lanes]bool
		for l := range s.lane {
			if s.lane[l].index >= 0 {
				ended[l] = s.fill(l, prefix)
			}
		}
		blocks(&s.state, &s.words, &constants)
		for l := range s.lane {
			if ended[l] {
				s.result(l, &out[s.lane[l].index])
				s.refill(l, n, message)
				left--
			}
		}
	}
}

// refill gives a lane the next message.
func (s *sideBySide) refill(l, n int, message func(int) []byte) {
	lane := &s.lane[l]
	lane.index, lane.at = -1, 0
	if s.next == n {
		return
	}
	lane.index, lane.message = s.next, message(s.next)
	s.next++
	for i := range initial {
		s.state[i][l] = initial[i]
	}
}

// fill puts the next block of a lane into the words, and reports whether it is
// the last one.
func (s *sideBySide) fill(l int, prefix byte) (last bool) {
	lane := &s.lane[l]
	at, size := lane.at, 1+len(lane.message)
	lane.at += block
	if at > 0 && at+block <= size {
		s.load(l, (*[block]byte)(lane.message[at-1:]))
		return false
	}
	var b [block]byte
	n := 0
	if at == 0 {
		b[0] = prefix
		n = 1 + copy(b[1:], lane.message)
	} else if at < size {
		n = copy(b[:], lane.message[at-1:])
	}
	if at <= size && n < block { // padding (FIPS 180-4, section 5.1.1)
		b[n] = 0x80
	}
	last = at+block >= size+1+8
	if last {
		binary.BigEndian.PutUint64(b[block-8:], uint64(size)*8)
	}
	s.load(l, &b)
	return last
}

func (s *sideBySide) load(l int, b *[block]byte) {
	for w := range s.words {
		s.words[w][l] = binary.BigEndian.Uint32(b[4*w:])
	}
}

func (s *sideBySide) result(l int, out *Hash) {
	for i := range s.state {
		binary.BigEndian.PutUint32(out[4*i:], s.state[i][l])
	}
}

// constants are those of FIPS 180-4, section 4.2.2.
var constants = [64]uint32{
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}
