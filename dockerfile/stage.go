package dockerfile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Stage is one FROM and what follows it.
type Stage struct {
	Index int
	Name  string // empty if it has none
	Line  int    // of FROM
	Expr  string // base as it is written
	Base  *Stage // stage that it begins with; nil if it begins with an image
	Image Image  // image that it begins with, if Base is nil

	// Commands are the instructions that run in the stage. Those that an
	// earlier stage left behind with ONBUILD come first.
	Commands []*Command

	file      *File
	platform  string
	scope     *scope
	undefined []string // variables in FROM that nothing defines
}

// Command is an instruction.
type Command struct {
	instructions.Command
	Stage     *Stage // nil before the first FROM
	Line, End int
	Text      string // as it is written, continuation lines joined

	order     int      // place among all instructions of the file
	onBuild   bool     // runs when an image is built from this one, not here
	inherited bool     // is an ONBUILD instruction of the base stage
	undefined []string // variables that nothing defines
	unknown   []string // arguments that have no value before they are given one
	sources   []source // other stages and images from which it reads
	script    *script
}

// source is what COPY --from and RUN --mount=from name.
type source struct {
	stage *Stage
	image Image  // if stage is nil
	name  string // as it is written
}

// Title names a stage in messages.
func (s *Stage) Title() string {
	if s.Name != "" {
		return s.Name
	}
	return "#" + strconv.Itoa(s.Index)
}

// origin is the first stage of the chain that the stage is built FROM.
func (s *Stage) origin() *Stage {
	for s.Base != nil {
		s = s.Base
	}
	return s
}

// chain is the stages of which an image of the stage consists, the oldest first.
func (s *Stage) chain() (all []*Stage) {
	for ; s != nil; s = s.Base {
		all = append([]*Stage{s}, all...)
	}
	return all
}

