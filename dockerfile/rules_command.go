package dockerfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

func checkH01(p *pass) {
	at := p.last(func(c *Command) bool { _, ok := c.Command.(*instructions.HealthCheckCommand); return ok })
	if at == nil {
		p.report(report{
			line: p.target.Line, stage: p.target, key: "HEALTHCHECK",
			message: fmt.Sprintf("nothing in the image of the stage %s says whether it works", p.target.Title()),
		})
		return
	}
	test := at.Command.(*instructions.HealthCheckCommand).Health.Test
	switch {
	case len(test) > 0 && test[0] == "NONE":
		p.at(at, report{message: "HEALTHCHECK NONE switches the check off"})
	case len(test) > 1 && slices.Contains([]string{"true", ":", "exit 0", "/bin/true"}, strings.TrimSpace(test[1])):
		p.at(at, report{message: fmt.Sprintf("the health check is %q, which is always healthy", test[1]), fix: "ask the application itself"})
	}
}

func checkC01(p *pass) {
	for _, s := range p.image {
		for _, c := range s.Commands {
			var line *instructions.ShellDependantCmdLine
			switch cmd := c.Command.(type) {
			case *instructions.CmdCommand:
				line = &cmd.ShellDependantCmdLine
			case *instructions.EntrypointCommand:
				line = &cmd.ShellDependantCmdLine
			}
			if line == nil || !line.PrependShell || c.shellChosen() {
				continue
			}
			p.at(c, report{
				message: fmt.Sprintf("%s %s is run by /bin/sh -c", strings.ToUpper(c.Name()), strings.Join(line.CmdLine, " ")),
				edit:    execForm(c, strings.Join(line.CmdLine, " ")),
			})
		}
	}
}

// shellChosen tells whether SHELL says which shell is meant, as BuildKit has it.
func (c *Command) shellChosen() bool {
	for s := c.Stage; s != nil; s = s.Base {
		for _, other := range s.Commands {
			if _, ok := other.Command.(*instructions.ShellCommand); ok && other.order < c.order {
				return true
			}
		}
	}
	return false
}

func checkC02(p *pass) {
	names := map[string]*Stage{}
	for _, s := range p.file.Stages {
		if s.Name != "" {
			if first := names[strings.ToLower(s.Name)]; first != nil {
				p.report(report{line: s.Line, stage: s, key: "stage " + s.Name, message: fmt.Sprintf("there is a stage %s already, in line %d: later instructions mean this one", s.Name, first.Line), fix: "give one of them another name"})
			}
			names[strings.ToLower(s.Name)] = s
		}
		for _, name := range s.undefined {
			p.report(report{line: s.Line, stage: s, key: "FROM " + name, message: fmt.Sprintf("FROM uses %s, which no ARG before the first FROM defines", name), fix: p.scopeFix(name)})
		}
		for _, c := range s.Commands {
			p.undefined(c)
		}
	}
}

// scopeFix says where an argument is that is out of scope.
func (p *pass) scopeFix(name string) string {
	for _, s := range p.file.Stages {
		if s.scope.args[name] {
			return fmt.Sprintf("ARG %s in the stage %s holds there only: put it before the first FROM", name, s.Title())
		}
	}
	return fmt.Sprintf("put ARG %s before the first FROM", name)
}

func (p *pass) undefined(c *Command) {
	for _, name := range c.undefined {
		fix := fmt.Sprintf("define %s with ARG or ENV before it, or mend the name", name)
		if p.file.global.args[name] || platform(name) {
			fix = fmt.Sprintf("add ARG %s to the stage: what stands before the first FROM holds in FROM only", name)
		}
		p.at(c, report{message: fmt.Sprintf("%s uses %s, which is not defined in the stage", strings.ToUpper(c.Name()), name), fix: fix, key: c.Name() + " $" + name})
	}
	for _, from := range c.sources {
		if from.stage == nil && isContext(from.name) {
			p.at(c, report{message: fmt.Sprintf("--from=%s: there is no such stage, so it means an image or a build context of this name", from.name), fix: "use the name of a stage" + p.nearest(from.name) + ", or the full name of an image with its tag", key: "--from=" + from.name})
		}
		if from.stage != nil && !c.onBuild && from.stage.Index > c.Stage.Index {
			p.at(c, report{message: fmt.Sprintf("--from=%s: the stage comes later, in line %d, which builders other than BuildKit refuse", from.name, from.stage.Line), fix: "put that stage before this one", key: "--from=" + from.name})
		}
	}
}

// nearest proposes stages.
func (p *pass) nearest(string) string {
	var list []string
	for _, s := range p.file.Stages {
		if s.Name != "" {
			list = append(list, s.Name)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return " (" + strings.Join(list, ", ") + ")"
}

func platform(name string) bool {
	_, ok := platformArgs[name]
	return ok
}
