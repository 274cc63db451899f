package dockerfile_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
)

// linter is the program of tools/dockerlint, which runs BuildKit's own linter.
func linter(t *testing.T) string {
	t.Helper()
	name := cmp.Or(os.Getenv("SOC2_DOCKERLINT"), "dockerlint")
	bin, err := exec.LookPath(name)
	if err == nil {
		return bin
	}
	if os.Getenv("SOC2_REQUIRE_ALL") != "" {
		t.Fatalf("%v: go -C tools/dockerlint build -o FILE ., and name it in SOC2_DOCKERLINT", err)
	}
	t.Skip("BuildKit's linter is not there: build tools/dockerlint and name it in SOC2_DOCKERLINT")
	return ""
}

type linted struct {
	File     string
	Error    string
	Warnings []struct {
		Rule string
		Line int
	}
}

// TestSharedRulesAgreeWithBuildKit compares findings by line with those of
// BuildKit over all fixtures, and over the files below SOC2_DOCKERFILES if it is
// set.
func TestSharedRulesAgreeWithBuildKit(t *testing.T) {
	bin := linter(t)
	dir := t.TempDir()
	var names []string
	for i, f := range fixtures(t) {
		name := filepath.Join(dir, fmt.Sprintf("%03d-%s", i, f.rule))
		if err := os.WriteFile(name, []byte(f.text), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if more := os.Getenv("SOC2_DOCKERFILES"); more != "" {
		list, err := filepath.Glob(filepath.Join(more, "*"))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, list...)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), bin, names...)
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(&out)
	compared, refused := 0, 0
	for range names {
		var l linted
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		if agrees(t, l) {
			compared++
		} else {
			refused++
		}
	}
	t.Logf("%d files compared, %d that cannot be judged", compared, refused)
	if compared < 100 {
		t.Errorf("only %d files were compared", compared)
	}
}

// agrees compares one file; false if it cannot be judged.
func agrees(t *testing.T, l linted) bool {
	data, err := os.ReadFile(l.File)
	if err != nil {
		t.Fatal(err)
	}
	file, err := dockerfile.Parse(l.File, data, nil)
	if err != nil || l.Error != "" {
		if err == nil {
			t.Logf("%s: BuildKit alone says %s", l.File, l.Error)
		}
		return false
	}
	want := map[string]bool{}
	for _, w := range l.Warnings {
		want[fmt.Sprint(w.Rule, " ", w.Line)] = true
	}
	got := map[string]bool{}
	for _, s := range file.Stages { // BuildKit's linter looks at all stages
		for _, f := range checked(t, file, fmt.Sprint(s.Index)) {
			if text := strings.Split(string(data), "\n")[f.Line-1]; strings.HasPrefix(strings.ToUpper(text), "ONBUILD") {
				continue // BuildKit looks at it in the build that it is for
			}
			for _, shared := range sharedRule(f) {
				got[fmt.Sprint(shared, " ", f.Line)] = true
			}
		}
	}
	var differ []string
	for k := range want {
		rule, _, _ := strings.Cut(k, " ")
		if slices.Contains(sharedRules, rule) && !got[k] {
			differ = append(differ, "BuildKit alone: "+k)
		}
	}
	for k := range got {
		if !want[k] {
			differ = append(differ, "alone: "+k)
		}
	}
	if len(differ) > 0 {
		slices.Sort(differ)
		t.Errorf("%s: %s in\n%.2000s", l.File, strings.Join(differ, ", "), data)
	}
	return true
}

func checked(t *testing.T, file *dockerfile.File, target string) []dockerfile.Finding {
	found, err := file.Check(dockerfile.Options{Target: target})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// sharedRules are the rules of BuildKit that have one of ours beside them, and
// those that its parser itself reports.
var sharedRules = []string{
	"SecretsUsedInArgOrEnv", "JSONArgsRecommended", "UndefinedVar", "UndefinedArgInFrom", "DuplicateStageName",
	"StageNameCasing", "FromAsCasing", "NoEmptyContinuation", "MaintainerDeprecated",
}

// sharedRule is what BuildKit calls a finding; empty if it has no such rule.
func sharedRule(f dockerfile.Finding) []string {
	switch {
	case f.Rule == "S01" && strings.Contains(f.Message, "named like a secret") && !strings.Contains(f.Message, "before the first FROM"):
		return []string{"SecretsUsedInArgOrEnv"}
	case f.Rule == "C01":
		return []string{"JSONArgsRecommended"}
	case f.Rule == "C02" && strings.Contains(f.Message, "not defined in the stage"):
		return []string{"UndefinedVar"}
	case f.Rule == "C02" && strings.HasPrefix(f.Message, "FROM uses"):
		return []string{"UndefinedArgInFrom"}
	case f.Rule == "C02" && strings.HasPrefix(f.Message, "there is a stage"):
		return []string{"DuplicateStageName"}
	case slices.Contains(sharedRules, f.Rule):
		return []string{f.Rule}
	}
	return nil
}
