package headers

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Bound says what the value of a response header field may be, whoever chose
// it. A value out of bounds is brought into them; a field that is missing stays
// missing. What a value consists of depends on the field: the directives and
// sources of a Content-Security-Policy, otherwise the parts between commas or
// semicolons, each of which may be name=number.
type Bound struct {
	// Field is the name of the field.
	Field string `json:"field"`

	// Param is the part that Min and Max are about, such as max-age.
	Param string `json:"param,omitempty"`

	// Min and Max are the least and the most that Param may be. A value without
	// the part gets it if there is a Min.
	Min *int64 `json:"min,omitempty"`
	Max *int64 `json:"max,omitempty"`

	// Require names parts that must be there; they are added. In a
	// Content-Security-Policy these are directives, which allow nothing then.
	Require []string `json:"require,omitempty"`

	// Forbid names parts that must not be there; they are taken out.
	Forbid []string `json:"forbid,omitempty"`

	// OneOf are the only values; another becomes the first.
	OneOf []string `json:"one_of,omitempty"`

	// MaxLength is how many bytes a value may have. A longer one is removed.
	// Default: no limit but that of all fields, 16 KiB.
	MaxLength int `json:"max_length,omitempty"`

	name   string // canonical
	csp    bool
	report bool
}

// provision prepares b and refuses bounds that no value can be in.
func (b *Bound) provision() error {
	b.name = http.CanonicalHeaderKey(b.Field)
	if !isFieldName(b.Field) {
		return fmt.Errorf("bound: %q is no name of a header field", b.Field)
	}
	if slices.Contains(framing, b.name) {
		return fmt.Errorf("bound %s: the field is not for bounds: it says how the response is sent, or cookies and cors are for it", b.name)
	}
	b.csp = b.name == fields[csp].name || b.name == fields[cspReport].name
	if err := b.satisfiable(); err != nil {
		return fmt.Errorf("bound %s: no value can satisfy it: %w", b.name, err)
	}
	return nil
}

func (b *Bound) satisfiable() error {
	switch {
	case (b.Min != nil || b.Max != nil) != (b.Param != ""):
		return errors.New("min and max go with the name of a parameter")
	case b.Min != nil && *b.Min < 0 || b.Max != nil && *b.Max < 0:
		return errors.New("numbers in headers are not negative")
	case b.Min != nil && b.Max != nil && *b.Min > *b.Max:
		return fmt.Errorf("%s has to be at least %d and at most %d", b.Param, *b.Min, *b.Max)
	case b.Min == nil && b.Max == nil && len(b.Require)+len(b.Forbid)+len(b.OneOf) == 0 && b.MaxLength == 0:
		return errors.New("it bounds nothing")
	case b.csp && b.Param != "":
		return errors.New("directives have no numbers")
	case b.MaxLength < 0:
		return errors.New("the greatest length is negative")
	}
	for _, part := range b.Require {
		if containsFold(b.Forbid, part) {
			return fmt.Errorf("%s is required and forbidden", part)
		}
		if b.csp && directives[strings.ToLower(part)] == 0 {
			return unknownDirective(part)
		}
	}
	if b.Min != nil && containsFold(b.Forbid, b.Param) {
		return fmt.Errorf("%s is bounded below and forbidden", b.Param)
	}
	if err := b.sendable(); err != nil {
		return err
	}
	if len(b.OneOf) > 0 && !slices.ContainsFunc(b.OneOf, b.holds) {
		return errors.New("none of the values that it allows is in its other bounds")
	}
	if least := b.fit(b.least()); b.MaxLength > 0 && len(least) > b.MaxLength {
		return fmt.Errorf("what is required has %d bytes and at most %d are allowed", len(least), b.MaxLength)
	}
	return nil
}

// sendable refuses parts that cannot be in a header.
func (b *Bound) sendable() error {
	for _, s := range slices.Concat(b.Require, b.Forbid, b.OneOf, []string{b.Param}) {
		if i := strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c > '~' }); i >= 0 {
			return fmt.Errorf("%q cannot be sent in a header", s)
		}
	}
	return nil
}

// least is the shortest value to begin with.
func (b *Bound) least() string {
	if len(b.OneOf) > 0 {
		return slices.MinFunc(b.OneOf, func(x, y string) int { return len(x) - len(y) })
	}
	return ""
}

// holds tells whether a value is in the bounds.
func (b *Bound) holds(value string) bool {
	if len(b.OneOf) > 0 && !containsFold(b.OneOf, strings.TrimSpace(value)) {
		return false
	}
	if b.MaxLength > 0 && len(value) > b.MaxLength {
		return false
	}
	if b.Param != "" && !b.holdsNumber(value) {
		return false
	}
	for _, part := range b.Require {
		if !b.has(value, part, b.csp) {
			return false
		}
	}
	for _, part := range b.Forbid {
		if b.has(value, part, false) {
			return false
		}
	}
	return true
}

func (b *Bound) holdsNumber(value string) bool {
	found := false
	for part := range strings.FieldsFuncSeq(value, isSeparator) {
		name, arg, _ := strings.Cut(part, "=")
		if !strings.EqualFold(strings.TrimSpace(name), b.Param) {
			continue
		}
		n, ok := number(strings.TrimSpace(arg))
		if found || !ok || b.Min != nil && n < *b.Min || b.Max != nil && n > *b.Max {
			return false
		}
		found = true
	}
	return found || b.Min == nil
}

func isSeparator(c rune) bool { return c == ',' || c == ';' }

func isSpace(c rune) bool { return c == ' ' || c == '\t' }

