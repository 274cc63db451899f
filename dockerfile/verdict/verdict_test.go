package verdict_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/verdict"
)

func TestOnlyFindingsThatCountMakeItFail(t *testing.T) {
	block := dockerfile.Finding{File: "Dockerfile", Line: 1, End: 1, Rule: "U01", Severity: dockerfile.Block, Message: "a\x1b[2Jb", Fix: "c"}
	for name, c := range map[string]struct {
		change func(f *dockerfile.Finding)
		want   string
	}{
		"counts":      {func(*dockerfile.Finding) {}, verdict.Fail},
		"waived":      {func(f *dockerfile.Finding) { f.Waived = &dockerfile.Waived{Reason: "r"} }, verdict.Pass},
		"in baseline": {func(f *dockerfile.Finding) { f.Baseline = true }, verdict.Pass},
		"warning":     {func(f *dockerfile.Finding) { f.Severity = dockerfile.Warn }, verdict.Pass},
	} {
		f := block
		c.change(&f)
		v := verdict.New("Dockerfile", "app", &dockerfile.Options{}, []dockerfile.Finding{f}, nil)
		if v.Outcome != c.want {
			t.Errorf("%s: %s, want %s", name, v.Outcome, c.want)
		}
		var text, sarif bytes.Buffer
		if err := verdict.WriteText(&text, []*verdict.Verdict{v}); err != nil || strings.Contains(text.String(), "\x1b") {
			t.Errorf("%s: %q, %v", name, text.String(), err)
		}
		if err := verdict.WriteSARIF(&sarif, "1", []*verdict.Verdict{v}); err != nil {
			t.Fatal(err)
		}
		var log struct {
			Runs []struct {
				Results []struct{ Suppressions []any }
			}
		}
		if err := json.Unmarshal(sarif.Bytes(), &log); err != nil {
			t.Fatal(err)
		}
		if suppressed := len(log.Runs[0].Results[0].Suppressions) > 0; suppressed != !f.Counts() {
			t.Errorf("%s: suppressed in SARIF: %v", name, suppressed)
		}
	}
}
