//go:build !linux

package durable

import "os"

// datasync flushes f. On macOS os.File.Sync asks the drive itself
// (F_FULLFSYNC).
func datasync(f *os.File) error { return f.Sync() }
