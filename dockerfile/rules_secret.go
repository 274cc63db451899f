package dockerfile

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// secretWords are the parts between underscores by which BuildKit's rule
// SecretsUsedInArgOrEnv knows the name of a secret, so that both say the same.
var secretWords = []string{"apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"}

// secretValue is values that are secrets by their form, whatever their name.
var secretValue = []struct {
	what string
	hint string // stands in every such value
	form *regexp.Regexp
}{
	{"a private key", "PRIVATE KEY", regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY`)},
	{"an age identity", "AGE-SECRET-KEY-", regexp.MustCompile(`AGE-SECRET-KEY-1[0-9A-Z]{20,}`)},
	{"an access key of AWS", "AKIA", regexp.MustCompile(`\bAKIA[0-9A-Z]{16}\b`)},
	{"an access key of AWS", "ASIA", regexp.MustCompile(`\bASIA[0-9A-Z]{16}\b`)},
	{"a token of GitHub", "gh", regexp.MustCompile(`\bgh[pousr]_[0-9A-Za-z]{36,}`)},
	{"a token of GitHub", "github_pat_", regexp.MustCompile(`\bgithub_pat_[0-9A-Za-z_]{22,}`)},
	{"a token of GitLab", "glpat-", regexp.MustCompile(`\bglpat-[0-9A-Za-z_-]{20,}`)},
	{"a token of Slack", "xox", regexp.MustCompile(`\bxox[abprs]-[0-9A-Za-z-]{10,}`)},
	{"a key of Stripe", "k_live_", regexp.MustCompile(`\b[rs]k_live_[0-9A-Za-z]{16,}`)},
	{"a key of Google", "AIza", regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}\b`)},
	{"a token of npm", "npm_", regexp.MustCompile(`\bnpm_[0-9A-Za-z]{36}\b`)},
	{"a JSON web token", "eyJ", regexp.MustCompile(`\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}`)},
	{"a password in an address", "@", regexp.MustCompile(`[a-z][a-z0-9+.-]*://[^/\s:@$]+:[^/\s@$]{3,}@`)},
}

// SecretName tells whether a variable is named like one that holds a secret.
func SecretName(name string) bool {
	secret := false
	for part := range strings.SplitSeq(strings.ToLower(name), "_") {
		if part == "public" {
			return false
		}
		secret = secret || slices.Contains(secretWords, part)
	}
	return secret
}

func checkS01(p *pass) {
	for _, c := range p.file.metas {
		for _, a := range c.Command.(*instructions.ArgCommand).Args {
			p.variable(c, "ARG", a.Key, a.ValueString())
		}
	}
	p.commands(func(c *Command) {
		switch cmd := c.Command.(type) {
		case *instructions.EnvCommand:
			for _, kv := range cmd.Env {
				p.variable(c, "ENV", kv.Key, kv.Value)
			}
		case *instructions.ArgCommand:
			for _, a := range cmd.Args {
				p.variable(c, "ARG", a.Key, a.ValueString())
			}
		case *instructions.LabelCommand:
			for _, kv := range cmd.Labels {
				if what := looksSecret(kv.Value); what != "" {
					p.content(c, report{message: fmt.Sprintf("the value of the label %s is %s", kv.Key, what), key: "LABEL " + kv.Key})
				}
			}
		case *instructions.RunCommand:
			text := []string{c.Text}
			for _, file := range cmd.Files {
				text = append(text, file.Data)
			}
			p.text(c, strings.Join(text, "\n"))
		case *instructions.CopyCommand:
			p.written(c, cmd.SourceContents)
		case *instructions.AddCommand:
			p.written(c, cmd.SourceContents)
			p.text(c, c.Text) // an address may have a password
		case *instructions.CmdCommand, *instructions.EntrypointCommand, *instructions.HealthCheckCommand, *instructions.ShellCommand:
			p.text(c, c.Text)
		}
	})
}

// text judges an instruction as it is written.
func (p *pass) text(c *Command, text string) {
	if what := looksSecret(text); what != "" {
		p.content(c, report{message: fmt.Sprintf("there is %s in the command", what), key: strings.ToUpper(c.Name()) + " " + what})
	}
}

