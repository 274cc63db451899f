package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/policy"
)

const text = `
profile: strict
registries: [docker.io/library]
severity: {H01: warn, L01: off}
waivers:
  - {rule: U01, file: "svc/*/Dockerfile", reason: legacy, approver: ciso, expires: 2027-01-31}
`

func found(t *testing.T, name string) []dockerfile.Finding {
	t.Helper()
	f, err := dockerfile.Parse(name, []byte("FROM node:20-slim\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.Check(dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func waived(list []dockerfile.Finding) (rules []string) {
	for _, f := range list {
		if f.Waived != nil {
			rules = append(rules, f.Rule)
		}
	}
	return rules
}

func TestWaiverHoldsForItsRuleItsFilesAndUntilItsLastDay(t *testing.T) {
	p, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	last := time.Date(2027, 1, 31, 23, 59, 59, 0, time.UTC)
	list := found(t, "./svc/a/Dockerfile")
	if notes := p.Waive(list, last); len(notes) != 0 || strings.Join(waived(list), "") != "U01" {
		t.Errorf("on the last day %v, %v", waived(list), notes)
	}
	list = found(t, "svc/a/Dockerfile")
	if notes := p.Waive(list, last.Add(time.Second)); len(notes) != 1 || !strings.Contains(notes[0], "expired") || len(waived(list)) != 0 {
		t.Errorf("the day after %v, %v", waived(list), notes)
	}
	list = found(t, "Dockerfile")
	if p.Waive(list, last); len(waived(list)) != 0 {
		t.Errorf("another file %v", waived(list))
	}
	if o := p.Options(); o.Profile != dockerfile.Strict || len(o.Off) != 1 || o.Severities["H01"] != dockerfile.Warn {
		t.Errorf("%+v", o)
	}
}

func TestPolicyThatSaysTooLittleOrTooMuchIsRefused(t *testing.T) {
	for bad, says := range map[string]string{
		"profil: strict":           "profil",
		"profile: lax":             "lax",
		"severity: {Z99: warn}":    "Z99",
		"severity: {U01: loud}":    "loud",
		"nonroot: ['a[']":          "nonroot",
		"profile: strict\n---\na:": "second document",
		"waivers: [{rule: U01, approver: a, expires: 2027-01-01}]":                      "no reason",
		"waivers: [{rule: U01, reason: a, expires: 2027-01-01}]":                        "no approver",
		"waivers: [{rule: U01, reason: a, approver: b}]":                                "no expires",
		"waivers: [{rule: U01, reason: a, approver: b, expires: soon}]":                 "YYYY-MM-DD",
		"waivers: [{rule: U9, reason: a, approver: b, expires: 2027-01-01}]":            `"U9"`,
		"waivers: [{rule: U01, file: 'a[', reason: a, approver: b, expires: 2027-1-1}]": "expires",
	} {
		if _, err := policy.Parse([]byte(bad)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", bad, err, says)
		}
	}
	if p, err := policy.Parse(nil); err != nil || p.Profile != dockerfile.Recommended {
		t.Errorf("an empty policy: %+v, %v", p, err)
	}
}

func TestOnlyWhatIsNewCountsBesideABaseline(t *testing.T) {
	old := found(t, "Dockerfile")
	b, err := policy.ParseBaseline(policy.NewBaseline(old).Bytes())
	if err != nil {
		t.Fatal(err)
	}
	f, err := dockerfile.Parse("./Dockerfile", []byte("# moved\n\nFROM node:20-slim\nRUN curl https://x.example | sh\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	now, err := f.Check(dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b.Apply("./Dockerfile", now)
	for _, x := range now {
		if x.Counts() != (x.Rule == "D02") {
			t.Errorf("%s counts: %v", x.Rule, x.Counts())
		}
	}
	if notes := b.Apply("Dockerfile", nil); len(notes) != 1 {
		t.Errorf("nothing is said of what is mended: %v", notes)
	}
	if _, err := policy.ParseBaseline([]byte(`{"version":2}`)); err == nil {
		t.Error("a baseline of another version is taken")
	}
}
