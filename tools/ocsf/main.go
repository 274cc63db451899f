// Command ocsf makes a JSON Schema of some classes out of a checkout of the Open
// Cybersecurity Schema Framework, whose own form is a metaschema: it resolves
// what extends what, the profiles and the dictionary.
//
//	go -C tools run ./ocsf CHECKOUT > ../audit/ocsf/testdata/ocsf.schema.json
//
// The result knows only the classes and objects listed here. An attribute whose
// object is not listed is left out, so that using it is an error.
package main

import (
	"encoding/json"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// classes that events are exported as, by their files.
var classes = []string{
	"events/base_event.json",
	"events/network/http_activity.json",
	"events/network/network_activity.json",
	"events/application/api_activity.json",
	"events/application/application_lifecycle.json",
	"events/iam/account_change.json",
	"events/iam/entity_management.json",
	"events/findings/compliance_finding.json",
}

// objects that the events hold.
var objects = []string{
	"metadata", "product", "fingerprint", "http_request", "http_response", "http_header", "url",
	"network_endpoint", "network_proxy", "network_traffic", "network_connection_info", "tls", "certificate",
	"actor", "user", "api", "service", "managed_entity", "compliance", "finding_info", "firewall_rule", "trace",
	"load_balancer",
}

// source is a class or an object in OCSF's own form.
type source struct {
	Name        string                     `json:"name"`
	UID         *int                       `json:"uid"`
	Category    string                     `json:"category"`
	Extends     string                     `json:"extends"`
	Attributes  map[string]json.RawMessage `json:"attributes"`
	Constraints map[string][]string        `json:"constraints"`
}

// attribute is an entry of a class, an object or the dictionary.
type attribute struct {
	Type        string         `json:"type"`
	IsArray     bool           `json:"is_array"`
	Requirement string         `json:"requirement"`
	Profile     any            `json:"profile"`
	Enum        map[string]any `json:"enum"`
}

type resolver struct {
	dir        string
	dictionary map[string]attribute
	types      map[string]basic
	categories map[string]int
	parents    map[string]string // name to file, of classes
}

// basic is a scalar type.
type basic struct {
	Type   string `json:"type"`
	Regex  string `json:"regex"`
	MaxLen int    `json:"max_len"`
}

func read[T any](dir, name string) (v T) {
	b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	return v
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: ocsf CHECKOUT")
	}
	r := load(os.Args[1])
	version := read[struct{ Version string }](r.dir, "version.json").Version
	defs := map[string]any{}
	var events []any
	for _, file := range classes {
		name, schema := r.class(file)
		defs["class_"+name] = schema
		events = append(events, map[string]any{"$ref": "#/$defs/class_" + name})
	}
	for _, name := range objects {
		defs["object_"+name] = r.object(name)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	if err := out.Encode(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$comment": "Resolved from the Open Cybersecurity Schema Framework " + version +
			", Copyright OCSF a Series of LF Projects, LLC, Apache License 2.0, by tools/ocsf",
		"oneOf": events,
		"$defs": defs,
	}); err != nil {
		log.Fatal(err)
	}
}

func load(dir string) *resolver {
	dictionary := read[struct {
		Attributes map[string]attribute
		Types      struct{ Attributes map[string]basic }
	}](dir, "dictionary.json")
	categories := read[struct{ Attributes map[string]struct{ UID int } }](dir, "categories.json")
	r := &resolver{dir, dictionary.Attributes, dictionary.Types.Attributes, map[string]int{}, map[string]string{}}
	for name, c := range categories.Attributes {
		r.categories[name] = c.UID
	}
	files, err := filepath.Glob(filepath.Join(dir, "events", "*", "*.json"))
	if err != nil {
		log.Fatal(err)
	}
	for _, file := range append(files, filepath.Join(dir, "events", "base_event.json")) {
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			log.Fatal(err)
		}
		r.parents[read[source](dir, filepath.ToSlash(rel)).Name] = filepath.ToSlash(rel)
	}
	return r
}

// resolved is a class or an object with all that it inherits.
type resolved struct {
	source
	attributes map[string]attribute
	anyOf      [][]string // of each list one attribute must be there
}

