package controls

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

//go:embed criteria.json
var criteriaJSON []byte

// Strength says how much of a criterion an edge proxy can be evidence for.
type Strength string

// The strengths.
const (
	Primary     Strength = "primary"      // the edge is where the control is
	Supporting  Strength = "supporting"   // it adds to evidence from elsewhere
	Context     Strength = "context"      // it helps to understand other evidence
	NotAssessed Strength = "not_assessed" // it cannot see it
)

// Criterion is one of the Trust Services Criteria, by its id. Title and Focus
// are this project's own words; the criteria themselves are published by the
// AICPA.
type Criterion struct {
	ID          string   `json:"id"`
	Title       string   `json:"title"`
	Strength    Strength `json:"strength"`
	Focus       []string `json:"focus"`       // what of the points of focus the evidence is about
	Collected   []string `json:"collected"`   // what is collected
	Populations []string `json:"populations"` // records of the log
	Test        string   `json:"test"`        // how an auditor may test it
	Limits      string   `json:"limits"`      // what is not assessed
}

// CriteriaSet is all criteria.
type CriteriaSet struct {
	Version  int         `json:"version"`
	Basis    string      `json:"basis"`
	Criteria []Criterion `json:"criteria"`
	SHA256   string      `json:"-"` // of the embedded file, hex
}

// Criteria returns the mapping of this build, which nobody changes.
var Criteria = sync.OnceValue(func() *CriteriaSet {
	c := &CriteriaSet{SHA256: sum(criteriaJSON)}
	if err := json.Unmarshal(criteriaJSON, c); err != nil {
		panic("controls: criteria.json: " + err.Error())
	}
	return c
})

// Criterion returns a criterion by its id, in capitals or not; nil if there is
// none.
func (s *CriteriaSet) Criterion(id string) *Criterion {
	i := slices.IndexFunc(s.Criteria, func(c Criterion) bool { return strings.EqualFold(c.ID, id) })
	if i < 0 {
		return nil
	}
	return &s.Criteria[i]
}

// Checks returns the checks that have to do with a criterion.
func (c *Criterion) Checks() (ids []string) {
	for _, d := range Checks().Checks {
		if slices.Contains(d.Criteria, c.ID) {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

// The states of evidence for a criterion. None of them is a verdict on it.
const (
	EvidenceCollected  = "evidence collected"
	EvidenceExceptions = "exceptions"
	EvidenceNone       = "no data"
	EvidenceNot        = "not assessed"
)

// CriterionState is a criterion with what is there for it.
type CriterionState struct {
	Criterion
	State      string   `json:"state"`
	Checks     []string `json:"checks"`             // that have to do with it
	Exceptions []string `json:"exceptions"`         // checks among them that fail or warn
	Accepted   []string `json:"accepted,omitempty"` // those among them with an exception in force
	NoData     []string `json:"no_data,omitempty"`  // checks among them that are unknown
}

// States returns each criterion with what a report has for it. Without a report,
// nothing is said of the checks.
func (s *CriteriaSet) States(r *Report) []CriterionState {
	list := make([]CriterionState, 0, len(s.Criteria))
	for _, c := range s.Criteria {
		list = append(list, c.state(r))
	}
	return list
}

func (c *Criterion) state(r *Report) CriterionState {
	s := CriterionState{Criterion: *c, State: EvidenceNone, Checks: c.Checks(), Exceptions: []string{}}
	if s.Checks == nil {
		s.Checks = []string{}
	}
	if c.Strength == NotAssessed {
		s.State = EvidenceNot
		return s
	}
	if r == nil {
		return s
	}
	seen := len(s.Checks) == 0 && r.Source == SourceServer // records are the evidence
	for _, id := range s.Checks {
		f := r.Check(id)
		switch f.Result {
		case Pass:
			seen = true
		case Fail, Warn:
			seen = true
			s.Exceptions = append(s.Exceptions, id)
		case Unknown:
			s.NoData = append(s.NoData, id)
		}
		if f.Accepted() && f.Result != Pass && f.Result != NotApplicable {
			s.Accepted = append(s.Accepted, id)
		}
	}
	switch {
	case len(s.Exceptions) > 0:
		s.State = EvidenceExceptions
	case seen:
		s.State = EvidenceCollected
	}
	return s
}
