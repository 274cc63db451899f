package e2e_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// loopback returns an address of 127.0.0.0/8 on whose ports 80 and 443, which an
// ACME server asks, this test may listen.
func loopback(t *testing.T) string {
	t.Helper()
	for range 20 {
		host := fmt.Sprintf("127.%d.%d.%d", 1+mrand.IntN(250), mrand.IntN(250), 2+mrand.IntN(250))
		free := 0
		for _, port := range []string{"80", "443"} {
			if ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(host, port)); err == nil {
				_ = ln.Close()
				free++
			}
		}
		if free == 2 {
			return host
		}
	}
	needs(t, "the right to listen on ports 80 and 443")
	return ""
}

// certificates returns the records of a kind for a name.
func (h home) certificates(kind audit.Kind, name string) (list []*audit.Certificate) {
	for _, r := range h.family("cert.") {
		c, ok := r.Body.(*audit.Certificate)
		if ok && r.Kind == kind && len(c.Names) == 1 && c.Names[0] == name {
			list = append(list, c)
		}
	}
	return list
}

// startCA starts an ACME server: Caddy's own, which refuses one address.
func startCA(t *testing.T, denied string) (directory, root string, p *process) {
	t.Helper()
	h, port := newHome(t), freePort(t)
	config := fmt.Sprintf(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"apps": {
			"pki": {"certificate_authorities": {"local": {"install_trust": false}}},
			"tls": {"automation": {"policies": [{"issuers": [{"module": "internal"}]}]}},
			"http": {"servers": {"ca": {
				"listen": ["127.0.0.1:%d"], "automatic_https": {"disable_redirects": true}, "tls_connection_policies": [{"default_sni": "127.0.0.1"}],
				"routes": [{"match": [{"host": ["127.0.0.1"]}], "handle": [{"handler": "acme_server", "lifetime": "5m", "challenges": ["tls-alpn-01"], "policy": {"deny": {"ip_ranges": [%q]}}}]}]
			}}}
		}
	}`, port, denied)
	name := filepath.Join(h.dir, "ca.json")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p = h.start("serving initial configuration", "caddy", "run", "--config", name)
	atLeast(t, "handshakes with the CA", 1, func() int {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return 0
		}
		_ = conn.Close()
		return 1
	})
	return fmt.Sprintf("https://127.0.0.1:%d/acme/local/directory", port), filepath.Join(h.dir, "caddy", "pki", "authorities", "local", "root.crt"), p
}

// TestCertificatesOfARealACMEServer obtains and renews a certificate from
// Caddy's ACME server, is refused another one, and fails to renew when the ACME
// server is gone.
func TestCertificatesOfARealACMEServer(t *testing.T) {
	site, denied := loopback(t), "127.255.7.7"
	directory, root, ca := startCA(t, denied+"/32")
	h := newHome(t)
	config := fmt.Sprintf(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"apps": {
			"soc2": {"instance": "edge-1"},
			"tls": {"automation": {"renew_interval": "1s", "policies": [{"subjects": [%[1]q, %[2]q], "renewal_window_ratio": 0.985,
				"issuers": [{"module": "acme", "ca": %[3]q, "trusted_roots_pem_files": [%[4]q], "challenges": {"http": {"disabled": true}}}]}]},
				"certificates": {"automate": [%[2]q]}},
			"http": {"servers": {"site": {
				"listen": ["%[1]s:443"], "automatic_https": {"disable_redirects": true}, "listener_wrappers": [{"wrapper": "soc2"}, {"wrapper": "tls"}],
				"routes": [{"match": [{"host": [%[1]q]}], "handle": [{"handler": "static_response", "body": "ok"}]}]
			}}}
		}
	}`, site, denied, directory, root)
	name := filepath.Join(h.dir, "site.json")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := h.start("serving initial configuration", "caddy", "run", "--config", name)
	defer func() {
		if t.Failed() {
			t.Log(p.text())
		}
	}()
	wait := func(kind audit.Kind, name string, n int) []*audit.Certificate {
		t.Helper()
		atLeast(t, string(kind)+" of "+name, n, func() int { return len(h.certificates(kind, name)) })
		return h.certificates(kind, name)
	}

	first := wait(audit.KindCertObtained, site, 1)[0]
	if !first.Managed || first.Source != "event" || first.Serial == "" || len(first.SHA256) != 64 || first.KeyType != "ecdsa-p256" ||
		!strings.Contains(first.Issuer, "127.0.0.1") || first.NotAfter.Sub(first.NotBefore) < 5*time.Minute || first.Attempt != 1 {
		t.Errorf("obtained: %+v", first)
	}
	refused := wait(audit.KindCertFailed, denied, 1)[0]
	if refused.Error == "" || refused.Attempt != 1 || refused.SHA256 != "" {
		t.Errorf("refused: %+v", refused)
	}
	t.Logf("refused: %s", refused.Error)
	renewed := wait(audit.KindCertRenewed, site, 1)[0]
	if renewed.SHA256 == first.SHA256 || renewed.Serial == first.Serial || renewed.Forced || !renewed.Managed {
		t.Errorf("renewed: %+v, was %+v", renewed, first)
	}
	ca.stop(syscall.SIGTERM)
	if failed := wait(audit.KindCertFailed, site, 1)[0]; failed.Error == "" || failed.Remaining <= 0 {
		t.Errorf("failed to renew: %+v", failed)
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	if n := len(h.certificates(audit.KindCertLoaded, site)); n != 0 {
		t.Errorf("%d certificates that were obtained are recorded as loaded too", n)
	}

	before := h.family("cert.")
	p = h.start("serving initial configuration", "caddy", "run", "--config", name)
	loaded := wait(audit.KindCertLoaded, site, 1)[0]
	if !loaded.Managed || loaded.Source != "cache" && loaded.Source != "storage" || before[len(before)-1].Time.After(loaded.Time) {
		t.Errorf("loaded at a start: %+v", loaded)
	}
	p.stop(syscall.SIGTERM)
	h.checkNoKeys()
	h.verify()
}

