package dockerfile

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Options say how a file is judged. The zero value is the profile recommended
// for the last stage, with nothing known of the build context.
type Options struct {
	Target     string            // stage that becomes the image; empty: the last
	Profile    Profile           // empty: Recommended
	BuildArgs  map[string]string // as given with --build-arg
	Registries []string          // from which base images may come; empty: all
	NonRoot    []string          // further images that run as a user other than root: names, * matches all but /
	Severities map[string]Severity
	Off        []string // rules that are not applied
	Context    *Context // nil: not known
}

// Finding is one thing that a rule found.
type Finding struct {
	File     string   `json:"file"`
	Line     int      `json:"line"`
	End      int      `json:"end"`
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	Stage    string   `json:"stage,omitempty"`
	Message  string   `json:"message"`
	Why      string   `json:"why,omitempty"`
	Criteria []string `json:"criteria,omitempty"`
	Fix      string   `json:"fix,omitempty"`

	// Fingerprint stays the same when lines move. It holds no value of a secret.
	Fingerprint string `json:"fingerprint"`

	// Set by policies and baselines: why the finding does not count.
	Waived   *Waived `json:"waived,omitempty"`
	Baseline bool    `json:"baseline,omitempty"`

	edit *edit
}

// Waived is a decision to live with a finding.
type Waived struct {
	Reason   string `json:"reason"`
	Approver string `json:"approver"`
	Expires  string `json:"expires"` // last day, YYYY-MM-DD
}

// Counts tells whether the finding counts towards the verdict.
func (f *Finding) Counts() bool { return f.Waived == nil && !f.Baseline }

// Check applies all rules. The error is a *SyntaxError: there is no such target.
func (f *File) Check(o Options) ([]Finding, error) {
	target := f.Stages[len(f.Stages)-1]
	if o.Target != "" {
		if target = f.Stage(o.Target); target == nil {
			return nil, f.fail(0, fmt.Sprintf("there is no stage %q: there are %s", o.Target, f.titles()))
		}
	}
	p := newPass(f, target, &o)
	for i := range rules {
		if slices.Contains(o.Off, rules[i].ID) {
			continue
		}
		p.rule = &rules[i]
		p.rule.check(p)
	}
	p.builder()
	slices.SortStableFunc(p.found, func(a, b Finding) int {
		return cmp.Or(a.Line-b.Line, strings.Compare(a.Rule, b.Rule), strings.Compare(a.Message, b.Message))
	})
	number(p.found)
	return p.found, nil
}

// Target names the stage that is judged.
func (f *File) Target(name string) string {
	s := f.Stages[len(f.Stages)-1]
	if name != "" {
		s = f.Stage(name)
	}
	if s == nil {
		return name
	}
	return s.Title()
}

func (f *File) titles() string {
	var list []string
	for _, s := range f.Stages {
		list = append(list, s.Title())
	}
	return strings.Join(list, ", ")
}

// role is what a stage has to do with the image.
type role int

const (
	unused role = iota // nothing
	lends              // files are copied from it
	inside             // its layers are those of the image
)

// pass is one run of the rules over a file.
type pass struct {
	file   *File
	o      *Options
	target *Stage
	image  []*Stage // chain of the target
	roles  []role
	rule   *Rule
	found  []Finding
}

func newPass(f *File, target *Stage, o *Options) *pass {
	p := &pass{file: f, o: o, target: target, image: target.chain(), roles: make([]role, len(f.Stages))}
	var visit func(s *Stage, as role)
	visit = func(s *Stage, as role) {
		if p.roles[s.Index] >= as {
			return
		}
		p.roles[s.Index] = as
		for _, n := range s.needs() {
			if n.to == s.Base {
				visit(n.to, as)
			} else {
				visit(n.to, lends)
			}
		}
	}
	visit(target, inside)
	return p
}

// used are the stages that have to do with the image.
func (p *pass) used() (all []*Stage) {
	for _, s := range p.file.Stages {
		if p.roles[s.Index] != unused {
			all = append(all, s)
		}
	}
	return all
}

// commands calls for each instruction of the stages that have to do with the
// image.
func (p *pass) commands(f func(c *Command)) {
	for _, s := range p.used() {
		for _, c := range s.Commands {
			f(c)
		}
	}
}

// calls calls for each program that the used stages run.
func (p *pass) calls(f func(c *Command, x *call)) {
	p.commands(func(c *Command) {
		for _, x := range c.scriptOf().calls {
			f(c, x)
		}
	})
}

// last is the last instruction of the image for which it is true.
func (p *pass) last(is func(c *Command) bool) *Command {
	for _, stage := range slices.Backward(p.image) {
		for _, c := range slices.Backward(stage.Commands) {
			if !c.onBuild && is(c) {
				return c
			}
		}
	}
	return nil
}

// report is a finding before it is complete. The zero values say: the rule's
// severity, the rule's way to mend it, the text of the instruction.
type report struct {
	line, end int
	stage     *Stage
	severity  Severity
	message   string
	fix       string
	key       string // what stays when lines move
	edit      *edit
}

// at reports an instruction. In a stage that only lends files, what is about
// the content of the image is less grave.
func (p *pass) at(c *Command, r report) {
	if r.line == 0 {
		r.line, r.end = c.Line, c.End
	}
	if r.key == "" {
		r.key = c.Text
	}
	if r.stage == nil {
		r.stage = c.Stage
	}
	p.report(r)
}

// content is a finding about the content of the image.
func (p *pass) content(c *Command, r report) {
	if c.Stage != nil && p.roles[c.Stage.Index] != inside {
		r.severity = cmp.Or(r.severity, p.rule.Severity).less()
		r.message += " (in a stage whose layers are not in the image, but in build caches)"
	}
	p.at(c, r)
}

func (p *pass) report(r report) {
	f := Finding{
		File: p.file.Name, Line: max(1, r.line), End: max(1, r.line, r.end), Rule: p.rule.ID, Severity: cmp.Or(r.severity, p.rule.Severity),
		Message: r.message, Why: p.rule.Why, Criteria: p.rule.Criteria, Fix: cmp.Or(r.fix, p.rule.Fix), edit: r.edit,
	}
	if r.stage != nil {
		f.Stage = r.stage.Title()
	}
	if p.o.Profile == Strict && f.Severity == Warn {
		f.Severity = Block
	}
	if s, ok := p.o.Severities[f.Rule]; ok {
		f.Severity = s
	}
	sum := sha256.Sum256([]byte(f.Rule + "\x00" + f.Stage + "\x00" + strings.Join(strings.Fields(r.key), " ")))
	f.Fingerprint = hex.EncodeToString(sum[:10])
	p.found = append(p.found, f)
}

// number tells findings with the same fingerprint apart.
func number(found []Finding) {
	seen := map[string]int{}
	for i := range found {
		print := found[i].Fingerprint
		if seen[print]++; seen[print] > 1 {
			found[i].Fingerprint += "." + strconv.Itoa(seen[print])
		}
	}
}

// builder reports what BuildKit's own linter says while it parses. Its rules
// have no criterion: they are about style, and about mistakes that show anyway.
func (p *pass) builder() {
	for _, l := range p.file.lints {
		if slices.Contains(p.o.Off, l.rule) {
			continue
		}
		p.rule = &Rule{
			ID: l.rule, Severity: Info, Why: "BuildKit's linter says so",
			Fix: "see https://docs.docker.com/reference/build-checks/",
		}
		p.report(report{line: l.line, end: l.end, message: strings.TrimSpace(l.message), key: l.message})
	}
}
