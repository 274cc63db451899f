//go:build unix && !linux

package durable

import "os"

// lockHolder has no portable way to tell.
func lockHolder(*os.File) string { return "another process" }
