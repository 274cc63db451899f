package dockerfile_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
)

// fixture is a Dockerfile that a rule must, or must not, find something in.
type fixture struct {
	rule, name string
	fails      bool
	text       string
	files      fstest.MapFS // of the build context
	options    dockerfile.Options
	wants      []string // "LINE SEVERITY"
}

// fixtures reads testdata/rules: archives of files that begin with a line
// "-- NAME --". The part of a name before the first slash is the case, what comes
// after it a file of its build context.
func fixtures(t testing.TB) (all []*fixture) {
	t.Helper()
	names, err := filepath.Glob("testdata/rules/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal("no fixtures", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rule := strings.TrimSuffix(filepath.Base(name), ".txtar")
		all = append(all, archive(t, rule, string(data))...)
	}
	return all
}

func archive(t testing.TB, rule, data string) (all []*fixture) {
	t.Helper()
	byName := map[string]*fixture{}
	for _, part := range strings.Split("\n"+data, "\n-- ")[1:] {
		title, text, ok := strings.Cut(part, " --\n")
		if !ok {
			t.Fatalf("%s: %q has no end", rule, part)
		}
		title, file, isFile := strings.Cut(title, "/")
		if isFile {
			f := byName[title]
			if f.files == nil {
				f.files = fstest.MapFS{}
			}
			f.files[file] = &fstest.MapFile{Data: []byte(text + "\n")}
			continue
		}
		if byName[title] != nil {
			t.Fatalf("%s: two cases %q", rule, title)
		}
		f := &fixture{rule: rule, name: title, fails: strings.HasPrefix(title, "fail "), text: text + "\n"}
		f.directives(t)
		byName[title] = f
		all = append(all, f)
	}
	return all
}

// directives are comments in a fixture.
func (f *fixture) directives(t testing.TB) {
	t.Helper()
	f.options.BuildArgs = map[string]string{}
	for line := range strings.Lines(f.text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "# ")), " ")
		if !strings.HasPrefix(line, "# ") {
			continue
		}
		switch word {
		case "want":
			f.wants = append(f.wants, rest)
		case "target":
			f.options.Target = rest
		case "profile":
			f.options.Profile = dockerfile.Profile(rest)
		case "registry":
			f.options.Registries = append(f.options.Registries, rest)
		case "nonroot":
			f.options.NonRoot = append(f.options.NonRoot, rest)
		case "context":
			f.files = fstest.MapFS{}
		case "arg":
			name, value, _ := strings.Cut(rest, "=")
			f.options.BuildArgs[name] = value
		}
	}
}

func (f *fixture) check(t testing.TB) []dockerfile.Finding {
	t.Helper()
	file, err := dockerfile.Parse("Dockerfile", []byte(f.text), f.options.BuildArgs)
	if err != nil {
		t.Fatal(err)
	}
	if f.files != nil {
		if f.options.Context, err = dockerfile.ReadContext(f.files, "Dockerfile"); err != nil {
			t.Fatal(err)
		}
	}
	found, err := file.Check(f.options)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEveryRuleFindsWhatItShouldAndNothingElse(t *testing.T) {
	for _, f := range fixtures(t) {
		t.Run(f.rule+"/"+f.name, func(t *testing.T) {
			var got []string
			for _, x := range f.check(t) {
				if x.Rule == f.rule {
					got = append(got, fmt.Sprintf("%d %s", x.Line, x.Severity))
					if x.Message == "" || x.Fix == "" || x.Why == "" {
						t.Errorf("a finding that does not say enough: %+v", x)
					}
				}
			}
			slices.SortFunc(got, byLine)
			got = slices.Compact(got)
			slices.SortFunc(f.wants, byLine)
			if !slices.Equal(got, f.wants) {
				t.Errorf("found %q, want %q in\n%s", got, f.wants, f.text)
			}
			if f.fails == (len(f.wants) == 0) {
				t.Error("a failing case wants findings, a passing one none")
			}
		})
	}
}

func byLine(a, b string) int {
	n := func(s string) int { first, _, _ := strings.Cut(s, " "); v, _ := strconv.Atoi(first); return v }
	return n(a) - n(b)
}

func TestEveryRuleHasThreeFailingAndThreePassingFixtures(t *testing.T) {
	count := map[string][2]int{}
	for _, f := range fixtures(t) {
		n := count[f.rule]
		if f.fails {
			n[0]++
		} else {
			n[1]++
		}
		count[f.rule] = n
	}
	if len(dockerfile.Rules()) != 24 {
		t.Errorf("%d rules, want 24", len(dockerfile.Rules()))
	}
	for _, r := range dockerfile.Rules() {
		if n := count[r.ID]; n[0] < 3 || n[1] < 3 {
			t.Errorf("%s has %d failing and %d passing fixtures, want 3 of each", r.ID, n[0], n[1])
		}
		if len(r.Criteria) == 0 && r.Severity != dockerfile.Info {
			t.Errorf("%s names no criterion", r.ID)
		}
	}
}

// TestFindingsAreTheSameWhereverTheLinesAre puts comments and empty lines before
// everything: fingerprints must not change, lines must.
func TestFindingsAreTheSameWhereverTheLinesAre(t *testing.T) {
	for _, f := range fixtures(t) {
		if strings.Contains(f.text, "syntax=") {
			continue
		}
		before := f.check(t)
		moved := *f
		moved.text = "# one\n\n# two\n" + f.text
		after := moved.check(t)
		if len(before) != len(after) {
			t.Fatalf("%s/%s: %d findings, then %d", f.rule, f.name, len(before), len(after))
		}
		for i := range before {
			if before[i].Fingerprint != after[i].Fingerprint || before[i].Line+3 != after[i].Line {
				t.Errorf("%s/%s: %+v became %+v", f.rule, f.name, before[i], after[i])
			}
		}
	}
}

// TestNoSecretIsRepeated looks for the values of the fixtures' secrets.
func TestNoSecretIsRepeated(t *testing.T) {
	for _, f := range fixtures(t) {
		for _, x := range f.check(t) {
			text := fmt.Sprintf("%+v", x)
			for _, secret := range []string{"hunter22", "ghp_0123", "MHcCAQ", "toor", "$6$abc"} {
				if x.Rule == f.rule && (f.rule == "S01" || f.rule == "X03") && strings.Contains(text, secret) {
					t.Errorf("%s/%s repeats a secret: %s", f.rule, f.name, text)
				}
			}
		}
	}
}

func TestNamesOfContextFilesAreSlashSeparated(t *testing.T) {
	c, err := dockerfile.ReadContext(fstest.MapFS{"a/b/.env": {}, "a/b/ok.txt": {}}, "Dockerfile")
	if err != nil || !slices.Equal(c.Secrets, []string{path.Join("a", "b", ".env")}) || c.Files != 2 {
		t.Errorf("%+v, %v", c, err)
	}
}
