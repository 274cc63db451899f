//go:build !linux

package durable

// Free is how many bytes this user may still write to the file system of a
// directory; -1 if that is not known.
func Free(string) int64 { return -1 }
