package controls

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// fixture is a snapshot that is good for all checks, broken for one, and mended
// as the remediation says.
type fixture struct {
	Check      string              `json:"check"`
	Name       string              `json:"name"`
	Result     Result              `json:"result"` // of the broken one
	Break      []jsonpatch.Op      `json:"break"`
	Mend       []jsonpatch.Op      `json:"mend"`
	Thresholds map[string][]string `json:"thresholds"` // by name, or check and name
}

func (f *fixture) settings() *Settings {
	s := &Settings{Thresholds: map[string]map[string][]string{}}
	for name, value := range f.Thresholds {
		id := f.Check
		if check, rest, ok := strings.Cut(name, " "); ok {
			id, name = check, rest
		}
		if s.Thresholds[id] == nil {
			s.Thresholds[id] = map[string][]string{}
		}
		s.Thresholds[id][name] = value
	}
	return s
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fixtures(t *testing.T) (list []fixture) {
	t.Helper()
	if err := json.Unmarshal(read(t, "fixtures.json"), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func good(t *testing.T) any {
	t.Helper()
	doc, err := jsonpatch.Parse(read(t, "good.json"))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// snapshot makes a snapshot of a document.
func snapshot(t *testing.T, doc any) *Snapshot {
	t.Helper()
	b, err := jsonpatch.Canonical(doc)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	d.DisallowUnknownFields()
	var s Snapshot
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	return &s
}

func patched(t *testing.T, doc any, patch []jsonpatch.Op) any {
	t.Helper()
	out, err := jsonpatch.Apply(doc, patch)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestGoodServerPassesEveryCheck holds for all checks but the one that wants to
// know the build, and the one for a cache that is not there.
func TestGoodServerPassesEveryCheck(t *testing.T) {
	r := Run(snapshot(t, good(t)), new(Settings))
	if len(r.Checks) != 59 {
		t.Errorf("%d checks", len(r.Checks))
	}
	want := map[string]Result{"CHG-007": Warn, "CCH-001": NotApplicable, "ALT-002": NotApplicable, "TLS-009": Pass}
	for _, f := range r.Checks {
		if f.Result != Pass && f.Result != want[f.ID] {
			t.Errorf("%s: %s: %s %v", f.ID, f.Result, f.Summary, f.Evidence)
		}
	}
}

// TestEachCheckFindsWhatIsBrokenAndPassesWhenMended tries each fixture, and with
// it each remediation.
func TestEachCheckFindsWhatIsBrokenAndPassesWhenMended(t *testing.T) {
	tried := map[string]bool{}
	for _, f := range fixtures(t) {
		t.Run(f.Check+" "+f.Name, func(t *testing.T) {
			settings := f.settings()
			if err := settings.Validate(time.Now()); err != nil {
				t.Fatal(err)
			}
			broken := patched(t, good(t), f.Break)
			r := Run(snapshot(t, broken), settings)
			got := r.Check(f.Check)
			if got.Result != f.Result {
				t.Errorf("broken: %s, want %s: %s %v", got.Result, f.Result, got.Summary, got.Evidence)
			}
			if got.Remediation == "" || got.Result != Unknown && len(got.Evidence) == 0 && got.Summary == "" {
				t.Errorf("broken: it does not say what was found and what to do: %+v", got)
			}
			again := Run(snapshot(t, broken), settings)
			if a, b := jsonOf(t, r), jsonOf(t, again); a != b {
				t.Errorf("the same snapshot gives another report:\n%s\n%s", a, b)
			}
			mended := Run(snapshot(t, patched(t, broken, f.Mend)), settings).Check(f.Check)
			if mended.Result != Pass && mended.Result != NotApplicable && (f.Check != "CHG-007" || mended.Result != Warn) {
				t.Errorf("mended: %s: %s %v", mended.Result, mended.Summary, mended.Evidence)
			}
		})
		if f.Result == Fail {
			tried[f.Check] = true
		}
	}
	for _, d := range Checks().Checks {
		if !tried[d.ID] {
			t.Errorf("%s has no fixture that fails", d.ID)
		}
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestWithoutServerOnlyDesignIsKnown looks at a configuration alone.
func TestWithoutServerOnlyDesignIsKnown(t *testing.T) {
	s := snapshot(t, good(t))
	s.Server = nil
	r := Run(s, new(Settings))
	for _, f := range r.Checks {
		design := Checks().Check(f.ID).Class == Design
		if design != (f.Result != Unknown) && f.ID != "CCH-001" {
			t.Errorf("%s (%s): %s: %s", f.ID, f.Class, f.Result, f.Summary)
		}
		if f.Result == Unknown && f.Summary == "" {
			t.Errorf("%s: no reason", f.ID)
		}
	}
	if r.Worse(Low) {
		t.Error("what a configuration cannot tell counts as something to be done")
	}
}

// TestWithoutConfigurationNothingPasses looks at nothing at all.
func TestWithoutConfigurationNothingPasses(t *testing.T) {
	for _, f := range Run(&Snapshot{Time: time.Now()}, new(Settings)).Checks {
		if f.Result != Unknown {
			t.Errorf("%s: %s: %s", f.ID, f.Result, f.Summary)
		}
	}
}

// TestOddConfigurationsDoNotStopChecks gives values of wrong types.
func TestOddConfigurationsDoNotStopChecks(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `"x"`, `{"apps":[]}`, `{"apps":{"http":{"servers":{"a":null,"b":7,"c":{"routes":{"handle":1}}}}}}`,
		`{"admin":7,"apps":{"soc2":7,"http":{"servers":{"a":{"routes":[null,7,{"handle":[null,{"handler":"subroute","routes":null},{"handler":"invoke","name":"x"}]}],"named_routes":{"x":{"handle":[{"handler":"invoke","name":"x"}]}},"tls_connection_policies":[null]}}}}}`,
	} {
		doc, err := jsonpatch.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		s := snapshot(t, good(t))
		s.Config = doc
		for _, s := range []*Snapshot{s, {Time: time.Now(), Config: doc}} {
			for _, f := range Run(s, new(Settings)).Checks {
				if strings.HasPrefix(f.Summary, mistake) {
					t.Errorf("%s of %s: %s", f.ID, text, f.Summary)
				}
			}
		}
	}
}

// TestMistakeInACheckStopsNothingElse has a check look at what is not there.
func TestMistakeInACheckStopsNothingElse(t *testing.T) {
	d := Definition{ID: "TLS-001", run: func(e *eval) { e.number("no such threshold") }}
	if f := runOne(&d, snapshot(t, good(t)), new(Settings), nil); f.Result != Unknown || !strings.HasPrefix(f.Summary, mistake) {
		t.Errorf("%+v", f)
	}
}

// TestCatalogueIsWhole checks that each definition says all that it has to.
func TestCatalogueIsWhole(t *testing.T) {
	c := Checks()
	if len(c.Checks) != 59 || len(c.SHA256) != 64 {
		t.Errorf("%d checks, hash %q", len(c.Checks), c.SHA256)
	}
	hashes := map[string]bool{}
	for _, d := range c.Checks {
		if d.Version < 1 || d.Title == "" || d.Explain == "" || d.Remediation == "" || len(d.Criteria) == 0 || len(d.Reads) == 0 || severityRank(d.Severity) < 0 {
			t.Errorf("%s is not whole: %+v", d.ID, d)
		}
		if d.Class != Design && d.Class != Operating && d.Class != Environment {
			t.Errorf("%s: class %s", d.ID, d.Class)
		}
		for _, id := range d.Criteria {
			if cr := Criteria().Criterion(id); cr == nil || cr.Strength == NotAssessed {
				t.Errorf("%s: criterion %s is not there, or not assessed", d.ID, id)
			}
		}
		for _, th := range d.Thresholds {
			if err := th.check(th.Default); err != nil || th.Meaning == "" {
				t.Errorf("%s %s: %v", d.ID, th.Name, err)
			}
		}
		if hashes[d.SHA256] {
			t.Errorf("%s has the hash of another", d.ID)
		}
		hashes[d.SHA256] = true
	}
	for _, text := range []string{string(catalogueJSON), string(criteriaJSON)} {
		for _, word := range []string{"compliant", "certified", "approved", "satisfied"} {
			if i := strings.Index(strings.ToLower(text), word); i >= 0 {
				t.Errorf("the word %s: …%s…", word, text[max(0, i-40):i+20])
			}
		}
	}
}

// TestThresholdsAreValidated tries settings that are wrong.
func TestThresholdsAreValidated(t *testing.T) {
	for _, words := range []string{"TLS-005", "TLS-999 1d", "TLS-005 -3d", "TLS-005 left 1d 2d", "TLS-005 soon", "TLS-004 1d", "UPS-004 least many", "HDR-004 origins", "AUD-008 days NaN"} {
		if err := new(Settings).Set(strings.Fields(words)); err == nil {
			t.Errorf("%s: no error", words)
		}
	}
	var s Settings
	for _, words := range []string{"TLS-005 21d", "tls-001 floor tls1.3", "HDR-004 none", "ACC-001 paths /a /b"} {
		if err := s.Set(strings.Fields(words)); err != nil {
			t.Errorf("%s: %v", words, err)
		}
	}
	if err := s.Set([]string{"TLS-005", "left", "22d"}); err == nil {
		t.Error("a threshold can be given twice")
	}
	if got := s.List("ACC-001", "paths"); !slices.Equal(got, []string{"/a", "/b"}) || len(s.List("HDR-004", "origins")) != 0 || s.List("TLS-005", "left")[0] != "21d" {
		t.Errorf("%+v", s)
	}
	if err := s.Validate(time.Now()); err != nil {
		t.Error(err)
	}
}
