package dockerfile

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// base is an image that a build needs, and where it is named.
type base struct {
	image Image
	stage *Stage
	line  int
	expr  string
}

// bases are the images that have to do with the result: those of stages, and
// those from which files are copied.
func (p *pass) bases() (all []base) {
	for _, s := range p.used() {
		if s.Base == nil && !s.Image.Scratch() {
			all = append(all, base{s.Image, s, s.Line, s.Expr})
		}
		for _, c := range s.Commands {
			for _, from := range c.sources {
				if from.stage == nil && from.image.Repository != "" && !isContext(from.name) {
					all = append(all, base{from.image, s, c.Line, from.name})
				}
			}
		}
	}
	return all
}

// isContext tells whether a name is more likely that of a stage, or of a named
// build context, than that of an image: C02 tells about it.
func isContext(name string) bool { return !strings.ContainsAny(name, ":/@.") }

func (p *pass) base(b base, message, fix, key string) {
	p.report(report{line: b.line, stage: b.stage, message: message, fix: fix, key: key})
}

func checkB01(p *pass) {
	for _, b := range p.bases() {
		switch {
		case b.image.Digest != "":
		case b.image.Tag == "":
			p.base(b, fmt.Sprintf("%s has no tag, so it is whatever is latest", b.image.Name), "", b.expr)
		case floating(b.image.Tag):
			p.base(b, fmt.Sprintf("%s is whatever is newest at the time", b.image.Name), "", b.expr)
		}
	}
}

// floating tells whether a tag by its name says that it moves. A distroless
// image has no other tags: there the digest is what pins it, and B02 asks for it.
func floating(tag string) bool {
	return slices.Contains([]string{"latest", "stable", "edge", "nightly", "rolling", "main", "master", "dev", "testing", "unstable"}, tag)
}

func checkB02(p *pass) {
	for _, b := range p.bases() {
		if b.image.Digest == "" {
			p.base(b, fmt.Sprintf("%s is not pinned by its digest", b.image.Name), p.pinFix(b), b.expr)
		}
	}
}

// pinFix says how to pin where a build argument names the image.
func (p *pass) pinFix(b base) string {
	if !strings.Contains(b.expr, "$") {
		return ""
	}
	return fmt.Sprintf("put the digest in the default of the argument in %s, or give the argument a value with its digest to the build and, with --build-arg, to this check", b.expr)
}

func checkB03(p *pass) {
	if len(p.o.Registries) == 0 {
		return
	}
	for _, b := range p.bases() {
		if !slices.ContainsFunc(p.o.Registries, func(allowed string) bool { return within(b.image, allowed) }) {
			p.base(b, fmt.Sprintf("%s comes from %s, which the policy does not list", b.image.Name, b.image.Path()),
				"use an image of "+strings.Join(p.o.Registries, ", ")+", or extend the policy", b.expr)
		}
	}
}

// within tells whether an image lies in a registry, or in a part of one.
func within(m Image, allowed string) bool {
	allowed = strings.TrimSuffix(allowed, "/")
	return m.Registry == allowed || m.Path() == allowed || strings.HasPrefix(m.Path(), allowed+"/")
}

// userOf is the user that the image runs as: the last USER, or what the base
// image is known to have.
func (p *pass) userOf() (user string, at *Command) {
	at = p.last(func(c *Command) bool { _, ok := c.Command.(*instructions.UserCommand); return ok })
	if at != nil {
		return at.Command.(*instructions.UserCommand).User, at
	}
	return p.baseUser(p.target.origin().Image), nil
}

func (p *pass) baseUser(m Image) string {
	for _, pattern := range p.o.NonRoot {
		if ok, _ := path.Match(pattern, m.Path()); ok {
			return "nonroot"
		}
		if ok, _ := path.Match(pattern, strings.TrimSuffix(m.Name, "@"+m.Digest)); ok {
			return "nonroot"
		}
	}
	return m.user()
}

func checkU01(p *pass) {
	user, at := p.userOf()
	name, _, _ := strings.Cut(user, ":")
	origin := p.target.origin().Image.Name
	switch {
	case at == nil && user != "":
	case at == nil:
		p.report(report{
			line: p.target.Line, stage: p.target, key: "USER",
			message: fmt.Sprintf("the image runs as root: there is no USER in the stage %s%s, and %s is not known to have another user", p.target.Title(), p.inheritance(), origin),
			fix:     p.userFix(),
		})
	case user == "" || strings.Contains(name, "$"):
		p.at(at, report{message: "it cannot be told which user this is: an argument in it has no value", fix: "give the argument a default, or write the number"})
	case name == "root" || isZero(name):
		p.at(at, report{message: fmt.Sprintf("the image runs as root: USER %s is the last one that it has", user), fix: p.userFix()})
	}
}

func (p *pass) inheritance() string {
	if len(p.image) < 2 {
		return ""
	}
	return " or in those that it is built FROM"
}

// userFix names the user that the base image has for this.
func (p *pass) userFix() string {
	m := p.target.origin().Image
	if m.official() == "node" {
		return "end the final stage with USER 1000:1000, which the image knows as node"
	}
	if strings.HasPrefix(m.Path(), "gcr.io/distroless/") {
		return "use the tag :nonroot, or end the final stage with USER 65532:65532"
	}
	return ""
}

func isZero(name string) bool {
	return name != "" && strings.Trim(name, "0") == ""
}

func checkU02(p *pass) {
	user, at := p.userOf()
	if at == nil || user == "" || strings.Contains(user, "$") {
		return
	}
	name, group, hasGroup := strings.Cut(user, ":")
	if numeric(name) || name == "root" {
		return
	}
	r := report{message: fmt.Sprintf("USER %s is a name: only the image itself knows its number", user)}
	if known := p.target.origin().Image.numeric(user); known != "" {
		r.fix = fmt.Sprintf("write USER %s, which is the same user in this base image", known)
		r.edit = replaceText(at, user, known)
	} else if number := p.made(name); number != "" {
		r.fix = "write USER " + number + ", as it was made above"
		if !hasGroup || group == name {
			r.edit = replaceText(at, user, number)
		}
	}
	p.at(at, r)
}

// made is the number that a RUN of the image gave a user.
func (p *pass) made(name string) (number string) {
	p.calls(func(c *Command, x *call) {
		if p.roles[c.Stage.Index] != inside || x.name != "useradd" && x.name != "adduser" || !x.has(name) {
			return
		}
		for i, a := range x.args {
			if (a == "-u" || a == "--uid") && i+1 < len(x.args) && numeric(x.args[i+1]) {
				number = x.args[i+1]
			}
			if rest, ok := strings.CutPrefix(a, "--uid="); ok && numeric(rest) {
				number = rest
			}
		}
	})
	return number
}

func numeric(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
