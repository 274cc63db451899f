package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
)

// Baseline is what was found in a project before it began to be checked. It does
// not count, so that a check can be made a condition at once; what is new does.
type Baseline struct {
	Version int `json:"version"` // of the form of this file, 1
	Rules   int `json:"rules"`   // dockerfile.RulesVersion that made it
	// Findings are the fingerprints by file.
	Findings map[string][]Known `json:"findings"`
}

// Known is a finding of a baseline. Only the fingerprint identifies it.
type Known struct {
	Fingerprint string `json:"fingerprint"`
	Rule        string `json:"rule"`
	Message     string `json:"message"`
}

// NewBaseline is that of all that was found.
func NewBaseline(found []dockerfile.Finding) *Baseline {
	b := &Baseline{Version: 1, Rules: dockerfile.RulesVersion, Findings: map[string][]Known{}}
	for _, f := range found {
		if f.Waived == nil {
			name := fileKey(f.File)
			b.Findings[name] = append(b.Findings[name], Known{f.Fingerprint, f.Rule, f.Message})
		}
	}
	return b
}

// ParseBaseline reads what Bytes wrote.
func ParseBaseline(data []byte) (*Baseline, error) {
	b := new(Baseline)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(b)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	if err == nil && b.Version != 1 {
		err = fmt.Errorf("its version is %d, not 1", b.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("this is no baseline as --write-baseline writes it: %w", err)
	}
	return b, nil
}

// Bytes is the file, the same for the same findings.
func (b *Baseline) Bytes() []byte {
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		panic(err) // it has only texts and numbers
	}
	return append(data, '\n')
}

// Apply marks the findings that were there before, and tells how many of a file
// are no longer there.
func (b *Baseline) Apply(file string, found []dockerfile.Finding) (notes []string) {
	known := b.Findings[fileKey(file)]
	left := len(known)
	for i := range found {
		if slices.ContainsFunc(known, func(k Known) bool { return k.Fingerprint == found[i].Fingerprint }) {
			found[i].Baseline = true
			left--
		}
	}
	if left > 0 {
		notes = append(notes, fmt.Sprintf("%d findings of the baseline are mended: write it anew with --write-baseline", left))
	}
	return notes
}

func fileKey(name string) string {
	return strings.TrimPrefix(path.Clean(strings.ReplaceAll(name, `\`, "/")), "./")
}
