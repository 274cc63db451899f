package dockerfile

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// manager is a program that installs packages.
type manager struct {
	verbs  []string                 // that install
	values []string                 // options that take a value
	pinned func(string, *call) bool // whether a package has a version
}

var managers = map[string]manager{
	"apt-get":  {[]string{"install"}, []string{"-t", "-o", "-c", "--target-release", "--option"}, contains("=")},
	"apt":      {[]string{"install"}, []string{"-t", "-o", "-c"}, contains("=")},
	"aptitude": {[]string{"install"}, []string{"-t", "-o"}, contains("=")},
	"apk":      {[]string{"add"}, []string{"-t", "--virtual", "-X", "--repository", "--root", "-p"}, contains("=", "~", "<", ">")},
	"yum":      {[]string{"install"}, []string{"-c", "--enablerepo"}, dashVersion},
	"dnf":      {[]string{"install"}, []string{"-c", "--enablerepo"}, dashVersion},
	"microdnf": {[]string{"install"}, []string{"--enablerepo"}, dashVersion},
	"tdnf":     {[]string{"install"}, nil, dashVersion},
	"zypper":   {[]string{"install", "in"}, []string{"-r", "--repo"}, contains("=", "<", ">")},
	"pip":      {[]string{"install"}, pipValues, pipPinned},
	"pip3":     {[]string{"install"}, pipValues, pipPinned},
	"npm":      {[]string{"install", "i", "add"}, []string{"--prefix", "--registry", "--cache"}, atVersion},
	"pnpm":     {[]string{"add"}, []string{"--dir", "-C"}, atVersion},
	"yarn":     {[]string{"add"}, []string{"--cwd"}, atVersion},
	"gem":      {[]string{"install"}, []string{"-v", "--version", "-i", "--install-dir", "-s", "--source"}, gemPinned},
	"go":       {[]string{"install"}, []string{"-tags", "-ldflags", "-mod"}, goPinned},
	"cargo":    {[]string{"install"}, []string{"--version", "--vers", "--git", "--rev", "--tag", "--path", "--root", "--features", "--target"}, cargoPinned},
}

var pipValues = []string{"-r", "--requirement", "-c", "--constraint", "-e", "--editable", "-t", "--target", "-i", "--index-url", "--extra-index-url", "--trusted-host", "--prefix", "--root", "-f", "--find-links", "--cache-dir", "--python-version", "--platform", "--timeout"}

func contains(marks ...string) func(string, *call) bool {
	return func(name string, _ *call) bool {
		return slices.ContainsFunc(marks, func(m string) bool { return strings.Contains(name, m) })
	}
}

// dashVersion recognizes name-1.2, as yum and dnf take it.
func dashVersion(name string, _ *call) bool {
	for i := 0; i+1 < len(name); i++ {
		if name[i] == '-' && name[i+1] >= '0' && name[i+1] <= '9' && strings.Contains(name[i+1:], ".") {
			return true
		}
	}
	return strings.HasSuffix(name, ".rpm") || strings.HasPrefix(name, "@")
}

func pipPinned(name string, x *call) bool {
	return strings.Contains(name, "==") || strings.Contains(name, "@ ") || strings.HasSuffix(name, ".whl") || x.has("-c", "--constraint", "--require-hashes")
}

func atVersion(name string, _ *call) bool {
	i := strings.LastIndex(name, "@")
	return i > 0 && i+1 < len(name) && !slices.Contains([]string{"latest", "next", "*"}, name[i+1:])
}

func gemPinned(name string, x *call) bool {
	return x.has("-v", "--version") || strings.Contains(name, ":") || slices.ContainsFunc(x.args, func(a string) bool { return strings.HasPrefix(a, "--version=") })
}

func goPinned(name string, _ *call) bool {
	at := strings.LastIndex(name, "@")
	return at < 0 || !slices.Contains([]string{"latest", "main", "master", "upgrade"}, name[at+1:])
}

func cargoPinned(name string, x *call) bool {
	return x.has("--version", "--vers", "--path", "--rev", "--tag") || strings.Contains(name, "@") || slices.ContainsFunc(x.args, func(a string) bool { return strings.HasPrefix(a, "--version=") || strings.HasPrefix(a, "--path=") })
}

// installed is the packages that a call installs.
func installed(x *call) (packages []string) {
	m, args, ok := managerOf(x)
	if !ok {
		return nil
	}
	verb := false
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case strings.HasPrefix(a, "-"):
			if slices.Contains(m.values, a) {
				i++
			}
		case !verb:
			if !slices.Contains(m.verbs, a) {
				return nil
			}
			verb = true
		default:
			packages = append(packages, strings.Fields(a)...)
		}
	}
	return packages
}

// managerOf knows python -m pip too.
func managerOf(x *call) (manager, []string, bool) {
	if strings.HasPrefix(x.name, "python") && len(x.args) > 2 && x.args[0] == "-m" && x.args[1] == "pip" {
		return managers["pip"], x.args[2:], true
	}
	if x.name == "uv" && len(x.args) > 1 && x.args[0] == "pip" {
		return managers["pip"], x.args[1:], true
	}
	m, ok := managers[x.name]
	return m, x.args, ok
}

