package soc2_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestModulesAreThoseThatAreListed compares what is registered with the list
// that continuous integration looks for in the binaries, and with the comment of
// the package.
func TestModulesAreThoseThatAreListed(t *testing.T) {
	ours := regexp.MustCompile(`(^|\.)soc2(_|\.|$)`)
	registered := slices.DeleteFunc(caddy.Modules(), func(id string) bool { return !ours.MatchString(id) })
	slices.Sort(registered)
	read := func(name, pattern string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(pattern).FindSubmatch(b)
		if m == nil {
			t.Fatalf("%s has no list of modules", name)
		}
		return string(m[1])
	}
	if listed := strings.Fields(read(".ci/run", `MODULES='([^']*)'`)); !slices.Equal(listed, registered) {
		t.Errorf(".ci/run lists %q, registered are %q", listed, registered)
	}
	var described []string
	for line := range strings.Lines(read("module.go", `(?s)it registers\n//\n(.*?)\npackage`)) {
		if words := strings.Fields(strings.TrimPrefix(line, "//")); len(words) > 0 {
			described = append(described, words[0])
		}
	}
	slices.Sort(described)
	if !slices.Equal(described, registered) {
		t.Errorf("the comment of the package has %q, registered are %q", described, registered)
	}
}
