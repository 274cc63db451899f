package measure

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where and when a run was made.
type Machine struct {
	Time       string `json:"time"`
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	SHANI      bool   `json:"sha_ni"` // whether the processor has SHA instructions
	Go         string `json:"go"`
	FileSystem string `json:"file_system"`
	LoadBefore string `json:"load_before"` // 1-minute load average
	LoadAfter  string `json:"load_after"`
}

// ThisMachine describes the machine and the file system of a directory.
func ThisMachine(dir string) Machine {
	m := Machine{
		Time: time.Now().UTC().Format("2006-01-02 15:04 UTC"), Cores: runtime.NumCPU(),
		Go: runtime.Version(), FileSystem: FileSystem(dir), LoadBefore: Load(),
	}
	b, _ := os.ReadFile("/proc/cpuinfo") // without it the line stays empty
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name":
			m.CPU = strings.TrimSpace(value)
		case "flags":
			m.SHANI = strings.Contains(value, " sha_ni")
		}
	}
	return m
}

func (m Machine) String() string {
	sha := "no SHA-NI"
	if m.SHANI {
		sha = "SHA-NI"
	}
	return fmt.Sprintf("%s, %d × %s (%s), %s, file system %s, 1-minute load %s before and %s after",
		m.Time, m.Cores, m.CPU, sha, m.Go, m.FileSystem, m.LoadBefore, m.LoadAfter)
}

// Load is the 1-minute load average.
func Load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(b), " ")
	return load
}

// The magic numbers of file systems (statfs(2)).
var fileSystems = map[int64]string{
	0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x01021994: "tmpfs", 0x794c7630: "overlayfs",
	0x2fc12fc1: "zfs", 0xf2f52010: "f2fs", 0x6969: "nfs", 0x858458f6: "ramfs",
}

// FileSystem names the type of the file system that holds dir.
func FileSystem(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "unknown"
	}
	if name, ok := fileSystems[int64(st.Type)]; ok {
		return name
	}
	return fmt.Sprintf("%#x", st.Type)
}

// InMemory reports whether a file system of this name has no disk.
func InMemory(fileSystem string) bool { return fileSystem == "tmpfs" || fileSystem == "ramfs" }

// CPU is the user and system time that this process has used.
func CPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err) // the arguments are constants
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// DropCaches empties the page cache. Only root can.
func DropCaches() error {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// DiskBytes is the space that a file takes on disk, and its length.
func DiskBytes(name string) (blocks, length int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", name, err)
	}
	return st.Blocks * 512, st.Size, nil
}
