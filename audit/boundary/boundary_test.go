package boundary_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit/boundary"
)

var update = flag.Bool("update", false, "write the generated part of docs/boundary.md anew")

const (
	docsFile  = "../../docs/boundary.md"
	generated = "<!-- What follows is made from package boundary: go test ./audit/boundary -update -->\n"
)

// TestDocsAreTheList compares the tables of the document with the list for
// machines.
func TestDocsAreTheList(t *testing.T) {
	old, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(old), generated)
	if !ok {
		t.Fatalf("%s has no line %q", docsFile, generated)
	}
	text := head + generated + tables()
	if *update {
		if err := os.WriteFile(docsFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != string(old) {
		t.Errorf("%s is not what package boundary says: go test ./audit/boundary -update", docsFile)
	}
}

func tables() string {
	var b strings.Builder
	b.WriteString("\n" + boundary.Now().Holds + "\n")
	for _, part := range []struct {
		covered boundary.Coverage
		title   string
	}{
		{boundary.Record, "Recorded one by one"}, {boundary.Count, "Counted"}, {boundary.Invisible, "Unseen"},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| class | what | why |\n|---|---|---|\n", part.title)
		for _, c := range boundary.Now().Classes {
			if c.Covered == part.covered {
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.ID, c.What, c.Why)
			}
		}
	}
	return b.String()
}

// TestClassesAreComplete has every class with all members, and each id once.
func TestClassesAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range boundary.Now().Classes {
		if c.What == "" || c.Why == "" || !strings.HasPrefix(c.ID, c.Layer+"/") || strings.ContainsAny(c.What+c.Why, "|\n") {
			t.Errorf("%+v", c)
		}
		if seen[c.ID] {
			t.Errorf("%s is there twice", c.ID)
		}
		seen[c.ID] = true
	}
}

// TestJSONReadsBack as the value that it was made from.
func TestJSONReadsBack(t *testing.T) {
	b, err := json.Marshal(boundary.Now())
	if err != nil {
		t.Fatal(err)
	}
	var got boundary.Boundary
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(boundary.Now()) {
		t.Errorf("%s", b)
	}
}
