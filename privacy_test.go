package soc2

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/personal"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// TestReloadTakesUpTheSettingsOfPrivacy replaces a running configuration: what
// was sealed before opens for the old recipient, what comes then for the new one.
// A configuration that never ran changes nothing.
func TestReloadTakesUpTheSettingsOfPrivacy(t *testing.T) {
	dir := t.TempDir()
	var identities []age.Identity
	run := func(unit personal.Unit, subjects, start bool) *App {
		t.Helper()
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		identities = append(identities, id)
		a := &App{InstanceName: "test", DataDir: dir}
		a.Audit.Pseudonymize = &Pseudonymize{Members: []string{personal.User}, Period: unit}
		a.Audit.Encrypt = &Encrypt{Recipients: []string{id.Recipient().String()}, Members: []string{personal.ClientIP}, Subjects: subjects}
		provision(t, a)
		t.Cleanup(func() { _ = a.Cleanup() })
		if start {
			if err := a.Start(); err != nil {
				t.Fatal(err)
			}
		}
		return a
	}
	check := func(a *App, identity int, unit personal.Unit, ofSubject bool) {
		t.Helper()
		now := time.Now()
		ev := audit.Event{Start: now, ID: audit.NewID(now), ClientIP: "192.0.2.1", User: "alice", Level: "metadata"}
		if err := a.privacy.protector.Apply(&ev); err != nil {
			t.Fatal(err)
		}
		period, err := unit.At(now)
		if err != nil || ev.Lookup != period.Name || strings.Contains(ev.PersonalKey, "/") != ofSubject {
			t.Errorf("%+v, %v", ev, err)
		}
		for i, id := range identities {
			f, err := personal.NewOpener(durable.OS{}, filepath.Join(dir, keysFolder), id).Open(ev.ID, ev.PersonalKey, ev.Personal)
			if opens := err == nil && f.ClientIP == "192.0.2.1"; opens != (i == identity) {
				t.Errorf("recipient %d: %v", i, err)
			}
		}
	}
	first := run(personal.Month, false, true)
	check(first, 0, personal.Month, false)
	run(personal.Day, true, false) // is provisioned only
	check(first, 0, personal.Month, false)
	second := run(personal.Week, true, true)
	check(second, 2, personal.Week, true)
	if err := first.Cleanup(); err != nil {
		t.Error(err)
	}
	check(second, 2, personal.Week, true)
}

// TestSettingsInTheDocumentArePassed checks the JSON in docs/privacy.md as a
// server would.
func TestSettingsInTheDocumentArePassed(t *testing.T) {
	doc, err := os.ReadFile("docs/privacy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "```json\n")
	text, _, _ = strings.Cut(text, "```\n")
	var config struct {
		Apps struct{ Soc2 App }
	}
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	p := &config.Apps.Soc2.Audit.Privacy
	if err := p.check(); err != nil || p.Encrypt == nil || p.Pseudonymize == nil || len(p.Policy.Rules) != 3 {
		t.Errorf("%+v, %v", p, err)
	}
}
