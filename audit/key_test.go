package audit_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// agentVariable makes the test binary a signing agent that listens on the named
// unix socket, in a process of its own as an HSM's daemon is.
const agentVariable = "SOC2_TEST_SIGNING_AGENT"

func init() {
	if socket := os.Getenv(agentVariable); socket != "" {
		fmt.Fprintln(os.Stderr, serveAgent(socket))
		os.Exit(1)
	}
}

// serveAgent keeps a key beside the socket, prints its public half and signs:
// a length and a message in, a signature out.
func serveAgent(socket string) error {
	seed, err := os.ReadFile(socket + ".seed")
	if errors.Is(err, os.ErrNotExist) {
		seed = make([]byte, ed25519.SeedSize)
		_, _ = rand.Read(seed)
		err = os.WriteFile(socket+".seed", seed, 0o600)
	}
	if err != nil {
		return err
	}
	private := ed25519.NewKeyFromSeed(seed)
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	fmt.Println(base64.StdEncoding.EncodeToString(private[ed25519.SeedSize:]))
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		var length [4]byte
		if _, err := io.ReadFull(c, length[:]); err == nil {
			msg := make([]byte, binary.BigEndian.Uint32(length[:]))
			if _, err := io.ReadFull(c, msg); err == nil {
				_, _ = c.Write(ed25519.Sign(private, msg))
			}
		}
		_ = c.Close()
	}
}

// agent is the client's side: a crypto.Signer without a private key.
type agent struct {
	socket string
	public ed25519.PublicKey
	cmd    *exec.Cmd
}

func startAgent(t *testing.T, socket string) *agent {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), agentVariable+"="+socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &agent{socket: socket, cmd: cmd}
	t.Cleanup(a.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if a.public, err = base64.StdEncoding.DecodeString(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *agent) kill() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

func (a *agent) Public() crypto.PublicKey { return a.public }

func (a *agent) Sign(_ io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != 0 {
		return nil, errors.New("plain Ed25519 only")
	}
	c, err := net.DialTimeout("unix", a.socket, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(msg))), msg...)); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(c, 1<<10))
}

// TestLogIsSignedByAnotherProcess keeps a log whose private key is in another
// process: the log verifies, fails when that process dies, and goes on when it
// is back.
func TestLogIsSignedByAnotherProcess(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "hsm")
	a := startAgent(t, socket)
	key, err := audit.NewKeyFrom("edge-1/soc2", a)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "log"), key: key}
	b.cfg = audit.Config{Dir: b.dir, Key: key, CheckpointEvery: time.Hour}
	b.open()
	t.Cleanup(func() { _ = b.log.Close() })
	b.append(10)
	b.close()
	b.check(12)

	b.open()
	a.kill()
	_ = b.log.Close() // its checkpoint cannot be signed
	if err := b.log.Err(); err == nil {
		t.Error("no error without the signer")
	}
	if _, err := audit.Open(b.cfg); err == nil || !strings.Contains(err.Error(), key.ID()) {
		t.Errorf("opened without the signer: %v", err)
	}

	again := startAgent(t, socket)
	if !again.public.Equal(a.public) {
		t.Fatal("the agent has another key")
	}
	b.open()
	b.append(1)
	b.close()
	b.check(b.log.Next())
	if err := key.Save(durable.OS{}, filepath.Join(t.TempDir(), "key")); err == nil {
		t.Error("saved a private key that is elsewhere")
	}
}

// signerFunc is a signer that does what it likes.
type signerFunc struct {
	public crypto.PublicKey
	sign   func(msg []byte) ([]byte, error)
}

func (s signerFunc) Public() crypto.PublicKey { return s.public }

func (s signerFunc) Sign(_ io.Reader, msg []byte, _ crypto.SignerOpts) ([]byte, error) {
	return s.sign(msg)
}

// TestBadSignaturesNeverReachACheckpoint has signers that give what is no
// signature, some of them only after a while: the checkpoint on disk stays one
// that the key verifies.
func TestBadSignaturesNeverReachACheckpoint(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]func(msg []byte) ([]byte, error){
		"an error":              func([]byte) ([]byte, error) { return nil, errFault },
		"nothing":               func([]byte) ([]byte, error) { return nil, nil },
		"zeros":                 func([]byte) ([]byte, error) { return make([]byte, 64), nil },
		"too much":              func(msg []byte) ([]byte, error) { return append(ed25519.Sign(private, msg), 0), nil },
		"of another message":    func(msg []byte) ([]byte, error) { return ed25519.Sign(private, msg[1:]), nil },
		"with the hash instead": func(msg []byte) ([]byte, error) { return private.Sign(nil, make([]byte, 64), crypto.SHA512) },
	} {
		fails := false
		key, err := audit.NewKeyFrom("edge-1/soc2", signerFunc{public, func(msg []byte) ([]byte, error) {
			if fails {
				return bad(msg)
			}
			return ed25519.Sign(private, msg), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{t: t, dir: filepath.Join(t.TempDir(), "log"), key: key}
		b.cfg = audit.Config{Dir: b.dir, Key: key, CheckpointEvery: time.Hour, SegmentBytes: 1 << 10}
		b.open()
		fails = true
		for i := range 20 { // a new segment needs a signature
			if _, err = b.log.Append(context.Background(), body(i)); err != nil {
				break
			}
		}
		if !errors.Is(err, audit.ErrFailed) || !strings.Contains(err.Error(), key.ID()) {
			t.Errorf("%s: %v", name, err)
		}
		_ = b.log.Close()
		fails = false
		b.open()
		b.close()
		b.check(b.log.Next())
	}
}

func TestOnlyEd25519SignersAreTaken(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.NewKeyFrom("a", other); err == nil || !strings.Contains(err.Error(), "Ed25519") {
		t.Errorf("%v", err)
	}
	if _, err := audit.NewKeyFrom("a", signerFunc{public: ed25519.PublicKey("short")}); err == nil {
		t.Error("a short public key was taken")
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a b", "a+b", "a\nb", "\xff"} {
		if _, err := audit.NewKeyFrom(name, private); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
}

// TestPrivateKeysAreNotPrinted prints a key in every way that there is.
func TestPrivateKeysAreNotPrinted(t *testing.T) {
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "key")
	if err := key.Save(durable.OS{}, name); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	secret := string(b[len(b)-40 : len(b)-1])
	var out strings.Builder
	for _, verb := range "vsqdxXpTtbcoUeg" {
		fmt.Fprintf(&out, "%"+string(verb)+" %#"+string(verb)+" %+"+string(verb)+"\n", key, *key, []*audit.Key{key})
	}
	fmt.Fprintf(&out, "%+v %#v\n", audit.Config{Key: key}, struct{ K any }{key})
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", key)
	j, err := json.Marshal(map[string]any{"key": key})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	if text := out.String(); strings.Contains(text, secret) || strings.Contains(text, "PRIVATE") || strings.Contains(text, fmt.Sprintf("%x", secret[:8])) {
		t.Errorf("the private key is in:\n%s", text)
	}
}
