package audit

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaFile = "../docs/record.schema.json"

func readSchema(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(readSchema(t)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("record.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("record.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// validate returns how a record breaks the schema, or nil.
func validate(t testing.TB, schema *jsonschema.Schema, record []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(record))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(v)
}

func TestEveryRecordIsAsTheSchemaSays(t *testing.T) {
	schema := compileSchema(t)
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	for _, kind := range allKinds(t) {
		bodies := []Body{blank(kind), full(kind)}
		for seed := range uint64(rounds) {
			f := newFiller(seed)
			f.zero = float64(seed%3) / 3
			bodies = append(bodies, f.body(kind))
		}
		huge := newFiller(1)
		huge.text, huge.items = hostile("\xff<", 3000), func(*filler) int { return 600 }
		bodies = append(bodies, huge.body(kind))
		for _, body := range bodies {
			record := framed(t, body, "edge-1")
			if err := validate(t, schema, record); err != nil {
				t.Fatalf("%v:\n%s", err, record)
			}
		}
	}
	for _, body := range examples() {
		record := framed(t, body, "edge-1")
		if err := validate(t, schema, record); err != nil {
			t.Errorf("%v:\n%s", err, record)
		}
	}
}

// full is a body with every member.
func full(kind Kind) Body {
	f := newFiller(1)
	f.zero, f.text, f.items = 0, func(*filler) string { return "k=1" }, func(*filler) int { return 2 }
	body := f.body(kind)
	switch b := body.(type) {
	case *LogOpen:
		b.Clean = false
	case *ConfigChange:
		b.Diff.Value = []byte(`[]`)
	}
	return body
}

// membersOf collects the paths of a value's members, in the way of the schema:
// members of objects whose names come from outside are not told apart.
func membersOf(v map[string]any, prefix string, add func(path string)) {
	for name, m := range v {
		path := prefix + name
		add(path)
		if o, ok := m.(map[string]any); ok && prefix == "" && !slices.Contains([]string{"left_out", "rules", "kinds", "counts"}, name) {
			membersOf(o, path+".", add)
		}
	}
}

func TestMisspelledMembersBreakTheSchema(t *testing.T) {
	schema := compileSchema(t)
	for _, kind := range allKinds(t) {
		record := framed(t, full(kind), "edge-1")
		var tree map[string]any
		if err := json.Unmarshal(record, &tree); err != nil {
			t.Fatal(err)
		}
		membersOf(tree, "", func(path string) {
			name := path[strings.LastIndexByte(path, '.')+1:]
			bad := bytes.Replace(record, []byte(`"`+name+`":`), []byte(`"`+name+`x":`), 1)
			if validate(t, schema, bad) == nil {
				t.Errorf("%s: with %sx the schema still holds", kind, path)
			}
		})
	}
}

// TestSchemaHasTheMembersOfTheEncoder compares the members of the schema with
// those of records that have every member.
func TestSchemaHasTheMembersOfTheEncoder(t *testing.T) {
	_, defs := definitions(t)
	for _, kind := range allKinds(t) {
		written := map[string]bool{"cut": true, "left_out": true}
		var record map[string]any
		if err := json.Unmarshal(framed(t, full(kind), "edge-1"), &record); err != nil {
			t.Fatal(err)
		}
		membersOf(record, "", func(path string) { written[path] = true })
		for _, name := range []string{"diff", "evidence", "requests", "findings", "decisions", "figures"} { // a record has either the value or its hash
			if _, number := record[name].(float64); written[name] && !number {
				written[name+"_bytes"], written[name+"_sha256"] = true, true
			}
		}
		stated := map[string]bool{}
		for _, m := range append(schemaMembers(t, defs["frame"], ""), schemaMembers(t, defs[definition(kind)], "")...) {
			stated[m.Path] = true
		}
		if !reflect.DeepEqual(written, stated) {
			for path := range stated {
				if !written[path] {
					t.Errorf("%s: the schema has %s, which is not written", kind, path)
				}
			}
			for path := range written {
				if !stated[path] {
					t.Errorf("%s: %s is written, which the schema does not have", kind, path)
				}
			}
		}
	}
}

// definition is the name of a kind's definition in the schema.
func definition(kind Kind) string {
	switch blank(kind).(type) {
	case *Certificate, *UpstreamChange, *Process, *LimitChange, *Review:
		prefix, _, _ := strings.Cut(string(kind), ".")
		return prefix
	}
	return string(kind)
}

// schemaMember is a member of a kind.
type schemaMember struct {
	Path, Type, Meaning string
	Always              bool
}

// definitions returns the definitions of the schema as compact JSON, by name
// and in the order of the file.
func definitions(t testing.TB) (names []string, defs map[string]string) {
	t.Helper()
	var compact bytes.Buffer
	if err := json.Compact(&compact, readSchema(t)); err != nil {
		t.Fatal(err)
	}
	defs = map[string]string{}
	eachMember(t, value(t, compact.String(), "$defs"), func(name, def string) {
		names, defs[name] = append(names, name), def
	})
	return names, defs
}

func eachMember(t testing.TB, object string, fn func(name, value string)) {
	t.Helper()
	err := each(object, '{', '}', func(key, value string) error {
		name, err := unquote(key)
		fn(name, value)
		return err
	})
	if err != nil {
		t.Fatalf("%v: %.100s", err, object)
	}
}

func value(t testing.TB, object, name string) (found string) {
	t.Helper()
	eachMember(t, object, func(key, value string) {
		if key == name {
			found = value
		}
	})
	return found
}

// word returns a text of an object, or nothing.
func word(t testing.TB, object, name string) string {
	t.Helper()
	s, _ := unquote(value(t, object, name))
	return s
}

// schemaMembers lists the members of an object that the schema describes.
func schemaMembers(t testing.TB, def, prefix string) (list []schemaMember) {
	t.Helper()
	var required []string
	if raw := value(t, def, "required"); raw != "" {
		if err := json.Unmarshal([]byte(raw), &required); err != nil {
			t.Fatal(err)
		}
	}
	props := value(t, def, "properties")
	if props == "" {
		return nil
	}
	eachMember(t, props, func(name, m string) {
		typ := strings.TrimPrefix(word(t, m, "$ref"), "#/$defs/")
		if typ == "" {
			typ = word(t, m, "type")
		}
		list = append(list, schemaMember{prefix + name, typ, word(t, m, "description"), slices.Contains(required, name)})
		list = append(list, schemaMembers(t, m, prefix+name+".")...)
	})
	return list
}

func TestSchemaExplainsEveryMember(t *testing.T) {
	names, defs := definitions(t)
	for _, name := range names {
		if word(t, defs[name], "description") == "" {
			t.Errorf("%s has no description", name)
		}
		for _, m := range schemaMembers(t, defs[name], "") {
			if m.Meaning == "" && m.Path != "kind" {
				t.Errorf("%s: %s has no description", name, m.Path)
			}
		}
	}
}
