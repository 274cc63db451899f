package soc2_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// TestLoadsByOtherModulesAreRecorded loads as any module can. The admin
// endpoint is off, and nothing is saved: what is in the configuration cannot be
// seen, but that it was changed can.
func TestLoadsByOtherModulesAreRecorded(t *testing.T) {
	s := newSite(t)
	for i := range 2 {
		if err := s.load(fmt.Sprintf(minimal, "test", "", fmt.Sprint(i), "")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.load(fmt.Sprintf(minimal, "bad", "audit {\n checkpoint every 1ns\n}", "x", "")); err == nil {
		t.Fatal("it was loaded")
	}
	if err := caddy.Load([]byte(`{"admin":{"disabled":true,"config":{"persist":false}}}`), true); err != nil {
		t.Fatal(err)
	}
	s.closed()
	var got []string
	_, err := records.Dir{FS: os.DirFS(s.dir())}.Scan(0, func(_ int64, b []byte) error {
		var r struct {
			Kind, Outcome, Source, Error string
			Risks                        []string
		}
		if err := json.Unmarshal(b, &r); err != nil || r.Kind != "config.change" {
			return err
		}
		if r.Source == "start" { // it is, if this test is the first
			r.Source = "plugin"
		}
		if strings.HasPrefix(r.Error, "the configuration that runs cannot be read") {
			r.Error = "unseen"
		} else if r.Error != "" {
			r.Error = "why"
		}
		got = append(got, strings.TrimSpace(fmt.Sprintln(r.Outcome, r.Source, r.Error, r.Risks)))
		return nil
	})
	want := []string{"applied plugin unseen []", "applied plugin unseen []", "rejected plugin why []", "applied plugin unseen [audit_removed]"}
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, name := range []string{"changes", "keys"} {
		if info, err := os.Stat(filepath.Join(s.data, "soc2", name)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
