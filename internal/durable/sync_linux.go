package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync flushes the data of f and the metadata needed to read it back.
func datasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return err
		}
	}
}
