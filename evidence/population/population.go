// Package population says what the populations of an examination are, such as
// all requests or all changes of the configuration, and reads them from a log:
// it counts them, streams their rows, writes them to files with their
// provenance, and draws samples that anybody can draw again.
//
// A population is a definition in populations.json, which the program embeds
// and whose version and hash each export names. Its rows are the records of some
// kinds for which conditions hold, in the order of the log. Columns are members
// of the records, by their paths: a row says nothing that its record does not
// say, and whoever has the records and the definitions makes the same rows. Only
// principals is derived: it has a row for each name.
//
// All that is read lies under one checkpoint, a Log, and in a Period, which is
// half-open: a record is in it if its member "time" is at or after From and
// before To. For a request that is when it began.
//
// What is missing of a period is said: see Coverage. Whatever the size of the
// log, a call holds one bundle of records in memory, and for principals at most
// 65,536 names.
//
// The package imports neither Caddy nor the writer of the log (package audit), so
// that a verifier may use it.
package population

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

//go:embed populations.json
var definitions []byte

// The types of columns.
const (
	Text   = "text"   // text, and times, which are texts in RFC 3339 with nine digits
	Number = "number" // whole number
	List   = "list"   // list of texts, in a cell with a space between them
	Flag   = "flag"   // true or absent
)

// Column is a column of a population.
type Column struct {
	Name   string `json:"name"`
	Member string `json:"member"` // path in the record, a dot between the names; of a derived population: not used
	Type   string `json:"type"`
}

// Condition holds for a record whose member is what it says. A member that is
// absent is the empty text.
type Condition struct {
	Member string   `json:"member"`
	Is     []string `json:"is,omitempty"`  // it is one of these
	Not    []string `json:"not,omitempty"` // it is none of these
	Set    bool     `json:"set,omitempty"` // it is not empty
}

// Population is the definition of a population.
type Population struct {
	Name     string   `json:"name"`
	Title    string   `json:"title"`
	Doc      string   `json:"doc"`
	Criteria []string `json:"criteria"` // of the trust services criteria, by id, that it is evidence for

	// Kinds are those of its records; one that ends in .* is a family. A record
	// is in the population if one of Any holds, or there is none, and all of All.
	Kinds []string    `json:"kinds"`
	Any   []Condition `json:"any,omitempty"`
	All   []Condition `json:"all,omitempty"`

	Derived bool     `json:"derived,omitempty"` // its rows are not records
	Columns []Column `json:"columns"`

	paths paths // members that are read
	at    []int // of the columns, in paths
	conds []cond
	anys  int // of conds, so many are Any
}

// table is what populations.json holds.
type table struct {
	Version     int           `json:"version"`
	Populations []*Population `json:"populations"`
}

var (
	all        = load()
	definition = sum(definitions)
)

func load() (t table) {
	if err := json.Unmarshal(definitions, &t); err != nil {
		panic("populations.json: " + err.Error())
	}
	for _, p := range t.Populations {
		p.prepare()
	}
	return t
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// Version is that of the definitions.
func Version() int { return all.Version }

// Definitions returns the definitions as JSON, and their SHA-256 in hex. They
// must not be changed.
func Definitions() (text []byte, sha256 string) { return definitions, definition }

// All returns the populations, in the order of the definitions. They must not be
// changed.
func All() []*Population { return all.Populations }

// Find returns a population by its name, or an error that lists the names.
func Find(name string) (*Population, error) {
	for _, p := range all.Populations {
		if p.Name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w %q: choose one of %s", ErrName, name, strings.Join(Names(), ", "))
}

// Names lists the names of the populations.
func Names() []string {
	var names []string
	for _, p := range all.Populations {
		names = append(names, p.Name)
	}
	return names
}

// header lists the names of the columns.
func (p *Population) header() []string {
	names := make([]string, len(p.Columns))
	for i, c := range p.Columns {
		names[i] = c.Name
	}
	return names
}

// hasKind reports whether records of a kind may be in the population.
func (p *Population) hasKind(kind []byte) bool {
	for _, k := range p.Kinds {
		if string(kind) == k {
			return true
		}
		if family, ok := strings.CutSuffix(k, "*"); ok && len(kind) >= len(family) && string(kind[:len(family)]) == family {
			return true
		}
	}
	return false
}

// conditional reports whether more than its kind decides about a record.
func (p *Population) conditional() bool { return len(p.conds) > 0 }

// cond is a condition with the place of its member in paths.
type cond struct {
	Condition
	at int
}

func (c *cond) holds(text []byte) bool {
	is := func(s string) bool { return s == string(text) }
	switch {
	case c.Set:
		return len(text) > 0
	case len(c.Not) > 0:
		return !slices.ContainsFunc(c.Not, is)
	}
	return slices.ContainsFunc(c.Is, is)
}

// prepare finds out which members are read.
func (p *Population) prepare() {
	if !p.Derived {
		for _, c := range p.Columns {
			p.at = append(p.at, p.paths.add(c.Member))
		}
	}
	for _, c := range slices.Concat(p.Any, p.All) {
		p.conds = append(p.conds, cond{c, p.paths.add(c.Member)})
	}
	p.anys = len(p.Any)
}
