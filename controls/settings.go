package controls

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Settings are what an organization sets of the checks.
type Settings struct {
	// Thresholds are settings of checks: by the check's id, by the name of the
	// threshold, its value or its values. docs/controls.md lists them.
	Thresholds map[string]map[string][]string `json:"thresholds,omitempty"`

	// Exceptions are risks that were accepted for a time.
	Exceptions []Exception `json:"exceptions,omitempty"`
}

// Exception is an accepted risk: the check goes on, and its result stays what
// it is, but it does not count as something to be done until the exception
// expires.
type Exception struct {
	// Check is the id of the check.
	Check string `json:"check"`

	// Reason says why the risk is accepted.
	Reason string `json:"reason"`

	// Approver is who accepted it.
	Approver string `json:"approver"`

	// Until is when the exception expires. It is needed.
	Until time.Time `json:"until"`
}

// maxException is how far ahead an exception may expire: one that nobody has
// to look at again is no exception.
const maxException = 2 * 366 * 24 * time.Hour

// Validate finds what is wrong with the settings. Exceptions that have expired
// are not wrong.
func (s *Settings) Validate(now time.Time) error {
	for _, id := range slices.Sorted(maps.Keys(s.Thresholds)) {
		d := Checks().Check(id)
		if d == nil || d.ID != id {
			return fmt.Errorf("threshold %s: there is no such check", id)
		}
		for _, name := range slices.Sorted(maps.Keys(s.Thresholds[id])) {
			t := d.Threshold(name)
			if t == nil {
				return fmt.Errorf("threshold %s %s: %w", id, name, noThreshold(d))
			}
			if err := t.check(s.Thresholds[id][name]); err != nil {
				return fmt.Errorf("threshold %s %s: %w", id, name, err)
			}
		}
	}
	seen := map[string]bool{}
	for _, e := range s.Exceptions {
		d := Checks().Check(e.Check)
		switch {
		case d == nil || d.ID != e.Check:
			return fmt.Errorf("exception %s: there is no such check", e.Check)
		case seen[e.Check]:
			return fmt.Errorf("exception %s: it is given twice", e.Check)
		case strings.TrimSpace(e.Reason) == "":
			return fmt.Errorf("exception %s: a reason is needed", e.Check)
		case strings.TrimSpace(e.Approver) == "":
			return fmt.Errorf("exception %s: the name of who accepted it is needed", e.Check)
		case e.Until.IsZero():
			return fmt.Errorf("exception %s: it has to expire: give a date", e.Check)
		case e.Until.Sub(now) > maxException:
			return fmt.Errorf("exception %s: until %s is more than two years ahead", e.Check, e.Until.UTC().Format(time.DateOnly))
		}
		seen[e.Check] = true
	}
	return nil
}

func noThreshold(d *Definition) error {
	if len(d.Thresholds) == 0 {
		return errors.New("the check has no thresholds")
	}
	names := make([]string, len(d.Thresholds))
	for i, t := range d.Thresholds {
		names[i] = t.Name
	}
	return fmt.Errorf("the check has %s", strings.Join(names, ", "))
}

// Set sets a threshold from the words of a line: the check's id, the name of the
// threshold, which may be left out if the check has one or for its first, and
// the values.
func (s *Settings) Set(words []string) error {
	if len(words) < 2 {
		return errors.New("it is written: threshold CHECK NAME VALUE, where NAME may be left out for the first")
	}
	d := Checks().Check(words[0])
	if d == nil {
		return fmt.Errorf("there is no check %s", words[0])
	}
	if len(d.Thresholds) == 0 {
		return fmt.Errorf("%s: %w", d.ID, noThreshold(d))
	}
	t, values := d.Threshold(words[1]), words[2:]
	if t == nil {
		t, values = &d.Thresholds[0], words[1:]
	}
	if t.Kind == KindList && len(values) == 1 && values[0] == "none" {
		values = []string{}
	} else if len(values) == 0 {
		return fmt.Errorf("%s %s: a value is needed; none is an empty list", d.ID, t.Name)
	}
	if err := t.check(values); err != nil {
		return fmt.Errorf("%s %s: %w", d.ID, t.Name, err)
	}
	if s.Thresholds == nil {
		s.Thresholds = map[string]map[string][]string{}
	}
	if s.Thresholds[d.ID] == nil {
		s.Thresholds[d.ID] = map[string][]string{}
	}
	if _, twice := s.Thresholds[d.ID][t.Name]; twice {
		return fmt.Errorf("%s %s is given twice", d.ID, t.Name)
	}
	s.Thresholds[d.ID][t.Name] = values
	return nil
}

// value returns the values of a threshold.
func (s *Settings) value(id, name string) []string {
	if v, ok := s.Thresholds[id][name]; ok {
		return v
	}
	t := Checks().Check(id).Threshold(name)
	if t == nil {
		panic("controls: " + id + " has no threshold " + name)
	}
	return t.Default
}

// List returns the values of a threshold that is a list.
func (s *Settings) List(id, name string) []string { return s.value(id, name) }

// exception returns the exception of a check, also one that has expired.
func (s *Settings) exception(id string) *Exception {
	for i := range s.Exceptions {
		if s.Exceptions[i].Check == id {
			return &s.Exceptions[i]
		}
	}
	return nil
}