func checkP01(p *pass) {
	p.calls(func(c *Command, x *call) {
		m, _, ok := managerOf(x)
		if !ok {
			return
		}
		var loose []string
		for _, name := range installed(x) {
			if isLocal(name) || strings.Contains(name, "$") || strings.Contains(name, "…") || m.pinned(name, x) {
				continue
			}
			loose = append(loose, name)
		}
		switch {
		case len(loose) > 0:
			p.at(c, report{line: x.line, message: fmt.Sprintf("%s installs %s in whatever version there is", x.name, list(loose)), fix: pinExample(x.name, loose[0]), key: x.name + " " + strings.Join(loose, " ")})
		case x.name == "npm" && len(x.operands()) == 1 && x.has("install", "i") && !x.has("-g", "--global"):
			p.at(c, report{line: x.line, message: "npm install may change the versions in package-lock.json", fix: "use npm ci, which installs exactly what the lock file says", key: x.text()})
		}
	})
}

// pinExample shows how to name a version.
func pinExample(program, name string) string {
	switch program {
	case "pip", "pip3", "uv":
		return fmt.Sprintf("write %s==VERSION, or install from a requirements file with --require-hashes", name)
	case "npm", "yarn", "pnpm":
		return fmt.Sprintf("write %s@VERSION", strings.TrimSuffix(name, "@latest"))
	case "go":
		before, _, _ := strings.Cut(name, "@")
		return fmt.Sprintf("write %s@vVERSION", before)
	case "gem", "cargo":
		return fmt.Sprintf("add --version VERSION for %s", name)
	case "yum", "dnf", "microdnf", "tdnf":
		return fmt.Sprintf("write %s-VERSION", name)
	}
	return fmt.Sprintf("write %s=VERSION, or take the tool from an image that is pinned by its digest", name)
}

func list(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// isLocal tells whether a package is a file, a directory or an address.
func isLocal(name string) bool {
	return name == "." || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../") || strings.HasPrefix(name, "/") || strings.Contains(name, "://") ||
		slices.Contains([]string{".deb", ".apk", ".rpm", ".whl", ".tgz", ".gem"}, path.Ext(name)) || strings.HasPrefix(name, ".[")
}

// updates are the verbs that only fetch lists.
var updates = map[string][]string{
	"apt-get": {"update"}, "apt": {"update"}, "aptitude": {"update"}, "apk": {"update"}, "yum": {"makecache", "check-update"}, "dnf": {"makecache", "check-update"}, "zypper": {"refresh", "ref"},
}

func checkP02(p *pass) {
	p.commands(func(c *Command) {
		calls := c.scriptOf().calls
		for _, x := range calls {
			verbs := updates[x.name]
			list := x.operands()
			if len(list) == 0 || !slices.Contains(verbs, list[0]) || x.has("--update", "-U") {
				continue
			}
			if !slices.ContainsFunc(calls, func(y *call) bool { return usesLists(x, y) }) {
				p.at(c, report{line: x.line, message: fmt.Sprintf("%s %s stands in a RUN that installs nothing", x.name, list[0]), key: x.text()})
			}
		}
	})
}

// usesLists tells whether a call installs or builds with fresh lists, itself or
// through a script that it runs.
func usesLists(update, x *call) bool {
	family := func(name string) string {
		if name == "apt" || name == "aptitude" {
			return "apt-get"
		}
		return name
	}
	if family(x.name) == family(update.name) {
		return x.has("install", "add", "upgrade", "dist-upgrade", "full-upgrade", "build-dep", "download", "in", "source", "satisfy")
	}
	return slices.Contains([]string{"mk-build-deps", "tasksel", "playwright", "npx"}, x.name)
}

// upgrades are what package managers call the upgrade of all that is installed.
var upgrades = map[string][]string{
	"apt-get": {"dist-upgrade", "upgrade", "full-upgrade"}, "apt": {"dist-upgrade", "full-upgrade", "upgrade"}, "aptitude": {"full-upgrade", "safe-upgrade", "dist-upgrade"},
	"apk": {"upgrade"}, "yum": {"upgrade", "update", "distro-sync"}, "dnf": {"upgrade", "update", "distro-sync", "system-upgrade"}, "microdnf": {"upgrade", "update"},
	"zypper": {"dist-upgrade", "dup", "update", "up"},
}

func checkP03(p *pass) {
	p.calls(func(c *Command, x *call) {
		verbs := upgrades[x.name]
		whole := false
		if len(verbs) > 0 {
			list := x.operands()
			whole = len(list) == 1 && slices.Contains(verbs, list[0])
		}
		if x.name == "do-release-upgrade" || x.name == "pacman" && slices.ContainsFunc(x.args, func(a string) bool { return strings.HasPrefix(a, "-S") && strings.Contains(a, "u") }) {
			whole = true
		}
		if whole {
			p.at(c, report{line: x.line, message: fmt.Sprintf("%s replaces every package of the base image", x.text()), key: x.text()})
		}
	})
}