// written judges files whose content is in the Dockerfile.
func (p *pass) written(c *Command, contents []instructions.SourceContent) {
	for _, s := range contents {
		if what := looksSecret(s.Data); what != "" {
			p.content(c, report{message: fmt.Sprintf("there is %s in the here-document", what), key: "COPY " + what})
		}
	}
}

// variable never repeats a value.
func (p *pass) variable(c *Command, instruction, name, value string) {
	what := looksSecret(value)
	switch {
	case SecretName(name):
		what = "named like a secret"
		if value != "" {
			what += ", and has a value"
		}
	case what == "":
		return
	default:
		what = "set to " + what
	}
	r := report{message: fmt.Sprintf("%s %s is %s", instruction, name, what), key: instruction + " " + name}
	if instruction == "ARG" {
		r.fix = fmt.Sprintf("take the ARG away, and use RUN --mount=type=secret,id=%s,env=%s where it is needed", strings.ToLower(name), name)
	}
	if c.Stage == nil {
		r.stage, r.line, r.end, r.severity = p.target, c.Line, c.End, p.rule.Severity.less()
		r.message += " (before the first FROM, so only FROM and stages that declare it again see it)"
		p.report(r)
		return
	}
	p.content(c, r)
}

func looksSecret(value string) string {
	if len(value) < 8 {
		return ""
	}
	for _, s := range secretValue {
		if strings.Contains(value, s.hint) && s.form.MatchString(value) {
			return s.what
		}
	}
	return ""
}

func checkS02(p *pass) {
	held := map[*Stage][]string{} // files with secrets in stages that lend files
	p.commands(func(c *Command) {
		var from string
		var paths *instructions.SourcesAndDest
		switch cmd := c.Command.(type) {
		case *instructions.CopyCommand:
			from, paths = cmd.From, &cmd.SourcesAndDest
		case *instructions.AddCommand:
			paths = &cmd.SourcesAndDest
		default:
			return
		}
		if from != "" {
			p.lentSecret(c, paths, held)
			return
		}
		for _, src := range paths.SourcePaths {
			if what := secretFile(src); what != "" && !p.harmless(src) {
				held[c.Stage] = append(held[c.Stage], landing(paths, src))
				p.content(c, report{message: fmt.Sprintf("%s is copied: it is %s", src, what), key: "COPY " + src})
			} else if root := contextRoot(src); root {
				p.wholeContext(c, paths, held)
			} else {
				p.partOfContext(c, paths, src, held)
			}
		}
	})
}

// landing is where a file comes to lie.
func landing(paths *instructions.SourcesAndDest, src string) string {
	dest := paths.DestPath
	if strings.HasSuffix(dest, "/") || dest == "." || len(paths.SourcePaths) > 1 {
		return path.Join(dest, path.Base(src))
	}
	return path.Clean(dest)
}

// lentSecret finds secrets of a stage that is thrown away which are carried on.
func (p *pass) lentSecret(c *Command, paths *instructions.SourcesAndDest, held map[*Stage][]string) {
	for _, from := range c.sources {
		for s := from.stage; s != nil; s = s.Base {
			for _, secret := range held[s] {
				for _, src := range paths.SourcePaths {
					if covers(src, secret) {
						p.content(c, report{message: fmt.Sprintf("%s of the stage %s is copied, and with it the secret %s", src, from.stage.Title(), secret), key: "COPY --from " + secret})
					}
				}
			}
		}
	}
}

// covers tells whether a path is a file, or a directory above it. Relative
// places cannot be compared with absolute ones; they do not cover each other.
func covers(dir, file string) bool {
	dir, file = path.Clean(dir), path.Clean(file)
	return dir == "/" && path.IsAbs(file) || dir == file || strings.HasPrefix(file, dir+"/")
}

// wholeContext judges COPY of all of the build context.
func (p *pass) wholeContext(c *Command, paths *instructions.SourcesAndDest, held map[*Stage][]string) {
	if p.o.Context == nil {
		return
	}
	const mend = "write a .dockerignore that lists at least .git, node_modules, **/.env*, **/*.key and **/*.pem"
	if !p.o.Context.HasIgnore {
		p.content(c, report{message: "the whole build context is copied, and there is no .dockerignore", fix: mend, severity: Warn, key: "COPY . ignore"})
	}
	for _, name := range p.o.Context.Secrets {
		held[c.Stage] = append(held[c.Stage], path.Join(paths.DestPath, name))
		p.content(c, report{message: fmt.Sprintf("the whole build context is copied, and with it %s, which is %s", name, secretFile(name)), key: "COPY . " + name})
	}
	if p.o.Context.HasIgnore && p.o.Context.Git {
		p.content(c, report{message: "the whole build context is copied, and with it .git: all that was ever committed", severity: Warn, fix: "list .git in .dockerignore", key: "COPY . .git"})
	}
}

