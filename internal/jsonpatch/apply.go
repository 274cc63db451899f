package jsonpatch

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Apply returns the document that a patch makes of another. It knows the
// operations that Diff writes: add, remove and replace.
func Apply(doc any, patch []Op) (any, error) {
	var err error
	for i, o := range patch {
		if o.Path == "" {
			if o.Op != "add" && o.Op != "replace" {
				return nil, fmt.Errorf("operation %d: %s of the whole document", i, o.Op)
			}
			doc = o.Value
			continue
		}
		if o.Path[0] != '/' {
			return nil, fmt.Errorf("operation %d: path %q does not begin with a slash", i, o.Path)
		}
		if doc, err = apply(doc, strings.Split(o.Path[1:], "/"), o); err != nil {
			return nil, fmt.Errorf("operation %d: %s %s: %w", i, o.Op, o.Path, err)
		}
	}
	return doc, nil
}

// apply returns a copy of a value in which the value that elements lead to is
// changed. What is not changed is shared.
func apply(v any, elements []string, o Op) (any, error) {
	name := unescaper.Replace(elements[0])
	switch v := v.(type) {
	case map[string]any:
		return applyObject(v, name, elements[1:], o)
	case []any:
		return applyArray(v, name, elements[1:], o)
	}
	return nil, errors.New("there is no such place")
}

func applyObject(v map[string]any, name string, rest []string, o Op) (any, error) {
	member, ok := v[name]
	if !ok && (len(rest) > 0 || o.Op != "add") {
		return nil, fmt.Errorf("no member %q", name)
	}
	v = maps.Clone(v)
	switch {
	case len(rest) > 0:
		changed, err := apply(member, rest, o)
		if err != nil {
			return nil, err
		}
		v[name] = changed
	case o.Op == "remove":
		delete(v, name)
	case o.Op == "add", o.Op == "replace":
		v[name] = o.Value
	default:
		return nil, errors.New("unknown operation")
	}
	return v, nil
}

func applyArray(v []any, name string, rest []string, o Op) (any, error) {
	i, err := position(name, len(v), len(rest) == 0 && o.Op == "add")
	if err != nil {
		return nil, err
	}
	v = slices.Clone(v)
	switch {
	case len(rest) > 0:
		if v[i], err = apply(v[i], rest, o); err != nil {
			return nil, err
		}
	case o.Op == "add":
		v = slices.Insert(v, i, o.Value)
	case o.Op == "remove":
		v = slices.Delete(v, i, i+1)
	case o.Op == "replace":
		v[i] = o.Value
	default:
		return nil, errors.New("unknown operation")
	}
	return v, nil
}

// position reads an element that names an item of an array.
func position(name string, items int, adds bool) (int, error) {
	if name == "-" && adds {
		return items, nil
	}
	i, err := strconv.Atoi(name)
	if err != nil || i < 0 || strconv.Itoa(i) != name || i > items || i == items && !adds {
		return 0, fmt.Errorf("no item %q", name)
	}
	return i, nil
}