// Stage finds a stage by its name, whatever the case, or by its number. Of
// several with one name it is the last, as for BuildKit.
func (f *File) Stage(name string) *Stage {
	if s := f.names[strings.ToLower(name)]; s != nil {
		return s
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(f.Stages) {
		return f.Stages[i]
	}
	return nil
}

// resolve makes the stages, with all variables expanded in the order of the file.
func (f *File) resolve(stages []instructions.Stage, metas []instructions.ArgCommand, buildArgs map[string]string) error {
	order := 0
	f.global = newScope(nil)
	for name, value := range platformArgs {
		f.global.set(name, value, 0)
	}
	for i := range metas {
		order++
		c := &Command{Command: &metas[i], Text: metas[i].String(), order: order}
		c.place(metas[i].Location())
		f.metas = append(f.metas, c)
		if err := f.metaArg(c, &metas[i], buildArgs); err != nil {
			return err
		}
	}
	for i := range stages {
		s, err := f.newStage(&stages[i], i)
		if err != nil {
			return err
		}
		for _, text := range triggersOf(s.Base) {
			order++
			if err := s.add(text.Command, buildArgs, order, text); err != nil {
				return err
			}
		}
		for _, cmd := range stages[i].Commands {
			order++
			if err := s.add(cmd, buildArgs, order, nil); err != nil {
				return err
			}
		}
		f.Stages = append(f.Stages, s)
		if s.Name != "" {
			f.names[strings.ToLower(s.Name)] = s
		}
	}
	return nil
}

func (f *File) newStage(from *instructions.Stage, index int) (*Stage, error) {
	s := &Stage{Index: index, Name: from.Name, Expr: from.BaseName, file: f}
	s.Line, _ = span(from.Location)
	base, err := f.shlex.ProcessWordWithMatches(from.BaseName, f.global.at(lineLimit))
	if err != nil {
		return nil, f.fail(s.Line, "FROM "+from.BaseName+": "+err.Error())
	}
	for name := range base.Unmatched {
		if !f.global.declared(name) {
			s.undefined = append(s.undefined, name)
		}
	}
	if base.Result == "" {
		return nil, f.fail(s.Line, fmt.Sprintf("FROM %s is empty: give the argument a default before the first FROM, or a value with --build-arg", from.BaseName))
	}
	s.Base = f.Stage(base.Result)
	if _, err := strconv.Atoi(base.Result); err == nil && s.Base != nil && !strings.EqualFold(s.Base.Name, base.Result) {
		s.Base = nil // FROM takes names only
	}
	if s.Base == nil {
		s.Image = ParseImage(base.Result)
		if s.Image.Repository == "" {
			return nil, f.fail(s.Line, fmt.Sprintf("FROM %s: %q is neither an image nor a stage", from.BaseName, base.Result))
		}
	}
	platform, err := f.shlex.ProcessWordWithMatches(from.Platform, f.global.at(lineLimit))
	if err != nil {
		return nil, f.fail(s.Line, "--platform="+from.Platform+": "+err.Error())
	}
	for name := range platform.Unmatched {
		if !f.global.declared(name) {
			s.undefined = append(s.undefined, name)
		}
	}
	s.platform = platform.Result
	s.scope = newScope(nil)
	switch {
	case s.Base != nil:
		s.scope = newScope(s.Base.scope)
		if s.platform == "" {
			s.platform = s.Base.platform
		}
	default:
		s.scope.scratch = s.Image.Scratch()
		s.scope.fromImage = !s.scope.scratch
	}
	return s, nil
}

// triggersOf is what a stage left behind for those that are built from it.
func triggersOf(base *Stage) (all []*Command) {
	if base == nil {
		return nil
	}
	for _, c := range base.Commands {
		if on, ok := c.Command.(*instructions.OnbuildCommand); ok && !c.inherited {
			if cmd, err := parseTrigger(on.Expression); err == nil {
				all = append(all, &Command{Command: cmd, Line: c.Line, End: c.End, Text: on.Expression})
			}
		}
	}
	return all
}

// parseTrigger parses the instruction that ONBUILD holds back.
func parseTrigger(text string) (instructions.Command, error) {
	ast, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(ast.AST.Children) != 1 {
		return nil, fmt.Errorf("ONBUILD takes one instruction")
	}
	return instructions.ParseCommand(ast.AST.Children[0])
}

// add appends an instruction, and what ONBUILD holds back for others to judge.
func (s *Stage) add(cmd instructions.Command, buildArgs map[string]string, order int, trigger *Command) error {
	c := &Command{Command: cmd, Stage: s, order: order}
	if text, ok := cmd.(fmt.Stringer); ok {
		c.Text = text.String()
	}
	c.place(cmd.Location())
	if trigger != nil {
		c.Line, c.End, c.inherited = trigger.Line, trigger.End, true
	}
	s.Commands = append(s.Commands, c)
	if err := s.expand(c, buildArgs); err != nil {
		return err
	}
	on, ok := cmd.(*instructions.OnbuildCommand)
	if !ok || trigger != nil {
		return nil
	}
	held, err := parseTrigger(on.Expression)
	if err != nil {
		return s.file.fail(c.Line, "ONBUILD: "+s.file.syntaxError(err).Msg)
	}
	s.Commands = append(s.Commands, &Command{
		Command: held, Stage: s, Line: c.Line, End: c.End, Text: on.Expression, order: order, onBuild: true,
	})
	return nil
}

func (c *Command) place(where []parser.Range) {
	c.Line, c.End = span(where)
}

func span(where []parser.Range) (first, last int) {
	if len(where) == 0 {
		return 1, 1
	}
	return where[0].Start.Line, where[len(where)-1].End.Line
}

// link finds the stages that instructions read from, and refuses circles.
func (f *File) link() error {
	for _, s := range f.Stages {
		for _, c := range s.Commands {
			if err := c.link(f); err != nil {
				return err
			}
		}
	}
	return f.circle()
}

func (c *Command) link(f *File) error {
	switch cmd := c.Command.(type) {
	case *instructions.CopyCommand:
		if cmd.From != "" {
			return c.reads(f, cmd.From)
		}
	case *instructions.RunCommand:
		for _, m := range instructions.GetMounts(cmd) {
			if m.From != "" {
				if err := c.reads(f, m.From); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *Command) reads(f *File, name string) error {
	if strings.Contains(name, "$") {
		return f.fail(c.Line, fmt.Sprintf("--from=%s: builders expand no variables there: name a stage that is FROM it", name))
	}
	s := f.Stage(name)
	if _, err := strconv.Atoi(name); err == nil && s == nil {
		return f.fail(c.Line, fmt.Sprintf("--from=%s: there is no stage with this number, they go from 0 to %d", name, len(f.Stages)-1))
	}
	c.sources = append(c.sources, source{stage: s, image: ParseImage(name), name: name})
	return nil
}

// circle finds stages that need each other.
func (f *File) circle() error {
	const visiting, done = 1, 2
	state := make([]int, len(f.Stages))
	var visit func(s *Stage) *SyntaxError
	visit = func(s *Stage) *SyntaxError {
		state[s.Index] = visiting
		for _, n := range s.needs() {
			switch state[n.to.Index] {
			case visiting:
				return f.fail(n.line, fmt.Sprintf("circular stages: %s needs %s, which needs %s", s.Title(), n.to.Title(), s.Title()))
			case 0:
				if err := visit(n.to); err != nil {
					return err
				}
			}
		}
		state[s.Index] = done
		return nil
	}
	for _, s := range f.Stages {
		if state[s.Index] == 0 {
			if err := visit(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// need is a stage that must be built before another, and the line that says so.
type need struct {
	to   *Stage
	line int
}

func (s *Stage) needs() (all []need) {
	if s.Base != nil {
		all = append(all, need{s.Base, s.Line})
	}
	for _, c := range s.Commands {
		if c.onBuild {
			continue
		}
		for _, from := range c.sources {
			if from.stage != nil {
				all = append(all, need{from.stage, c.Line})
			}
		}
	}
	return all
}
