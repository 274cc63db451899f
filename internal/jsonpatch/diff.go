package jsonpatch

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// maxTable is the most cells of a table that arrays are aligned with. Longer
// ones are compared by position, which gives a longer patch.
const maxTable = 1 << 20

// Diff returns the patch that leads from one document to another. It is empty,
// and not nil, if they are equal.
func Diff(from, to any) []Op {
	d := differ{ops: []Op{}}
	d.value("", from, to)
	return d.ops
}

type differ struct{ ops []Op }

func (d *differ) op(name, path string, value any) {
	d.ops = append(d.ops, Op{name, path, value})
}

func (d *differ) value(path string, from, to any) {
	switch f := from.(type) {
	case map[string]any:
		if t, ok := to.(map[string]any); ok {
			d.object(path, f, t)
			return
		}
	case []any:
		if t, ok := to.([]any); ok {
			d.array(path, f, t)
			return
		}
	}
	if !equal(from, to) {
		d.op("replace", path, to)
	}
}

func (d *differ) object(path string, from, to map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(from)) {
		at := Pointer(path, name)
		if value, ok := to[name]; ok {
			d.value(at, from[name], value)
		} else {
			d.op("remove", at, nil)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(to)) {
		if _, ok := from[name]; !ok {
			d.op("add", Pointer(path, name), to[name])
		}
	}
}

// array compares items that stand before, between and after those that both
// arrays have. at is where the next item of to stands in the array that the
// patch has made so far.
func (d *differ) array(path string, from, to []any) {
	a, b := identities(from), identities(to)
	at, i, j := 0, 0, 0
	for _, p := range align(a, b) {
		at = d.gap(path, at, from[i:p.from], to[j:p.to])
		d.value(index(path, at), from[p.from], to[p.to]) // nothing, unless only the id is the same
		at, i, j = at+1, p.from+1, p.to+1
	}
	d.gap(path, at, from[i:], to[j:])
}

// gap compares items of which none is in both arrays. It returns the position
// after them.
func (d *differ) gap(path string, at int, from, to []any) int {
	for len(from) > 0 && len(to) > 0 && alike(from[0], to[0]) {
		d.value(index(path, at), from[0], to[0])
		at, from, to = at+1, from[1:], to[1:]
	}
	for range from {
		d.op("remove", index(path, at), nil)
	}
	for _, item := range to {
		d.op("add", index(path, at), item)
		at++
	}
	return at
}

func index(path string, i int) string { return path + "/" + strconv.Itoa(i) }

// alike reports whether one value may be told as a change of the other: both
// are of one kind, and neither has another id.
func alike(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && x["@id"] == nil && y["@id"] == nil
	case []any:
		_, ok := b.([]any)
		return ok
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

// identity is what an item of an array is recognized by.
type identity [sha256.Size]byte

func identities(items []any) []identity {
	list := make([]identity, len(items))
	for i, item := range items {
		list[i] = identify(item)
	}
	return list
}

func identify(item any) identity {
	if o, ok := item.(map[string]any); ok {
		switch id := o["@id"].(type) {
		case string:
			return sha256.Sum256([]byte("@id " + id))
		case json.Number:
			return sha256.Sum256([]byte("@id " + id.String()))
		}
	}
	text, err := Canonical(item)
	if err != nil {
		text = nil // no document: all such items are one
	}
	return sha256.Sum256(append([]byte("is "), text...))
}

// pair is an item that both arrays have, with its positions.
type pair struct{ from, to int }

// align returns a longest list of items that both arrays have in one order.
func align(a, b []identity) []pair {
	var head, tail []pair
	for len(head) < len(a) && len(head) < len(b) && a[len(head)] == b[len(head)] {
		head = append(head, pair{len(head), len(head)})
	}
	n := len(head)
	for i, j := len(a)-1, len(b)-1; i >= n && j >= n && a[i] == b[j]; i, j = i-1, j-1 {
		tail = append(tail, pair{i, j})
	}
	slices.Reverse(tail)
	middle := common(a[n:len(a)-len(tail)], b[n:len(b)-len(tail)])
	for _, p := range middle {
		head = append(head, pair{p.from + n, p.to + n})
	}
	return append(head, tail...)
}

// common is the longest common subsequence, by the table of Wagner and Fischer.
func common(a, b []identity) (list []pair) {
	if len(a) == 0 || len(b) == 0 || len(a) > maxTable/len(b) {
		return nil
	}
	width := len(b) + 1
	table := make([]int32, (len(a)+1)*width) // longest of a[i:] and b[j:]
	for i, x := range slices.Backward(a) {
		for j, y := range slices.Backward(b) {
			if x == y {
				table[i*width+j] = table[(i+1)*width+j+1] + 1
			} else {
				table[i*width+j] = max(table[(i+1)*width+j], table[i*width+j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			list = append(list, pair{i, j})
			i, j = i+1, j+1
		case table[(i+1)*width+j] >= table[i*width+j+1]:
			i++
		default:
			j++
		}
	}
	return list
}

// equal reports whether two values that are not both objects or both arrays
// are the same.
func equal(a, b any) bool {
	switch a.(type) {
	case map[string]any, []any:
		return false
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}