// checkNoKeys fails if the log holds anything of a private key.
func (h home) checkNoKeys() {
	h.t.Helper()
	for _, r := range h.family("cert.") {
		text := string(r.Body.AppendBody(nil, ""))
		for _, secret := range []string{"PRIVATE", "BEGIN", `"D"`, ".key", "csr"} {
			if strings.Contains(text, secret) {
				h.t.Errorf("%s has %q: %s", r.Kind, secret, text)
			}
		}
	}
}

// authority is a CA of the test, whose OCSP responder is openssl's.
type authority struct {
	t      *testing.T
	dir    string
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	serial *big.Int
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), serial: big.NewInt(0x1234567890)}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	a.cert = a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}, nil, &a.key.PublicKey)
	a.write("ca.pem", "CERTIFICATE", a.cert.Raw)
	a.writeKey("ca.key", a.key)
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, key any) *x509.Certificate {
	a.t.Helper()
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(60*24*time.Hour)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) writeKey(name string, key *ecdsa.PrivateKey) {
	a.t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name, "EC PRIVATE KEY", der)
}

// index writes what the responder knows of a certificate.
func (a *authority) index(name string, revoked bool) {
	a.t.Helper()
	const form = "060102150405Z"
	status, when := "V", ""
	if revoked {
		status, when = "R", time.Now().UTC().Format(form)+",keyCompromise"
	}
	line := fmt.Sprintf("%s\t%s\t%s\t%s\tunknown\t/CN=%s\n", status, time.Now().Add(60*24*time.Hour).UTC().Format(form), when, strings.ToUpper(hex.EncodeToString(a.serial.Bytes())), name)
	if err := os.WriteFile(filepath.Join(a.dir, "index.txt"), []byte(line), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// respond runs the responder on a port.
func (a *authority) respond(port int) (stop func()) {
	a.t.Helper()
	cmd := exec.Command("openssl", "ocsp", "-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key", "-port", fmt.Sprint(port))
	cmd.Dir = a.dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	a.t.Cleanup(stop)
	// It serves one connection at a time, and would wait for ours to say
	// something: what it prints tells that it is ready.
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "waiting for OCSP client connections") {
			return stop
		}
	}
	a.t.Fatal("the OCSP responder did not start")
	return stop
}

