//go:build !race

package limiter

// sparing divides how often tests repeat themselves.
const sparing = 1
