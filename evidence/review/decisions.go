package review

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Decision is what a reviewer decides on a grant.
type Decision struct {
	Grant    string `json:"grant"`
	Decision string `json:"decision"` // keep, revoke, change
	Note     string `json:"note,omitempty"`
}

// The decisions.
const (
	Keep   = "keep"
	Revoke = "revoke"
	Change = "change"
)

// The longest note and grant, in bytes, and the most decisions of a sign-off.
const (
	maxNote      = 1024
	maxGrant     = 2048
	maxDecisions = 100_000
)

func (d *Decision) check() error {
	switch {
	case d.Grant == "" || len(d.Grant) > maxGrant:
		return errors.New("a decision names no grant, or one that is too long")
	case d.Decision != Keep && d.Decision != Revoke && d.Decision != Change:
		return fmt.Errorf("grant %q: %q is no decision: it is keep, revoke or change", d.Grant, d.Decision)
	case d.Decision != Keep && strings.TrimSpace(d.Note) == "":
		return fmt.Errorf("grant %q: to %s it needs a note that says why, or to what", d.Grant, d.Decision)
	case len(d.Note) > maxNote || !utf8.ValidString(d.Note) || !utf8.ValidString(d.Grant):
		return fmt.Errorf("grant %q: its note is not UTF-8, or longer than %d bytes", d.Grant, maxNote)
	}
	return nil
}

// ParseDecisions reads decisions: a JSON list of {"grant", "decision", "note"}, or
// a table (CSV) with columns grant, decision and note among others, such as the
// one that Document.CSV writes with the columns filled in. Rows of the table
// without a decision are passed over, and so is keep where there is no grant. What
// else is decided there is an error.
func ParseDecisions(b []byte) (list []Decision, err error) {
	b = bytes.TrimPrefix(b, []byte("\ufeff")) // spreadsheets begin with it
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && trimmed[0] == '[' {
		list, err = parseJSON(trimmed)
	} else {
		list, err = parseTable(b)
	}
	if err != nil {
		return nil, err
	}
	if len(list) > maxDecisions {
		return nil, fmt.Errorf("there are %d decisions: a sign-off has at most %d", len(list), maxDecisions)
	}
	for i := range list {
		if err := list[i].check(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func parseJSON(b []byte) (list []Decision, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf(`the decisions are no JSON list of {"grant", "decision", "note"}: %w`, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON list of decisions")
	}
	return list, nil
}

func parseTable(b []byte) (list []Decision, err error) {
	r := csv.NewReader(bytes.NewReader(b))
	if first, _, _ := bytes.Cut(b, []byte("\n")); !bytes.Contains(first, []byte(",")) && bytes.Contains(first, []byte(";")) {
		r.Comma = ';' // as spreadsheets of some languages write it
	}
	r.FieldsPerRecord = -1
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("the decisions are neither a JSON list nor a table (CSV): %w", err)
	}
	column := func(name string) int {
		return slices.IndexFunc(header, func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), name) })
	}
	grant, decision, note := column("grant"), column("decision"), column("note")
	if grant < 0 || decision < 0 {
		return nil, errors.New("the table of decisions needs columns grant and decision in its first line")
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the table of decisions: %w", err)
		}
		cell := func(i int) string {
			if i < 0 || i >= len(row) {
				return ""
			}
			return strings.TrimSpace(row[i])
		}
		d := Decision{cell(grant), strings.ToLower(cell(decision)), cell(note)}
		if d.Decision == "" || d.Grant == "" && d.Decision == Keep {
			continue
		}
		if line, _ := r.FieldPos(0); d.Grant == "" {
			return nil, fmt.Errorf("line %d of the table of decisions has the decision %q and no grant: decide on the rows of the rules and accounts that allow it", line, d.Decision)
		}
		list = append(list, d)
	}
}

// Decide checks decisions against the grants of the document and puts them in its
// order. rest is what is decided on grants that no decision names, and may be
// empty: then there must be none.
func (d *Document) Decide(list []Decision, rest string) ([]Decision, error) {
	if rest != "" && rest != Keep {
		return nil, fmt.Errorf("%q cannot be decided on what is not named: only keep can", rest)
	}
	given := map[string]Decision{}
	for _, one := range list {
		if err := one.check(); err != nil {
			return nil, err
		}
		if before, twice := given[one.Grant]; twice && before != one {
			return nil, fmt.Errorf("grant %q: there are two decisions on it", one.Grant)
		}
		given[one.Grant] = one
	}
	out, missing := []Decision{}, []string{}
	for _, grant := range d.Grants() {
		one, ok := given[grant]
		delete(given, grant)
		switch {
		case ok:
			out = append(out, one)
		case rest != "":
			out = append(out, Decision{Grant: grant, Decision: rest})
		default:
			missing = append(missing, grant)
		}
	}
	for _, one := range list {
		if _, left := given[one.Grant]; left {
			return nil, fmt.Errorf("grant %q is not in the review", one.Grant)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("nothing is decided on %d of %d grants, such as %q", len(missing), len(missing)+len(out), missing[0])
	}
	return out, nil
}
