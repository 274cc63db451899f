package sbom_test

import (
	"bytes"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/sbom"
)

func TestBinaryIsTakenApartTheSameEachTime(t *testing.T) {
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var one, two bytes.Buffer
	for _, b := range []*bytes.Buffer{&one, &two} {
		doc, err := sbom.OfFile(name, sbom.Options{Tool: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if err := doc.Write(b); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(doc.Serial) {
			t.Error(doc.Serial)
		}
		if len(doc.Metadata.Component.Hashes) != 1 || len(doc.Dependencies) != len(doc.Components)+1 {
			t.Errorf("%+v", doc)
		}
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("two documents of one binary differ")
	}
}

func TestReplacedModulesAreWhatTheyWereReplacedWith(t *testing.T) {
	doc := sbom.New(&debug.BuildInfo{
		GoVersion: "go1.26.8", Path: "example.com/a/cmd/a", Main: debug.Module{Path: "example.com/a", Version: "(devel)"},
		Deps: []*debug.Module{
			{Path: "example.com/b", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.0.1+incompatible", Sum: "h1:x"}},
			{Path: "example.com/c", Version: "v2.0.0", Replace: &debug.Module{Path: "../c"}},
		},
	}, "", sbom.Options{})
	var refs []string
	for _, c := range doc.Components {
		refs = append(refs, c.PURL)
	}
	want := []string{"pkg:golang/example.com/c@v2.0.0", "pkg:golang/example.com/fork@v1.0.1%2Bincompatible", "pkg:golang/std@1.26.8"}
	if !slices.Equal(refs, want) {
		t.Errorf("got %q, want %q", refs, want)
	}
}

func TestOtherFilesAreNoPrograms(t *testing.T) {
	if _, err := sbom.OfFile("sbom_test.go", sbom.Options{}); err == nil {
		t.Error("a text has a bill of materials")
	}
}
