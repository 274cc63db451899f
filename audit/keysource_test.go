package audit_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// savedKey makes a key and returns it with its private text.
func savedKey(t testing.TB, name string) (*audit.Key, string) {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Save(durable.OS{}, name); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(b)
}

func source(t testing.TB, text string) audit.Source {
	t.Helper()
	s, err := audit.ParseSource(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKeySourcesHaveOneTextForm(t *testing.T) {
	for text, want := range map[string]string{
		"log.key":         "file:log.key",
		"/etc/x/log.key":  "file:/etc/x/log.key",
		"/etc/a:b/log":    "file:/etc/a:b/log",
		`C:\keys\log.key`: `file:C:\keys\log.key`,
		"./env:X":         "file:./env:X",
		"file:env:X":      "file:env:X",
		"env:SOC2_KEY":    "env:SOC2_KEY",
		"credential:key":  "credential:key",
	} {
		s, err := audit.ParseSource(text)
		if err != nil || s.String() != want {
			t.Errorf("%q: %q, %v", text, s, err)
			continue
		}
		if again, err := audit.ParseSource(s.String()); err != nil || again != s {
			t.Errorf("%q does not read back: %v", s, err)
		}
		if name, ok := s.File(); ok != strings.HasPrefix(want, "file:") || ok && "file:"+name != want {
			t.Errorf("%q: file %q, %v", text, name, ok)
		}
	}
	for _, text := range []string{"", "file:", "env:", "credential:", "vault:x", "env:A=x", "env:A=PRIVATE+KEY+x", "PRIVATE+KEY+a+b+c", "credential:a/b", "credential:..", "file:a\x00b"} {
		s, err := audit.ParseSource(text)
		if err == nil {
			t.Errorf("%q was taken as %q", text, s)
		} else if strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("the error prints the key: %v", err)
		}
	}
}

func FuzzParseSource(f *testing.F) {
	f.Add("env:SOC2_KEY")
	f.Add("/etc/x")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := audit.ParseSource(text)
		if err != nil {
			return
		}
		if again, err := audit.ParseSource(s.String()); err != nil || again != s {
			t.Errorf("%q gives %q, which does not read back: %v", text, s, err)
		}
	})
}

// TestKeysFromTheEnvironmentAreTakenOut reads a key from a variable: programs
// started later do not have it, and the next configuration finds it again.
func TestKeysFromTheEnvironmentAreTakenOut(t *testing.T) {
	const name = "SOC2_TEST_KEY"
	key, private := savedKey(t, filepath.Join(t.TempDir(), "key"))
	s := source(t, "env:"+name)
	if _, err := s.Load(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), name) {
		t.Errorf("not set: %v", err)
	}
	t.Setenv(name, private)
	for range 2 {
		k, err := s.Load()
		if err != nil || k.Public() != key.Public() {
			t.Fatal(k, err)
		}
		out, err := exec.Command("env").Output()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), name) {
			t.Error("a program that was started has the key")
		}
	}
	other, private := savedKey(t, filepath.Join(t.TempDir(), "key"))
	t.Setenv(name, private)
	if k, err := s.Load(); err != nil || k.Public() != other.Public() {
		t.Errorf("set again: %v, %v", k, err)
	}
	t.Setenv(name, private[:60])
	if _, err := s.Load(); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), private[30:60]) {
		t.Errorf("a bad key: %v", err)
	}
	if _, ok := os.LookupEnv(name); ok {
		t.Error("a bad key stays in the environment")
	}
}

// TestCredentialsHaveTheModesOfSystemd accepts what systemd makes, with and
// without an access control list, and nothing that is wider.
func TestCredentialsHaveTheModesOfSystemd(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "soc2.key")
	key, _ := savedKey(t, name)
	s := source(t, "credential:soc2.key")
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := s.Load(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "LoadCredential=soc2.key:") {
		t.Errorf("no service: %v", err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	for mode, ok := range map[fs.FileMode]bool{0o400: true, 0o600: true, 0o440: true, 0o444: false, 0o460: false, 0o404: false, 0o402: false, 0o450: false} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		k, err := s.Load()
		if (err == nil) != ok || ok && k.Public() != key.Public() {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if _, err := audit.LoadKey(name); (err == nil) != (mode&0o077 == 0) {
			t.Errorf("mode %04o as a plain file: %v", mode, err)
		}
	}
	if _, err := source(t, "credential:other").Load(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "LoadCredential=other:") {
		t.Errorf("none of that name: %v", err)
	}
}

func TestSourcesHaveANextKeyBesideThem(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "log.key")
	key, _ := savedKey(t, name)
	next, private := savedKey(t, name+".next")
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	t.Setenv("SOC2_TEST_SET_NEXT", private)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOC2_TEST_SET", string(b))
	for _, text := range []string{name, "credential:log.key", "env:SOC2_TEST_SET"} {
		set, err := source(t, text).LoadSet()
		if err != nil || set.Key.Public() != key.Public() || len(set.Cosigners()) != 1 || set.Next.Public() != next.Public() {
			t.Errorf("%s: %v, %v", text, set, err)
		}
	}
	if set, err := source(t, name+".next").LoadSet(); err != nil || set.Next != nil || set.Cosigners() != nil {
		t.Errorf("no next key: %v, %v", set, err)
	}
	if err := os.WriteFile(name+".next", []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := source(t, name).LoadSet(); err == nil || !strings.Contains(err.Error(), name+".next") {
		t.Errorf("a broken next key: %v", err)
	}
}

func TestEnsureMakesKeysInFilesOnly(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys", "log.key")
	k, err := source(t, name).Ensure(durable.OS{}, "a/soc2")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := source(t, name).Ensure(durable.OS{}, "b/soc2"); err != nil || again.Public() != k.Public() {
		t.Errorf("%v, %v", again, err)
	}
	if _, err := source(t, "env:SOC2_TEST_NONE").Ensure(durable.OS{}, "a/soc2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	for content, want := range map[string]string{"": "is empty", "PRIVATE+KEY+a": "PRIVATE+KEY+name"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.LoadKey(name); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", content, err)
		}
	}
	if _, err := audit.LoadKey(filepath.Dir(name)); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("%v", err)
	}
}
