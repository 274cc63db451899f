package dockerfile

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

func checkM01(p *pass) {
	origin := p.target.origin()
	if tools := origin.Image.compilers(); tools != "" && !origin.Image.Scratch() {
		p.report(report{
			line: origin.Line, stage: origin, key: "FROM " + origin.Expr,
			message: fmt.Sprintf("the final image is %s, which has %s", origin.Image.Name, tools),
			fix:     p.splitFix(),
		})
	}
	for _, s := range p.image {
		for _, c := range s.Commands {
			p.buildTools(c)
		}
	}
}

func (p *pass) splitFix() string {
	if len(p.image) > 1 {
		return fmt.Sprintf("begin the stage %s with a small image instead of the stage %s, and COPY --from=%s what is run", p.target.Title(), p.target.Base.Title(), p.target.Base.Title())
	}
	return ""
}

// buildTools judges an instruction of the image.
func (p *pass) buildTools(c *Command) {
	if copied, ok := c.Command.(*instructions.CopyCommand); ok && copied.From != "" {
		p.copiedTools(c, copied)
		return
	}
	calls := c.scriptOf().calls
	for _, x := range calls {
		if tools := toolPackages(installed(x)); len(tools) > 0 && !removed(calls, tools) {
			p.at(c, report{line: x.line, message: fmt.Sprintf("%s stays in the final image", strings.Join(tools, ", ")), key: "install " + strings.Join(tools, " ")})
		}
		if what := compiles(x); what != "" {
			p.at(c, report{line: x.line, message: fmt.Sprintf("%s runs in the final image, so what it needs stays there", what), key: what})
		}
	}
}

// copiedTools finds tool chains that are copied as a whole.
func (p *pass) copiedTools(c *Command, cmd *instructions.CopyCommand) {
	for _, src := range cmd.SourcePaths {
		src = path.Clean(src)
		for _, from := range c.sources {
			var m Image
			if from.stage != nil {
				m = from.stage.origin().Image
			} else {
				m = from.image
			}
			switch {
			case src == "/" && (m.compilers() != "" || from.stage != nil && len(from.stage.installs()) > 0):
				p.at(c, report{message: fmt.Sprintf("all of %s is copied, with its build tools", from.name)})
			case slices.Contains(toolDirs, src) || path.Base(src) == ".cargo": // of whichever user
				p.at(c, report{message: fmt.Sprintf("%s is copied from %s: it is a build tool", src, from.name)})
			}
		}
	}
}

// installs are the build tools that a stage installs.
func (s *Stage) installs() (tools []string) {
	for ; s != nil; s = s.Base {
		for _, c := range s.Commands {
			for _, x := range c.scriptOf().calls {
				tools = append(tools, toolPackages(installed(x))...)
			}
		}
	}
	return tools
}

// toolDirs are where images keep their tool chains.
var toolDirs = []string{
	"/usr/local/go", "/usr/local/go/bin", "/usr/local/go/bin/go", "/usr/local/cargo", "/usr/local/rustup", "/usr/share/maven", "/opt/gradle",
	"/usr/bin/gcc", "/usr/bin/make", "/usr/bin/git", "/usr/local/bin/npm", "/usr/local/lib/node_modules/npm", "/usr/share/dotnet/sdk", "/opt/java/openjdk/bin/javac",
	"/uv", "/usr/local/bin/uv", "/bin/uv", "/usr/bin/composer", "/usr/local/bin/docker", "/usr/local/bin/kubectl",
}

// toolNames are packages that only builds need.
var toolNames = regexp.MustCompile(`^(build-essential|build-base|gcc|g\+\+|gcc-\d+|g\+\+-\d+|clang(-\d+)?|make|cmake|ninja-build|autoconf|automake|libtool|pkg-config|pkgconf|golang(-go)?|go|rustc?|cargo|maven|gradle|git|subversion|mercurial|npm|yarn|nodejs-npm|python3?-dev|python3?-pip|py3-pip|linux-headers|musl-dev|libc6-dev|libc-dev|dpkg-dev|openjdk-\d+-jdk(-headless)?|default-jdk|docker(\.io|-cli|-ce)?|kubectl|gdb|strace|[a-z0-9.+-]+-dev(el)?)$`)

