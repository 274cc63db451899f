// Package controls holds the checks: what of a server's configuration, of its
// audit log and of its process can be evidence for criteria of SOC 2, and how
// that is found out.
//
// A check is a pure function of a Snapshot, the settings and the clock in it:
// the same snapshot always gives the same result, on a server, in a pipeline
// and at an auditor's desk. What each check looks at, why, and what to do when
// it fails is data, in catalogue.json, whose hash every result carries.
//
// A result is one of five. Unknown is no pass: a check that could not be made
// says why. Which of them apply is not for the caller to choose; an Exception
// leaves the result as it is, and says who accepted it, why and until when.
//
// Nothing here judges criteria: see Criteria.
package controls

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed catalogue.json
var catalogueJSON []byte

// Result is what a check says.
type Result string

// The results.
const (
	Pass          Result = "pass"
	Fail          Result = "fail"
	Warn          Result = "warn"
	NotApplicable Result = "not_applicable"
	Unknown       Result = "unknown" // the check could not be made, which is no pass
)

// Results are all results, in the order in which they are shown.
func Results() []Result { return []Result{Fail, Unknown, Warn, Pass, NotApplicable} }

// Severity says how much a check matters.
type Severity string

// The severities.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
)

// Severities are all severities, the worst first.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low} }

// Class says what a check looks at.
type Class string

// The classes.
const (
	Design      Class = "design"      // the configuration
	Operating   Class = "operating"   // what happened
	Environment Class = "environment" // the process and the machine
)

// Definition is a check of the catalogue.
type Definition struct {
	ID          string      `json:"id"`
	Version     int         `json:"version"` // grows when the check is made differently
	Title       string      `json:"title"`   // what holds when it passes
	Criteria    []string    `json:"criteria"`
	Severity    Severity    `json:"severity"`
	Class       Class       `json:"class"`
	Reads       []string    `json:"reads"` // what it looks at
	Thresholds  []Threshold `json:"thresholds"`
	Explain     string      `json:"explain"`
	Remediation string      `json:"remediation"`

	SHA256 string `json:"-"` // of the definition, as compact JSON, hex

	run func(*eval)
}

// Threshold is a setting of a check.
type Threshold struct {
	Name    string   `json:"name"`
	Kind    Kind     `json:"kind"`
	Default []string `json:"default"`
	Meaning string   `json:"meaning"`
	Values  []string `json:"values,omitempty"` // of a text, if not any will do
}

// Kind is what a threshold is made of.
type Kind string

// The kinds of thresholds.
const (
	KindDuration Kind = "duration" // such as 90s, 24h, 30d
	KindNumber   Kind = "number"
	KindText     Kind = "text"
	KindList     Kind = "list" // of texts; may be empty
)

// check finds what is wrong with a value of a threshold.
func (t *Threshold) check(value []string) error {
	if t.Kind == KindList {
		return t.checkList(value)
	}
	if len(value) != 1 {
		return fmt.Errorf("it takes one %s", t.Kind)
	}
	switch t.Kind {
	case KindDuration:
		if d, err := ParseDuration(value[0]); err != nil || d <= 0 {
			return fmt.Errorf("%q is not a duration like 24h or 30d", value[0])
		}
	case KindNumber:
		if n, err := strconv.ParseFloat(value[0], 64); err != nil || !(n >= 0 && n < 1e18) {
			return fmt.Errorf("%q is not a number", value[0])
		}
	case KindText:
		if len(t.Values) > 0 && !slices.Contains(t.Values, value[0]) {
			return fmt.Errorf("%q: choose %s", value[0], strings.Join(t.Values, " or "))
		}
		if _, err := regexp.Compile(value[0]); t.Name == thresholdPattern && err != nil {
			return fmt.Errorf("%q is not a regular expression: %w", value[0], err)
		}
	}
	return nil
}

// The names of thresholds whose values have a form.
const (
	thresholdPattern = "pattern" // a regular expression
	thresholdPaths   = "paths"   // patterns of paths
	thresholdRemoved = "removed" // principals with dates
)

// checkList finds what is wrong with the values of a list: one that never
// matches anything would let a check pass that looks at nothing.
func (t *Threshold) checkList(values []string) error {
	for _, v := range values {
		switch {
		case v == "":
			return errors.New("it has an empty value")
		case t.Name == thresholdPaths && v[0] != '/' && v[0] != '*':
			return fmt.Errorf("%q is not a pattern of paths: it begins with / or *", v)
		case t.Name == thresholdRemoved:
			if _, _, err := removal(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// ParseDuration reads a duration, in which d stands for 24 h.
func ParseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n <= 36500) {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		return time.Duration(n * float64(24*time.Hour)), nil
	}
	return time.ParseDuration(s)
}

// Catalogue is all checks.
type Catalogue struct {
	Version int          `json:"version"`
	Checks  []Definition `json:"checks"`
	SHA256  string       `json:"-"` // of the embedded file, hex
	byID    map[string]*Definition
}

// Checks returns the catalogue of this build, which nobody changes.
var Checks = sync.OnceValue(func() *Catalogue {
	c := &Catalogue{SHA256: sum(catalogueJSON), byID: map[string]*Definition{}}
	if err := json.Unmarshal(catalogueJSON, c); err != nil {
		panic("controls: catalogue.json: " + err.Error())
	}
	for i := range c.Checks {
		d := &c.Checks[i]
		b, err := json.Marshal(d)
		d.run = functions[d.ID]
		if err != nil || d.run == nil || c.byID[d.ID] != nil {
			panic("controls: catalogue.json: " + d.ID + " is there twice, or nothing makes the check")
		}
		d.SHA256 = sum(b)
		c.byID[d.ID] = d
	}
	return c
})

// Check returns a check by its id, in capitals or not; nil if there is none.
func (c *Catalogue) Check(id string) *Definition { return c.byID[strings.ToUpper(id)] }

// Threshold returns a setting of a check; nil if there is none.
func (d *Definition) Threshold(name string) *Threshold {
	if i := slices.IndexFunc(d.Thresholds, func(t Threshold) bool { return t.Name == name }); i >= 0 {
		return &d.Thresholds[i]
	}
	return nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
