package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// A Dockerfile that passes strict, and one that blocks.
const (
	goodDockerfile = "FROM node:20-slim" + digest + " AS app\nWORKDIR /srv\nCOPY server.js ./\nUSER 1000:1000\nHEALTHCHECK CMD [\"node\", \"-e\", \"0\"]\nCMD [\"node\", \"server.js\"]\n"
	badDockerfile  = "FROM node:latest AS app\nADD server.js ./\nENV API_TOKEN=s3cret-value\nCMD node server.js\n"
)

// context is a build context with a Dockerfile. It returns the name of that.
func buildContext(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"Dockerfile": text, ".dockerignore": "**\n!server.js\n", "server.js": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "Dockerfile")
}

// file writes a file of a test.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestDockerfileCheckTellsItsOutcomeByItsExitStatus has each of them.
func TestDockerfileCheckTellsItsOutcomeByItsExitStatus(t *testing.T) {
	h := newHome(t)
	good, bad := buildContext(t, goodDockerfile), buildContext(t, badDockerfile)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{good, "--profile", "strict"}, 0, "pass"},
		{[]string{bad}, 1, "block U01"},
		{[]string{good, bad}, 1, "block B01"},
		{[]string{bad, "--format", "json"}, 1, `"outcome": "fail"`},
		{[]string{bad, "--format", "sarif"}, 1, `"version": "2.1.0"`},
		{nil, 2, "--help"},
		{[]string{good, "--format", "xml"}, 2, "text, json and sarif"},
		{[]string{good, "--profile", "lax"}, 2, "lax"},
		{[]string{good, "--target", "nothing"}, 2, "there is no stage"},
		{[]string{good, "--build-arg", "A"}, 2, "NAME=VALUE"},
		{[]string{good, "--statement", "x"}, 2, "belong together"},
		{[]string{filepath.Dir(good)}, 2, "is no file"},
		{[]string{file(t, "hello there\n")}, 2, ":1: "},
		{[]string{file(t, "FROM a:1\r\nUSER 1\r\n"), "--context", "none"}, 2, ":1: "},
		{[]string{file(t, "FROM a:1\nCOPY --from=0 a b\nNONSENSE\n"), "--context", "none"}, 2, ":3: "},
		{[]string{file(t, "FROM a:1 AS a\nCOPY --from=b x y\nFROM a:2 AS b\nCOPY --from=a x y\n"), "--context", "none", "--policy", file(t, "profil: x\n")}, 2, "profil"},
		{[]string{good, bad, file(t, "\xef\xbb\xbfFROM a:1\n")}, 2, "byte order mark"},
	} {
		code, out := h.run("caddy", append([]string{"soc2", "dockerfile", "check"}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%q: exit %d, want %d, with %q:\n%s", c.args, code, c.code, c.says, out)
		}
		if c.code == 2 && strings.Contains(out, "block U01") {
			t.Errorf("%q: a verdict although it cannot judge:\n%s", c.args, out)
		}
		if strings.Contains(out, "s3cret-value") {
			t.Errorf("%q shows a secret:\n%s", c.args, out)
		}
	}
}

// TestDockerfileInitPassesStrict begins one of each kind.
func TestDockerfileInitPassesStrict(t *testing.T) {
	h := newHome(t)
	from := regexp.MustCompile(`(?m)^ARG [A-Z_]+=(\S+:\S+)$|^FROM (?:--platform=\S+ )?([a-z][^\s$]*:\S+)`)
	for _, kind := range []string{"node", "go", "python", "java", "static"} {
		plain, pinned := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
		if code, out := h.run("caddy", "soc2", "dockerfile", "init", kind, plain, "--no-digest"); code != 0 {
			t.Fatalf("%s: exit %d: %s", kind, code, out)
		}
		if code, out := h.run("caddy", "soc2", "dockerfile", "init", kind, plain, "--no-digest"); code != 2 || !strings.Contains(out, "there already") {
			t.Errorf("%s: a second time: exit %d: %s", kind, code, out)
		}
		text, err := os.ReadFile(filepath.Join(plain, "Dockerfile"))
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"soc2", "dockerfile", "init", kind, pinned}
		for _, m := range from.FindAllStringSubmatch(string(text), -1) {
			args = append(args, "--digest", m[1]+m[2]+"="+strings.TrimPrefix(digest, "@"))
		}
		if code, out := h.run("caddy", args...); code != 0 {
			t.Fatalf("%s %q: exit %d: %s", kind, args, code, out)
		}
		for dir, want := range map[string]int{plain: 1, pinned: 0} {
			if code, out := h.run("caddy", "soc2", "dockerfile", "check", filepath.Join(dir, "Dockerfile"), "--profile", "strict"); code != want {
				t.Errorf("%s in %s: exit %d, want %d:\n%s", kind, dir, code, want, out)
			}
		}
	}
	if code, out := h.run("caddy", "soc2", "dockerfile", "init", "cobol", t.TempDir()); code != 2 {
		t.Errorf("exit %d: %s", code, out)
	}
}

