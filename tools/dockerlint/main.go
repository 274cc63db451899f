// Command dockerlint prints what BuildKit's own linter says of Dockerfiles: one
// JSON object a file, {"file":…,"error":…,"warnings":[{"rule":…,"line":…}]}. It is
// the other side of the test that the rules which the project's checker shares
// with BuildKit agree. It has a module of its own because the linter's rules are
// in BuildKit's builder, which the project does not need.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

type warning struct {
	Rule string `json:"rule"`
	Line int32  `json:"line"`
}

type result struct {
	File     string    `json:"file"`
	Error    string    `json:"error,omitempty"`
	Warnings []warning `json:"warnings"`
}

// config is that of every image. Its variables are those that the project's
// checker takes to be set by images.
const config = `{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/usr/bin","HOME=/","LANG=C","LC_ALL=C","GOLANG_VERSION=1","GOPATH=/go",` +
	`"GOTOOLCHAIN=local","NODE_VERSION=1","YARN_VERSION=1","JAVA_HOME=/java","JAVA_VERSION=1","PYTHON_VERSION=1","GPG_KEY=1","RUBY_VERSION=1","GEM_HOME=/gem",` +
	`"BUNDLE_APP_CONFIG=/b","CARGO_HOME=/c","RUSTUP_HOME=/r","RUST_VERSION=1","PHP_INI_DIR=/p","PHP_VERSION=1","NGINX_VERSION=1","NJS_VERSION=1","PKG_RELEASE=1",` +
	`"MAVEN_HOME=/m","MAVEN_CONFIG=/m","GRADLE_HOME=/g","DOTNET_VERSION=1","CATALINA_HOME=/c","XDG_CONFIG_HOME=/x","XDG_DATA_HOME=/x","CADDY_VERSION=1","PG_MAJOR=1",` +
	`"PGDATA=/d","LD_LIBRARY_PATH=/l","PYTHONPATH=/p","CUDA_VERSION=1"]}}`

// offline answers for every image that nothing is known of it.
type offline struct{}

func (offline) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return ref, digest.FromString(ref), []byte(config), nil
}

func main() {
	out := json.NewEncoder(os.Stdout)
	for _, name := range os.Args[1:] {
		data, err := os.ReadFile(name)
		if err == nil {
			err = out.Encode(check(name, data))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func check(name string, data []byte) (r result) {
	r = result{File: name, Warnings: []warning{}}
	defer func() {
		if p := recover(); p != nil {
			r.Error = fmt.Sprint(p)
		}
	}()
	source := llb.NewSourceMap(nil, name, "Dockerfile", data)
	source.Definition = &llb.Definition{}
	files := llb.Local("context") // bind mounts are of it
	found, err := dockerfile2llb.DockerfileLint(context.Background(), data, dockerfile2llb.ConvertOpt{
		MainContext:  &files,
		SourceMap:    source,
		MetaResolver: offline{},
	})
	if err = errors.Join(err, failure(found.Error)); err != nil {
		r.Error = err.Error()
	}
	for _, w := range found.Warnings {
		r.Warnings = append(r.Warnings, warning{w.RuleName, line(w.Location)})
	}
	return r
}

func failure(e *lint.BuildError) error {
	if e == nil {
		return nil
	}
	return errors.New(e.Message)
}

// line is the first one of a location.
func line(l *pb.Location) int32 {
	if l == nil || len(l.Ranges) == 0 {
		return 0
	}
	return l.Ranges[0].Start.Line
}
