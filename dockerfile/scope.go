package dockerfile

import (
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// scope is the variables of a stage. ARG and ENV set them; later instructions,
// and stages that are built FROM this one, see them. Each value is kept with the
// place from which it holds, so that a script can be read with the values of its
// own place.
type scope struct {
	parent    *scope
	fromImage bool // begins with an image, whose variables are not known
	scratch   bool // begins with nothing, where builders set PATH nevertheless
	values    map[string][]value
	args      map[string]bool // declared by ARG
}

type value struct {
	from int // order of the instruction
	text string
	env  bool // set by ENV, which ARG does not override
}

func newScope(parent *scope) *scope {
	return &scope{parent: parent, values: map[string][]value{}, args: map[string]bool{}}
}

func (s *scope) set(name, text string, from int) {
	s.values[name] = append(s.values[name], value{from: from, text: text})
}

func (s *scope) setEnv(name, text string, from int) {
	s.values[name] = append(s.values[name], value{from: from, text: text, env: true})
}

func (s *scope) declared(name string) bool {
	for ; s != nil; s = s.parent {
		if s.args[name] {
			return true
		}
	}
	return false
}

// find returns the value at a place.
func (s *scope) find(name string, at int) (value, bool) {
	for ; s != nil; s = s.parent {
		for _, v := range slices.Backward(s.values[name]) {
			if v.from <= at {
				return v, true
			}
		}
		if s.fromImage && slices.Contains(imageVariables, name) || s.scratch && name == "PATH" {
			return value{text: "${" + name + "}", env: true}, true
		}
	}
	return value{}, false
}

// at is the scope as an instruction sees it.
func (s *scope) at(order int) shell.EnvGetter { return view{s, order} }

type view struct {
	*scope
	order int
}

// Get implements shell.EnvGetter.
func (v view) Get(name string) (string, bool) {
	found, ok := v.find(name, v.order)
	return found.text, ok
}

// Keys implements shell.EnvGetter. Expansion does not need it.
func (v view) Keys() []string { return nil }

// platformArgs are the arguments that builders set by themselves. They hold in
// FROM, and in a stage that declares them.
var platformArgs = map[string]string{
	"BUILDPLATFORM": "linux/amd64", "BUILDOS": "linux", "BUILDOSVERSION": "", "BUILDARCH": "amd64", "BUILDVARIANT": "",
	"TARGETPLATFORM": "linux/amd64", "TARGETOS": "linux", "TARGETOSVERSION": "", "TARGETARCH": "amd64", "TARGETVARIANT": "",
	"TARGETSTAGE": "default",
}

// imageVariables are set by images that many build on. What an image sets is
// not in the Dockerfile; these are taken to be set, to a value that is not known.
var imageVariables = []string{
	"PATH", "HOME", "LANG", "LC_ALL", "GOLANG_VERSION", "GOPATH", "GOTOOLCHAIN", "NODE_VERSION", "YARN_VERSION", "JAVA_HOME", "JAVA_VERSION",
	"PYTHON_VERSION", "GPG_KEY", "RUBY_VERSION", "GEM_HOME", "BUNDLE_APP_CONFIG", "CARGO_HOME", "RUSTUP_HOME", "RUST_VERSION", "PHP_INI_DIR",
	"PHP_VERSION", "NGINX_VERSION", "NJS_VERSION", "PKG_RELEASE", "MAVEN_HOME", "MAVEN_CONFIG", "GRADLE_HOME", "DOTNET_VERSION", "CATALINA_HOME",
	"XDG_CONFIG_HOME", "XDG_DATA_HOME", "CADDY_VERSION", "PG_MAJOR", "PGDATA", "LD_LIBRARY_PATH", "PYTHONPATH", "CUDA_VERSION",
}

// metaArg takes an ARG before the first FROM.
func (f *File) metaArg(c *Command, arg *instructions.ArgCommand, buildArgs map[string]string) error {
	for _, a := range arg.Args {
		f.global.args[a.Key] = true
		if given, ok := buildArgs[a.Key]; ok {
			f.global.set(a.Key, given, c.order)
			continue
		}
		if a.Value == nil {
			continue
		}
		text, _, err := f.shlex.ProcessWord(*a.Value, f.global.at(c.order))
		if err != nil {
			return f.fail(c.Line, "ARG "+a.Key+": "+err.Error())
		}
		f.global.set(a.Key, text, c.order)
	}
	return nil
}

// expand puts values in the place of the variables of an instruction, and notes
// what the instruction sets itself.
func (s *Stage) expand(c *Command, buildArgs map[string]string) error {
	arg, isArg := c.Command.(*instructions.ArgCommand)
	if isArg {
		return s.arg(c, arg, buildArgs)
	}
	word := func(text string) (string, error) {
		if !strings.ContainsAny(text, "$'\"\\`") {
			return text, nil // most words have nothing to be read
		}
		out, unmatched, err := s.file.shlex.ProcessWord(text, s.scope.at(c.order))
		c.miss(unmatched)
		return out, err
	}
	if e, ok := c.Command.(instructions.SupportsSingleWordExpansion); ok {
		if err := e.Expand(word); err != nil {
			return s.file.fail(c.Line, s.file.syntaxError(err).Msg)
		}
	}
	switch cmd := c.Command.(type) {
	case *instructions.EnvCommand:
		for _, kv := range cmd.Env {
			s.scope.setEnv(kv.Key, kv.Value, c.order+1)
		}
	case *instructions.AddCommand:
		s.raw(c, cmd.SourceContents)
	case *instructions.CopyCommand:
		s.raw(c, cmd.SourceContents)
	case *instructions.ExposeCommand:
		return s.expose(c, cmd)
	}
	return nil
}

// raw notes the variables in the here-documents of COPY and ADD.
func (s *Stage) raw(c *Command, contents []instructions.SourceContent) {
	lex := shell.NewLex('\\')
	lex.SkipProcessQuotes = true
	for _, content := range contents {
		if content.Expand {
			if _, unmatched, err := lex.ProcessWord(content.Data, s.scope.at(c.order)); err == nil {
				c.miss(unmatched)
			}
		}
	}
}

func (s *Stage) expose(c *Command, cmd *instructions.ExposeCommand) error {
	var ports []string
	for _, p := range cmd.Ports {
		list, err := s.file.shlex.ProcessWords(p, s.scope.at(c.order))
		if err != nil {
			return s.file.fail(c.Line, "EXPOSE "+p+": "+err.Error())
		}
		ports = append(ports, list...)
	}
	cmd.Ports = ports
	return nil
}

func (s *Stage) arg(c *Command, arg *instructions.ArgCommand, buildArgs map[string]string) error {
	for i := range arg.Args {
		a := &arg.Args[i]
		s.scope.args[a.Key] = true
		text, known, err := s.argValue(c, a, buildArgs)
		if err != nil {
			return err
		}
		if !known {
			continue
		}
		a.Value = &text
		if old, ok := s.scope.find(a.Key, c.order); !ok || !old.env {
			s.scope.set(a.Key, text, c.order)
		}
	}
	return nil
}

// argValue is what an ARG of a stage is set to.
func (s *Stage) argValue(c *Command, a *instructions.KeyValuePairOptional, buildArgs map[string]string) (string, bool, error) {
	if given, ok := buildArgs[a.Key]; ok {
		return given, true, nil
	}
	if a.Value == nil {
		v, ok := s.file.global.find(a.Key, lineLimit)
		return v.text, ok, nil
	}
	text, unmatched, err := s.file.shlex.ProcessWord(*a.Value, s.scope.at(c.order))
	if err != nil {
		return "", false, s.file.fail(c.Line, "ARG "+a.Key+": "+err.Error())
	}
	c.miss(unmatched)
	return text, true, nil
}

// miss sorts the variables that have no value: those that an ARG declares get
// one at the build, of the others the name is wrong or out of scope.
func (c *Command) miss(names map[string]struct{}) {
	for name := range names {
		to := &c.undefined
		if c.Stage.scope.declared(name) || strings.HasPrefix(name, "BUILDKIT_") {
			to = &c.unknown
		}
		if !slices.Contains(*to, name) {
			*to = append(*to, name)
		}
	}
	slices.Sort(c.undefined)
}
