package secret

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatAPlaceholderStandsForMustBeThere(t *testing.T) {
	t.Setenv("SOC2_TEST_SET", "s3cret")
	t.Setenv("SOC2_TEST_EMPTY", "")
	_ = os.Unsetenv("SOC2_TEST_UNSET")
	full, empty := write(t, "full", []byte("s3cret\n")), write(t, "empty", nil)
	gone := filepath.Join(t.TempDir(), "gone")
	for text, want := range map[string]string{
		"plain":                       "plain",
		"{env.SOC2_TEST_SET}/x":       "s3cret/x",
		"{file." + full + "}":         "s3cret",
		`\{env.SOC2_TEST_UNSET\}`:     "{env.SOC2_TEST_UNSET}",
		"":                            "it is empty",
		" \t":                         "it is empty",
		"{env.SOC2_TEST_EMPTY}":       "SOC2_TEST_EMPTY is empty",
		"/keys/{env.SOC2_TEST_EMPTY}": "SOC2_TEST_EMPTY is empty",
		"{env.SOC2_TEST_SET}{env.SOC2_TEST_UNSET}": "SOC2_TEST_UNSET is not set",
		"{file." + empty + "}":                     "is empty or cannot be read",
		"{file." + gone + "}":                      "no such file",
		"{http.request.host}":                      "no placeholder {http.request.host}",
		"{env}":                                    "no placeholder {env}",
	} {
		got, err := Text("key", text)
		switch {
		case err == nil && got != want:
			t.Errorf("%q: %q, want %q", text, got, want)
		case err != nil && (!strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "key ") || strings.Contains(err.Error(), "s3cret")):
			t.Errorf("%q: %v, want %q", text, err, want)
		case err != nil && got != "":
			t.Errorf("%q: %q besides an error", text, got)
		}
	}
}

func TestAFileOfASecretMustHaveOne(t *testing.T) {
	t.Setenv("SOC2_TEST_DIR", t.TempDir())
	for path, want := range map[string]string{
		"{env.SOC2_TEST_DIR}/gone":                            "no such file",
		t.TempDir():                                           "not a regular file",
		write(t, "empty", nil):                                "the file is empty",
		write(t, "blank", []byte(" \n\t\n")):                  "the file is empty",
		write(t, "large", bytes.Repeat([]byte("a"), 1<<20+1)): "larger than",
		"{env.SOC2_TEST_UNSET}/x":                             "is not set",
	} {
		data, err := Read("key_file", path)
		if err == nil || data != nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "key_file ") {
			t.Errorf("%s: %q, %v, want %q", path, data, err, want)
		}
		if text, err := Line("key_file", path); err == nil || text != "" {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
	if data, err := Read("key_file", write(t, "good", []byte(" k \n"))); err != nil || string(data) != " k \n" {
		t.Errorf("%q, %v", data, err)
	}
	if line, err := Line("key_file", write(t, "good", []byte(" k \r\n"))); err != nil || line != "k" {
		t.Errorf("%q, %v", line, err)
	}
	if line, err := Line("key_file", write(t, "two", []byte("k\nl\n"))); err == nil {
		t.Errorf("%q of two lines", line)
	}
	if _, err := Read("key_file", "/nowhere/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Read("key_file", write(t, "empty", nil)); !errors.Is(err, ErrEmpty) {
		t.Error(err)
	}
}

// TestNoErrorTellsASecret has a placeholder of contents where a name of a file is
// wanted, which is easily mistaken.
func TestNoErrorTellsASecret(t *testing.T) {
	_, err := Read("secret_file", "{file."+write(t, "secret", []byte("hunter2"))+"}")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

func TestTextsLeavesOutWhatIsNotGiven(t *testing.T) {
	t.Setenv("SOC2_TEST_SET", "value")
	given, none, bad := "{env.SOC2_TEST_SET}", "", "{env.SOC2_TEST_UNSET}"
	if err := Texts(map[string]*string{"given": &given, "none": &none}); err != nil || given != "value" || none != "" {
		t.Error(given, none, err)
	}
	if err := Texts(map[string]*string{"bad": &bad}); err == nil || !strings.HasPrefix(err.Error(), "bad ") {
		t.Error(err)
	}
}
