// Package limiter decides how much keys may do, in a memory that does not grow.
//
// A Zone holds the state of many keys in fixed arrays without pointers. A key is
// known by a seeded 64-bit hash; its state is one number, the time at which all
// that it has spent will have come back (its theoretical arrival time, TAT). A
// bucket of eight slots, two cache lines, is searched for it. When a bucket is
// full the key with the lowest TAT goes, which is the one that has least to
// lose: who sprays keys cannot wash away the state of one that spent much,
// other than with keys that spent as much. Each key that goes although it had
// something to lose is counted (Zone.Lost).
//
// Decide asks several zones about a request and charges all or none.
//
// All times are nanoseconds of a monotonic clock that the caller reads once for
// a request. The bounds that the modes promise hold for whatever the clock
// shows, also if it goes back.
package limiter
