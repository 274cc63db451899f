//go:build !race

package audit_test

// sparing divides how often tests repeat themselves.
const sparing = 1
