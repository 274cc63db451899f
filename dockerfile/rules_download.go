package dockerfile

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

func checkD01(p *pass) {
	p.commands(func(c *Command) {
		add, ok := c.Command.(*instructions.AddCommand)
		if !ok {
			return
		}
		files := len(add.SourceContents) > 0
		for _, src := range add.SourcePaths {
			switch {
			case isGit(src):
				if add.Checksum == "" && !commit(src) {
					p.at(c, report{message: fmt.Sprintf("ADD fetches %s, at whatever its branch is then", src), fix: "name the commit after #, or use --checksum"})
				}
			case isURL(src):
				if add.Checksum == "" {
					p.at(c, report{message: fmt.Sprintf("ADD downloads %s without a checksum", src), fix: "use ADD --checksum=sha256:… " + src})
				}
			case !isArchive(src):
				files = true
			}
		}
		if files && !slices.ContainsFunc(add.SourcePaths, func(s string) bool { return isURL(s) || isGit(s) || isArchive(s) }) {
			p.at(c, report{message: "ADD copies files, where COPY does only that", severity: Warn, fix: "write COPY instead of ADD", edit: addToCopy(c, add)})
		}
	})
}

func isURL(src string) bool {
	return strings.HasPrefix(src, "http://") || strings.HasPrefix(src, "https://")
}

var gitSource = regexp.MustCompile(`^(git://|git@|ssh://|https?://[^#]+\.git([#/?]|$)|github\.com/)`)

func isGit(src string) bool { return gitSource.MatchString(src) }

// commit tells whether a git source names a commit.
func commit(src string) bool {
	_, fragment, _ := strings.Cut(src, "#")
	ref, _, _ := strings.Cut(fragment, ":")
	return len(ref) == 40 && strings.Trim(ref, "0123456789abcdef") == "" || strings.Contains(src, "commit=")
}

func isArchive(src string) bool {
	for _, ext := range []string{".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst"} {
		if strings.HasSuffix(strings.ToLower(src), ext) {
			return true
		}
	}
	return strings.Contains(src, "$")
}

// fetchers download.
var fetchers = []string{"curl", "wget", "aria2c", "http", "fetch", "iwr", "irm", "invoke-webrequest", "invoke-restmethod"}

func isFetch(x *call) bool { return slices.Contains(fetchers, strings.ToLower(x.name)) }

func checkD02(p *pass) {
	p.commands(func(c *Command) {
		s := c.scriptOf()
		for _, f := range s.feeds {
			if i := slices.IndexFunc(f.from, isFetch); i >= 0 {
				p.at(c, report{line: f.to.line, message: fmt.Sprintf("what %s downloads goes straight to %s", f.from[i].name, f.to.name), key: f.from[i].text() + " | " + f.to.name})
			}
		}
	})
	for _, stage := range p.used() {
		p.downloads(stage)
	}
}

// downloads finds what is run that an instruction of the stage, the same or an
// earlier one, has downloaded, and that nothing has verified.
func (p *pass) downloads(s *Stage) {
	files := map[string]*call{} // not verified yet
	for _, c := range s.Commands {
		calls := c.scriptOf().calls
		if slices.ContainsFunc(calls, verifies) {
			clear(files)
			continue
		}
		for _, x := range calls {
			if file := fetched(x); file != "" {
				files[file] = x
			}
		}
		for _, file := range slices.Sorted(maps.Keys(files)) {
			if run := runs(calls, file); run != nil {
				p.at(c, report{line: run.line, message: fmt.Sprintf("%s is downloaded and run, and nothing compares it with a checksum or signature", path.Base(file)), key: files[file].text()})
				delete(files, file)
			}
		}
	}
}

// verifies tells whether a call compares a download with what it should be.
func verifies(x *call) bool {
	switch x.name {
	case "sha256sum", "sha512sum", "sha384sum", "sha1sum", "b2sum", "shasum":
		return x.has("-c", "--check", "-sc", "-csw", "--status") || slices.ContainsFunc(x.args, func(a string) bool { return strings.HasPrefix(a, "-") && strings.Contains(a, "c") })
	case "gpg", "gpgv", "gpg2":
		return x.name == "gpgv" || x.has("--verify")
	case "cosign", "minisign", "signify", "slsa-verifier":
		return true
	case "openssl":
		return x.has("-verify") || x.has("dgst")
	}
	return false
}

