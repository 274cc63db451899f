//go:build race

package quarter_test

// slow says that the race detector is on, which makes a million requests take
// many minutes and finds nothing in them that some thousands do not show.
const slow = true
