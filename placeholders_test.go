package soc2_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// TestOptionsComeFromTheEnvironmentAndFromFiles names the server and a header in
// an environment variable and a file.
func TestOptionsComeFromTheEnvironmentAndFromFiles(t *testing.T) {
	s := newSite(t)
	t.Setenv("SOC2_TEST_INSTANCE", "edge-of-env")
	file := filepath.Join(t.TempDir(), "policy")
	if err := os.WriteFile(file, []byte("no-referrer"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := s.load("{\nGLOBAL\nsoc2 {\ninstance {env.SOC2_TEST_INSTANCE}\ndata_dir DATA\n}\n}\nSITE {\nsoc2_headers {\nset X-From {file." + file + "}\n}\nrespond ok\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("X-From"); got != "no-referrer" {
		t.Errorf("the header is %q", got)
	}
	s.stop()
	_, err = records.Dir{FS: os.DirFS(s.dir())}.Scan(0, func(_ int64, b []byte) error {
		var r struct{ Kind, Instance string }
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		if r.Kind == "request" && r.Instance != "edge-of-env" {
			t.Errorf("recorded by %q", r.Instance)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestNoOptionIsSilentlyEmpty: what a placeholder stands for must be there when
// the configuration is loaded.
func TestNoOptionIsSilentlyEmpty(t *testing.T) {
	s := newSite(t)
	const gone, unset = "{file./nowhere/at/all}", "{env.SOC2_TEST_UNSET}"
	for name, c := range map[string]struct{ options, site, want string }{
		"soc2":         {options: "instance " + unset, want: "soc2: instance"},
		"soc2 audit":   {options: "audit {\nkey " + unset + "\n}", want: "key"},
		"soc2_headers": {site: "soc2_headers {\nset X-A " + gone + "\n}", want: "soc2_headers: "},
		"soc2_access":  {site: "soc2_access {\nrule a {\nprincipal " + unset + "\n}\n}", want: "soc2_access: "},
		"soc2_jwks":    {site: "soc2_jwks " + gone, want: "soc2_jwks: key"},
	} {
		out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(s.filled("{\nGLOBAL\nsoc2 {\ndata_dir DATA\n"+c.options+"\n}\n}\nSITE {\n"+c.site+"\nrespond ok\n}\n")), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var config *caddy.Config
		if err := json.Unmarshal(out, &config); err != nil {
			t.Fatal(err)
		}
		err = caddy.Validate(config)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "not set") && !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