func toolPackages(packages []string) (tools []string) {
	for _, name := range packages {
		name, _, _ = strings.Cut(name, "=")
		name = strings.TrimRight(name, "<>~")
		if toolNames.MatchString(name) && !slices.Contains(tools, name) {
			tools = append(tools, name)
		}
	}
	return tools
}

// removed tells whether the same RUN takes the tools away again.
func removed(calls []*call, tools []string) bool {
	for _, x := range calls {
		if !slices.Contains([]string{"apt-get", "apt", "apk", "yum", "dnf", "microdnf", "tdnf", "zypper"}, x.name) {
			continue
		}
		if !x.has("purge", "remove", "autoremove", "del", "erase") {
			continue
		}
		if x.has("autoremove", "--auto-remove", "--autoremove") || slices.ContainsFunc(x.args, func(a string) bool { return strings.HasPrefix(a, ".") || strings.Contains(a, "$") }) {
			return true
		}
		if !slices.ContainsFunc(tools, func(t string) bool { return !x.has(t) }) {
			return true
		}
	}
	return false
}

// builds are programs, and what they do first, that compile.
var builds = map[string][]string{
	"go": {"build", "install", "generate"}, "cargo": {"build", "install"}, "mvn": {"package", "install", "compile", "verify"}, "gradle": {"build", "assemble", "bootJar"},
	"mvnw": {"package", "install", "compile", "verify"}, "gradlew": {"build", "assemble", "bootJar"}, "dotnet": {"build", "publish", "restore"},
	"make": nil, "cmake": nil, "gcc": nil, "g++": nil, "cc": nil, "rustc": nil, "javac": nil, "tsc": nil, "webpack": nil, "ninja": nil,
}

// compiles says which build a call is; empty if it is none.
func compiles(x *call) string {
	verbs, known := builds[x.name]
	if known {
		if verbs == nil {
			if x.has("--version", "-v", "--help") {
				return ""
			}
			return x.name
		}
		for _, v := range verbs {
			if x.has(v) {
				return x.name + " " + v
			}
		}
	}
	if slices.Contains([]string{"npm", "yarn", "pnpm", "bun"}, x.name) {
		list := x.operands()
		if len(list) > 0 && list[0] == "build" && x.name != "npm" || len(list) > 1 && list[0] == "run" && strings.HasPrefix(list[1], "build") {
			return x.name + " run build"
		}
	}
	return ""
}

func checkL01(p *pass) {
	for _, s := range p.used() {
		var whole *Command
		for _, c := range s.Commands {
			if copied, ok := c.Command.(*instructions.CopyCommand); ok && copied.From == "" && slices.ContainsFunc(copied.SourcePaths, contextRoot) {
				whole = c
			}
			if whole == nil {
				continue
			}
			for _, x := range c.scriptOf().calls {
				if what := installsDependencies(x); what != "" {
					p.at(c, report{line: x.line, message: fmt.Sprintf("%s comes after the COPY of everything in line %d", what, whole.Line), key: what})
					whole = nil
					break
				}
			}
		}
	}
}

// installsDependencies says which installation of an application's dependencies
// a call is; empty if it is none.
func installsDependencies(x *call) string {
	list := x.operands()
	verb := ""
	if len(list) > 0 {
		verb = list[0]
	}
	switch x.name {
	case "npm", "pnpm":
		if verb == "ci" || (verb == "install" || verb == "i") && len(list) == 1 {
			return x.name + " " + verb
		}
	case "yarn":
		if verb == "" || verb == "install" {
			return "yarn install"
		}
	case "pip", "pip3":
		if verb == "install" && x.has("-r", "--requirement") {
			return x.name + " install -r"
		}
	case "go":
		if len(list) > 1 && verb == "mod" && list[1] == "download" {
			return "go mod download"
		}
	case "bundle", "composer", "poetry":
		if verb == "install" {
			return x.name + " install"
		}
	case "uv":
		if verb == "sync" {
			return "uv sync"
		}
	case "mvn", "mvnw":
		if strings.HasPrefix(verb, "dependency:") {
			return x.name + " " + verb
		}
	}
	return ""
}
