package verdict

import (
	"encoding/json"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
)

// The parts of SARIF 2.1.0 (OASIS) that are written.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool       `json:"tool"`
		Artifacts  []sarifArtifact `json:"artifacts"`
		Results    []sarifResult   `json:"results"`
		ColumnKind string          `json:"columnKind"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		InformationURI string      `json:"informationUri"`
		Version        string      `json:"version"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string         `json:"id"`
		ShortDescription sarifText      `json:"shortDescription"`
		FullDescription  sarifText      `json:"fullDescription"`
		Help             sarifText      `json:"help"`
		Default          sarifDefault   `json:"defaultConfiguration"`
		Properties       map[string]any `json:"properties,omitempty"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifDefault struct {
		Level string `json:"level"`
	}
	sarifArtifact struct {
		Location sarifURI          `json:"location"`
		Hashes   map[string]string `json:"hashes"`
	}
	sarifURI struct {
		URI string `json:"uri"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Baseline     string             `json:"baselineState,omitempty"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifURI    `json:"artifactLocation"`
		Region   sarifRegion `json:"region"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
		EndLine   int `json:"endLine"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
)

// WriteSARIF writes verdicts as SARIF 2.1.0, which code hosts show beside the
// lines. What does not count is there as suppressed.
func WriteSARIF(w io.Writer, version string, list []*Verdict) error {
	run := sarifRun{
		Tool:       sarifTool{sarifDriver{Name: "caddy-soc2", InformationURI: "https://github.com/caddy-soc2/caddy-soc2", Version: version}},
		Artifacts:  []sarifArtifact{},
		Results:    []sarifResult{},
		ColumnKind: "unicodeCodePoints",
	}
	for _, r := range dockerfile.Rules() {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, ruleOf(r.ID, r.Title, r.Why, r.Fix, r.Severity, r.Criteria))
	}
	for _, v := range list {
		for _, in := range v.Inputs {
			a := sarifArtifact{sarifURI{uri(in.Name)}, map[string]string{"sha-256": in.SHA256}}
			if !slices.ContainsFunc(run.Artifacts, func(b sarifArtifact) bool { return a.Location == b.Location }) {
				run.Artifacts = append(run.Artifacts, a)
			}
		}
		for i := range v.Findings {
			run.add(&v.Findings[i])
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}

func ruleOf(id, title, why, fix string, s dockerfile.Severity, criteria []string) sarifRule {
	r := sarifRule{ID: id, ShortDescription: sarifText{title}, FullDescription: sarifText{why}, Help: sarifText{fix}, Default: sarifDefault{level(s)}}
	if len(criteria) > 0 {
		r.Properties = map[string]any{"tags": append([]string{"SOC2"}, criteria...)}
	}
	return r
}

func (run *sarifRun) add(f *dockerfile.Finding) {
	rules := &run.Tool.Driver.Rules
	index := slices.IndexFunc(*rules, func(r sarifRule) bool { return r.ID == f.Rule })
	if index < 0 {
		index = len(*rules)
		*rules = append(*rules, ruleOf(f.Rule, f.Rule, f.Why, f.Fix, f.Severity, nil))
	}
	r := sarifResult{
		RuleID: f.Rule, RuleIndex: index, Level: level(f.Severity), Message: sarifText{f.Message + ". To mend it: " + f.Fix},
		Locations:    []sarifLocation{{sarifPhysical{sarifURI{uri(f.File)}, sarifRegion{f.Line, f.End}}}},
		Fingerprints: map[string]string{"soc2/v1": f.Fingerprint},
	}
	switch {
	case f.Waived != nil:
		r.Suppressions = []sarifSuppression{{"external", "accepted", f.Waived.Reason + " (" + f.Waived.Approver + ", until " + f.Waived.Expires + ")"}}
	case f.Baseline:
		r.Baseline = "unchanged"
		r.Suppressions = []sarifSuppression{{"external", "accepted", "it is in the baseline"}}
	}
	run.Results = append(run.Results, r)
}

func level(s dockerfile.Severity) string {
	switch s {
	case dockerfile.Block:
		return "error"
	case dockerfile.Warn:
		return "warning"
	}
	return "note"
}

func uri(name string) string {
	return (&url.URL{Path: strings.TrimPrefix(filepath.ToSlash(name), "./")}).String()
}
