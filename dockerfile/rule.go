package dockerfile

import "slices"

// Severity says what a finding does to the verdict.
type Severity string

// The severities, the gravest first.
const (
	Block Severity = "block" // the verdict is fail
	Warn  Severity = "warn"
	Info  Severity = "info"
)

// less returns the severity below.
func (s Severity) less() Severity {
	if s == Block {
		return Warn
	}
	return Info
}

// Profile is a set of severities.
type Profile string

// The profiles.
const (
	// Recommended is the default: only what endangers the image blocks.
	Recommended Profile = "recommended"
	// Strict blocks on warnings too.
	Strict Profile = "strict"
)

// Profiles are all there are.
var Profiles = []Profile{Recommended, Strict}

// RulesVersion counts changes of what the rules find. It is in every verdict, so
// that verdicts of different versions are not compared by accident.
const RulesVersion = 1

// Rule is a property that a Dockerfile should have.
type Rule struct {
	ID       string
	Title    string   // what is wrong if it finds something
	Severity Severity // in the profile recommended
	Criteria []string // SOC 2 criteria that it is evidence for
	Why      string   // one sentence for somebody who does not know the rule
	Fix      string   // what to do, if the finding says nothing more exact

	check func(*pass)
}

// Rules are all rules, in the order of their ids' groups. The caller does not
// change them.
func Rules() []Rule { return rules }

// RuleByID finds a rule.
func RuleByID(id string) (Rule, bool) {
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.ID == id })
	if i < 0 {
		return Rule{}, false
	}
	return rules[i], true
}

var rules []Rule

func init() { // not an initializer, which would refer to itself through checks
	rules = []Rule{
		{
			"S01", "secret in ENV or ARG", Block,
			[]string{"CC6.1"},
			"values of ENV and ARG stay readable in the image's history and environment for everybody who can pull it",
			"mount it while it is needed, RUN --mount=type=secret,id=NAME, or read it from a file at run time", checkS01,
		},
		{
			"S02", "secret file in the build context", Block,
			[]string{"CC6.1"},
			"a file that was copied into a layer stays there, also when a later layer deletes it",
			"list it in .dockerignore, and mount it with RUN --mount=type=secret where a build needs it", checkS02,
		},
		{
			"U01", "container runs as root", Block,
			[]string{"CC6.1", "CC6.3"},
			"whoever takes over a process that is root has all of the container, and less between them and the host",
			"end the final stage with USER and a number, such as USER 65532:65532", checkU01,
		},
		{
			"U02", "user without a number", Warn,
			[]string{"CC6.1"},
			"Kubernetes (runAsNonRoot) and other policies cannot tell that a name is not root, and refuse the container",
			"write the user's number, such as USER 65532:65532", checkU02,
		},
		{
			"B01", "base image without a version", Block,
			[]string{"CC8.1"},
			"what is built changes without a change that anybody made or reviewed",
			"name a version, such as node:20.20.2-bookworm-slim", checkB01,
		},
		{
			"B02", "base image without a digest", Warn,
			[]string{"CC8.1", "CC6.8"},
			"a tag can be moved to another image; a digest cannot",
			"append @sha256:… of the image that was tested, and let a bot renew it", checkB02,
		},
		{
			"B03", "base image from elsewhere", Block,
			[]string{"CC6.8"},
			"only images of the registries in the policy are vetted",
			"use an image of a registry that the policy allows", checkB03,
		},
		{
			"M01", "build tools in the final image", Block,
			[]string{"CC6.8"},
			"compilers and package managers help an attacker, and have vulnerabilities of their own to be patched",
			"build in a stage of its own and COPY --from it what is run", checkM01,
		},
		{
			"D01", "ADD where COPY belongs", Block,
			[]string{"CC6.8"},
			"ADD fetches what an address serves at that moment, and unpacks archives, without anything that says what it should be",
			"use COPY for files, and ADD --checksum=sha256:… for an address", checkD01,
		},
		{
			"D02", "download that is run unseen", Block,
			[]string{"CC6.8"},
			"whoever controls the server, or the connection, runs what they like in the build",
			"download to a file, compare it with a checksum that is in the Dockerfile, then run it", checkD02,
		},
		{
			"D03", "checks of certificates or signatures switched off", Block,
			[]string{"CC6.7", "CC6.8"},
			"anybody on the way can put something else in the place of what is downloaded",
			"leave the check on, and add the certificate or key that is missing", checkD03,
		},
		{
			"P01", "packages without a version", Warn,
			[]string{"CC8.1"},
			"the same Dockerfile gives another image tomorrow, which nobody reviewed",
			"name the version, or install from a lock file", checkP01,
		},
		{
			"P02", "package lists updated alone", Warn,
			[]string{"CC7.1"},
			"the lists are cached with the layer, so that later layers install old versions, without their security fixes",
			"update and install in one RUN", checkP02,
		},
		{
			"P03", "whole system upgraded", Warn,
			[]string{"CC8.1"},
			"it replaces what the base image pins by whatever is new",
			"use a newer base image", checkP03,
		},
		{
			"H01", "no HEALTHCHECK", Warn,
			[]string{"A1.2", "CC7.2"},
			"a process that hangs looks alive, so nothing restarts it and nobody is told",
			"add HEALTHCHECK with a command that asks the application", checkH01,
		},
		{
			"X01", "sudo", Block,
			[]string{"CC6.1"},
			"sudo is a way back to root for a process that had given it up",
			"do what needs root before USER", checkX01,
		},
		{
			"X02", "remote shell", Block,
			[]string{"CC6.6"},
			"it is a second way in, which goes round the proxy and its records",
			"use docker exec or kubectl exec, which are recorded by the platform", checkX02,
		},
		{
			"X03", "password set in the image", Block,
			[]string{"CC6.1"},
			"everybody who can pull the image can read it, and all containers share it",
			"let no account have a password", checkX03,
		},
		{
			"X04", "setuid, setgid or file capabilities", Warn,
			[]string{"CC6.1"},
			"such a file gives rights that the process did not have, and does not start under no-new-privileges with capabilities dropped",
			"listen on a port above 1023 and drop the capability", checkX04,
		},
		{
			"X05", "files that anybody, or the server itself, may write", Warn,
			[]string{"CC6.1", "CC8.1"},
			"a process that is taken over can change its own program or configuration",
			"leave programs and configuration to root, COPY --chmod=0555 or 0444, and give the user only its data", checkX05,
		},
		{
			"X06", "access to the host's system", Block,
			[]string{"CC6.1"},
			"it hands the kernel's interfaces, or all containers of the host, to the process",
			"leave /proc, /sys and /dev to the runtime, and the container engine's socket outside", checkX06,
		},
		{
			"C01", "command through a shell", Warn,
			[]string{"A1.2"},
			"the shell is process 1 and does not pass SIGTERM on, so that the server is killed in the middle of requests",
			`write it as a JSON array, such as CMD ["node", "server.js"]`, checkC01,
		},
		{
			"C02", "name that nothing defines", Warn,
			[]string{"CC8.1"},
			"it is empty, or means another stage or image than the one that was meant",
			"define it before it is used, in the same stage", checkC02,
		},
		{
			"L01", "everything is copied before dependencies are installed", Info, nil,
			"each change of a source file installs all dependencies again, which is slow",
			"copy the lock file first, install, then copy the rest", checkL01,
		},
	}
}