func (r *resolver) resolve(file string, parent func(name string) string) resolved {
	s := read[source](r.dir, file)
	out := resolved{source: s, attributes: map[string]attribute{}}
	if s.Extends != "" {
		up := r.resolve(parent(s.Extends), parent)
		out.attributes = up.attributes
		if out.Category == "" {
			out.Category = up.Category
		}
		out.anyOf = up.anyOf
	}
	if list := s.Constraints["at_least_one"]; list != nil {
		if strings.HasPrefix(file, "objects/") {
			out.anyOf = nil // the parents' is replaced
		}
		out.anyOf = append(out.anyOf, list) // of classes both are kept, to be strict
	}
	var includes []string
	if raw, ok := s.Attributes["$include"]; ok {
		if err := json.Unmarshal(raw, &includes); err != nil {
			log.Fatalf("%s: $include: %v", file, err)
		}
	}
	for _, name := range includes {
		for name := range read[source](r.dir, name).Attributes {
			if _, ok := out.attributes[name]; !ok {
				out.attributes[name] = attribute{Requirement: "optional"} // required only of events that claim the profile
			}
		}
	}
	for name, raw := range s.Attributes {
		if name == "$include" {
			continue
		}
		a := out.attributes[name]
		enum := a.Enum
		a.Enum = nil
		if err := json.Unmarshal(raw, &a); err != nil {
			log.Fatalf("%s: %s: %v", file, name, err)
		}
		if enum != nil && a.Enum != nil {
			maps.Copy(enum, a.Enum) // a class adds values to those of its parent
		}
		if enum != nil {
			a.Enum = enum
		}
		out.attributes[name] = a
	}
	return out
}

func (r *resolver) class(file string) (string, any) {
	c := r.resolve(file, func(name string) string { return r.parents[name] })
	uid := 0
	if c.UID != nil {
		uid = *c.UID
	}
	category := r.categories[c.Category]
	schema := r.schema(c)
	properties, _ := schema["properties"].(map[string]any)
	properties["class_uid"] = map[string]any{"const": category*1000 + uid}
	properties["category_uid"] = map[string]any{"const": category}
	var types []int
	for value := range c.attributes["activity_id"].Enum {
		n, err := strconv.Atoi(value)
		if err != nil {
			log.Fatalf("%s: activity %q", file, value)
		}
		types = append(types, (category*1000+uid)*100+n)
	}
	slices.Sort(types)
	properties["type_uid"] = map[string]any{"enum": types}
	return c.Name, schema
}

func (r *resolver) object(name string) any {
	file := func(name string) string { return "objects/" + name + ".json" }
	return r.schema(r.resolve(file(name), file))
}

func (r *resolver) schema(c resolved) map[string]any {
	properties := map[string]any{}
	var required []string
	for _, name := range slices.Sorted(maps.Keys(c.attributes)) {
		a, entry := c.attributes[name], r.dictionary[name]
		schema, ok := r.attribute(a, entry)
		if !ok {
			continue
		}
		properties[name] = schema
		if a.Requirement == "required" {
			required = append(required, name)
		}
	}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false, "required": required}
	if required == nil {
		schema["required"] = []string{}
	}
	var all []any
	for _, list := range c.anyOf {
		var one []any
		for _, name := range list {
			one = append(one, map[string]any{"required": []string{name}})
		}
		all = append(all, map[string]any{"anyOf": one})
	}
	if all != nil {
		schema["allOf"] = all
	}
	return schema
}

// attribute returns the schema of an attribute, unless its object is not
// listed.
func (r *resolver) attribute(a, entry attribute) (any, bool) {
	kind := entry.Type
	if a.Type != "" {
		kind = a.Type
	}
	var one any
	switch {
	case kind == "object" || kind == "json_t":
		one = true
	case slices.Contains(objects, kind):
		one = map[string]any{"$ref": "#/$defs/object_" + kind}
	default:
		scalar, ok := r.scalar(kind)
		if !ok {
			return nil, false
		}
		enum := map[string]any{}
		maps.Copy(enum, entry.Enum)
		maps.Copy(enum, a.Enum)
		if len(enum) > 0 {
			scalar["enum"] = values(scalar, enum)
		}
		one = scalar
	}
	if a.IsArray || entry.IsArray {
		return map[string]any{"type": "array", "items": one}, true
	}
	return one, true
}

func (r *resolver) scalar(kind string) (map[string]any, bool) {
	switch kind {
	case "string_t":
		return map[string]any{"type": "string", "maxLength": 65535}, true
	case "integer_t", "long_t", "timestamp_t", "port_t":
		return map[string]any{"type": "integer"}, true
	case "boolean_t":
		return map[string]any{"type": "boolean"}, true
	case "float_t":
		return map[string]any{"type": "number"}, true
	}
	b, ok := r.types[kind]
	if !ok {
		return nil, false
	}
	schema, ok := r.scalar(b.Type)
	if ok && b.Regex != "" {
		schema["pattern"] = b.Regex
	}
	if ok && b.MaxLen > 0 {
		schema["maxLength"] = b.MaxLen
	}
	return schema, ok
}

func values(scalar map[string]any, enum map[string]any) []any {
	var list []any
	for _, v := range slices.Sorted(maps.Keys(enum)) {
		if scalar["type"] == "integer" {
			n, err := strconv.Atoi(v)
			if err != nil {
				log.Fatalf("value %q of an integer", v)
			}
			list = append(list, n)
			continue
		}
		list = append(list, v)
	}
	return list
}