// fetched is the file that a download writes; empty if it writes none.
func fetched(x *call) string {
	if !isFetch(x) {
		return ""
	}
	if len(x.writes) > 0 {
		return x.writes[0]
	}
	url := ""
	for i, a := range x.args {
		if isURL(a) {
			url = a
		}
		switch {
		case i+1 < len(x.args) && (a == "-o" || a == "--output" || a == "-O" && x.name == "wget" || a == "--output-document" || strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.HasSuffix(a, "o")):
			return x.args[i+1]
		case strings.HasPrefix(a, "--output="), strings.HasPrefix(a, "--output-document="):
			_, file, _ := strings.Cut(a, "=")
			return file
		case strings.HasPrefix(a, "-O") && x.name == "wget" && len(a) > 2:
			return a[2:]
		}
	}
	if url == "" || x.name == "curl" && !slices.ContainsFunc(x.args, func(a string) bool {
		return a == "--remote-name" || strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.Contains(a, "O")
	}) {
		return ""
	}
	name, _, _ := strings.Cut(url, "?")
	return path.Base(name)
}

// runs is the call that runs a file.
func runs(calls []*call, file string) *call {
	name := path.Base(file)
	if name == "-" || name == "." || name == "/" || strings.Contains(name, "…") {
		return nil
	}
	for _, x := range calls {
		if x.name == name && !isFetch(x) {
			return x
		}
		if slices.Contains(interpreters, x.name) || x.name == "source" || x.name == "." {
			if list := x.operands(); len(list) > 0 && path.Base(list[0]) == name {
				return x
			}
		}
	}
	return nil
}

func checkD03(p *pass) {
	p.commands(func(c *Command) {
		switch cmd := c.Command.(type) {
		case *instructions.EnvCommand:
			for _, kv := range cmd.Env {
				p.trust(c, kv.Key, kv.Value, c.Line)
			}
		case *instructions.ArgCommand:
			for _, a := range cmd.Args {
				p.trust(c, a.Key, a.ValueString(), c.Line)
			}
		}
		for _, x := range c.scriptOf().calls {
			for _, a := range x.assigns {
				name, value, _ := strings.Cut(a, "=")
				p.trust(c, name, value, x.line)
			}
			if x.name == "export" || x.name == "env" {
				for _, a := range x.args {
					if name, value, ok := strings.Cut(a, "="); ok {
						p.trust(c, name, value, x.line)
					}
				}
			}
			if what := unchecked(x); what != "" {
				p.at(c, report{line: x.line, message: what, key: x.text()})
			}
		}
	})
}

// trust judges variables that switch checks off.
func (p *pass) trust(c *Command, name, value string, line int) {
	off := slices.Contains([]string{"0", "false", "off", "no", "n"}, strings.ToLower(value))
	on := slices.Contains([]string{"1", "true", "on", "yes", "y"}, strings.ToLower(value))
	bad := false
	switch strings.ToUpper(name) {
	case "NODE_TLS_REJECT_UNAUTHORIZED", "PYTHONHTTPSVERIFY", "NPM_CONFIG_STRICT_SSL", "YARN_STRICT_SSL", "CONDA_SSL_VERIFY", "YARN_ENABLE_STRICT_SSL", "SSL_VERIFY":
		bad = off
	case "GIT_SSL_NO_VERIFY", "APK_ALLOW_UNTRUSTED", "HOMEBREW_NO_VERIFY_ATTESTATIONS":
		bad = on
	case "GOSUMDB":
		bad = value == "off"
	case "GONOSUMCHECK", "GOINSECURE", "GONOSUMDB":
		bad = value == "*" || value == "1"
	case "GOFLAGS":
		bad = strings.Contains(value, "-insecure")
	case "PIP_TRUSTED_HOST":
		bad = value != ""
	case "CURL_SSL_NO_VERIFY", "PERL_LWP_SSL_VERIFY_HOSTNAME":
		bad = on && strings.HasPrefix(name, "CURL") || off
	}
	if bad {
		p.at(c, report{line: line, message: fmt.Sprintf("%s=%s switches the check off", name, value), key: name})
	}
}