// partOfContext judges COPY of a directory, or of what a pattern matches.
func (p *pass) partOfContext(c *Command, paths *instructions.SourcesAndDest, src string, held map[*Stage][]string) {
	if p.o.Context == nil {
		return
	}
	clean := strings.TrimPrefix(path.Clean("/"+src), "/")
	for _, name := range p.o.Context.Secrets {
		for at := name; at != "." && at != ""; at = path.Dir(at) { // the file, or a directory above it
			if ok, err := path.Match(clean, at); ok || err != nil && clean == at {
				rest := strings.TrimPrefix(name, at)
				if rest == "" {
					rest = path.Base(name)
				}
				held[c.Stage] = append(held[c.Stage], path.Join(paths.DestPath, rest))
				p.content(c, report{message: fmt.Sprintf("%s is copied, and with it %s, which is %s", src, name, secretFile(name)), key: "COPY " + src + " " + name})
				break
			}
		}
	}
}

func contextRoot(src string) bool {
	src = path.Clean(src)
	return src == "." || src == "/" || src == "*"
}

// harmless tells whether the file is known to hold no secret in this context.
func (p *pass) harmless(src string) bool {
	if p.o.Context == nil {
		return false
	}
	return p.o.Context.Harmless[path.Clean(strings.TrimPrefix(src, "/"))]
}

// secretFile says what a file of this name holds; empty if it is nothing secret.
func secretFile(name string) string {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	base := strings.ToLower(path.Base(clean))
	for _, suffix := range []string{".example", ".sample", ".template", ".dist", ".pub", ".tmpl", ".md"} {
		if strings.HasSuffix(base, suffix) {
			return ""
		}
	}
	if what := secretPlaces[base]; what != "" {
		return what
	}
	switch {
	case strings.HasPrefix(base, ".env."), strings.HasSuffix(base, ".env") && base != "":
		return "a file of environment variables, where secrets are kept"
	case strings.HasPrefix(base, "id_rsa"), strings.HasPrefix(base, "id_ed25519"), strings.HasPrefix(base, "id_ecdsa"), strings.HasPrefix(base, "id_dsa"):
		return "a private SSH key"
	case strings.HasSuffix(clean, ".aws/credentials"):
		return "credentials of AWS"
	case strings.HasSuffix(clean, ".docker/config.json"):
		return "credentials of registries"
	case strings.HasSuffix(clean, ".kube/config"):
		return "credentials of Kubernetes"
	case strings.HasSuffix(base, ".tfstate"):
		return "the state of Terraform, which holds secrets"
	case strings.HasPrefix(base, "service-account") && strings.HasSuffix(base, ".json"), strings.HasPrefix(base, "service_account") && strings.HasSuffix(base, ".json"):
		return "a key of a service account"
	}
	switch path.Ext(base) {
	case ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".asc-key":
		return "a key, or a store of keys"
	case ".pem":
		if strings.Contains(base, "key") || strings.Contains(base, "priv") {
			return "a private key"
		}
	}
	return ""
}

var secretPlaces = map[string]string{
	".env": "a file of environment variables, where secrets are kept", ".netrc": "passwords of hosts", "_netrc": "passwords of hosts",
	".npmrc": "the configuration of npm, where tokens are kept", ".pypirc": "credentials of PyPI", ".git-credentials": "credentials of git",
	".dockercfg": "credentials of registries", ".pgpass": "passwords of databases", ".htpasswd": "password hashes", "kubeconfig": "credentials of Kubernetes",
	"credentials.json": "credentials", "secrets.json": "secrets", "secrets.yml": "secrets", "secrets.yaml": "secrets", "client_secret.json": "credentials",
	".vault-token": "a token of Vault", "master.key": "the master key of Rails", ".my.cnf": "passwords of databases", ".s3cfg": "credentials of S3",
}