// has tells whether a value has a part. With first set only the first word of
// a directive counts, its name.
func (b *Bound) has(value, part string, first bool) bool {
	for piece := range strings.FieldsFuncSeq(value, isSeparator) {
		if !b.csp {
			name, _, _ := strings.Cut(piece, "=")
			if strings.EqualFold(strings.TrimSpace(name), part) || strings.EqualFold(strings.TrimSpace(piece), part) {
				return true
			}
			continue
		}
		for word := range strings.FieldsFuncSeq(piece, isSpace) {
			if strings.EqualFold(word, part) {
				return true
			}
			if first {
				break
			}
		}
	}
	return false
}

// fit brings a value into the bounds, but for the length.
func (b *Bound) fit(value string) string {
	if len(b.OneOf) > 0 && !b.holds(value) {
		return b.OneOf[slices.IndexFunc(b.OneOf, b.holds)]
	}
	if b.csp {
		return b.fitPolicy(value)
	}
	separator := ", "
	if b.name == fields[hsts].name || strings.Contains(value, ";") {
		separator = "; "
	}
	var parts []string
	for piece := range strings.FieldsFuncSeq(value, isSeparator) {
		piece = strings.TrimSpace(piece)
		name, _, _ := strings.Cut(piece, "=")
		name = strings.TrimSpace(name)
		if piece == "" || containsFold(b.Forbid, name) || containsFold(b.Forbid, piece) {
			continue
		}
		if b.Param != "" && strings.EqualFold(name, b.Param) {
			if piece = b.moved(piece); slices.ContainsFunc(parts, b.isParam) {
				continue // the first one counts
			}
		}
		parts = append(parts, piece)
	}
	if b.Min != nil && !slices.ContainsFunc(parts, b.isParam) {
		parts = append(parts, b.Param+"="+strconv.FormatInt(*b.Min, 10))
	}
	for _, part := range b.Require {
		if !b.has(strings.Join(parts, ","), part, false) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, separator)
}

func (b *Bound) isParam(part string) bool {
	name, _, _ := strings.Cut(part, "=")
	return strings.EqualFold(strings.TrimSpace(name), b.Param)
}

// moved returns name=number in the bounds.
func (b *Bound) moved(part string) string {
	name, arg, _ := strings.Cut(part, "=")
	n, ok := number(strings.TrimSpace(arg))
	if ok && b.Min != nil {
		n = max(n, *b.Min)
	}
	if ok && b.Max != nil {
		n = min(n, *b.Max)
	}
	if !ok { // what it means is anybody's guess
		n = 0
		if b.Min != nil {
			n = *b.Min
		}
	}
	return strings.TrimSpace(name) + "=" + strconv.FormatInt(n, 10)
}

// fitPolicy takes forbidden directives and sources out of a
// Content-Security-Policy, and adds directives that are required. A directive
// that loses its last source allows nothing. Each of several policies in one
// line stays one.
func (b *Bound) fitPolicy(value string) string {
	var policies []string
	for policy := range strings.SplitSeq(value, ",") {
		var parts []string
		for piece := range strings.SplitSeq(policy, ";") {
			words := strings.Fields(piece)
			if len(words) == 0 || containsFold(b.Forbid, words[0]) {
				continue
			}
			kept := slices.DeleteFunc(words, func(w string) bool { return containsFold(b.Forbid, w) })
			if len(kept) == 1 && directives[strings.ToLower(kept[0])] == fetching {
				kept = append(kept, "'none'")
			}
			parts = append(parts, strings.Join(kept, " "))
		}
		for _, name := range b.Require {
			if !b.has(strings.Join(parts, ";"), name, true) {
				parts = append(parts, emptyDirective(name))
			}
		}
		if len(parts) > 0 {
			policies = append(policies, strings.Join(parts, "; "))
		}
	}
	return strings.Join(policies, ", ")
}

// emptyDirective writes a directive that allows nothing.
func emptyDirective(name string) string {
	switch directives[strings.ToLower(name)] {
	case fetching, places:
		return name + " 'none'"
	case sinks:
		return name + " 'script'"
	case oneName:
		return name + " " + reportingGroup
	}
	return name
}

// impose brings the field of a response into the bounds.
func (e *enforcement) impose(h http.Header, b *Bound) {
	values := h[b.name]
	for i, v := range values {
		if b.holds(v) {
			continue
		}
		e.find(boundRule(b.name), b.report, b.name, v)
		if b.report {
			return
		}
		e.bring(h, b, values, i)
		return
	}
}

// bring makes values, whose i-th is the first out of bounds, those of a field
// within them.
func (e *enforcement) bring(h http.Header, b *Bound, values []string, i int) {
	fitting := append(make([]string, 0, len(values)), values[:i]...)
	for _, v := range values[i:] {
		if !b.holds(v) {
			v = b.fit(v)
		}
		if v != "" && (b.MaxLength == 0 || len(v) <= b.MaxLength) {
			fitting = append(fitting, v)
		}
	}
	if len(fitting) == 0 {
		delete(h, b.name)
		return
	}
	h[b.name] = fitting
}

// boundRule is the name that findings of a bound go by.
func boundRule(name string) string {
	for i := range fields {
		if fields[i].name == name {
			return fields[i].rule
		}
	}
	return strings.ToLower(name)
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(v string) bool { return strings.EqualFold(v, s) })
}

// isFieldName tells whether s can be the name of a field (RFC 9110 section 5.1).
func isFieldName(s string) bool {
	for i := range len(s) {
		if !tchar[s[i]] {
			return false
		}
	}
	return s != ""
}

// tchar are the characters of a token (RFC 9110 section 5.6.2).
var tchar = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()
