//go:build race

package limiter

// sparing divides how often tests repeat themselves: the race detector makes
// them many times slower, and finds no more in a further round.
const sparing = 20
