package dockerfile

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

func checkX01(p *pass) {
	p.calls(func(c *Command, x *call) {
		switch {
		case x.name == "sudo" || x.name == "doas":
			p.content(c, report{line: x.line, message: fmt.Sprintf("%s is used to run %s", x.name, strings.Join(x.args[:min(len(x.args), 3)], " ")), fix: "RUN is root already unless there was a USER: leave it away, or move the RUN before USER", key: x.text()})
		case slices.ContainsFunc(installed(x), func(name string) bool { n, _, _ := strings.Cut(name, "="); return n == "sudo" || n == "doas" }):
			p.content(c, report{line: x.line, message: "sudo is installed", key: "install sudo"})
		case slices.Contains([]string{"echo", "printf", "tee", "sed", "visudo"}, x.name) && (strings.Contains(x.text(), "NOPASSWD") || slices.ContainsFunc(x.writes, func(w string) bool { return strings.HasPrefix(w, "/etc/sudoers") })):
			p.content(c, report{line: x.line, message: "a rule for sudo is written", key: "sudoers"})
		case (x.name == "adduser" || x.name == "usermod" || x.name == "addgroup" || x.name == "gpasswd" || x.name == "useradd") && x.has("sudo", "wheel"):
			p.content(c, report{line: x.line, message: "a user becomes member of the group that may use sudo", key: x.text()})
		}
	})
}

func checkX02(p *pass) {
	p.commands(func(c *Command) {
		switch cmd := c.Command.(type) {
		case *instructions.ExposeCommand:
			for _, port := range cmd.Ports {
				if name := remotePort(port); name != "" {
					p.content(c, report{message: fmt.Sprintf("port %s is exposed: %s", port, name), key: "EXPOSE " + port, fix: "leave it away"})
				}
			}
		case *instructions.CmdCommand:
			p.daemon(c, cmd.CmdLine)
		case *instructions.EntrypointCommand:
			p.daemon(c, cmd.CmdLine)
		}
		for _, x := range c.scriptOf().calls {
			if slices.ContainsFunc(installed(x), func(name string) bool { return remoteServer(name) }) {
				p.content(c, report{line: x.line, message: "a server for remote shells is installed", key: "install sshd"})
			}
		}
	})
}

// remotePort says what a port is for, if it is for remote shells.
func remotePort(port string) string {
	ports, protocol, _ := strings.Cut(port, "/")
	if protocol != "" && !strings.EqualFold(protocol, "tcp") {
		return ""
	}
	low, high, _ := strings.Cut(ports, "-")
	from, err := strconv.Atoi(low)
	if err != nil {
		return ""
	}
	to, err := strconv.Atoi(high)
	if err != nil {
		to = from
	}
	for number, name := range map[int]string{22: "SSH", 23: "telnet", 3389: "remote desktop"} {
		if from <= number && number <= to {
			return name
		}
	}
	return ""
}

func remoteServer(name string) bool {
	name, _, _ = strings.Cut(name, "=")
	return slices.Contains([]string{"openssh-server", "openssh", "dropbear", "telnetd", "tinysshd", "xrdp"}, name)
}

func (p *pass) daemon(c *Command, words []string) {
	for w := range strings.FieldsSeq(strings.Join(words, " ")) {
		if base := path.Base(w); base == "sshd" || base == "dropbear" || base == "telnetd" {
			p.content(c, report{message: base + " is started", key: base})
			return
		}
	}
}

func checkX03(p *pass) {
	p.calls(func(c *Command, x *call) {
		if what := password(x); what != "" {
			p.content(c, report{line: x.line, message: what, key: x.name + " password"})
		}
	})
}

// password says how a call gives an account a password; empty if it does not.
// It never repeats it.
func password(x *call) string {
	switch x.name {
	case "chpasswd":
		return "chpasswd sets passwords"
	case "passwd":
		if x.has("-d", "--delete") {
			return "passwd -d leaves an account with an empty password"
		}
		if x.has("--stdin") || x.has("-u", "--unlock") {
			return "passwd sets or unlocks a password"
		}
	case "useradd", "usermod", "adduser":
		for i, a := range x.args {
			if value, ok := strings.CutPrefix(a, "--password="); ok && !locked(value) {
				return x.name + " --password sets a password"
			}
			if (a == "-p" || a == "--password") && i+1 < len(x.args) && !locked(x.args[i+1]) {
				return fmt.Sprintf("%s %s sets a password", x.name, a)
			}
		}
	case "sed", "echo", "printf":
		if text := x.text() + " " + strings.Join(x.writes, " "); strings.Contains(text, "/etc/shadow") {
			return "/etc/shadow is written"
		}
	case "htpasswd":
		if slices.ContainsFunc(x.args, func(a string) bool { return strings.HasPrefix(a, "-") && strings.Contains(a, "b") }) {
			return "htpasswd -b has a password in the command"
		}
	}
	return ""
}

