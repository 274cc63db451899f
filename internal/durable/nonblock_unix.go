//go:build unix

package durable

import "golang.org/x/sys/unix"

// nonblock makes the opening of a pipe return at once. On a regular file it has
// no effect.
const nonblock = unix.O_NONBLOCK
