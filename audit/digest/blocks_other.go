//go:build !amd64

package digest

// wide says whether messages are hashed side by side.
const wide = false

// blocks is never called.
func blocks(*[8][lanes]uint32, *[16][lanes]uint32, *[64]uint32) {}
