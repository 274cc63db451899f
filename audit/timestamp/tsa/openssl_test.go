package tsa_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/timestamp"
	"github.com/caddy-soc2/caddy-soc2/audit/timestamp/tsa"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// needs skips a test that lacks a program.
func needs(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("SOC2_REQUIRE_ALL") != "" {
			t.Fatalf("%s is needed: install it", program)
		}
		t.Skipf("%s is not installed", program)
	}
}

// openssl runs the program of OpenSSL in a directory.
func openssl(t testing.TB, dir string, args ...string) string {
	t.Helper()
	needs(t, "openssl")
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// authorityConfig is the configuration of "openssl ts -reply". CERTS are those
// that a token brings along beside the authority's own, POLICY the default.
const authorityConfig = `[tsa]
default_tsa = it
[it]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = DIGEST
certs = CERTS
default_policy = 1.2.3.4.1
other_policies = 1.2.3.4.5
digests = sha256
accuracy = secs:1, millisecs:500, microsecs:100
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = ESSALG
`

// opensslTSA is a time-stamping authority that is the program of OpenSSL.
type opensslTSA struct {
	t   testing.TB
	dir string // with root.pem
	url string
	mu  sync.Mutex // the program keeps a serial number in a file
}

// kindOfKey is a key algorithm of openssl req.
type kindOfKey []string

var (
	keyEC  = kindOfKey{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"}
	keyRSA = kindOfKey{"-newkey", "rsa:2048"}
)

// newOpenSSL makes a root, an authority between, and a time-stamping authority
// beneath it, and serves time stamps.
func newOpenSSL(t testing.TB, key kindOfKey, digest, essAlg string) *opensslTSA {
	t.Helper()
	a := &opensslTSA{t: t, dir: t.TempDir()}
	request := func(name, subject string, more ...string) {
		t.Helper()
		args := append([]string{"req", "-nodes", "-keyout", name + ".key", "-subj", subject}, key...)
		openssl(t, a.dir, append(args, more...)...)
	}
	sign := func(name, by, extensions string) {
		t.Helper()
		a.write(name+".ext", extensions)
		openssl(t, a.dir, "x509", "-req", "-in", name+".csr", "-CA", by+".pem", "-CAkey", by+".key", "-CAcreateserial",
			"-days", "30", "-sha256", "-extfile", name+".ext", "-out", name+".pem")
	}
	const authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n"
	request("root", "/O=Test/CN=Test root", "-x509", "-days", "365", "-addext", "keyUsage=critical,keyCertSign", "-out", "root.pem")
	request("between", "/O=Test/CN=Test between", "-new", "-out", "between.csr")
	sign("between", "root", authority)
	request("tsa", "/O=Test/CN=Test time stamps", "-new", "-out", "tsa.csr")
	sign("tsa", "between", "keyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n")
	a.write("serial", "01\n")
	a.write("tsa.cnf", strings.NewReplacer("DIGEST", digest, "CERTS", "between.pem", "ESSALG", essAlg).Replace(authorityConfig))
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	a.url = s.URL
	return a
}

func (a *opensslTSA) write(name, data string) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), []byte(data), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *opensslTSA) roots() *x509.CertPool {
	a.t.Helper()
	pool := x509.NewCertPool()
	b, err := os.ReadFile(filepath.Join(a.dir, "root.pem"))
	if err != nil || !pool.AppendCertsFromPEM(b) {
		a.t.Fatal(err)
	}
	return pool
}