// TestRevokedCertificateIsRecordedAndReplaced serves a certificate that its
// issuer revokes, as the issuer's OCSP responder tells.
func TestRevokedCertificateIsRecordedAndReplaced(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		needs(t, "openssl")
	}
	const name = "revoked.test"
	a, port := newAuthority(t), freePort(t)
	a.index(name, false)
	stop := a.respond(port)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := a.sign(&x509.Certificate{
		SerialNumber: a.serial, DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, OCSPServer: []string{fmt.Sprintf("http://127.0.0.1:%d", port)},
	}, a.cert, &key.PublicKey)

	h := newHome(t)
	a.write("leaf.pem", "CERTIFICATE", cert.Raw)
	a.writeKey("leaf.key", key)
	a.store(filepath.Join(h.dir, "caddy", "certificates", "local", name), name)
	config := fmt.Sprintf(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"apps": {
			"soc2": {"instance": "edge-1"},
			"pki": {"certificate_authorities": {"local": {"install_trust": false}}},
			"tls": {"automation": {"ocsp_interval": "500ms", "policies": [{"issuers": [{"module": "internal"}]}]}, "certificates": {"automate": [%q]}}
		}
	}`, name)
	file := filepath.Join(h.dir, "config.json")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := h.start("serving initial configuration", "caddy", "run", "--config", file)
	defer func() {
		if t.Failed() {
			t.Log(p.text())
		}
	}()
	atLeast(t, "cert.loaded", 1, func() int { return len(h.certificates(audit.KindCertLoaded, name)) })
	loaded := h.certificates(audit.KindCertLoaded, name)[0]
	if loaded.Serial != hex.EncodeToString(a.serial.Bytes()) || !loaded.Managed || loaded.Issuer != "CN=Test CA" {
		t.Errorf("loaded: %+v", loaded)
	}

	stop()
	a.index(name, true)
	a.respond(port)
	atLeast(t, "cert.revoked", 1, func() int { return len(h.certificates(audit.KindCertRevoked, name)) })
	revoked := h.certificates(audit.KindCertRevoked, name)[0]
	if revoked.SHA256 != loaded.SHA256 || !strings.HasPrefix(revoked.Reason, "keyCompromise at 20") {
		t.Errorf("revoked: %+v", revoked)
	}
	// The server asks its issuer for another one at once, with another key.
	again := func() int {
		return len(h.certificates(audit.KindCertObtained, name)) + len(h.certificates(audit.KindCertRenewed, name))
	}
	atLeast(t, "certificates in its place", 1, again)
	for _, c := range append(h.certificates(audit.KindCertObtained, name), h.certificates(audit.KindCertRenewed, name)...) {
		if !c.Forced || c.SHA256 == loaded.SHA256 {
			t.Errorf("in its place: %+v", c)
		}
	}
	p.stop(syscall.SIGTERM)
	h.checkNoKeys()
	h.verify()
}

// store puts the certificate where Caddy keeps those that it manages.
func (a *authority) store(dir, name string) {
	a.t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		a.t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(a.dir, name))
		if err != nil {
			a.t.Fatal(err)
		}
		return b
	}
	for ext, data := range map[string][]byte{
		".crt": append(read("leaf.pem"), read("ca.pem")...), ".key": read("leaf.key"), ".json": []byte(`{"sans":["` + name + `"],"issuer_data":null}`),
	} {
		if err := os.WriteFile(filepath.Join(dir, name+ext), data, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}
