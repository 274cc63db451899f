package soc2

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/evidence/review"
	"github.com/caddy-soc2/caddy-soc2/handlers/access"
)

// TestGrantsOfTheRunningConfigurationHideWhatPlaceholdersStandFor: the hash of a
// policy is the one that records have, and its text is as it is written.
func TestGrantsOfTheRunningConfigurationHideWhatPlaceholdersStandFor(t *testing.T) {
	t.Setenv("SOC2_TEST_OPERATOR", "the-operators-name")
	policy := func(who string) string {
		return `{"apps":{"http":{"servers":{"s":{"routes":[{"match":[{"host":["example.com"]}],"handle":[{"handler":"soc2_access","name":"site","mode":"enforce",
			"rules":[{"name":"operators","effect":"allow","principals":["` + who + `"]}]}]}]}}}}}`
	}
	text := policy("{env.SOC2_TEST_OPERATOR}")
	if policies, err := access.Find([]byte(text)); err != nil || len(policies) != 1 {
		t.Fatalf("%d policies: %v", len(policies), err)
	}
	hashes, err := policyHashes([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	real, err := policyHashes([]byte(policy("the-operators-name")))
	if err != nil || len(real) != 1 || hashes[0] != real[0] {
		t.Errorf("the hash is %v, want %v: %v", hashes, real, err)
	}
	g, err := grantsWith([]byte(text), review.Configuration{Source: "running", SHA256: "x"}, true, hashes)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(shown), "the-operators-name") || !strings.Contains(string(shown), "{env.SOC2_TEST_OPERATOR}") {
		t.Errorf("%s", shown)
	}
	if len(g.Policies) != 1 || g.Policies[0].Hash != real[0] || len(g.Policies[0].Rules) != 1 || g.Policies[0].Rules[0].Deny || len(g.Accounts) != 1 {
		t.Errorf("%+v", g)
	}
	if _, err := grantsWith([]byte(text), review.Configuration{}, true, []string{"a", "b"}); err == nil {
		t.Error("hashes of other policies were taken")
	}
}

func TestGrantsOfNoConfigurationSaySo(t *testing.T) {
	g, err := new(App).AccessGrants()
	if err != nil || g.Configuration.Source != "none" || len(g.Configuration.Notes) == 0 {
		t.Errorf("%+v, %v", g, err)
	}
}
