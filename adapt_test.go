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

	soc2 "github.com/caddy-soc2/caddy-soc2"
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

// TestCaddyfilesOfTheDocuments adapts the Caddyfiles in docs and checks what they
// say of privacy. JSON that follows one is what it gives.
func TestCaddyfilesOfTheDocuments(t *testing.T) {
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	blocks, alike := 0, 0
	for _, name := range files {
		for part := range strings.SplitSeq(readFile(t, name), "```caddyfile\n") {
			block, rest, ok := strings.Cut(part, "\n```\n")
			if strings.HasPrefix(part, "#") || !ok { // what precedes the first
				continue
			}
			blocks++
			got := adapt(t, block+"\n")
			if !json.Valid([]byte(got)) {
				t.Errorf("%s: %s\n%s", name, got, block)
				continue
			}
			text, ok := strings.CutPrefix(strings.TrimSpace(rest), "The same in JSON:\n\n```json\n")
			if !ok {
				continue
			}
			alike++
			text, _, _ = strings.Cut(text, "```\n")
			if normal(t, text) != normal(t, got) {
				t.Errorf("%s: the JSON is not what the Caddyfile gives:\n%s", name, got)
			}
			var config struct {
				Apps struct{ Soc2 soc2.App }
			}
			if err := json.Unmarshal([]byte(text), &config); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if blocks < 2 || alike < 1 {
		t.Errorf("%d Caddyfiles, %d with JSON", blocks, alike)
	}
}

// normal is JSON in the one form that what means the same has.
func normal(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
