package e2e_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

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
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, p.text())
	}
	h.verify()
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
