package controls

import (
	flags "flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flags.Bool("update", false, "write the generated part of docs/controls.md anew")

const (
	docsFile  = "../docs/controls.md"
	generated = "<!-- What follows is made from package controls: go test ./controls -run Docs -update -->\n"
)

// TestDocsAreTheCatalogue compares the list in docs/controls.md with the
// catalogue.
func TestDocsAreTheCatalogue(t *testing.T) {
	doc, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(doc), generated)
	if !ok {
		t.Fatalf("%s has no generated part", docsFile)
	}
	want := head + generated + catalogueDoc()
	if *update {
		if err := os.WriteFile(docsFile, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(doc) != want {
		t.Errorf("%s is not what package controls says: go test ./controls -run Docs -update", docsFile)
	}
}

func catalogueDoc() string {
	var b strings.Builder
	cell := func(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
	c := Checks()
	fmt.Fprintf(&b, "\n## The catalogue\n\n%d checks, version %d of the catalogue.\n\n| check | what holds | severity | looks at | criteria |\n|---|---|---|---|---|\n", len(c.Checks), c.Version)
	for _, d := range c.Checks {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s | %s |\n", d.ID, strings.ToLower(d.ID), cell(d.Title), d.Severity, d.Class, strings.Join(d.Criteria, " "))
	}
	for _, d := range c.Checks {
		fmt.Fprintf(&b, "\n### %s\n\n%s. %s\n\nLooks at: %s.\n\n", d.ID, d.Title, d.Explain, strings.Join(d.Reads, "; "))
		for _, th := range d.Thresholds {
			value := "none"
			if len(th.Default) > 0 {
				value = "`" + strings.Join(th.Default, "` `") + "`"
			}
			fmt.Fprintf(&b, "- Threshold `%s`, a %s: %s. Default: %s\n", th.Name, th.Kind, th.Meaning, value)
		}
		if len(d.Thresholds) > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "What to do: %s\n", d.Remediation)
	}
	b.WriteString("\n## What is collected for each criterion\n\n| criterion | evidence of an edge | in words of this project | checks | not assessed |\n|---|---|---|---|---|\n")
	for _, k := range Criteria().Criteria {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", k.ID, strings.ReplaceAll(string(k.Strength), "_", " "), cell(k.Title), strings.Join(k.Checks(), " "), cell(k.Limits))
	}
	return b.String()
}