// locked tells whether a password hash matches no password.
func locked(hash string) bool { return strings.HasPrefix(hash, "!") || hash == "*" }

func checkX04(p *pass) {
	p.commands(func(c *Command) {
		switch cmd := c.Command.(type) {
		case *instructions.CopyCommand:
			p.setuidCopy(c, cmd.Chmod)
		case *instructions.AddCommand:
			p.setuidCopy(c, cmd.Chmod)
		}
		for _, x := range c.scriptOf().calls {
			switch {
			case x.name == "setcap" && !x.has("-r"):
				p.content(c, report{line: x.line, message: "setcap gives a file capabilities: " + strings.Join(x.args, " "), key: x.text()})
			case x.name == "chmod" && setuid(mode(x)):
				p.content(c, report{line: x.line, message: fmt.Sprintf("%s makes files run with the rights of their owner or group", x.text()), key: x.text()})
			case x.name == "install" && setuid(installMode(x)):
				p.content(c, report{line: x.line, message: fmt.Sprintf("%s makes files run with the rights of their owner or group", x.text()), key: x.text()})
			}
		}
	})
}

func (p *pass) setuidCopy(c *Command, chmod string) {
	if setuid(chmod) {
		p.content(c, report{message: fmt.Sprintf("--chmod=%s makes files run with the rights of their owner or group", chmod), key: c.Text})
	}
}

// mode is the first operand of chmod. One that begins with a minus takes rights
// away.
func mode(x *call) string {
	for _, a := range x.args {
		if !strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") {
			return a
		}
	}
	return ""
}

func installMode(x *call) string {
	for i, a := range x.args {
		if (a == "-m" || a == "--mode") && i+1 < len(x.args) {
			return x.args[i+1]
		}
		if rest, ok := strings.CutPrefix(a, "-m"); ok && rest != "" {
			return rest
		}
		if rest, ok := strings.CutPrefix(a, "--mode="); ok {
			return rest
		}
	}
	return ""
}

var (
	octalMode  = regexp.MustCompile(`^[0-7]{3,5}$`)
	setuidMode = regexp.MustCompile(`(^|,)[ug]*a?[+=][rwxX]*s`)
)

func setuid(mode string) bool {
	if octalMode.MatchString(mode) {
		bits, _ := strconv.ParseInt(mode, 8, 32)
		return bits&0o6000 != 0
	}
	return setuidMode.MatchString(mode)
}

// public tells whether a mode lets everybody write.
func public(mode string) bool {
	if octalMode.MatchString(mode) {
		bits, _ := strconv.ParseInt(mode, 8, 32)
		return bits&0o002 != 0 && bits&0o1000 == 0 // with the sticky bit it is a place for temporary files
	}
	for part := range strings.SplitSeq(mode, ",") {
		who, rights, ok := strings.Cut(part, "+")
		if !ok {
			who, rights, ok = strings.Cut(part, "=")
		}
		if ok && strings.Contains(rights, "w") && strings.ContainsAny(who, "oa") {
			return true
		}
	}
	return false
}

func checkX05(p *pass) {
	user, _ := p.userOf()
	p.commands(func(c *Command) {
		switch cmd := c.Command.(type) {
		case *instructions.CopyCommand:
			p.ownedCopy(c, &cmd.SourcesAndDest, cmd.Chown, cmd.Chmod, user)
		case *instructions.AddCommand:
			p.ownedCopy(c, &cmd.SourcesAndDest, cmd.Chown, cmd.Chmod, user)
		}
		for _, x := range c.scriptOf().calls {
			switch {
			case x.name == "chmod" && public(mode(x)) || (x.name == "install" || x.name == "mkdir") && public(installMode(x)):
				p.content(c, report{line: x.line, message: fmt.Sprintf("%s lets every user write", x.text()), key: x.text()})
			case x.name == "chown":
				p.ownedPlaces(c, x, user)
			}
		}
	})
}

func (p *pass) ownedCopy(c *Command, paths *instructions.SourcesAndDest, chown, chmod, user string) {
	if public(chmod) {
		p.content(c, report{message: fmt.Sprintf("--chmod=%s lets every user write", chmod)})
		return
	}
	if chown == "" || !sameUser(chown, user) || readOnly(chmod) {
		return
	}
	if slices.ContainsFunc(paths.SourcePaths, isConfig) || isConfig(paths.DestPath) {
		p.content(c, report{message: fmt.Sprintf("%s belongs to %s, as which the server runs, so it can change its own configuration", paths.DestPath, chown), fix: "leave the file to root: without --chown, with --chmod=0444"})
	}
}

