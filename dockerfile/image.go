package dockerfile

import (
	"path"
	"slices"
	"strings"
)

// Image is the name of an image in its full form.
type Image struct {
	Name       string // as it is written
	Registry   string // docker.io if the name has none
	Repository string // with library/ for official images; empty if the name is malformed
	Tag        string // empty if there is none
	Digest     string // sha256:…; empty if there is none
}

// ParseImage takes a name such as node:20-slim or gcr.io/a/b@sha256:… apart.
func ParseImage(name string) Image {
	m := Image{Name: name}
	rest, digest, pinned := strings.Cut(name, "@")
	if pinned {
		m.Digest = digest
	}
	if i := strings.LastIndex(rest, ":"); i > strings.LastIndex(rest, "/") {
		rest, m.Tag = rest[:i], rest[i+1:]
	}
	if rest == "" || strings.ContainsAny(name, " \t$") || pinned && !validDigest(digest) || strings.HasPrefix(rest, "/") || strings.HasSuffix(rest, "/") {
		return m
	}
	first, more, ok := strings.Cut(rest, "/")
	switch {
	case ok && (strings.ContainsAny(first, ".:") || first == "localhost"):
		m.Registry, m.Repository = first, more
	default:
		m.Registry, m.Repository = "docker.io", rest
	}
	if m.Registry == "index.docker.io" {
		m.Registry = "docker.io"
	}
	if m.Registry == "docker.io" && !strings.Contains(m.Repository, "/") {
		m.Repository = "library/" + m.Repository
	}
	if strings.ToLower(m.Repository) != m.Repository {
		m.Repository = "" // builders refuse it
	}
	return m
}

func validDigest(d string) bool {
	algorithm, hex, ok := strings.Cut(d, ":")
	want := map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}[algorithm]
	return ok && want != 0 && len(hex) == want && strings.Trim(hex, "0123456789abcdef") == ""
}

// Scratch tells whether it is the empty image.
func (m Image) Scratch() bool { return m.Name == "scratch" }

// Path is registry and repository.
func (m Image) Path() string { return m.Registry + "/" + m.Repository }

// official is the name of an official image of Docker Hub; empty for others.
func (m Image) official() string {
	if m.Registry != "docker.io" {
		return ""
	}
	name, ok := strings.CutPrefix(m.Repository, "library/")
	if !ok {
		return ""
	}
	return name
}

func (m Image) tagHas(parts ...string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(m.Tag, p) })
}

// user is the user that a base image runs as, if that is not root. It is what
// its publisher says; an image that is not known here is taken to run as root.
func (m Image) user() string {
	switch p := m.Path(); {
	case strings.HasPrefix(p, "gcr.io/distroless/"):
		if m.tagHas("nonroot") {
			return "65532"
		}
	case strings.HasPrefix(p, "cgr.dev/chainguard/"):
		return "65532"
	case p == "docker.io/nginxinc/nginx-unprivileged":
		return "101"
	case strings.HasPrefix(p, "docker.io/bitnami/"), strings.HasPrefix(p, "docker.io/bitnamilegacy/"), strings.HasPrefix(p, "docker.io/bitnamisecure/"):
		return "1001"
	case strings.HasPrefix(p, "mcr.microsoft.com/dotnet/"):
		if m.tagHas("chiseled", "distroless") {
			return "1654"
		}
	case strings.HasPrefix(p, "registry.access.redhat.com/ubi"), strings.HasPrefix(p, "registry.redhat.io/ubi"):
		if strings.Count(p, "/") == 2 && !strings.HasPrefix(path.Base(p), "ubi") {
			return "1001" // language images; plain ubi runs as root
		}
	case p == "quay.io/keycloak/keycloak":
		return "1000"
	case p == "docker.io/prom/prometheus", strings.HasPrefix(p, "docker.io/prom/"):
		return "65534"
	case p == "docker.io/grafana/grafana":
		return "472"
	}
	return ""
}

// namedUsers are the numbers of users that well-known images have.
var namedUsers = map[string]map[string]string{
	"node":       {"node": "1000:1000"},
	"distroless": {"nonroot": "65532:65532", "nonroot:nonroot": "65532:65532", "nobody": "65534:65534"},
	"nginx":      {"nginx": "101:101"},
	"caddy":      {},
}

// numeric is the number of a user that an image is known to have; empty if it
// is not known.
func (m Image) numeric(user string) string {
	if user == "nobody" && (m.official() == "debian" || m.official() == "ubuntu" || m.official() == "alpine") {
		return "65534:65534"
	}
	family := m.official()
	if strings.HasPrefix(m.Path(), "gcr.io/distroless/") || strings.HasPrefix(m.Path(), "cgr.dev/chainguard/") {
		family = "distroless"
	}
	return namedUsers[family][user]
}

// compilers says what there is in an image that only builds need; empty if
// nothing is known of it.
func (m Image) compilers() string {
	slim := m.tagHas("slim", "alpine", "distroless", "chiseled")
	switch name := m.official(); name {
	case "golang":
		return "the Go tool chain"
	case "rust", "swift", "haskell", "gcc", "maven", "gradle", "buildpack-deps", "clojure", "sbt", "dart", "erlang", "elixir", "julia", "crystal":
		if name == "swift" && slim {
			return ""
		}
		return "the compilers of " + name
	case "node", "python", "ruby", "perl":
		if !slim && (m.Tag != "" || m.Digest == "") { // a digest alone does not say which variant it is
			return "gcc, make and header files, which the variants -slim and -alpine do not have"
		}
	case "openjdk", "eclipse-temurin", "amazoncorretto", "ibm-semeru-runtimes", "sapmachine":
		if !m.tagHas("jre") && !m.tagHas("headful") {
			return "a JDK with its compiler, where a JRE is enough"
		}
	case "":
		return m.otherCompilers()
	}
	return ""
}

func (m Image) otherCompilers() string {
	p := m.Path()
	switch {
	case strings.HasPrefix(p, "mcr.microsoft.com/dotnet/") && strings.Contains(p, "sdk"):
		return "the .NET SDK"
	case strings.HasPrefix(p, "mcr.microsoft.com/openjdk/jdk"):
		return "a JDK with its compiler"
	case strings.HasPrefix(p, "cgr.dev/chainguard/") && (strings.HasSuffix(m.Tag, "-dev") || slices.Contains([]string{"go", "rust", "maven", "gradle", "jdk", "gcc-glibc", "build-base"}, path.Base(p))):
		return "a shell, a package manager and build tools"
	case p == "docker.io/emscripten/emsdk", p == "docker.io/messense/rust-musl-cross", p == "docker.io/clux/muslrust", p == "docker.io/goreleaser/goreleaser":
		return "compilers"
	}
	return ""
}
