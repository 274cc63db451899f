package process

import (
	"context"
	"crypto/fips140"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// imageEnv names the environment variable that tells which image the process
// runs from, where nothing else does.
const imageEnv = "SOC2_CONTAINER_IMAGE"

// describe says what the process is made of and where it runs. It reads the
// whole program file, unless ctx ends.
func describe(ctx context.Context) audit.Process {
	p := audit.Process{Program: program(ctx), Host: host(), Clock: clock(), Limits: bounds()}
	if fips140.Enabled() {
		p.FIPS = audit.FIPS{Enabled: true, Enforced: fips140.Enforced(), Version: fips140.Version()}
	}
	return p
}

func program(ctx context.Context) audit.Program {
	p := audit.Program{Go: runtime.Version()}
	p.Version, _ = caddy.Version()
	p.Path, _ = os.Executable()
	p.SHA256 = fileSum(ctx, executable(p.Path))
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return p
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			p.Revision = s.Value
			continue
		}
		p.Settings = append(p.Settings, s.Key+"="+s.Value)
	}
	p.Modules = append(p.Modules, moduleName(&info.Main))
	for _, m := range info.Deps {
		p.Modules = append(p.Modules, moduleName(m))
	}
	return p
}

// moduleName is path@version and the sum. One that another replaces is named
// with both.
func moduleName(m *debug.Module) string {
	name := m.Path + "@" + m.Version
	if m.Replace != nil {
		return name + " => " + moduleName(m.Replace)
	}
	if m.Sum != "" {
		name += " " + m.Sum
	}
	return name
}

// fileSum returns the SHA-256 of a file in hex, or nothing if it cannot be read
// to its end.
func fileSum(ctx context.Context, name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 1<<18)
	for ctx.Err() == nil {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil))
		}
		if err != nil {
			return ""
		}
	}
	return ""
}

func host() audit.Host {
	h := audit.Host{OS: runtime.GOOS, Arch: runtime.GOARCH, Kernel: kernel()}
	h.Name, _ = os.Hostname()
	if uid := os.Getuid(); uid >= 0 { // -1: the system has none
		h.UID, h.GID = strconv.Itoa(uid), strconv.Itoa(os.Getgid())
	}
	h.Container, h.Image = container(readSmall)
	return h
}

var containerID = regexp.MustCompile(`(?:docker|containers|libpod|cri-containerd|crio|kubepods|containerd|lxc)[^\s]*?[/:-]([0-9a-f]{64})`)

// container finds out the container that the process runs in, from the files
// that container engines leave to be seen.
func container(read func(name string) string) (id, image string) {
	for line := range strings.Lines(read("/run/.containerenv")) { // Podman
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if v, err := strconv.Unquote(value); err == nil {
			switch name {
			case "id":
				id = v
			case "image":
				image = v
			}
		}
	}
	for _, name := range []string{"/proc/self/cgroup", "/proc/self/mountinfo"} {
		if m := containerID.FindStringSubmatch(read(name)); m != nil && id == "" {
			id = m[1]
		}
	}
	if v := os.Getenv(imageEnv); v != "" {
		image = v
	}
	return id, image
}

// readSmall returns the beginning of a file of the system, or nothing.
func readSmall(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(b)
}
