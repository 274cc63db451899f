package e2e_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// caddyfile puts options of soc2 into a configuration of one site.
func caddyfile(soc2 string, port int) string {
	return fmt.Sprintf("{\n\tadmin off\n\tsoc2 {\n%s\n\t}\n\tservers {\n\t\tlistener_wrappers {\n\t\t\tsoc2\n\t\t\ttls\n\t\t}\n\t}\n}\n\nhttp://localhost:%d {\n\tbind 127.0.0.1\n\trespond ok\n}\n", soc2, port)
}

// rejects runs a caddy command on a Caddyfile. It must fail, and its last line,
// one line of Caddy's log, must hold all of want.
func (h home) rejects(want []string, config string, args ...string) {
	h.t.Helper()
	name := filepath.Join(h.t.TempDir(), "Caddyfile")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		h.t.Fatal(err)
	}
	code, out := h.run("caddy", append(args, "--config", name, "--adapter", "caddyfile")...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last struct{ Level, Msg string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || code == 0 || last.Level != "error" || strings.Contains(last.Msg, "\n") {
		h.t.Errorf("%q: exit %d, %v: %s", args, code, err, out)
		return
	}
	for _, w := range want {
		if !strings.Contains(last.Msg, w) {
			h.t.Errorf("%q: %q is not in %s", args, w, last.Msg)
		}
	}
}

func TestCaddyfileErrorsNameTheLine(t *testing.T) {
	h := newHome(t)
	for _, c := range []struct {
		config string
		want   []string
	}{
		{"{\n\tsoc2 {\n\t\tretention 3d\n\t}\n}\n", []string{`"retention"`, "instance, profile, data_dir, unmatched, changes, audit, witness_server, certificates, upstreams, tls, checks and reports", "Caddyfile:3"}},
		{"{\n\tsoc2 {\n\t\taudit {\n\t\t\tfsync never\n\t\t}\n\t}\n}\n", []string{`"fsync"`, "mode, on_failure, queue, deadline, dir, key, checkpoint, retain, scrub, witness, witness_interval, timestamp, rule, redact, show_query, pseudonymize and encrypt", "Caddyfile:4"}},
		{"{\n\tsoc2 {\n\t\taudit {\n\t\t\tcheckpoint every soon\n\t\t}\n\t}\n}\n", []string{`"soon"`, "10s", "Caddyfile:4"}},
		{"{\n\tservers {\n\t\tlistener_wrappers {\n\t\t\tsoc2 {\n\t\t\t\tfast\n\t\t\t}\n\t\t}\n\t}\n}\n", []string{`"fast"`, "Caddyfile:5"}},
		{":80 {\n\tsoc2_headers strict {\n\t\tcps x\n\t}\n}\n", []string{`"cps"`, "csp", "Caddyfile:3"}},
		{":80 {\n\tsoc2_evidence {\n\t\tauth none\n\t}\n}\n", []string{`"auth"`, "prefix, allow_unauthenticated, viewers, auditors and rate", "Caddyfile:3"}},
		{":80 {\n\tsoc2_audit {\n\t\tmode async\n\t}\n}\n", []string{`"mode"`, "global option soc2", "Caddyfile:3"}},
	} {
		h.rejects(c.want, c.config, "adapt")
		h.rejects(c.want[:1], c.config, "run")
	}
	if _, err := os.Stat(h.logDir()); err == nil {
		t.Error("a configuration that cannot be read made a log")
	}
}

func TestRunNamesTheOptionAndTheRemedy(t *testing.T) {
	h := newHome(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		soc2 string
		want []string
	}{
		{"audit {\n mode sometimes\n}", []string{"audit mode", `"sometimes"`, "durable, async or strict"}},
		{"audit {\n checkpoint every 1ms\n}", []string{"checkpoint every", "checkpoint_interval", "100ms"}},
		{"profile paranoid", []string{"profile", `"paranoid"`, "baseline, strict or api"}},
		{"unmatched 302", []string{"unmatched", "302", "200, or a status from 400 to 599"}},
		{`instance "a b"`, []string{"instance", `"a b"`, "no spaces"}},
		{"tls {\n min 1.1\n}", []string{"tls min", `"1.1"`, "1.2 or 1.3"}},
		{"tls {\n groups p256\n}", []string{"tls groups", `"p256"`, "secp256r1"}},
		{"tls {\n min 1.3\n client_auth admin.example\n}", []string{"client_auth", "no site admin.example", "correct the name"}},
		{"data_dir " + file, []string{file, "data_dir"}},
		{"data_dir /proc/nowhere", []string{"/proc/nowhere", "data_dir"}},
		{"audit {\n dir " + file + "/log\n}", []string{file, "audit dir"}},
		{"audit {\n key " + file + "/key\n}", []string{file, "audit key"}},
	} {
		for _, command := range []string{"run", "validate"} {
			h.rejects(c.want, caddyfile(c.soc2, freePort(t)), command)
		}
	}
}

// TestRunRefusesLogsItCannotUse holds the log against its bytes before, after
// each refusal.
func TestRunRefusesLogsItCannotUse(t *testing.T) {
	h := newHome(t)
	port := freePort(t)
	name := filepath.Join(h.dir, "Caddyfile")
	if err := os.WriteFile(name, []byte(caddyfile("", port)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := h.start("serving initial configuration", "caddy", "run", "--config", name, "--adapter", "caddyfile")
	atLeast(t, "changes", 1, func() int { _, kinds := h.readLog(); return kinds["config.change"] }) // the start's
	held := snapshot(t, h.logDir())
	pid := fmt.Sprint("process ", p.cmd.Process.Pid)
	h.rejects([]string{h.logDir(), pid, "stop it"}, caddyfile("", freePort(t)), "run")
	if code, out := h.run("caddy", "validate", "--config", name, "--adapter", "caddyfile"); code != 0 {
		t.Errorf("a configuration is not valid beside the server that runs it: exit %d: %s", code, out)
	}
	if !same(held, snapshot(t, h.logDir())) {
		t.Error("a refused command changed a log that is held")
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, p.text())
	}
	h.verify()
	segment := filepath.Join(h.logDir(), "segments", "00000000000000000000.log")
	damage(t, segment, func(b []byte) []byte { b[30] ^= 1; return b }, func() {
		before := snapshot(t, h.logDir())
		for _, command := range []string{"run", "validate"} {
			h.rejects([]string{"damaged", "segments/00000000000000000000.log", "caddy soc2 verify " + h.logDir()}, caddyfile("", port), command)
		}
		if !same(before, snapshot(t, h.logDir())) {
			t.Error("a refused command changed a damaged log")
		}
	})
	h.verify()

	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	h.rejects([]string{fmt.Sprint("127.0.0.1:", port), "in use"}, caddyfile("", port), "run")
	h.verify() // it was opened and closed again
}