// ownedPlaces judges chown of directories with configuration.
func (p *pass) ownedPlaces(c *Command, x *call, user string) {
	list := x.operands()
	if len(list) < 2 || !sameUser(list[0], user) {
		return
	}
	for _, place := range list[1:] {
		if isConfig(place) || slices.Contains([]string{"/", "/usr", "/usr/bin", "/usr/local", "/usr/local/bin", "/bin", "/lib"}, path.Clean(place)) {
			p.content(c, report{line: x.line, message: fmt.Sprintf("%s comes to belong to %s, as which the server runs, so it can change its own configuration", place, list[0]), fix: "give the user only the directories with its data", key: x.text()})
			return
		}
	}
}

// sameUser compares the user of chown with that of USER.
func sameUser(owner, user string) bool {
	a, _, _ := strings.Cut(owner, ":")
	b, _, _ := strings.Cut(user, ":")
	return a != "" && a == b && a != "root" && !isZero(a)
}

func readOnly(mode string) bool {
	if octalMode.MatchString(mode) {
		bits, _ := strconv.ParseInt(mode, 8, 32)
		return bits&0o222 == 0
	}
	return false
}

// isConfig tells whether a file by its place or name configures programs.
func isConfig(name string) bool {
	clean := path.Clean(name)
	if clean == "/etc" || strings.HasPrefix(clean, "/etc/") {
		return true
	}
	base := strings.ToLower(path.Base(clean))
	return slices.Contains([]string{"caddyfile", "nginx.conf", "httpd.conf", "haproxy.cfg", "php.ini", "envoy.yaml", "traefik.yml", "traefik.yaml", "redis.conf", "my.cnf", "supervisord.conf", "appsettings.json"}, base) ||
		path.Ext(base) == ".conf" || path.Ext(base) == ".cfg"
}

func checkX06(p *pass) {
	p.commands(func(c *Command) {
		switch cmd := c.Command.(type) {
		case *instructions.VolumeCommand:
			for _, v := range cmd.Volumes {
				p.hostPlace(c, "VOLUME", v)
			}
		case *instructions.WorkdirCommand:
			p.hostPlace(c, "WORKDIR", cmd.Path)
		case *instructions.CopyCommand:
			p.engineSocket(c, append(slices.Clone(cmd.SourcePaths), cmd.DestPath))
		case *instructions.EnvCommand:
			for _, kv := range cmd.Env {
				p.engineSocket(c, []string{kv.Value})
			}
		case *instructions.RunCommand:
			for _, m := range instructions.GetMounts(cmd) {
				p.engineSocket(c, []string{m.Source, m.Target})
			}
			if instructions.GetSecurity(cmd) == instructions.SecurityInsecure {
				p.at(c, report{message: "RUN --security=insecure runs with all rights on the builder", fix: "leave --security away"})
			}
			if instructions.GetNetwork(cmd) == instructions.NetworkHost {
				p.at(c, report{message: "RUN --network=host reaches all that listens on the builder", severity: Warn, fix: "leave --network away"})
			}
			for _, x := range c.scriptOf().calls {
				p.engineSocket(c, x.args)
			}
		}
	})
}

func (p *pass) hostPlace(c *Command, instruction, place string) {
	clean := path.Clean(place)
	if strings.HasPrefix(clean, "/dev/shm") {
		return
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if clean == dir || strings.HasPrefix(clean, dir+"/") {
			p.content(c, report{message: fmt.Sprintf("%s %s is in a file system of the kernel", instruction, place), key: instruction + " " + clean})
		}
	}
	p.engineSocket(c, []string{place})
	if instruction == "VOLUME" && clean == "/" {
		p.content(c, report{message: "VOLUME / makes the whole image a volume", key: "VOLUME /"})
	}
}

// engineSocket finds the sockets of container engines, which are the host's root.
func (p *pass) engineSocket(c *Command, places []string) {
	for _, place := range places {
		for _, socket := range []string{"docker.sock", "containerd.sock", "podman.sock", "crio.sock", "dockershim.sock"} {
			if strings.Contains(place, socket) {
				p.at(c, report{message: fmt.Sprintf("%s is used: whoever can write to it is root on the host", socket), key: socket + " " + c.Text})
				return
			}
		}
	}
}
