package digest

import "golang.org/x/sys/cpu"

// wide says whether messages are hashed side by side. Where the processor has
// instructions for SHA-256, crypto/sha256 is about as fast.
var wide = cpu.X86.HasAVX512F && !hasSHA()

// blocks512 takes one block in each lane.
//
//go:noescape
func blocks512(state *[8][lanes]uint32, words *[16][lanes]uint32, k *[64]uint32)

// hasSHA reports whether the processor has instructions for SHA-256 (CPUID leaf
// 7, EBX bit 29). Processors with AVX-512 have that leaf.
func hasSHA() bool

func blocks(state *[8][lanes]uint32, words *[16][lanes]uint32, k *[64]uint32) {
	blocks512(state, words, k)
}
