package rollup

import (
	"math"
	"math/bits"
)

// Sketch estimates how many different texts it was shown (HyperLogLog with
// 1,024 registers; the standard error is 3.3 %). Sketches of parts are merged
// into that of the whole. The texts cannot be had back from it.
//
// A text's hash is FNV-1a of 64 bits, mixed as the generator SplitMix64 does.
// Its first 10 bits choose the register; the register keeps the largest number
// of zero bits, and one more, that any hash has after them. Part of the on-disk
// format.
type Sketch [registers]uint8

const (
	precision = 10
	registers = 1 << precision
)

// Add shows a text.
func (s *Sketch) Add(text []byte) {
	h := uint64(0xcbf29ce484222325)
	for _, c := range text {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	i := h >> (64 - precision)
	rank := uint8(bits.LeadingZeros64(h<<precision|1<<(precision-1)) + 1)
	s[i] = max(s[i], rank)
}

// Merge adds what another sketch was shown.
func (s *Sketch) Merge(other *Sketch) {
	for i, r := range other {
		if r > s[i] {
			s[i] = r
		}
	}
}

// Estimate returns about how many different texts were shown.
func (s *Sketch) Estimate() int64 {
	zeros, inverse := 0, 0.0
	for _, r := range s {
		if r == 0 {
			zeros++
		}
		inverse += math.Ldexp(1, -int(r))
	}
	const m = registers
	e := 0.7213 / (1 + 1.079/float64(m)) * m * m / inverse
	if e <= 2.5*m && zeros > 0 {
		e = m * math.Log(m/float64(zeros))
	}
	return int64(math.Round(e))
}

// digits are those of base64 (RFC 4648, section 4): a register is six bits.
const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// digitValue is the inverse; 255 is no digit.
var digitValue = func() (t [256]uint8) {
	for i := range t {
		t[i] = 255
	}
	for i := range len(digits) {
		t[digits[i]] = uint8(i)
	}
	return t
}()

func (s *Sketch) append(b []byte) []byte {
	for _, r := range s {
		b = append(b, digits[r&63])
	}
	return b
}

// mergeText merges a sketch as it is in a record.
func (s *Sketch) mergeText(text []byte) bool {
	if len(text) != registers {
		return false
	}
	bad := uint8(0)
	for i, c := range text {
		r := digitValue[c]
		bad |= r
		if r > s[i] && r != 255 {
			s[i] = r
		}
	}
	return bad < 64
}
