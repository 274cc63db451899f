package population_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

var update = flag.Bool("update", false, "write docs/evidence.md")

// TestDocsListThePopulations makes the list in docs/evidence.md again.
func TestDocsListThePopulations(t *testing.T) {
	const name, begin, end = "../../docs/evidence.md", "-run Docs -update -->\n", "<!-- end populations -->"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatal("the marks are missing")
	}
	var b strings.Builder
	b.WriteString("\n| population | what | kinds | evidence for |\n|---|---|---|---|\n")
	for _, p := range population.All() {
		fmt.Fprintf(&b, "| `%s` | %s | `%s`%s | %s |\n", p.Name, p.Doc, strings.Join(p.Kinds, "`, `"), conditions(p), strings.Join(p.Criteria, ", "))
	}
	b.WriteString("\n")
	want := before + begin + b.String() + end + after
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(text) {
		t.Error("docs/evidence.md is not what populations.json says: go test ./evidence/population -run Docs -update")
	}
}

func conditions(p *population.Population) string {
	list := func(word string, all []population.Condition) string {
		var texts []string
		for _, c := range all {
			switch {
			case c.Set:
				texts = append(texts, "`"+c.Member+"` set")
			case len(c.Not) > 0:
				texts = append(texts, "`"+c.Member+"` not "+strings.Join(c.Not, ", "))
			default:
				texts = append(texts, "`"+c.Member+"` is "+strings.Join(c.Is, ", "))
			}
		}
		if texts == nil {
			return ""
		}
		return "; " + word + ": " + strings.Join(texts, "; ")
	}
	return list("any", p.Any) + list("all", p.All)
}
