package e2e_test

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// snapshot returns the contents of all files of a log.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func same(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for path, data := range a {
		if b[path] != data {
			return false
		}
	}
	return true
}

// refused runs the proxy, which must end at once with one line that holds all
// of want.
func (h home) refused(want []string, args ...string) {
	h.t.Helper()
	code, out := h.run("caddy", append([]string{"soc2", "proxy"}, args...)...)
	if code == 0 {
		h.t.Errorf("%q: exit 0", args)
	}
	var lines []string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "Error: ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		h.t.Errorf("%q: not one line that says Error:\n%s", args, out)
		return
	}
	for _, w := range want {
		if !strings.Contains(lines[0], w) {
			h.t.Errorf("%q: %q is not in %s", args, w, lines[0])
		}
	}
}

func TestProxyNamesTheFlagAndTheRemedy(t *testing.T) {
	h := newHome(t)
	for _, to := range []string{"foo", "foo:", ":80", "foo:0", "foo:99999", "foo:http", "ftp://foo", "http://", "http://foo/path", "http://u:p@foo", "http://foo?x", "{env.HOME}:80", "fo o:80", "*:80", "[::1]", "http://foo:99999"} {
		h.refused([]string{"--to", strconv.Quote(to), "write HOST:PORT"}, "--to", to)
	}
	for _, from := range []string{"", ":8443", "localhost:0", "localhost:x", "https://localhost", "{env.HOME}", "*:8443"} {
		h.refused([]string{"--from", "write HOST or HOST:PORT"}, "--demo", "--from", from)
	}
	h.refused([]string{"--to is needed", "--demo"})
	h.refused([]string{"leave out --to"}, "--demo", "--to", "localhost:1")
	h.refused([]string{"--profile", "choose baseline, strict or api"}, "--demo", "--profile", "paranoid")
	h.refused([]string{"--http-port", "1 to 65535"}, "--demo", "--http-port", "0")
	if _, err := os.Stat(h.logDir()); err == nil {
		t.Error("a refused command made a log")
	}
}

func TestOccupiedPorts(t *testing.T) {
	h := newHome(t)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // a TCP listener
	free := strconv.Itoa(freePort(t))
	h.refused([]string{"port " + port + " is in use", "--from localhost:PORT"}, "--demo", "--from", "localhost:"+port, "--http-port", free)
	h.refused([]string{"port " + port + " is in use", "--http-port PORT"}, "--demo", "--from", "localhost:"+free, "--http-port", port)

	// Caddy shares ports between its processes; two proxies must not.
	_, addr := h.startProxy("--demo")
	other := newHome(t)
	other.refused([]string{"is in use"}, "--demo", "--from", addr, "--http-port", free)
}

// TestUnusableLogs tries to serve with logs and keys that cannot be used.
func TestUnusableLogs(t *testing.T) {
	h := newHome(t)
	p, _ := h.startProxy("--demo")
	ports := func() []string {
		return []string{"--demo", "--from", fmt.Sprintf("localhost:%d", freePort(t)), "--http-port", strconv.Itoa(freePort(t))}
	}
	pid := strconv.Itoa(p.cmd.Process.Pid)
	h.refused([]string{h.logDir(), "locked by process " + pid, "stop it"}, ports()...)
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	before := snapshot(t, h.logDir())

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.refused([]string{file, "--data-dir"}, append(ports(), "--data-dir", file)...)
	h.refused([]string{"/proc/nowhere", "--data-dir"}, append(ports(), "--data-dir", "/proc/nowhere")...)

	segment := filepath.Join(h.logDir(), "segments", "00000000000000000000.log")
	damage(t, segment, func(b []byte) []byte { b[40] ^= 1; return b }, func() {
		h.refused([]string{"damaged", "segments/00000000000000000000.log", "record 0", "caddy soc2 verify"}, ports()...)
	})
	damage(t, segment, func(b []byte) []byte { return b[:len(b)-20] }, func() {
		h.refused([]string{"damaged", "caddy soc2 verify"}, ports()...)
	})
	damage(t, filepath.Join(h.logDir(), "checkpoint"), func([]byte) []byte { return nil }, func() {
		h.refused([]string{"checkpoint", "malformed"}, ports()...)
	})
	key := filepath.Join(h.dir, "caddy", "soc2", "keys", "log.key")
	damage(t, key, func([]byte) []byte { return []byte("rubbish") }, func() {
		h.refused([]string{key, "PRIVATE+KEY"}, ports()...)
	})
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	h.refused([]string{key, "0644", "chmod 600"}, ports()...)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	h.refused([]string{key, "put it back"}, ports()...)
	if _, err := os.Stat(key); err == nil {
		t.Error("a new key was made for an old log")
	}
	if !same(before, snapshot(t, h.logDir())) {
		t.Error("a refused command changed the log")
	}
}

// damage changes a file, runs f and puts the file back.
func damage(t *testing.T, name string, change func([]byte) []byte, f func()) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(append([]byte(nil), b...)), 0o600); err != nil {
		t.Fatal(err)
	}
	f()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestUnwritableDirectory needs a user whom permissions stop.
func TestUnwritableDirectory(t *testing.T) {
	dir, h := t.TempDir(), newHome(t)
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755)
	}
	cmd := h.command("caddy", "soc2", "proxy", "--demo", "--data-dir", filepath.Join(dir, "data"),
		"--from", fmt.Sprintf("localhost:%d", freePort(t)), "--http-port", strconv.Itoa(freePort(t)))
	if os.Getuid() == 0 {
		if err := os.Chmod(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(h.dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	} else if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	text := string(out)
	i := strings.LastIndex(text, "Error: ")
	if err == nil || i < 0 || !strings.Contains(text[i:], dir) || !strings.Contains(text[i:], "make it writable") {
		t.Errorf("%v: %s", err, text)
	}
}

func TestAdminCommands(t *testing.T) {
	h := newHome(t)
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{1, "--dir", []string{"tail"}},
		{2, "not a UUID", []string{"show", "x"}},
		{1, "no such file", []string{"key", "show"}},
		{2, "--tiles is needed", []string{"export"}},
		{2, "no --key is given", []string{"verify"}},
		{2, "--url", []string{"healthcheck", "--url", "foo"}},
		{1, "unhealthy", []string{"healthcheck", "--url", fmt.Sprintf("http://localhost:%d/", freePort(t))}},
		{2, "no spaces", []string{"key", "new", "a b"}},
	} {
		code, out := h.run("caddy", append([]string{"soc2"}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%q: exit %d, want %d: %s", c.args, code, c.code, out)
		}
	}
	name := filepath.Join(h.dir, "new.key")
	if code, out := h.run("caddy", "soc2", "key", "new", "edge-9/soc2", "--file", name); code != 0 || !strings.HasPrefix(out, "edge-9/soc2+") {
		t.Errorf("key new: exit %d: %s", code, out)
	}
	if code, out := h.run("caddy", "soc2", "key", "new", "edge-9/soc2", "--file", name); code != 1 || !strings.Contains(out, "exists") {
		t.Errorf("key new over a key: exit %d: %s", code, out)
	}
}
