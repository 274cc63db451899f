package audit

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated part of docs/records.md anew")

const (
	docsFile  = "../docs/records.md"
	generated = "<!-- What follows is made from record.schema.json and the encoder: go test ./audit -run Docs -update -->\n"
)

// TestDocsAreThoseOfSchemaAndEncoder compares the generated part of the
// documentation: the members of each kind as the schema has them, and an example
// as the encoder writes it.
func TestDocsAreThoseOfSchemaAndEncoder(t *testing.T) {
	old, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(old), generated)
	if !ok {
		t.Fatalf("%s has no line %q", docsFile, generated)
	}
	text := head + generated + generateDocs(t)
	if *update {
		if err := os.WriteFile(docsFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != string(old) {
		t.Errorf("%s is not what schema and encoder say: go test ./audit -run Docs -update", docsFile)
	}
}

func generateDocs(t *testing.T) string {
	t.Helper()
	names, defs := definitions(t)
	var b strings.Builder
	fmt.Fprintf(&b, "\n## Types\n\n| type | |\n|---|---|\n")
	for _, name := range names {
		if value(t, defs[name], "properties") == "" { // it is no object with members of its own
			fmt.Fprintf(&b, "| %s | %s |\n", name, word(t, defs[name], "description"))
		}
	}
	fmt.Fprintf(&b, "\n## Members of every record\n\n")
	table(&b, schemaMembers(t, defs["frame"], ""))
	seen := map[string]bool{}
	for _, body := range examples() {
		record := framed(t, body, "edge-1")
		name := definition(kindOf(record))
		if seen[name] {
			t.Errorf("%s has two examples", name)
		}
		seen[name] = true
		def := defs[name]
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", word(t, def, "title"), word(t, def, "description"))
		if known := word(t, value(t, value(t, def, "properties"), "kind"), "description"); known != "" {
			fmt.Fprintf(&b, "%s\n", known)
		}
		members := slices.DeleteFunc(schemaMembers(t, def, ""), func(m schemaMember) bool { return m.Path == "kind" })
		if len(members) > 0 {
			b.WriteByte('\n')
			table(&b, members)
		}
		fmt.Fprintf(&b, "\n```json\n%s\n```\n", indented(t, record))
	}
	for _, kind := range allKinds(t) {
		if !seen[definition(kind)] {
			t.Errorf("%s has no example", kind)
		}
	}
	return b.String()
}

func table(b *strings.Builder, members []schemaMember) {
	b.WriteString("| member | type | | meaning |\n|---|---|---|---|\n")
	for _, m := range members {
		always := ""
		if m.Always {
			always = "always"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", m.Path, m.Type, always, m.Meaning)
	}
}

// indented breaks a record into lines, one for each member.
func indented(t *testing.T, record []byte) string {
	t.Helper()
	list, err := members(nil, string(record))
	if err != nil {
		t.Fatal(err)
	}
	lines := make([]string, len(list))
	for i, m := range list {
		lines[i] = fmt.Sprintf(" %q: %s", m.key, m.value)
	}
	return "{\n" + strings.Join(lines, ",\n") + "\n}"
}

// TestExamplesInDocsAreWhatTheEncoderWrites reads the examples back from the
// documentation, so that they are examples of what a reader can read.
func TestExamplesInDocsAreWhatTheEncoderWrites(t *testing.T) {
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	want := examples()
	parts := strings.Split(string(text), "\n```json\n")[1:]
	if len(parts) != len(want) {
		t.Fatalf("%d examples in %s, want %d", len(parts), docsFile, len(want))
	}
	for i, p := range parts {
		p, _, _ = strings.Cut(p, "\n```\n")
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(p)); err != nil {
			t.Fatalf("%v: %s", err, p)
		}
		got, err := Decode(compact.Bytes())
		if err != nil {
			t.Fatalf("%v: %s", err, p)
		}
		if clear := asRead(want[i]); !reflect.DeepEqual(got.Body, clear) && got.Kind != KindIntent && got.Kind != KindOpening {
			t.Errorf("example of %s: got\n%+v\nwant\n%+v", got.Kind, got.Body, clear)
		}
	}
}
