package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// TestImportsNeitherCaddyNorTheWriter lists all that the verifier is made of.
func TestImportsNeitherCaddyNorTheWriter(t *testing.T) {
	const module = "github.com/caddy-soc2/caddy-soc2"
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	own := 0
	for pkg := range strings.FieldsSeq(string(out)) {
		switch {
		case strings.HasPrefix(pkg, "github.com/caddyserver/"),
			pkg == module, pkg == module+"/audit", pkg == module+"/audit/wal", pkg == module+"/evidence/packer", pkg == module+"/controls":
			t.Errorf("it imports %s", pkg)
		case strings.HasPrefix(pkg, module):
			own++
		}
	}
	if own < 5 {
		t.Errorf("only %d of this module's packages are listed", own)
	}
}

func TestExitCodes(t *testing.T) {
	dir, key := filepath.Join(t.TempDir(), "log"), newKey(t)
	log, err := audit.Open(audit.Config{Dir: dir, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(context.Background(), []byte(`"time":"2026-01-01T00:00:00Z","kind":"test"`)); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "log.pub")
	if err := os.WriteFile(keyFile, []byte(key.Public()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	state, old := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "old")
	if err := os.WriteFile(old, []byte(audited(t, newKey(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	noState := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(noState, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"verified":         {[]string{dir, "--key", key.Public()}, 0, "VERIFIED   3 records"},
		"flags first":      {[]string{"--key", keyFile, dir}, 0, "tree size  3"},
		"json":             {[]string{"--json", dir, "--key", keyFile}, 0, `"verified": true`},
		"wrong key":        {[]string{dir, "--key", newKey(t).Public()}, 1, "not signed by the given key"},
		"no key":           {[]string{dir}, 2, "--key is needed"},
		"bad key":          {[]string{dir, "--key", "a+b"}, 2, "not a verifier key"},
		"no directory":     {[]string{"--key", keyFile}, 2, "one directory"},
		"unknown flag":     {[]string{dir, "--quiet"}, 2, "quiet"},
		"missing":          {[]string{dir + "x", "--key", keyFile}, 3, "not a directory"},
		"not a log":        {[]string{t.TempDir(), "--key", keyFile}, 3, "not a log"},
		"help":             {[]string{"--help"}, 0, "exit status"},
		"state":            {[]string{dir, "--key", keyFile, "--state", state}, 0, "VERIFIED   3 records"},
		"state, full":      {[]string{dir, "--key", keyFile, "--state", state, "--full"}, 0, "VERIFIED   3 records"},
		"damaged state":    {[]string{dir, "--key", keyFile, "--state", noState}, 3, "state file is damaged"},
		"state nowhere":    {[]string{dir, "--key", keyFile, "--state", state + "/x/y"}, 3, "state file"},
		"same checkpoint":  {[]string{dir, "--key", keyFile, "--checkpoint", filepath.Join(dir, "checkpoint")}, 0, "consistent with the earlier checkpoint"},
		"other checkpoint": {[]string{dir, "--key", keyFile, "--checkpoint", old}, 1, "not signed by the given key"},
		"no checkpoint":    {[]string{dir, "--key", keyFile, "--checkpoint", old + "x"}, 3, "no such file"},
		"two directories":  {[]string{dir, dir, "--key", keyFile}, 2, "one directory"},
		"key of no format": {[]string{dir, "--key", "nofile"}, 2, "neither a verifier key"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(c.args, &stdout, &stderr)
			if text := stdout.String() + stderr.String(); code != c.code || !strings.Contains(text, c.says) {
				t.Errorf("exit %d, want %d; it says %s", code, c.code, text)
			}
		})
	}
}

// audited returns the checkpoint of another log.
func audited(t *testing.T, key *audit.Key) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	log, err := audit.Open(audit.Config{Dir: dir, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func newKey(t *testing.T) *audit.Key {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	return key
}
