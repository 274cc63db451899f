// Package policy reads the file in which an organization says how its
// Dockerfiles are judged: which rules block, from where images may come, and what
// was decided to live with, by whom and until when.
package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
)

// Policy is such a file, YAML or JSON. The zero value is the profile recommended
// without exceptions.
type Policy struct {
	// Profile is recommended or strict. Empty: recommended.
	Profile dockerfile.Profile `yaml:"profile"`
	// Registries from which base images may come, such as gcr.io/distroless or
	// docker.io/library. Empty: all.
	Registries []string `yaml:"registries"`
	// NonRoot are images that run as a user other than root without saying so
	// in their name. * stands for all characters but /.
	NonRoot []string `yaml:"nonroot"`
	// Severity changes that of rules: block, warn, info or off.
	Severity map[string]string `yaml:"severity"`
	// BuildArgs are given to the build.
	BuildArgs map[string]string `yaml:"build_args"`
	// Waivers are findings that do not count.
	Waivers []Waiver `yaml:"waivers"`
}

// Waiver is a decision to live with findings of one rule until a day. All that
// is not optional is needed: who decided it and why is what an auditor asks.
type Waiver struct {
	Rule     string `yaml:"rule"`
	File     string `yaml:"file"`     // optional: path of Dockerfiles, * stands for all characters but /
	Stage    string `yaml:"stage"`    // optional
	Contains string `yaml:"contains"` // optional: a text in the message
	Reason   string `yaml:"reason"`
	Approver string `yaml:"approver"`
	Expires  string `yaml:"expires"` // last day, YYYY-MM-DD, in UTC

	last time.Time
}

// Parse reads a policy. What it does not know is an error, so that a misspelled
// option is not taken for a decision.
func Parse(data []byte) (*Policy, error) {
	p := new(Policy)
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(p); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("a second document follows the policy")
	}
	if p.Profile == "" {
		p.Profile = dockerfile.Recommended
	}
	if !slices.Contains(dockerfile.Profiles, p.Profile) {
		return nil, fmt.Errorf("profile %q: there are %v", p.Profile, dockerfile.Profiles)
	}
	for rule, severity := range p.Severity {
		if _, ok := dockerfile.RuleByID(rule); !ok && !isBuilderRule(rule) {
			return nil, fmt.Errorf("severity: there is no rule %q", rule)
		}
		if !slices.Contains([]string{"block", "warn", "info", "off"}, severity) {
			return nil, fmt.Errorf("severity of %s: %q is not block, warn, info or off", rule, severity)
		}
	}
	for _, pattern := range p.NonRoot {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("nonroot: %q: %w", pattern, err)
		}
	}
	for i := range p.Waivers {
		if err := p.Waivers[i].check(); err != nil {
			return nil, fmt.Errorf("waiver %d: %w", i+1, err)
		}
	}
	return p, nil
}

// isBuilderRule tells whether it can be a rule of BuildKit's linter.
func isBuilderRule(id string) bool {
	return len(id) > 4 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}

func (w *Waiver) check() (err error) {
	if _, ok := dockerfile.RuleByID(w.Rule); !ok && !isBuilderRule(w.Rule) {
		return fmt.Errorf("there is no rule %q", w.Rule)
	}
	for name, text := range map[string]string{"reason": w.Reason, "approver": w.Approver, "expires": w.Expires} {
		if strings.TrimSpace(text) == "" {
			return fmt.Errorf("of %s has no %s: a waiver needs reason, approver and expires", w.Rule, name)
		}
	}
	if w.last, err = time.Parse(time.DateOnly, w.Expires); err != nil {
		return fmt.Errorf("of %s expires %q: write a day as YYYY-MM-DD", w.Rule, w.Expires)
	}
	if _, err := path.Match(w.File, ""); err != nil {
		return fmt.Errorf("of %s: file %q: %w", w.Rule, w.File, err)
	}
	return nil
}

// Options are what the policy says, for a check.
func (p *Policy) Options() dockerfile.Options {
	o := dockerfile.Options{
		Profile: p.Profile, Registries: p.Registries, NonRoot: p.NonRoot, BuildArgs: p.BuildArgs,
		Severities: map[string]dockerfile.Severity{},
	}
	for rule, severity := range p.Severity {
		if severity == "off" {
			o.Off = append(o.Off, rule)
		} else {
			o.Severities[rule] = dockerfile.Severity(severity)
		}
	}
	slices.Sort(o.Off)
	return o
}

// Waive marks the findings that the policy waives on a day, and tells of waivers
// that have expired or, once all files are judged, waive nothing.
func (p *Policy) Waive(found []dockerfile.Finding, now time.Time) (notes []string) {
	today := now.UTC().Truncate(24 * time.Hour)
	for _, w := range p.Waivers {
		n := 0
		for i := range found {
			if !w.matches(&found[i]) {
				continue
			}
			n++
			if !today.After(w.last) && found[i].Waived == nil {
				found[i].Waived = &dockerfile.Waived{Reason: w.Reason, Approver: w.Approver, Expires: w.Expires}
			}
		}
		switch {
		case n > 0 && today.After(w.last):
			notes = append(notes, fmt.Sprintf("the waiver of %s by %s expired on %s: its findings count again", w.Rule, w.Approver, w.Expires))
		case n == 0 && w.File == "":
			notes = append(notes, fmt.Sprintf("the waiver of %s by %s until %s waives nothing here: take it away", w.Rule, w.Approver, w.Expires))
		}
	}
	return notes
}

func (w *Waiver) matches(f *dockerfile.Finding) bool {
	if w.Rule != f.Rule || w.Stage != "" && !strings.EqualFold(w.Stage, f.Stage) || !strings.Contains(f.Message, w.Contains) {
		return false
	}
	if w.File == "" {
		return true
	}
	name := strings.TrimPrefix(path.Clean(strings.ReplaceAll(f.File, `\`, "/")), "./")
	ok, _ := path.Match(w.File, name)
	return ok
}
