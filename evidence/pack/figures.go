package pack

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Report is what a pack says of a period. Verifiers compute all of it again.
type Report struct {
	Schema   string            `json:"schema"`
	Notice   string            `json:"notice"`
	PackID   string            `json:"pack_id"`
	Period   Period            `json:"period"`
	Full     bool              `json:"full"`
	Logs     []Figures         `json:"logs"`
	Criteria []CriterionResult `json:"criteria"`
}

// Notice is said with every report.
const Notice = "This is evidence for the examination of controls. Whether controls meet the criteria is an independent auditor's opinion."

// Figures are what a log says of the period. A record is in the period if its
// member time is. Times are as records hold them; durations are in nanoseconds.
type Figures struct {
	Heads
	First    int64            `json:"first"` // record that was looked at
	Next     int64            `json:"next"`  // the one behind the last
	Records  int64            `json:"records"`
	Kinds    map[string]int64 `json:"kinds"`
	Gaps     []Gap            `json:"gaps"` // in what is known of the period
	Requests Requests         `json:"requests"`
	Days     map[string]Day   `json:"days"` // by date, UTC

	Populations map[string]Count    `json:"populations"`
	Checks      map[string]Check    `json:"checks"`
	Upstreams   map[string]Timeline `json:"upstreams"` // by server, address and number of the health check
	Rollups     Rollups             `json:"rollups"`
	Lost        Lost                `json:"lost"` // by log.gap records
	Keys        []KeyUse            `json:"keys"` // that log.open records name

	Findings     []Finding `json:"findings"` // the first maxListed, by when they were opened
	MoreFindings int64     `json:"more_findings"`
	Risks        []Risk    `json:"accepted_risks"` // the first maxListed
	MoreRisks    int64     `json:"more_accepted_risks"`
	Samples      []Drawn   `json:"samples"` // in the order of the manifest
}

// KeyUse says which keys signed the log from a record on.
type KeyUse struct {
	Seq  int64    `json:"seq"`
	Keys []string `json:"keys"` // verifier keys (C2SP signed-note)
}

// Gap is a part of the period of which the log does not tell everything.
type Gap struct {
	From string `json:"from"`
	To   string `json:"to"`
	Why  string `json:"why"`
}

// Requests counts the requests of the period. Tables have the names of the
// records; a request without the member counts as "none".
type Requests struct {
	Total         int64                       `json:"total"`
	Bytes         int64                       `json:"bytes"`
	Authenticated int64                       `json:"authenticated"`
	By            map[string]map[string]int64 `json:"by"`
}

// Day counts the requests of a day.
type Day struct {
	Requests int64            `json:"requests"`
	Bytes    int64            `json:"bytes"`
	Class    map[string]int64 `json:"class"` // of status: 2xx, …
	Denied   int64            `json:"denied"`
	Limited  int64            `json:"limited"`
	Plain    int64            `json:"plain"` // without TLS
}

// Count is the number of records in a population, and the first and the last.
type Count struct {
	Count int64  `json:"count"`
	First *int64 `json:"first_seq"`
	Last  *int64 `json:"last_seq"`
}

// Timeline says how long something was in each state. The durations of a
// timeline add up to the period.
type Timeline struct {
	State       string           `json:"state"` // at the end of the period, or of what is known of it
	Since       string           `json:"since"`
	NS          map[string]int64 `json:"ns"` // by state
	Transitions int64            `json:"transitions"`
}

// Check is how a check was.
type Check struct {
	Timeline
	FailingMinutes string   `json:"failing_minutes"` // three decimals, cut
	FirstFail      string   `json:"first_fail,omitempty"`
	LastFail       string   `json:"last_fail,omitempty"`
	Severity       string   `json:"severity"`
	Criteria       []string `json:"criteria"`
	Exception      string   `json:"exception,omitempty"`
	Definition     string   `json:"definition"` // SHA-256
}

