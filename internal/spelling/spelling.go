// Package spelling writes the members of a configuration as Caddy knows them.
//
// encoding/json finds the fields of a struct without regard to case, with the
// folding of Unicode: "Upstreams" and "upſtreams" set what "upstreams" does. Who
// looks at the JSON itself has to read it alike, or a spelling hides what is
// configured.
package spelling

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// Names are members by how they fold.
type Names map[string]string

// Of returns names of members, as they are written in Go's struct tags.
func Of(names ...string) Names {
	n := Names{}
	for _, name := range names {
		n[fold(name)] = name
	}
	return n
}

// fold returns a text that is the same for all texts which encoding/json takes
// for one name.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, s)
}

// Canonical returns a document with the members that names has under these
// names. twice are JSON Pointers to members that one object has under several
// spellings: which of them holds is decided by their order, which a parsed
// document does not have any more. The document itself is not changed.
func (n Names) Canonical(doc any) (out any, twice []string) {
	out = n.value("", doc, &twice)
	return out, twice
}

func (n Names) value(pointer string, v any, twice *[]string) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = n.value(pointer+"/"+strconv.Itoa(i), item, twice)
		}
		return list
	case map[string]any:
		o := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			name, known := n[fold(key)]
			if !known {
				name = key
			}
			at := jsonpatch.Pointer(pointer, name)
			if _, there := o[name]; there {
				*twice = append(*twice, at)
			}
			o[name] = n.value(at, v[key], twice)
		}
		return o
	}
	return v
}
