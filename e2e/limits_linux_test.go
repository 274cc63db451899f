package e2e_test

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// limits are those of a process's file descriptors.
type limits unix.Rlimit

func (l *limits) set(pid int) error {
	return unix.Prlimit(pid, unix.RLIMIT_NOFILE, (*unix.Rlimit)(l), nil)
}

// holdOpen opens connections that say nothing.
func holdOpen(t *testing.T, addr string, n int) (list []net.Conn) {
	t.Helper()
	for range n {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		list = append(list, conn)
	}
	return list
}