// Rollups sums up the rollup records whose segments lie in the pack.
type Rollups struct {
	Segments int64 `json:"segments"`
	Records  int64 `json:"records"`
	Requests int64 `json:"requests"`
}

// Lost is what log.gap records of the period say.
type Lost struct {
	Gaps    int64 `json:"gaps"`
	Lost    int64 `json:"lost"`
	Refused int64 `json:"refused"`
	Served  int64 `json:"served"`
	Late    int64 `json:"late"`
}

// CriterionResult is a criterion with what is there for it. No state is a verdict
// on it.
type CriterionResult struct {
	ID         string   `json:"id"`
	State      string   `json:"state"` // evidence collected, exceptions, no data, not assessed
	Checks     []string `json:"checks"`
	Exceptions []string `json:"exceptions"` // checks that failed or warned in the period
	NoData     []string `json:"no_data"`    // checks of which nothing is known
}

// mapping is what of criteria/mapping.json is used.
type mapping struct {
	Criteria []struct {
		ID       string `json:"id"`
		Title    string `json:"title"`
		Strength string `json:"strength"`
		Limits   string `json:"limits"`
	} `json:"criteria"`
}

// definition is what of a line of checks/definitions.ndjson is used.
type definition struct {
	ID          string   `json:"id"`
	Title       string   `json:"title"`
	Criteria    []string `json:"criteria"`
	Severity    string   `json:"severity"`
	Remediation string   `json:"remediation"`
}

// Judge returns the states of criteria, from the mapping of criteria and the
// definitions of checks that the pack has.
func Judge(criteria []byte, definitions [][]byte, logs []Figures) ([]CriterionResult, error) {
	var m mapping
	if err := json.Unmarshal(criteria, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", CriteriaFile, err)
	}
	by := map[string][]string{}
	for _, line := range definitions {
		var d definition
		if err := json.Unmarshal(line, &d); err != nil {
			return nil, fmt.Errorf("%s: %w", ChecksFile, err)
		}
		for _, c := range d.Criteria {
			by[c] = append(by[c], d.ID)
		}
	}
	list := []CriterionResult{}
	for _, c := range m.Criteria {
		r := CriterionResult{ID: c.ID, Checks: []string{}, Exceptions: []string{}, NoData: []string{}}
		for _, id := range slices.Sorted(slices.Values(by[c.ID])) {
			r.Checks = append(r.Checks, id)
			failed, known := tell(id, logs)
			switch {
			case failed:
				r.Exceptions = append(r.Exceptions, id)
			case !known:
				r.NoData = append(r.NoData, id)
			}
		}
		switch {
		case c.Strength == "not_assessed":
			r.State = "not assessed"
		case len(r.Exceptions) > 0:
			r.State = "exceptions"
		case len(r.Checks) > 0 && len(r.NoData) == len(r.Checks):
			r.State = "no data"
		default:
			r.State = "evidence collected"
		}
		list = append(list, r)
	}
	return list, nil
}

// tell says whether a check failed or warned in the period, and whether anything
// is known of it.
func tell(id string, logs []Figures) (failed, known bool) {
	for i := range logs {
		c, ok := logs[i].Checks[id]
		if !ok {
			continue
		}
		for state, ns := range c.NS {
			failed = failed || ns > 0 && (state == "fail" || state == "warn")
			known = known || ns > 0 && state != unknown
		}
	}
	return failed, known
}

// minutes writes a duration as minutes with three decimals, cut.
func minutes(ns int64) string {
	milli := ns / 60_000_000
	return fmt.Sprintf("%d.%03d", milli/1000, milli%1000)
}

// maxNames is how many different names a table takes; further ones are counted
// as tooMany. Part of the format.
const (
	maxNames = 1000
	tooMany  = "(other)"
)

func add(table map[string]int64, name string) {
	if _, ok := table[name]; !ok && len(table) >= maxNames {
		name = tooMany
	}
	table[name]++
}

// byTime sorts gaps.
func byTime(a, b Gap) int {
	return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Why, b.Why))
}
