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

	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

const (
	script = "../../docs/verify.py"
	pins   = "../pack/pins.go"
)

var update = flag.Bool("update", false, "write what docs/verify.py pins")

// TestPythonPinsWhatThisVersionHas: the verifier in Python knows the definitions
// by their hashes.
func TestPythonPinsWhatThisVersionHas(t *testing.T) {
	_, populations := population.Definitions()
	b, err := pack.Boundary()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	version := regexp.MustCompile(`"version": (\d+)`).FindSubmatch(b)
	mapping, catalogue := pinned(t)
	for _, f := range []struct{ name, pattern, with string }{
		{script, `(?m)^POPULATIONS = \{.*?\}`, fmt.Sprintf(`POPULATIONS = {%d: "%s"}`, population.Version(), populations)},
		{script, `(?m)^BOUNDARY = \{.*?\}`, fmt.Sprintf(`BOUNDARY = {%s: "%s"}`, version[1], hex.EncodeToString(sum[:]))},
		{script, `(?m)^CRITERIA = \{.*?\}`, fmt.Sprintf(`CRITERIA = {%d: "%s"}`, controls.Criteria().Version, mapping)},
		{script, `(?m)^CATALOGUES = \(.*?\)`, fmt.Sprintf(`CATALOGUES = ("%s",)`, catalogue)},
		{pins, `(?m)^\tmappings = .*?\}`, fmt.Sprintf("\tmappings = map[int]string{%d: \"%s\"}", controls.Criteria().Version, mapping)},
		{pins, `(?m)^\tcatalogues = .*?\}`, fmt.Sprintf("\tcatalogues = []string{\"%s\"}", catalogue)},
	} {
		text, err := os.ReadFile(f.name)
		if err != nil {
			t.Fatal(err)
		}
		form := regexp.MustCompile(f.pattern)
		if !form.Match(text) {
			t.Fatalf("%s has no %s", f.name, f.pattern)
		}
		want := form.ReplaceAllLiteral(text, []byte(f.with))
		if bytes.Equal(text, want) {
			continue
		}
		if !*update {
			t.Errorf("%s pins another version than %s: run go test ./evidence/packer -run Pins -update", f.name, f.with)
		} else if err := os.WriteFile(f.name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// pinned returns the hashes of the mapping of criteria and of the definitions of
// all checks, as a pack has them.
func pinned(t *testing.T) (mapping, catalogue string) {
	t.Helper()
	s := newSite(t, "edge-1/soc2")
	s.open()
	s.request(200, false, false)
	s.close()
	files, _ := unpack(t, s.make(false))
	digest := func(name string) string {
		sum := sha256.Sum256(files[name])
		return hex.EncodeToString(sum[:])
	}
	return digest(pack.CriteriaFile), digest(pack.ChecksFile)
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
