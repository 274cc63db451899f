package sbom_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddy-soc2/caddy-soc2/sbom"
)

const schemaBase = "http://cyclonedx.org/schema/"

// compiled is the schema of CycloneDX, with those that it refers to.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	for at, file := range map[string]string{
		"bom.json": "bom-1.6.SNAPSHOT.schema.json", "spdx.SNAPSHOT.schema.json": "spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json": "jsf-0.82.SNAPSHOT.schema.json",
	} {
		data, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := doc.(map[string]any); ok {
			m["$id"] = schemaBase + at // references among them are relative to it
		}
		if err := c.AddResource(schemaBase+at, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile(schemaBase + "bom.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDocumentIsValid validates the bill of materials of this test, and of one
// with a time, against the schema of CycloneDX.
func TestDocumentIsValid(t *testing.T) {
	schema := compiled(t)
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []sbom.Options{{}, {Tool: "caddy-soc2", ToolVersion: "v1.2.3", Time: time.Unix(1_800_000_000, 0)}} {
		doc, err := sbom.OfFile(name, o)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := doc.Write(&b); err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Error(err)
		}
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("%T", v)
		}
		m["components"] = []any{map[string]any{"type": "module", "name": "a"}}
		if schema.Validate(v) == nil {
			t.Error("the schema has a component of a type that there is not")
		}
	}
}
