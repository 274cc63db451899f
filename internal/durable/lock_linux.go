package durable

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// lockHolder names the process that holds the lock on d, from /proc/locks
// (proc_locks(5)), whose lines read
//
//	1: FLOCK  ADVISORY  WRITE 708 00:13:4567 0 EOF
func lockHolder(d *os.File) string {
	const unknown = "another process"
	info, err := d.Stat()
	if err != nil {
		return unknown
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return unknown
	}
	table, err := os.ReadFile("/proc/locks")
	if err != nil {
		return unknown
	}
	inode := fmt.Sprintf(":%d", stat.Ino)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || !strings.HasSuffix(f[5], inode) {
			continue
		}
		if f[4] == fmt.Sprint(os.Getpid()) {
			return "this process"
		}
		return "process " + f[4]
	}
	return unknown
}
