package packer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

const script = "../../docs/verify.py"

var update = flag.Bool("update", false, "write what docs/verify.py pins")

// TestPythonPinsWhatThisVersionHas: the verifier in Python knows the definitions
// by their hashes.
func TestPythonPinsWhatThisVersionHas(t *testing.T) {
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	_, populations := population.Definitions()
	b, err := pack.Boundary()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	version := regexp.MustCompile(`"version": (\d+)`).FindSubmatch(b)
	want := regexp.MustCompile(`(?m)^POPULATIONS = \{.*?\}`).ReplaceAll(text, fmt.Appendf(nil, `POPULATIONS = {%d: "%s"}`, population.Version(), populations))
	want = regexp.MustCompile(`(?m)^BOUNDARY = \{.*?\}`).ReplaceAll(want, fmt.Appendf(nil, `BOUNDARY = {%s: "%s"}`, version[1], hex.EncodeToString(sum[:])))
	if bytes.Equal(text, want) {
		return
	}
	if !*update {
		t.Fatal("docs/verify.py pins other definitions: run go test ./evidence/packer -run Pins -update")
	}
	if err := os.WriteFile(script, want, 0o644); err != nil {
		t.Fatal(err)
	}
}

// python runs the second verifier and returns its exit code and what it says.
func python(t testing.TB, b []byte, sites ...*site) (code int, said string) {
	t.Helper()
	name, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("SOC2_REQUIRE_ALL") != "" {
			t.Fatal("python3 is needed")
		}
		t.Skip("python3 is not installed")
	}
	file := filepath.Join(t.TempDir(), "pack.zip")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{script, file}
	for _, s := range sites {
		args = append(args, s.key.Public())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), string(out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, string(out)
}

func TestTheSecondVerifierAgrees(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	for _, full := range []bool{true, false} {
		if code, said := python(t, s.make(full), s); code != 0 {
			t.Errorf("full %t: exit %d\n%s", full, code, said)
		}
	}
}
