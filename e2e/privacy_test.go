package e2e_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/personal"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// privacyConfig seals what is personal for an identity, and leaves out probes.
const privacyConfig = `{
	admin 127.0.0.1:%d
	skip_install_trust
	http_port %d
	soc2 {
		instance edge-1
		audit {
			checkpoint every 200ms
			rule probes none "probes of the balancer" {
				path /healthz
			}
			rule bare minimal {
				path /bare
			}
			rule full headers {
				path /full
			}
			pseudonymize
			encrypt %s {
				subjects
			}
		}
	}
	servers {
		listener_wrappers {
			soc2
			tls
		}
	}
}
https://localhost:%d {
	tls internal
	basic_auth {
		alice %s
	}
	respond ok
}
`

// TestPersonalDataIsProtected lets a user make requests, reads the log as anybody
// and as who holds the identity, and has the user forgotten.
func TestPersonalDataIsProtected(t *testing.T) {
	h := newHome(t)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	code, hash := h.run("caddy", "hash-password", "--plaintext", "wonderland", "--algorithm", "bcrypt")
	if code != 0 {
		t.Fatal(hash)
	}
	api, port := freePort(t), freePort(t)
	name := filepath.Join(h.dir, "Caddyfile")
	config := fmt.Sprintf(privacyConfig, api, freePort(t), id.Recipient(), port, strings.TrimSpace(hash))
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := h.start("serving initial configuration", "caddy", "run", "--config", name, "--adapter", "caddyfile")
	tlsReady(t, fmt.Sprintf("127.0.0.1:%d", port))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}}}
	get := func(path string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://localhost:%d%s", port, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("alice", "wonderland")
		req.Header.Set("User-Agent", "alices-browser")
		req.Header.Set("X-Forwarded-For", "127.0.0.1")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d\n%s", path, resp.StatusCode, p.text())
		}
	}
	const probes = 7
	for range probes {
		get("/healthz")
	}
	for _, path := range []string{"/a", "/b", "/bare", "/full"} {
		get(path)
	}
	opener := personal.NewOpener(durable.OS{}, filepath.Join(h.dir, "caddy", "soc2", "keys"), id)
	if n := h.opened(opener, true); n != 3 {
		t.Errorf("%d boxes could be opened, want 3", n)
	}
	h.auditorReads(id)
	h.pseudonymsAreFound()
	admin := fmt.Sprintf("127.0.0.1:%d", api)
	order := func(want int, args ...string) string {
		t.Helper()
		code, out := h.run("caddy", append(append([]string{"soc2"}, args...), "--address", admin, "--by", "dpo", "--reason", "request 7")...)
		if code != want {
			t.Fatalf("%q: exit %d: %s", args, code, out)
		}
		return out
	}
	order(0, "hold", "set", "case-1")
	if out := order(1, "forget", "--subject", "alice"); !strings.Contains(out, "case-1") {
		t.Errorf("a held user was forgotten: %s", out)
	}
	order(0, "hold", "release", "case-1")
	if out := order(0, "forget", "--subject", "alice"); !strings.Contains(out, `"keys": 1`) {
		t.Errorf("%s", out)
	}
	if n := h.opened(opener, true); n != 0 {
		t.Errorf("%d boxes of a forgotten user could be opened", n)
	}
	if code, out := h.run("caddy", "soc2", "open", h.logDir(), "--identity", h.identity(id)); code != 0 ||
		strings.Count(out, `"not_opened":"`) != 3 || !strings.Contains(out, "0 opened, 3 not; 3: the key of its subject was destroyed (forgotten)") {
		t.Errorf("exit %d: %s", code, out)
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, p.text())
	}
	h.verify()
	data := filepath.Dir(h.logDir())
	if code, out := h.run("soc2-verify", data, "--key", h.key()); code != 3 || !strings.Contains(out, "did you mean "+h.logDir()+"?") {
		t.Errorf("the data directory: exit %d: %s", code, out)
	}
	kinds := map[audit.Kind]int{}
	var left int64
	_, err = records.Dir{FS: os.DirFS(h.logDir())}.Scan(0, func(_ int64, b []byte) error {
		r, err := audit.Decode(b)
		kinds[r.Kind]++
		if g, ok := r.Body.(*audit.LogGap); ok && g.Cause == "policy" && g.Rule == "probes" {
			left += g.Served
		}
		return err
	})
	if err != nil || left != probes || kinds[audit.KindErase] != 1 || kinds[audit.KindHold] != 2 || kinds[audit.KindRequest] != 4 {
		t.Errorf("%d probes left out, %v, %v", left, kinds, err)
	}
}

