package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"
)

// Limits of JSON in a pack, so that what nobody has signed yet takes no more
// memory than its bytes are worth. Part of the format.
const (
	maxDepth   = 64
	maxMembers = 1 << 17 // in one object
)

// decode reads one JSON value that has the members of v, spelled as v has them,
// no others, and nothing after it. encoding/json alone takes a name in any
// capitals, and those of other alphabets for letters, which other readers do not:
// what it read must give the same value again.
func decode(b []byte, v any) error {
	if err := unambiguous(b); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows it")
	}
	got, err := parsed(b)
	if err != nil {
		return err
	}
	want, err := generic(v)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(got, want) {
		return errors.New("it has a name in another spelling, or a value in another form, than a pack has it")
	}
	return nil
}

// unambiguous finds a name that an object has twice, which readers of JSON
// differ about, and what is nested too deep.
func unambiguous(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	var stack []level
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if stack, err = step(stack, t); err != nil {
			return err
		}
	}
}

// level is an object or a list that has begun.
type level struct {
	names map[string]bool // nil: a list
	name  bool            // a name comes next
}

func step(stack []level, t json.Token) ([]level, error) {
	top := len(stack) - 1
	switch delim, _ := t.(json.Delim); delim {
	case '{', '[':
		if len(stack) == maxDepth {
			return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
		}
		if delim == '{' {
			return append(stack, level{map[string]bool{}, true}), nil
		}
		return append(stack, level{}), nil
	case '}', ']':
		stack = stack[:top]
		top--
	default:
		if top >= 0 && stack[top].names != nil && stack[top].name {
			name, _ := t.(string)
			if stack[top].names[name] {
				return nil, fmt.Errorf("the name %q is there twice in an object", name)
			}
			if len(stack[top].names) == maxMembers {
				return nil, fmt.Errorf("an object has more than %d names", maxMembers)
			}
			stack[top].names[name], stack[top].name = true, false
			return stack, nil
		}
	}
	if top >= 0 {
		stack[top].name = stack[top].names != nil
	}
	return stack, nil
}

// generic is a value as JSON has it.
func generic(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return parsed(b)
}

func parsed(b []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}
