package e2e_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestRequestsBelowTheFloorAreRefusedOverEachProtocol has a floor that Go's
// clients do not reach, because they negotiate another suite of TLS 1.3, which a
// server written in Go has no say in; and one client that does.
func TestRequestsBelowTheFloorAreRefusedOverEachProtocol(t *testing.T) {
	h := newHome(t)
	port := freePort(t)
	addr := fmt.Sprint("127.0.0.1:", port)
	p := h.serve(tlsSites("tls {\n\t\t\tmin 1.3\n\t\t\tsuites TLS_AES_256_GCM_SHA384\n\t\t}", port, freePort(t)), "localhost@"+addr)
	protos := []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"}
	for _, proto := range protos {
		resp, err := newClient(t, proto).Get(fmt.Sprintf("https://localhost:%d/", port))
		if err != nil {
			t.Fatalf("%s: %v", proto, err)
		}
		_ = resp.Body.Close()
		if resp.Proto != proto || resp.StatusCode != http.StatusMisdirectedRequest || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: %v", resp.Proto, resp.Status, resp.Header)
		}
	}
	served := histogram{}
	openssl(t, port, "TLS_AES_256_GCM_SHA384", "X25519", served)
	if conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MaxVersion: tls.VersionTLS12}); err == nil {
		_ = conn.Close()
		t.Error("a handshake of TLS 1.2 came about")
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, p.text())
	}
	var refused, good int
	for _, r := range h.readTLS() {
		switch r.Response.Status {
		case http.StatusMisdirectedRequest:
			refused++
			if r.Access.Outcome != "deny" || r.Access.Rule != "soc2 tls" || !slices.Equal(r.TLS.Below, []string{"cipher"}) {
				t.Errorf("recorded %+v", r)
			}
		case http.StatusOK:
			good++
			if len(r.TLS.Below) > 0 || r.Access.Outcome != "" {
				t.Errorf("recorded %+v", r)
			}
		}
	}
	if refused != len(protos) || good != 1 {
		t.Errorf("%d refused and %d served, want %d and 1", refused, good, len(protos))
	}
	if got := h.protocolErrors()["tls/unsupported_version"]; got != 1 {
		t.Errorf("%d handshakes without a version in common are counted, want 1", got)
	}
	h.verify()
}

// excused are the findings of testssl.sh that are those of the test: the
// certificate is of an authority that Caddy made for it, and short-lived.
var excused = map[string]string{
	"cert_chain_of_trust":   "the authority is Caddy's own, which nobody else trusts",
	"cert_expirationStatus": "Caddy's own authority issues for 12 hours",
	"cert_notAfter":         "Caddy's own authority issues for 12 hours",
	"cert_revocation":       "Caddy's own authority has neither CRL nor OCSP; a certificate of 12 hours expires instead",
}

// grade is a finding of testssl.sh.
type grade struct{ ID, Severity, Finding string }

// TestTestsslFindsNothingOfMediumOrAbove has testssl.sh grade each profile, each
// with another floor.
func TestTestsslFindsNothingOfMediumOrAbove(t *testing.T) {
	tool, err := exec.LookPath("testssl")
	if err != nil {
		if tool, err = exec.LookPath("testssl.sh"); err != nil {
			needs(t, "testssl.sh")
		}
	}
	for _, c := range []struct{ profile, floor string }{
		{"baseline", "min 1.2"},
		{"strict", "min 1.3"},
		{"api", "min 1.2\n\t\t\tsuites TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256 TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\n\t\t\tgroups x25519mlkem768 x25519"},
	} {
		t.Run(c.profile, func(t *testing.T) {
			t.Parallel() // it mostly waits
			h := newHome(t)
			port := freePort(t)
			config := fmt.Sprintf("{\n\tadmin off\n\tskip_install_trust\n\thttp_port %d\n\tsoc2 {\n\t\tprofile %s\n\t\ttls {\n\t\t\t%s\n\t\t}\n\t}\n\tservers {\n\t\tlistener_wrappers {\n\t\t\tsoc2\n\t\t\ttls\n\t\t}\n\t}\n}\nhttps://localhost:%d {\n\tbind 127.0.0.1\n\ttls internal\n\trespond ok\n}\n",
				freePort(t), c.profile, c.floor, port)
			p := h.serve(config, fmt.Sprint("localhost@127.0.0.1:", port))
			byID := map[string]grade{}
			for _, g := range h.testssl(tool, port) {
				byID[g.ID] = g
				if _, ok := excused[g.ID]; !ok && slices.Contains([]string{"MEDIUM", "HIGH", "CRITICAL", "FATAL"}, g.Severity) {
					t.Errorf("%s %s: %s", g.Severity, g.ID, g.Finding)
				}
				if g.Severity == "LOW" || g.Severity == "WARN" {
					t.Logf("%s %s: %s", g.Severity, g.ID, g.Finding)
				}
			}
			// Of a scan that came to its end, these are some.
			for _, id := range []string{"SSLv3", "TLS1", "TLS1_1", "TLS1_3", "cipherlist_NULL", "heartbleed", "ROBOT", "BEAST", "LUCKY13", "HSTS_time", "X-Content-Type-Options", "clientsimulation-openssl_303"} {
				if _, ok := byID[id]; !ok {
					t.Errorf("testssl.sh did not look for %s", id)
				}
			}
			if tls12 := byID["TLS1_2"].Finding; (tls12 == "not offered") != (c.profile == "strict") {
				t.Errorf("TLS 1.2 is %s", tls12)
			}
			if code := p.stop(syscall.SIGTERM); code != 0 {
				t.Errorf("exit %d:\n%s", code, p.text())
			}
			h.verify()
		})
	}
}

// testssl runs all checks of testssl.sh against a server on this machine.
func (h home) testssl(tool string, port int) (list []grade) {
	h.t.Helper()
	out := filepath.Join(h.dir, "testssl.json")
	cmd := exec.CommandContext(h.t.Context(), "timeout", "1200", tool, "--quiet", "--color", "0", "--warnings", "batch", "--ip", "127.0.0.1", "--nodns", "min",
		"--openssl-timeout", "20", "--jsonfile", out, fmt.Sprintf("https://localhost:%d/", port))
	cmd.Env = append(os.Environ(), "HOME="+h.dir)
	text, err := cmd.CombinedOutput() // its exit status counts findings
	b, rerr := os.ReadFile(out)
	if rerr != nil || json.Unmarshal(b, &list) != nil || len(list) < 80 {
		h.t.Fatalf("testssl.sh: %v, %v, %d findings:\n%s", err, rerr, len(list), text)
	}
	if strings.Contains(string(text), "Fatal error") {
		h.t.Fatalf("testssl.sh:\n%s", text)
	}
	return list
}
