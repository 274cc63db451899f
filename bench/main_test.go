package main

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestEachSubjectIsInTheREADME also shows that the program starts: all that it
// measures lives in one process, and registers with the same Caddy.
func TestEachSubjectIsInTheREADME(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(maps.Keys(subjects))
	if want := []string{"access", "coverage", "headers", "limit", "log"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
	for _, name := range names {
		if !strings.Contains(string(text), "go -C bench run . "+name) {
			t.Errorf("README.md does not say how to run %s", name)
		}
	}
}