// TestDockerfileFixWaiversAndBaseline mends what can be mended, and lives with
// the rest in two ways.
func TestDockerfileFixWaiversAndBaseline(t *testing.T) {
	h := newHome(t)
	name := buildContext(t, badDockerfile)
	check := func(want int, args ...string) string {
		t.Helper()
		code, out := h.run("caddy", append([]string{"soc2", "dockerfile", "check", name}, args...)...)
		if code != want {
			t.Errorf("%q: exit %d, want %d:\n%s", args, code, want, out)
		}
		return out
	}
	check(1, "--fix")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"COPY server.js ./", `CMD ["node", "server.js"]`} {
		if !strings.Contains(string(text), line) {
			t.Errorf("--fix made no %q:\n%s", line, text)
		}
	}
	waiver := func(expires string) string {
		var b strings.Builder
		b.WriteString("waivers:\n")
		for _, rule := range []string{"U01", "B01", "S01", "M01"} {
			fmt.Fprintf(&b, "  - {rule: %s, reason: RISK-17, approver: alice, expires: %s}\n", rule, expires)
		}
		return file(t, b.String())
	}
	check(0, "--policy", waiver("2999-12-31"))
	if out := check(1, "--policy", waiver("2020-01-01")); !strings.Contains(out, "expired") && !strings.Contains(out, "2020-01-01") {
		t.Errorf("nothing is said of waivers that ended:\n%s", out)
	}
	check(2, "--policy", file(t, "waivers:\n  - {rule: U01, reason: why}\n"))

	baseline := filepath.Join(t.TempDir(), "baseline")
	check(0, "--write-baseline", baseline)
	check(0, "--baseline", baseline)
	if err := os.WriteFile(name, append(text, "RUN sudo true\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := check(1, "--baseline", baseline); !strings.Contains(out, "block X01") {
		t.Errorf("what is new is not found:\n%s", out)
	}
}

