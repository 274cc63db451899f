package soc2_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write what the adapter gives to the files in testdata")

// TestAdapt holds each file in testdata/adapt against the adapter: a Caddyfile,
// a line of dashes, and the JSON or the error that it gives.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".caddyfiletest"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			const line = "----------\n"
			caddyfile, want, ok := strings.Cut(string(data), line)
			if !ok {
				t.Fatal("the line of dashes is missing")
			}
			got := adapt(t, caddyfile)
			if *update {
				if err := os.WriteFile(name, []byte(caddyfile+line+got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func adapt(t *testing.T, caddyfile string) string {
	t.Helper()
	adapter := caddyconfig.GetAdapter("caddyfile")
	out, warnings, err := adapter.Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err.Error() + "\n"
	}
	for _, w := range warnings {
		t.Errorf("warning: %v", w)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, out, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

// TestExamplesAreWhatTheReadmeSays keeps the README's Caddyfile, the one in
// examples and its JSON together.
func TestExamplesAreWhatTheReadmeSays(t *testing.T) {
	caddyfile := readFile(t, "examples/Caddyfile")
	if !strings.Contains(readFile(t, "README.md"), "```caddyfile\n"+caddyfile+"```\n") {
		t.Error("README.md does not show examples/Caddyfile")
	}
	if got := adapt(t, caddyfile); got != readFile(t, "examples/config.json") {
		t.Errorf("examples/config.json is not what examples/Caddyfile gives:\n%s", got)
	}
	adapt(t, readFile(t, "deploy/Caddyfile"))
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
