package process

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// executable is the file that the process runs, even if another one has its
// name by now.
func executable(string) string { return "/proc/self/exe" }

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// clock asks the kernel whether something keeps its clock right.
func clock() audit.Clock {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return audit.Clock{}
	}
	return audit.Clock{
		Known: true, Source: "adjtimex",
		Synced: state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0,
		Offset: time.Duration(t.Esterror) * time.Microsecond,
	}
}

// bounds lists the limits of resources.
func bounds() []string {
	list := []string{
		fmt.Sprint("cpus=", runtime.NumCPU()),
		fmt.Sprint("gomaxprocs=", runtime.GOMAXPROCS(0)),
		fmt.Sprint("gomemlimit=", debug.SetMemoryLimit(-1)),
	}
	for _, r := range []struct {
		name string
		what int
	}{{"nofile", unix.RLIMIT_NOFILE}, {"nproc", unix.RLIMIT_NPROC}, {"as", unix.RLIMIT_AS}, {"core", unix.RLIMIT_CORE}, {"memlock", unix.RLIMIT_MEMLOCK}} {
		var l unix.Rlimit
		if unix.Getrlimit(r.what, &l) == nil {
			list = append(list, "rlimit_"+r.name+"="+bound(l.Cur), "rlimit_"+r.name+"_hard="+bound(l.Max))
		}
	}
	if _, most, ok := controlGroup(readSmall); ok {
		list = append(list, fmt.Sprint("cgroup_memory=", most))
	}
	return list
}

func bound(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

func openFiles() (n, most int64, ok bool) {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil || l.Cur == unix.RLIM_INFINITY {
		return 0, 0, false
	}
	f, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, 0, false
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return int64(len(names)), int64(l.Cur), err == nil
}

// controlGroup returns the memory that the process's control group (version 2)
// uses, without the files that the kernel could let go, and its limit.
func controlGroup(read func(name string) string) (n, most int64, ok bool) {
	_, group, _ := strings.Cut(read("/proc/self/cgroup"), "0::")
	group, _, _ = strings.Cut(group, "\n")
	for _, dir := range []string{path.Join("/sys/fs/cgroup", path.Clean("/"+group)), "/sys/fs/cgroup"} {
		most, err := strconv.ParseInt(strings.TrimSpace(read(path.Join(dir, "memory.max"))), 10, 64)
		if err != nil { // "max": there is none
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(read(path.Join(dir, "memory.current"))), 10, 64)
		if err != nil {
			continue
		}
		for line := range strings.Lines(read(path.Join(dir, "memory.stat"))) {
			if v, is := strings.CutPrefix(line, "inactive_file "); is {
				cached, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
				n -= cached
			}
		}
		return max(0, n), most, true
	}
	return 0, 0, false
}

// disk looks at the file system of a directory.
func disk(dir string) (limit, bool) {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return limit{}, false
	}
	return lowDisk(int64(s.Blocks)*int64(s.Bsize), int64(s.Bavail)*int64(s.Bsize)), true
}
