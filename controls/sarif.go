package controls

import (
	"io"
	"slices"
	"strings"
)

// The members of SARIF 2.1.0 that are written.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
		Column  string        `json:"columnKind"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		URI     string      `json:"informationUri"`
		Version string      `json:"version"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string          `json:"id"`
		Short   sarifText       `json:"shortDescription"`
		Full    sarifText       `json:"fullDescription"`
		Help    sarifText       `json:"help"`
		Default sarifDefault    `json:"defaultConfiguration"`
		Props   sarifProperties `json:"properties"`
	}
	sarifProperties struct {
		Tags     []string `json:"tags"`
		Severity string   `json:"security-severity"`
	}
	sarifDefault struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		Rule         string             `json:"ruleId"`
		Index        int                `json:"ruleIndex"`
		Kind         string             `json:"kind"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Prints       map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		Line int `json:"startLine"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
	}
	sarifSuppression struct {
		Kind   string `json:"kind"`
		Status string `json:"status"`
		Why    string `json:"justification"`
	}
)

// levels are SARIF's levels, and the numbers by which code-scanning views sort,
// by severity.
var levels = map[Severity][2]string{Critical: {"error", "9.5"}, High: {"error", "8.0"}, Medium: {"warning", "5.5"}, Low: {"note", "2.0"}}

// WriteSARIF writes the results that do not pass as SARIF 2.1.0. file names the
// configuration that was looked at, relative to where the results are shown;
// what was found is located by JSON Pointers into its JSON form.
func (r *Report) WriteSARIF(w io.Writer, file string) error {
	run := sarifRun{Column: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "caddy-soc2", URI: "https://github.com/caddy-soc2/caddy-soc2", Version: "catalogue " + r.Catalogue.SHA256[:12]}
	for i, d := range Checks().Checks {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID: d.ID, Short: sarifText{d.Title}, Full: sarifText{d.Explain}, Help: sarifText{d.Remediation},
			Default: sarifDefault{levels[d.Severity][0]}, Props: sarifProperties{d.Criteria, levels[d.Severity][1]},
		})
		run.Results = append(run.Results, r.Check(d.ID).sarif(i, file)...)
	}
	return indented(w, sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}

func (f *Finding) sarif(index int, file string) (list []sarifResult) {
	one := func(kind, level string, v Evidence) {
		result := sarifResult{
			Rule: f.ID, Index: index, Kind: kind, Level: level, Message: sarifText{f.Title + ": " + v.text()},
			Locations: []sarifLocation{{Physical: sarifPhysical{sarifArtifact{artifact(file)}, sarifRegion{1}}}},
			Prints:    map[string]string{"check/v1": sum([]byte(f.ID + "\x00" + v.Where + "\x00" + v.What))},
		}
		if v.Where != "" {
			result.Locations[0].Logical = []sarifLogical{{v.Where}}
		}
		if f.Accepted() {
			result.Suppressions = []sarifSuppression{{"external", "accepted", f.Exception.Reason + " (" + f.Exception.Approver + ")"}}
		}
		list = append(list, result)
	}
	switch f.Result {
	case Fail, Warn:
		level := levels[f.Severity][0]
		if f.Result == Warn {
			level = "note"
		}
		for _, v := range f.Evidence {
			one("fail", level, v)
		}
		if len(f.Evidence) == 0 {
			one("fail", level, Evidence{What: f.Summary})
		}
	case Unknown:
		one("open", "none", Evidence{What: f.Summary})
	}
	return list
}

// artifact writes a path as a relative URI.
func artifact(file string) string {
	if file == "" {
		return "configuration"
	}
	parts := strings.Split(strings.ReplaceAll(file, "\\", "/"), "/")
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" || p == "." })
	for i, p := range parts {
		parts[i] = escape(p)
	}
	return strings.Join(parts, "/")
}

// escape escapes what a segment of a URI cannot hold (RFC 3986, section 3.3).
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte("0123456789ABCDEF"[c>>4])
		b.WriteByte("0123456789ABCDEF"[c&15])
	}
	return b.String()
}