// TestDockerfileStatementIsVerified signs a verdict, and changes a file after it.
func TestDockerfileStatementIsVerified(t *testing.T) {
	h := newHome(t)
	name := buildContext(t, goodDockerfile)
	key, statement := filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "statement.json")
	code, public := h.run("caddy", "soc2", "key", "new", "ci.example.com/builds", "--file", key)
	if code != 0 {
		t.Fatal(public)
	}
	public = strings.TrimSpace(public)
	if code, out := h.run("caddy", "soc2", "dockerfile", "check", name, "--statement", statement, "--key", key); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	verify := func(want int, key string) {
		t.Helper()
		if code, out := h.run("caddy", "soc2", "dockerfile", "verify", statement, "--key", key); code != want {
			t.Errorf("exit %d, want %d: %s", code, want, out)
		}
	}
	verify(0, public)
	verify(2, "no key")
	_, other := h.run("caddy", "soc2", "key", "new", "ci.example.com/builds", "--file", filepath.Join(t.TempDir(), "key"))
	verify(1, strings.TrimSpace(other))
	if err := os.WriteFile(name, []byte(goodDockerfile+"# later\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	verify(1, public)
}

// TestDockerfileVerdictIsRecordedAndShownAsAControl records with a server and
// without one, and asks the control CHG-008.
func TestDockerfileVerdictIsRecordedAndShownAsAControl(t *testing.T) {
	h := newHome(t)
	good, bad := buildContext(t, goodDockerfile), buildContext(t, badDockerfile)
	admin := fmt.Sprint("127.0.0.1:", freePort(t))
	config := fmt.Sprintf("{\n\tadmin %s\n\tsoc2 {\n\t\tchecks {\n\t\t\tthreshold CHG-008 files %q\n\t\t}\n\t}\n}\n\nhttp://localhost:%d {\n\tbind 127.0.0.1\n\trespond ok\n}\n", admin, good, freePort(t))
	record := func(want int, name string, args ...string) string {
		t.Helper()
		code, out := h.run("caddy", append([]string{"soc2", "dockerfile", "check", name, "--by", "ci", "--reason", "build 7"}, args...)...)
		if code != want {
			t.Errorf("%q: exit %d, want %d:\n%s", args, code, want, out)
		}
		return out
	}
	control := func(want, says string) {
		t.Helper()
		var report struct {
			Checks []struct{ ID, Result, Summary string }
		}
		_, out := h.run("caddy", "soc2", "check", "--address", admin, "--format", "json")
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		for _, c := range report.Checks {
			if c.ID == "CHG-008" && (c.Result != want || !strings.Contains(c.Summary, says)) {
				t.Errorf("CHG-008: %s: %s, want %s with %q", c.Result, c.Summary, want, says)
			}
		}
	}

	record(2, good, "--record", "--address", admin) // nobody is there
	record(2, good, "--log", h.logDir())            // there is no log yet
	p := h.serve(config)
	control("fail", "has no verdict")
	record(0, good, "--record", "--address", admin)
	control("pass", "1 verdicts")
	record(1, bad, "--record", "--address", admin)
	control("fail", "did not pass")
	if out := record(2, good, "--log", h.logDir()); !strings.Contains(out, "--record") {
		t.Errorf("a log that a server has open: %s", out)
	}
	record(2, good, "--log", h.logDir(), "--record", "--address", admin)
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Fatalf("exit %d:\n%s", code, p.text())
	}

	if err := os.WriteFile(bad, []byte(goodDockerfile), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := record(0, bad, "--log", h.logDir()); !strings.Contains(out, "is record ") {
		t.Error(out)
	}
	h.verify()
	_, records := h.run("caddy", "soc2", "export", h.logDir(), "--format", "ndjson")
	if n := strings.Count(records, `"kind":"dockerfile.check"`); n != 3 || !strings.Contains(records, `"reason":"build 7"`) || strings.Contains(records, "s3cret-value") {
		t.Errorf("%d records of verdicts:\n%s", n, records)
	}
	p = h.serve(config) // takes the log with what was recorded in between
	control("pass", "2 verdicts")
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Fatalf("exit %d:\n%s", code, p.text())
	}
	h.verify()
}

// TestSBOMTakesProgramsApart has each exit status.
func TestSBOMTakesProgramsApart(t *testing.T) {
	h := newHome(t)
	var doc struct {
		BomFormat, SpecVersion string
		Metadata               struct{ Component struct{ Name string } }
		Components             []struct{ PURL string }
	}
	code, own := h.run("caddy", "soc2", "sbom")
	if err := json.Unmarshal([]byte(own), &doc); err != nil || code != 0 || doc.BomFormat != "CycloneDX" || len(doc.Components) < 100 {
		t.Fatalf("exit %d, %v:\n%s", code, err, own)
	}
	if code, named := h.run("caddy", "soc2", "sbom", filepath.Join(bin, "caddy")); code != 0 || named != own {
		t.Errorf("exit %d: named, it is another document", code)
	}
	if !strings.Contains(own, "pkg:golang/github.com/caddyserver/caddy/v2@v2.") {
		t.Error("Caddy is not in it")
	}
	if code, out := h.run("caddy", "soc2", "sbom", filepath.Join(bin, "soc2-verify")); code != 0 || strings.Contains(out, "caddyserver") {
		t.Errorf("the verifier: exit %d:\n%s", code, out)
	}
	if code, out := h.run("caddy", "soc2", "sbom", file(t, "#!/bin/sh\n")); code != 1 || !strings.Contains(out, "is no Go program") {
		t.Errorf("no program: exit %d: %s", code, out)
	}
	if code, _ := h.run("caddy", "soc2", "sbom", "a", "b"); code != 2 {
		t.Errorf("two programs: exit %d", code)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "soon")
	if code, _ := h.run("caddy", "soc2", "sbom"); code != 2 {
		t.Errorf("a time that is none: exit %d", code)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1800000000")
	if code, out := h.run("caddy", "soc2", "sbom"); code != 0 || !strings.Contains(out, `"2027-01-15T08:00:00Z"`) {
		t.Errorf("exit %d: no time", code)
	}
}
