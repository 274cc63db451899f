// Package verdict is what a check of a Dockerfile says, for people, for machines
// and as evidence: with the hash of everything that it depended on.
package verdict

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
)

// Outcomes.
const (
	Pass = "pass"
	Fail = "fail"
)

// Verdict is that of one Dockerfile.
type Verdict struct {
	File    string             `json:"file"`
	Target  string             `json:"target"`
	Profile dockerfile.Profile `json:"profile"`
	Rules   int                `json:"rules"` // dockerfile.RulesVersion
	Outcome string             `json:"outcome"`

	Blocking int `json:"blocking"`
	Warnings int `json:"warnings"`
	Notes    int `json:"notes"` // findings that only inform
	Waived   int `json:"waived"`
	Baseline int `json:"baseline"` // findings that were there before

	Inputs    []Input              `json:"inputs"`
	BuildArgs []string             `json:"build_args,omitempty"` // NAME=value; values of what is named like a secret are left out
	Findings  []dockerfile.Finding `json:"findings"`
	Remarks   []string             `json:"remarks,omitempty"` // about waivers and baselines
	Off       []string             `json:"off,omitempty"`     // rules that were not applied
}

// Input is a file that the verdict depends on.
type Input struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // hex
}

// NewInput hashes a file.
func NewInput(name string, data []byte) Input {
	sum := sha256.Sum256(data)
	return Input{name, hex.EncodeToString(sum[:])}
}

// New counts the findings. One that blocks, and counts, makes the outcome fail.
func New(file, target string, o *dockerfile.Options, found []dockerfile.Finding, inputs []Input) *Verdict {
	v := &Verdict{
		File: file, Target: target, Profile: o.Profile, Rules: dockerfile.RulesVersion, Outcome: Pass,
		Inputs: inputs, Findings: found, Off: o.Off,
	}
	if v.Profile == "" {
		v.Profile = dockerfile.Recommended
	}
	if v.Findings == nil {
		v.Findings = []dockerfile.Finding{}
	}
	for name, value := range o.BuildArgs {
		if dockerfile.SecretName(name) {
			value = "…"
		}
		v.BuildArgs = append(v.BuildArgs, name+"="+value)
	}
	slices.Sort(v.BuildArgs)
	for i := range found {
		switch f := &found[i]; {
		case f.Waived != nil:
			v.Waived++
		case f.Baseline:
			v.Baseline++
		case f.Severity == dockerfile.Block:
			v.Blocking++
		case f.Severity == dockerfile.Warn:
			v.Warnings++
		default:
			v.Notes++
		}
	}
	if v.Blocking > 0 {
		v.Outcome = Fail
	}
	return v
}

// JSON is the verdict in its one form, which is what is hashed and signed.
func (v *Verdict) JSON() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // it has only texts and numbers
	}
	return bytes.TrimSpace(b.Bytes())
}

// SHA256 is the hash of JSON, in hex.
func (v *Verdict) SHA256() string {
	sum := sha256.Sum256(v.JSON())
	return hex.EncodeToString(sum[:])
}

// brief is a finding as a record of the audit log has it.
type brief struct {
	Rule     string              `json:"rule"`
	Severity dockerfile.Severity `json:"severity"`
	Line     int                 `json:"line"`
	Stage    string              `json:"stage,omitempty"`
	Message  string              `json:"message"`
	Waived   string              `json:"waived,omitempty"`
	Baseline bool                `json:"baseline,omitempty"`
}

// Brief is the findings in JSON without what the rules say anyway.
func (v *Verdict) Brief() []byte {
	list := []brief{}
	for _, f := range v.Findings {
		b := brief{Rule: f.Rule, Severity: f.Severity, Line: f.Line, Stage: f.Stage, Message: f.Message, Baseline: f.Baseline}
		if w := f.Waived; w != nil {
			b.Waived = fmt.Sprintf("%s, by %s until %s", w.Reason, w.Approver, w.Expires)
		}
		list = append(list, b)
	}
	data, err := json.Marshal(list)
	if err != nil {
		panic(err) // it has only texts and numbers
	}
	return data
}

// WriteJSON writes verdicts as one JSON array.
func WriteJSON(w io.Writer, list []*Verdict) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(list)
}

// WriteText writes verdicts for people: each finding with its line, why it
// matters and what to do.
func WriteText(w io.Writer, list []*Verdict) error {
	var b strings.Builder
	for _, v := range list {
		for _, f := range v.Findings {
			writeFinding(&b, &f)
		}
		for _, r := range v.Remarks {
			fmt.Fprintf(&b, "%s: %s\n", v.File, r)
		}
		fmt.Fprintf(&b, "%s: %s: %d blocking, %d warnings, %d notes", v.File, v.Outcome, v.Blocking, v.Warnings, v.Notes)
		if v.Waived > 0 {
			fmt.Fprintf(&b, ", %d waived", v.Waived)
		}
		if v.Baseline > 0 {
			fmt.Fprintf(&b, ", %d in the baseline", v.Baseline)
		}
		fmt.Fprintf(&b, " (profile %s, stage %s)\n", v.Profile, v.Target)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeFinding(b *strings.Builder, f *dockerfile.Finding) {
	if f.Baseline {
		return
	}
	fmt.Fprintf(b, "%s:%d: %s %s: %s\n", f.File, f.Line, f.Severity, f.Rule, plain(f.Message))
	if w := f.Waived; w != nil {
		fmt.Fprintf(b, "    waived until %s by %s: %s\n", w.Expires, plain(w.Approver), plain(w.Reason))
		return
	}
	why := f.Why
	if len(f.Criteria) > 0 {
		why = fmt.Sprintf("%s (%s)", why, strings.Join(f.Criteria, ", "))
	}
	fmt.Fprintf(b, "    why: %s\n    fix: %s\n", why, plain(f.Fix))
}

// plain takes control characters away, which a Dockerfile may hold to deceive
// whoever reads a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, s)
}