// opened opens the boxes of all requests, and checks that nothing personal is
// outside of them.
func (h home) opened(o *personal.Opener, clean bool) (n int) {
	h.t.Helper()
	_, err := records.Dir{FS: os.DirFS(h.logDir())}.Scan(0, func(_ int64, b []byte) error {
		r, err := audit.Decode(b)
		ev, ok := r.Body.(*audit.Event)
		if err != nil || !ok {
			return err
		}
		if text := string(b); clean && (strings.Contains(text, "alice") || strings.Contains(text, "wonderland") || strings.Contains(text, `"ip":"127.0.0.1"`) || strings.Contains(text, "YWxpY2U6")) {
			h.t.Errorf("personal data in the open: %s", text)
		}
		if len(ev.Personal) == 0 {
			return nil
		}
		fields, err := o.Open(ev.ID, ev.PersonalKey, ev.Personal)
		if err == nil && fields.User == "alice" && fields.ClientIP == "127.0.0.1" && fields.Agent == "alices-browser" {
			n++
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// identity writes an identity file as age-keygen does.
func (h home) identity(id *age.X25519Identity) string {
	h.t.Helper()
	name := filepath.Join(h.dir, "auditor.txt")
	if err := os.WriteFile(name, []byte("# public key: "+id.Recipient().String()+"\n"+id.String()+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return name
}

// openedLine is a line of the command open, as far as it is looked at.
type openedLine struct {
	Seq     int64
	ID      string
	Kind    string
	Request struct{ Path string }
	Client  struct{ IP string }
	Opened  struct {
		Client  struct{ IP string }
		Request struct{ Agent string }
		Auth    struct{ User string }
	}
	NotOpened string `json:"not_opened"`
}

// openLines runs the command open and returns the lines whose boxes opened.
func (h home) openLines(want int, stdin string, args ...string) (lines []openedLine, out string) {
	h.t.Helper()
	cmd := h.command("caddy", append([]string{"soc2", "open"}, args...)...)
	var stdout, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	_ = cmd.Run() // its exit code is looked at
	if code := cmd.ProcessState.ExitCode(); code != want {
		h.t.Fatalf("open %q: exit %d: %s%s", args, code, stdout.String(), stderr.String())
	}
	for text := range strings.Lines(stdout.String()) {
		var line openedLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			h.t.Fatalf("%v: %s", err, text)
		}
		if line.Opened.Auth.User != "" {
			lines = append(lines, line)
		}
	}
	return lines, stdout.String() + stderr.String()
}

// auditorReads opens the boxes with the command, while the server runs: from the
// log, from an export, and from a copy of the keys.
func (h home) auditorReads(id *age.X25519Identity) {
	t := h.t
	t.Helper()
	name := h.identity(id)
	all, out := h.openLines(0, "", h.logDir(), "--identity", name)
	if len(all) != 3 || !strings.Contains(out, "3 opened, 0 not") {
		t.Fatalf("%d boxes: %s", len(all), out)
	}
	for _, line := range all {
		if o := line.Opened; o.Client.IP != "127.0.0.1" || o.Auth.User != "alice" || o.Request.Agent != "alices-browser" {
			t.Errorf("%+v", line)
		}
	}
	copied := filepath.Join(t.TempDir(), "keys")
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(h.dir, "caddy", "soc2", "keys"))); err != nil {
		t.Fatal(err)
	}
	_, everything := h.openLines(0, "", "--identity", name)
	var export strings.Builder // the records as they are stored
	for text := range strings.Lines(everything) {
		stored, _, sealed := strings.Cut(text, `,"opened":`)
		if sealed {
			stored += "}\n"
		}
		if strings.HasPrefix(text, "{") {
			export.WriteString(stored)
		}
	}
	one := all[1]
	for _, args := range [][]string{
		{h.logDir(), "--record", fmt.Sprint(one.Seq)},
		{h.logDir(), "--id", one.ID},
		{h.logDir(), "--from", fmt.Sprint(one.Seq), "--to", fmt.Sprint(one.Seq + 1)},
		{"-", "--record", fmt.Sprint(one.Seq)},
		{"-", "--id", one.ID, "--keys", copied},
		{"-", "--from", fmt.Sprint(one.Seq), "--to", fmt.Sprint(one.Seq + 1), "--keys", copied},
	} {
		stdin := ""
		if args[0] == "-" {
			stdin = export.String()
		}
		if got, out := h.openLines(0, stdin, append(args, "--identity", name)...); len(got) != 1 || got[0].Seq != one.Seq {
			t.Errorf("%q: %s", args, out)
		}
	}
	if got, out := h.openLines(0, id.String()+"\n", h.logDir(), "--identity", "-"); len(got) != 3 {
		t.Error("an identity from the standard input:", out)
	}
	h.whoCannotRead(id, name, export.String())
}

// whoCannotRead uses the command in wrong ways. Each says what is wrong.
func (h home) whoCannotRead(id *age.X25519Identity, name, export string) {
	t := h.t
	t.Helper()
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, c := range []struct {
		exit  int
		stdin string
		want  string
		args  []string
	}{
		{1, "", "3: no identity opens the key", []string{h.logDir(), "--identity", file(stranger.String())}},
		{1, "", "3: no such key in this directory", []string{h.logDir(), "--identity", name, "--keys", t.TempDir()}},
		{1, "not a record\n", "line 1 of the standard input is no record", []string{"-", "--identity", name}},
		{1, export, "is not in the standard input", []string{"-", "--identity", name, "--record", "100000"}},
		{1, "", "did you mean", []string{filepath.Dir(h.logDir()), "--identity", name, "--keys", t.TempDir()}},
		{2, "", "--identity is needed", []string{h.logDir()}},
		{2, "", "it is a recipient", []string{h.logDir(), "--identity", file(id.Recipient().String())}},
		{2, "", "it is no age identity", []string{h.logDir(), "--identity", file("AGE-SECRET-KEY-1HALF")}},
		{2, "", "it is itself encrypted", []string{h.logDir(), "--identity", file("age-encryption.org/v1\n")}},
		{2, "", "exclude each other", []string{h.logDir(), "--identity", name, "--record", "1", "--from", "2"}},
		{2, "", "is not a directory of keys", []string{h.logDir(), "--identity", name, "--keys", name}},
	} {
		if _, out := h.openLines(c.exit, c.stdin, c.args...); !strings.Contains(out, c.want) || strings.Contains(out, "HALF") {
			t.Errorf("%q: %s", c.args, out)
		}
	}
}

// pseudonymsAreFound looks the client's address and the user up.
func (h home) pseudonymsAreFound() {
	t := h.t
	t.Helper()
	stored, err := os.ReadFile(filepath.Join(h.logDir(), "segments", "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	for member, value := range map[string]string{"client_ip": "127.0.0.1", "user": "alice"} {
		for _, when := range [][]string{nil, {"--at", time.Now().UTC().Format(time.RFC3339)}, {"--period", time.Now().UTC().Format("2006-01")}} {
			code, out := h.run("caddy", append([]string{"soc2", "pseudonym", value, "--member", member}, when...)...)
			if code != 0 || strings.Count(out, "\n") != 1 || !bytes.Contains(stored, []byte(strings.TrimSpace(out))) {
				t.Errorf("%s %q: exit %d: %s", member, when, code, out)
			}
		}
	}
	var line struct{ Member, Period, Pseudonym string }
	if code, out := h.run("caddy", "soc2", "pseudonym", "alice", "--member", "user", "--json"); code != 0 || json.Unmarshal([]byte(out), &line) != nil ||
		line.Member != "auth.user" || !strings.HasPrefix(line.Pseudonym, "p:"+line.Period+":") {
		t.Errorf("exit %d: %s", code, out)
	}
	for want, args := range map[string][]string{
		"name client_ip, peer or user":             {"alice"},
		"is not the address of a client":           {"alice", "--member", "client_ip"},
		"no such key in this directory":            {"alice", "--member", "user", "--period", "2020-01"},
		"has no key of pseudonyms for that time":   {"alice", "--member", "user", "--at", "2020-01-01T00:00:00Z"},
		"is no period":                             {"alice", "--member", "user", "--period", "yesterday"},
		"is not a time like":                       {"alice", "--member", "user", "--at", "yesterday"},
		"give --period or --at, not both":          {"alice", "--member", "user", "--at", "x", "--period", "y"},
		"is not a directory of keys: name the ser": {"alice", "--member", "user", "--keys", "/nonexistent"},
	} {
		if code, out := h.run("caddy", append([]string{"soc2", "pseudonym"}, args...)...); code == 0 || !strings.Contains(out, want) {
			t.Errorf("%q: exit %d: %s", args, code, out)
		}
	}
}
