// Package jsonpatch compares JSON documents: it writes them in one canonical
// form and makes the JSON Patch (RFC 6902) that leads from one to the other.
//
// Documents are what Parse returns: nil, bool, json.Number, string, []any and
// map[string]any. The functions here never change them.
//
// The patch of two documents is always the same. Objects are compared member
// by member in the order of their names. Arrays are aligned by what their items
// are: an object that has the member "@id" is the same as the one that had it,
// other items are the same if they are equal (longest common subsequence).
// What stands between aligned items is compared pair by pair if both are of one
// kind, and removed or added otherwise.
package jsonpatch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Op is one operation of a patch.
type Op struct {
	Op    string // add, remove, replace
	Path  string // JSON Pointer (RFC 6901)
	Value any    // of add and replace
}

// MarshalJSON writes the operation with its value only if it has one.
func (o Op) MarshalJSON() ([]byte, error) {
	if o.Op == "remove" {
		return encode(struct {
			Op   string `json:"op"`
			Path string `json:"path"`
		}{o.Op, o.Path})
	}
	return encode(struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}{o.Op, o.Path, o.Value})
}

// UnmarshalJSON reads an operation.
func (o *Op) UnmarshalJSON(b []byte) error {
	var v struct {
		Op    string          `json:"op"`
		Path  string          `json:"path"`
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	o.Op, o.Path, o.Value = v.Op, v.Path, nil
	if v.Op == "remove" {
		return nil
	}
	var err error
	o.Value, err = Parse(v.Value)
	return err
}

// Parse reads a document. Numbers keep their text. Of a name that is given
// twice the last counts, as in Caddy. Empty input is null.
func Parse(b []byte) (any, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the document")
	}
	return v, nil
}

// Canonical writes a document: names sorted, no spaces, nothing escaped that
// need not be. Equal documents have equal texts.
func Canonical(v any) ([]byte, error) { return encode(v) }

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("writing JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// escaper writes a name as an element of a JSON Pointer (RFC 6901, section 3).
var escaper = strings.NewReplacer("~", "~0", "/", "~1")

// unescaper reads it.
var unescaper = strings.NewReplacer("~1", "/", "~0", "~")

// Pointer adds a name to a pointer.
func Pointer(path, name string) string { return path + "/" + escaper.Replace(name) }