// ServeHTTP is RFC 3161 section 3.4 before the program.
func (a *opensslTSA) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	query, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/timestamp-query" {
		http.Error(w, "not a query", http.StatusBadRequest)
		return
	}
	if err := os.WriteFile(filepath.Join(a.dir, "query"), query, 0o600); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	cmd := exec.CommandContext(r.Context(), "openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "reply")
	cmd.Dir = a.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		http.Error(w, string(out), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	http.ServeFile(w, r, filepath.Join(a.dir, "reply"))
}

// logKey is a key of a log.
func logKey(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	private, public, err := note.GenerateKey(nil, "edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func signed(t testing.TB, s note.Signer, size int64) []byte {
	t.Helper()
	b, err := checkpoint.Sign(checkpoint.Head{Origin: s.Name(), Size: size}, s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOpenSSLStampsAreVerifiedByBoth gets time stamps from OpenSSL for each kind
// of key, keeps them, and has them verified here and by OpenSSL, from the files
// as they lie in the log.
func TestOpenSSLStampsAreVerifiedByBoth(t *testing.T) {
	for _, c := range []struct {
		name, digest, essAlg string
		key                  kindOfKey
		policy               asn1.ObjectIdentifier
	}{
		{"EC", "sha256", "sha256", keyEC, nil},
		{"RSA", "sha512", "sha512", keyRSA, nil},
		{"ESSCertID by SHA-1, other policy", "sha384", "sha1", keyRSA, asn1.ObjectIdentifier{1, 2, 3, 4, 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newOpenSSL(t, c.key, c.digest, c.essAlg)
			signer, verifier := logKey(t)
			client := &tsa.Client{URL: a.url, Roots: a.roots(), Policy: c.policy}
			store := tsa.Store{FS: durable.OS{}, Dir: t.TempDir()}
			for _, size := range []int64{7, 286403} {
				before := time.Now().Add(-2 * time.Second)
				cp := signed(t, signer, size)
				tok, err := client.Stamp(context.Background(), cp)
				if err != nil {
					t.Fatal(err)
				}
				if tok.Time.Before(before) || tok.Time.After(time.Now().Add(2*time.Second)) || tok.Accuracy != 1500100*time.Microsecond ||
					!strings.Contains(tok.TSA, "CN=Test time stamps") || c.policy != nil && tok.Policy != c.policy.String() {
					t.Errorf("%+v", tok.Stamp)
				}
				if err := store.Put(cp, tok.Response); err != nil {
					t.Fatal(err)
				}
			}
			got, err := timestamp.Check(os.DirFS(store.Dir), []note.Verifier{verifier}, a.roots())
			if err != nil || len(got.Problems) > 0 || len(got.List) != 2 || got.List[0].Size != 7 || got.List[1].Size != 286403 || !got.List[1].Verified {
				t.Fatalf("%+v, %v", got, err)
			}
			for _, anchor := range got.List {
				out := openssl(t, store.Dir, "ts", "-verify", "-in", timestamp.ResponsePath(anchor.Size),
					"-data", timestamp.CheckpointPath(anchor.Size), "-CAfile", filepath.Join(a.dir, "root.pem"))
				if !strings.Contains(out, "Verification: OK") {
					t.Error(out)
				}
			}
		})
	}
}

// TestOpenSSLRefusalIsTold asks for a policy that the authority does not have.
func TestOpenSSLRefusalIsTold(t *testing.T) {
	a := newOpenSSL(t, keyEC, "sha256", "sha256")
	client := &tsa.Client{URL: a.url, Roots: a.roots(), Policy: asn1.ObjectIdentifier{1, 9, 9}}
	if _, err := client.Stamp(context.Background(), []byte("x")); !errors.Is(err, timestamp.ErrRefused) || !strings.Contains(err.Error(), "policy") {
		t.Errorf("%v", err)
	}
}

// anchorDir makes a directory of a log with one anchor, as docs/timestamps.md has it.
func anchorDir(t *testing.T, cp, response, root []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := (tsa.Store{FS: durable.OS{}, Dir: dir}).Put(cp, response); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tsa-root.pem"), root, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// documented returns the blocks of commands in docs/timestamps.md.
func documented(t *testing.T) (blocks []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(read(t, "../../../docs/timestamps.md")), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) != 5 {
		t.Fatalf("%d blocks of commands are documented, not 5", len(blocks))
	}
	return blocks
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// shell runs a block of commands in a directory.
func shell(dir, script, url string) (string, error) {
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TSA_URL="+url)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestDocumentedCommandsWork runs the commands of docs/timestamps.md as they are
// printed there, in a log's directory: on a stamp that was just made, on one whose
// certificate expired, and on a checkpoint that was changed.
func TestDocumentedCommandsWork(t *testing.T) {
	needs(t, "curl")
	a := newOpenSSL(t, keyEC, "sha256", "sha256")
	signer, _ := logKey(t)
	cp := signed(t, signer, 286403)
	tok, err := (&tsa.Client{URL: a.url, Roots: a.roots()}).Stamp(context.Background(), cp)
	if err != nil {
		t.Fatal(err)
	}
	const golden = "../testdata/00000000000000286403"
	fresh := anchorDir(t, cp, tok.Response, read(t, filepath.Join(a.dir, "root.pem")))
	expired := anchorDir(t, read(t, golden+".checkpoint"), read(t, golden+".tsr"), read(t, "../testdata/root.pem"))
	changed := anchorDir(t, cp, tok.Response, read(t, filepath.Join(a.dir, "root.pem")))
	name := filepath.Join(changed, timestamp.CheckpointPath(286403))
	if err := os.WriteFile(name, bytes.Replace(cp, []byte("286403"), []byte("286404"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, script := range documented(t) {
		verifies := strings.Contains(script, "ts -verify")
		out, err := shell(fresh, script, a.url)
		if err != nil || verifies != strings.Contains(out, "Verification: OK") {
			t.Errorf("%v\n%s\n%s", err, script, out)
		}
		if !verifies || strings.Contains(script, "curl") {
			continue
		}
		if out, err := shell(expired, script, a.url); (err == nil) != strings.Contains(script, "-attime") {
			t.Errorf("an expired certificate: %v\n%s\n%s", err, script, out)
		}
		if out, err := shell(changed, script, a.url); err == nil {
			t.Errorf("a changed checkpoint: %s\n%s", script, out)
		}
	}
}
