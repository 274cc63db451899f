package limiter

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// Hasher makes hashes of keys that nobody outside the process can foretell, so
// that nobody can aim at a bucket. Without a secret it is seeded anew in each
// process; with one the hashes are the same in the next process, which
// snapshots need.
type Hasher struct {
	seed   maphash.Seed
	k0, k1 uint64
	keyed  bool
}

// NewHasher makes a hasher with a seed of its own.
func NewHasher() Hasher { return Hasher{seed: maphash.MakeSeed()} }

// KeyedHasher makes a hasher with a secret of 16 bytes, or more.
func KeyedHasher(secret []byte) Hasher {
	return Hasher{
		k0: binary.LittleEndian.Uint64(secret), k1: binary.LittleEndian.Uint64(secret[8:]), keyed: true,
	}
}

// String hashes a string.
func (h *Hasher) String(s string) uint64 {
	if h.keyed {
		return siphash(1, 3, h.k0, h.k1, s)
	}
	return maphash.String(h.seed, s)
}

// Bytes hashes what String hashes.
func (h *Hasher) Bytes(b []byte) uint64 {
	if h.keyed {
		return siphash(1, 3, h.k0, h.k1, b)
	}
	return maphash.Bytes(h.seed, b)
}

// Join hashes a compound key from the hashes of its parts: the sum so far and
// the next part. The parts stay apart: ("ab", "c") and ("a", "bc") differ.
func (h *Hasher) Join(sum, part uint64) uint64 {
	hi, lo := bits.Mul64(sum^0x9e3779b97f4a7c15, part|1)
	return hi ^ lo ^ bits.RotateLeft64(part, 23)
}

// siphash is SipHash-c-d (Aumasson and Bernstein, 2012). Hash tables use 1-3.
func siphash[T string | []byte](c, d int, k0, k1 uint64, p T) uint64 {
	v0, v1 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d
	v2, v3 := k0^0x6c7967656e657261, k1^0x7465646279746573
	last := uint64(len(p)) << 56
	for ; len(p) >= 8; p = p[8:] {
		m := uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16 | uint64(p[3])<<24 |
			uint64(p[4])<<32 | uint64(p[5])<<40 | uint64(p[6])<<48 | uint64(p[7])<<56
		v3 ^= m
		for range c {
			v0, v1, v2, v3 = sipround(v0, v1, v2, v3)
		}
		v0 ^= m
	}
	for i := range len(p) {
		last |= uint64(p[i]) << (8 * i)
	}
	v3 ^= last
	for range c {
		v0, v1, v2, v3 = sipround(v0, v1, v2, v3)
	}
	v0 ^= last
	v2 ^= 0xff
	for range d {
		v0, v1, v2, v3 = sipround(v0, v1, v2, v3)
	}
	return v0 ^ v1 ^ v2 ^ v3
}

func sipround(v0, v1, v2, v3 uint64) (_, _, _, _ uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