// unchecked says which check a call switches off; empty if none.
func unchecked(x *call) string {
	say := func(option, what string) string { return fmt.Sprintf("%s %s %s", x.name, option, what) }
	const tls = "accepts any certificate"
	const sig = "installs packages whose signature was not checked"
	if (strings.HasPrefix(x.name, "pip") || x.follows("-m", "pip")) && slices.ContainsFunc(x.args, func(a string) bool { return strings.HasPrefix(a, "--trusted-host") }) {
		return say("--trusted-host", tls)
	}
	switch x.name {
	case "curl":
		for _, a := range x.args {
			if a == "--insecure" || a == "--proxy-insecure" || strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.Contains(a, "k") && !strings.ContainsAny(a, "/.=:") && shortCurl.MatchString(a) {
				return say(a, tls)
			}
		}
	case "wget":
		if x.has("--no-check-certificate") {
			return say("--no-check-certificate", tls)
		}
	case "npm", "yarn", "pnpm":
		if i := slices.Index(x.args, "strict-ssl"); i >= 0 && i+1 < len(x.args) && x.args[i+1] == "false" || x.has("strict-ssl=false", "--strict-ssl=false", "--no-strict-ssl") {
			return say("strict-ssl=false", tls)
		}
	case "git":
		if slices.ContainsFunc(x.args, func(a string) bool { return strings.EqualFold(a, "http.sslVerify=false") }) || x.follows("http.sslverify", "false") {
			return say("http.sslVerify=false", tls)
		}
	case "gem":
		if x.follows("--trust-policy", "nosecurity") || x.follows("-P", "nosecurity") {
			return say("--trust-policy NoSecurity", sig)
		}
	case "composer":
		if x.has("--disable-tls") || x.follows("disable-tls", "true") || x.follows("secure-http", "false") {
			return say("without TLS", tls)
		}
	}
	return uncheckedPackages(x, sig, tls)
}

// shortCurl is short options of curl that take no value in the same word.
var shortCurl = regexp.MustCompile(`^-[#0123469aBfGgIiJjkLlMNnOpqRSsv]*[a-zA-Z]?$`)

// follows tells whether an argument comes right after another, whatever the case.
func (c *call) follows(first, second string) bool {
	for i := 1; i < len(c.args); i++ {
		if strings.EqualFold(c.args[i-1], first) && strings.EqualFold(c.args[i], second) {
			return true
		}
	}
	return false
}

func uncheckedPackages(x *call, sig, tls string) string {
	option := ""
	what := sig
	switch x.name {
	case "apt-get", "apt", "aptitude":
		for _, a := range x.args {
			lower := strings.ToLower(a)
			switch {
			case a == "--allow-unauthenticated" || a == "--force-yes" || a == "--allow-insecure-repositories":
				option = a
			case strings.Contains(lower, "allowunauthenticated=") && !strings.HasSuffix(lower, "false") && !strings.HasSuffix(lower, "0"), strings.Contains(lower, "allowinsecurerepositories=true"):
				option = a
			case strings.Contains(lower, "verify-peer=false"), strings.Contains(lower, "verify-host=false"):
				option, what = a, tls
			}
		}
	case "apk":
		option = x.first("--allow-untrusted")
	case "yum", "dnf", "microdnf", "tdnf":
		option = x.first("--nogpgcheck", "--no-gpgchecks", "--setopt=gpgcheck=0", "--setopt=sslverify=false", "--setopt=sslverify=0")
	case "zypper":
		option = x.first("--no-gpg-checks", "--gpg-auto-import-keys")
	case "rpm":
		option = x.first("--nosignature", "--nodigest", "--noverify")
	case "echo", "printf", "tee", "sed":
		if strings.Contains(strings.ToLower(x.text()), "trusted=yes") {
			return "[trusted=yes] lets apt install packages whose signature was not checked"
		}
		if strings.Contains(x.text(), "sslverify=false") || strings.Contains(x.text(), "gpgcheck=0") {
			return "gpgcheck=0 or sslverify=false lets yum and dnf install what was not checked"
		}
		if strings.Contains(x.text(), "SigLevel") && strings.Contains(x.text(), "Never") {
			return "SigLevel = Never lets pacman install what was not checked"
		}
	}
	if option == "" {
		return ""
	}
	return fmt.Sprintf("%s %s %s", x.name, option, what)
}

// first is the first of the options that the call has.
func (c *call) first(options ...string) string {
	for _, o := range options {
		if c.has(o) {
			return o
		}
	}
	return ""
}
