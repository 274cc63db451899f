package checks

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/caddy-soc2/caddy-soc2/controls"
)

// capabilities are the names of the bits, as in linux/capability.h.
var capabilities = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
	NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
	SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
	MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

// privileges finds out what the process may do.
func privileges(p *controls.Process) {
	status, _ := os.ReadFile("/proc/self/status") // without it nothing is known
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "CapEff":
			bits, err := strconv.ParseUint(value, 16, 64)
			for i := 0; err == nil && i < 64; i++ {
				if bits&(1<<i) == 0 {
					continue
				}
				c := "bit " + strconv.Itoa(i)
				if i < len(capabilities) {
					c = capabilities[i]
				}
				p.Capabilities = append(p.Capabilities, c)
			}
		case "NoNewPrivs":
			set := value == "1"
			p.NoNewPrivs = &set
		}
	}
	var s unix.Statfs_t
	if unix.Statfs("/", &s) == nil {
		readOnly := s.Flags&unix.ST_RDONLY != 0
		p.RootReadOnly = &readOnly
	}
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_CORE, &l) == nil {
		p.CoreLimit = &l.Cur
	}
}

// free is how many bytes are free for this user on the file system of a
// directory, or -1.
func free(dir string) int64 {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return -1
	}
	return int64(s.Bavail) * int64(s.Bsize)
}
