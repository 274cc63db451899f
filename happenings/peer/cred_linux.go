package peer

import (
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

func supported() error { return nil }

// restrict sets the mode of a socket before its file is made, so that there is
// no moment at which others can connect.
func restrict(mode fs.FileMode) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), uint32(mode)) }); err != nil {
			return err
		}
		return failed
	}
}

// credentials asks the kernel who connected.
func credentials(c *net.UnixConn) (Credentials, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Credentials{}, err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Credentials{}, err
	}
	if failed != nil {
		return Credentials{}, failed
	}
	exe, err := os.Readlink("/proc/" + strconv.Itoa(int(cred.Pid)) + "/exe")
	if err != nil {
		exe = "" // of another user, or gone
	}
	return Credentials{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid, Exe: exe}, nil
}
