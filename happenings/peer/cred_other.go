//go:build !linux

package peer

import (
	"errors"
	"io/fs"
	"net"
	"syscall"
)

var errUnsupported = errors.New("the network soc2unix works on Linux only: use unix")

func supported() error { return errUnsupported }

func credentials(*net.UnixConn) (Credentials, error) { return Credentials{}, errUnsupported }

func restrict(fs.FileMode) func(string, string, syscall.RawConn) error { return nil }
