package template_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"go.yaml.in/yaml/v3"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/template"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestTemplatesPassStrictWithoutAnyFinding(t *testing.T) {
	for _, kind := range template.Kinds() {
		t.Run(kind, func(t *testing.T) {
			images, err := template.Images(kind)
			if err != nil || len(images) == 0 {
				t.Fatal(images, err)
			}
			pins := map[string]string{}
			for _, m := range images {
				pins[m.Name] = digest
			}
			list, err := template.Files(kind, pins)
			if err != nil {
				t.Fatal(err)
			}
			context := fstest.MapFS{".env": {}, "tls/a.key": {}, ".git/HEAD": {}, "src/main.x": {}, "secrets/password": {}}
			for _, f := range list {
				context[f.Name] = &fstest.MapFile{Data: f.Data}
			}
			f, err := dockerfile.Parse("Dockerfile", list[0].Data, nil)
			if err != nil {
				t.Fatal(err)
			}
			c, err := dockerfile.ReadContext(context, "Dockerfile")
			if err != nil || len(c.Secrets) > 0 || c.Git || c.Files != 1 {
				t.Errorf("the builder gets %+v, %v", c, err)
			}
			found, err := f.Check(dockerfile.Options{Profile: dockerfile.Strict, Context: c, Target: "app"})
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range found {
				t.Errorf("line %d: %s %s: %s", x.Line, x.Severity, x.Rule, x.Message)
			}
		})
	}
}

func TestWithoutDigestsOnlyDigestsAreMissing(t *testing.T) {
	for _, kind := range template.Kinds() {
		list, err := template.Files(kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		f, err := dockerfile.Parse("Dockerfile", list[0].Data, nil)
		if err != nil {
			t.Fatal(err)
		}
		found, err := f.Check(dockerfile.Options{})
		if err != nil || len(found) == 0 {
			t.Error(found, err)
		}
		for _, x := range found {
			if x.Rule != "B02" {
				t.Errorf("%s: line %d: %s: %s", kind, x.Line, x.Rule, x.Message)
			}
		}
	}
}

func TestComposeFilesIsolateTheApplication(t *testing.T) {
	for _, kind := range template.Kinds() {
		list, err := template.Files(kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Services map[string]struct {
				Networks []string
				Ports    []string
				ReadOnly bool     `yaml:"read_only"`
				CapDrop  []string `yaml:"cap_drop"`
			}
			Networks map[string]struct{ Internal bool }
		}
		if err := yaml.Unmarshal(list[2].Data, &c); err != nil {
			t.Fatal(err)
		}
		app := c.Services["app"]
		if len(app.Ports) != 0 || len(app.Networks) != 1 || !c.Networks[app.Networks[0]].Internal || !app.ReadOnly || app.CapDrop[0] != "ALL" {
			t.Errorf("%s: %+v %+v", kind, app, c.Networks)
		}
		if strings.Contains(string(list[2].Data), "{{") {
			t.Errorf("%s: something is left to be filled in:\n%s", kind, list[2].Data)
		}
	}
}
