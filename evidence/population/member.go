package population

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// paths are the members of records that are read, by the number that add gave.
type paths struct {
	list  []string
	outer map[string]node
}

// node is a member of the record: one that is read, or an object with members
// that are.
type node struct {
	at    int // -1: not read itself
	inner map[string]int
}

// add takes a path in, once, and returns its number.
func (p *paths) add(path string) int {
	if i := slices.Index(p.list, path); i >= 0 {
		return i
	}
	at := len(p.list)
	p.list = append(p.list, path)
	if p.outer == nil {
		p.outer = map[string]node{}
	}
	name, rest, deep := strings.Cut(path, ".")
	n, known := p.outer[name]
	if !known {
		n.at = -1
	}
	if deep {
		if n.inner == nil {
			n.inner = map[string]int{}
		}
		n.inner[rest] = at
	} else {
		n.at = at
	}
	p.outer[name] = n
	return at
}

// read finds the members in a record. Values, in the order of the numbers, are
// JSON as the record has it, or nil. It does not check what it passes over:
// records were checked when they were written and when the log was verified.
func (p *paths) read(values [][]byte, record []byte) ([][]byte, error) {
	values = values[:0]
	for range p.list {
		values = append(values, nil)
	}
	s := scanner{b: record}
	s.object(func(name []byte) {
		n, ok := p.outer[string(name)]
		switch {
		case !ok:
			s.skip()
		case n.inner != nil && s.i < len(s.b) && s.b[s.i] == '{':
			s.object(func(name []byte) {
				if at, ok := n.inner[string(name)]; ok {
					values[at] = s.skip()
				} else {
					s.skip()
				}
			})
		case n.at >= 0:
			values[n.at] = s.skip()
		default:
			s.skip()
		}
	})
	if s.bad || s.i != len(record) {
		return values, fmt.Errorf("%w: it is not JSON from byte %d on", ErrDamaged, s.i)
	}
	return values, nil
}

// scanner reads JSON without blanks, as records are, once, from the front.
type scanner struct {
	b   []byte
	i   int
	bad bool
}

func (s *scanner) take(want byte) bool {
	if s.bad || s.i >= len(s.b) || s.b[s.i] != want {
		s.bad = true
		return false
	}
	s.i++
	return true
}

// object calls fn for each name of an object; fn reads the value.
func (s *scanner) object(fn func(name []byte)) {
	if !s.take('{') {
		return
	}
	if s.i < len(s.b) && s.b[s.i] == '}' {
		s.i++
		return
	}
	for !s.bad {
		name := s.text()
		if !s.take(':') {
			return
		}
		fn(name)
		if s.i < len(s.b) && s.b[s.i] == '}' && !s.bad {
			s.i++
			return
		}
		s.take(',')
	}
}

// text returns what is between the quotes of a text, with its escapes.
func (s *scanner) text() []byte {
	if !s.take('"') {
		return nil
	}
	from := s.i
	for {
		n := bytes.IndexByte(s.b[s.i:], '"')
		if n < 0 {
			s.bad = true
			return nil
		}
		end := s.i + n
		s.i = end + 1
		slashes := 0
		for end-slashes-1 >= from && s.b[end-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return s.b[from:end]
		}
	}
}

// skip passes over a value and returns it.
func (s *scanner) skip() []byte {
	from, depth := s.i, 0
	for !s.bad && s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			s.text()
			if depth == 0 {
				return s.b[from:s.i]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return s.value(from)
			}
			if depth--; depth == 0 {
				s.i++
				return s.b[from:s.i]
			}
		case ',':
			if depth == 0 {
				return s.value(from)
			}
		}
		s.i++
	}
	s.bad = true
	return nil
}

func (s *scanner) value(from int) []byte {
	if s.i == from {
		s.bad = true
	}
	return s.b[from:s.i]
}

// inside returns what conditions compare: a text without its quotes, with its
// escapes, or the value as it is.
func inside(value []byte) []byte {
	if len(value) >= 2 && value[0] == '"' {
		return value[1 : len(value)-1]
	}
	return value
}

// cell returns the text of a value as cells have it: a text with its JSON
// escapes undone, a list of texts with a space between them, or the JSON.
func cell(value []byte, kind string) (string, error) {
	switch {
	case len(value) == 0:
		return "", nil
	case kind == List && value[0] == '[':
		var list []string
		if err := json.Unmarshal(value, &list); err != nil {
			return "", fmt.Errorf("%w: a list is not one of texts", ErrDamaged)
		}
		return strings.Join(list, " "), nil
	case value[0] == '"':
		if bytes.IndexByte(value, '\\') < 0 {
			return string(value[1 : len(value)-1]), nil
		}
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return "", fmt.Errorf("%w: a text is not one", ErrDamaged)
		}
		return text, nil
	}
	return string(value), nil
}
