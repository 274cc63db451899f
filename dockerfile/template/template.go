// Package template has Dockerfiles to begin with, one for each kind of
// application, which pass the profile strict once their images have digests.
package template

import (
	"embed"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
)

//go:embed files
var files embed.FS

// ports are those that the applications listen on, by kind.
var ports = map[string]string{"node": "3000", "go": "8080", "python": "8000", "java": "8080", "static": "8080"}

// Kinds are the kinds of applications.
func Kinds() []string { return []string{"node", "go", "python", "java", "static"} }

// File is one that is to be written.
type File struct {
	Name string
	Data []byte
}

var imageArg = regexp.MustCompile(`(?m)^ARG [A-Z]+_IMAGE=(\S+)$`)

// Images are those that the Dockerfile of a kind builds on.
func Images(kind string) (all []dockerfile.Image, err error) {
	text, err := read(kind + ".Dockerfile")
	if err != nil {
		return nil, fmt.Errorf("there is no template %q: there are %s", kind, strings.Join(Kinds(), ", "))
	}
	for _, m := range imageArg.FindAllStringSubmatch(text, -1) {
		all = append(all, dockerfile.ParseImage(m[1]))
	}
	return all, nil
}

// Files are the Dockerfile, .dockerignore and compose.yaml of a kind. Digests are
// by the name of the image; an image without one keeps its tag alone.
func Files(kind string, digests map[string]string) ([]File, error) {
	if !slices.Contains(Kinds(), kind) {
		return nil, fmt.Errorf("there is no template %q: there are %s", kind, strings.Join(Kinds(), ", "))
	}
	text, err := read(kind + ".Dockerfile")
	if err != nil {
		return nil, err
	}
	for name, digest := range digests {
		text = strings.ReplaceAll(text, "_IMAGE="+name+"\n", "_IMAGE="+name+"@"+digest+"\n")
	}
	ignore, err := read("dockerignore")
	if err != nil {
		return nil, err
	}
	compose, err := read("compose.yaml")
	if err != nil {
		return nil, err
	}
	compose = strings.ReplaceAll(compose, "{{PORT}}", ports[kind])
	return []File{{"Dockerfile", []byte(text)}, {".dockerignore", []byte(ignore)}, {"compose.yaml", []byte(compose)}}, nil
}

func read(name string) (string, error) {
	data, err := files.ReadFile("files/" + name)
	return string(data), err
}
