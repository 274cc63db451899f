package soc2

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/controls"
)

// check runs "caddy soc2 check" and returns its exit status, output and error.
func check(t *testing.T, stdin string, args ...string) (int, string, error) {
	t.Helper()
	cmd := checkCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetContext(t.Context())
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	code, err := runCheck(cmd, nil)
	return code, out.String(), err
}

const leaky = `{
	admin off
	soc2 {
		checks {
			except ACC-001 "behind a VPN" until 2027-06-30 by alice
		}
	}
	servers {
		listener_wrappers {
			soc2
			tls
		}
	}
}
shop.example.com {
	tls {
		insecure_secrets_log /tmp/keys.log
	}
	reverse_proxy /admin/* 10.0.0.5:80 10.0.0.6:80
}
`

func TestCheckOfAConfigurationHasItsExitStatus(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad := write("Caddyfile", leaky)
	mended := write("mended.caddyfile", strings.Replace(leaky, "insecure_secrets_log /tmp/keys.log", "protocols tls1.3", 1))
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"-c", bad, "--fail-on", "critical"}, 1, []string{"TLS-004", "insecure_secrets_log", "exception: behind a VPN (alice)"}},
		{[]string{"-c", bad, "--fail-on", "never"}, 0, []string{"TLS-004"}},
		{[]string{"-c", mended, "--fail-on", "critical"}, 0, []string{"ACC-001", "only a running server can tell"}},
		{[]string{"-c", mended, "--fail-on", "low"}, 1, nil},
		{[]string{"-c", bad, "--format", "xml"}, 2, nil},
		{[]string{"-c", bad, "--fail-on", "some"}, 2, nil},
		{[]string{"-c", bad, "--address", "localhost:1"}, 2, nil},
		{[]string{"-a", "caddyfile"}, 2, nil},
		{[]string{"-c", filepath.Join(dir, "absent")}, 3, nil},
		{[]string{"-c", write("not.json", "localhost {\n}\n")}, 3, nil},
		{[]string{"-c", write("list.json", "[]")}, 3, nil},
		{[]string{"-c", write("wrong.json", `{"apps":{"soc2":{"checks":{"exceptions":[{"check":"TLS-004"}]}}}}`)}, 3, nil},
		{[]string{"-c", bad, "-a", "nginx-of-nobody"}, 3, nil},
		{[]string{"--address", "127.0.0.1:1"}, 3, nil},
	} {
		code, out, err := check(t, "", c.args...)
		if code != c.code || (err != nil) != (code > 1) {
			t.Errorf("%v: exit %d, %v\n%s", c.args, code, err, out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: no %q in\n%s", c.args, want, out)
			}
		}
	}
}

func TestCheckPrintsJSONAndSARIF(t *testing.T) {
	_, out, err := check(t, leaky, "-c", "-", "-a", "caddyfile", "--format", "json")
	if err != nil {
		t.Fatal(err)
	}
	var r controls.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if f := r.Check("TLS-004"); len(r.Checks) != 59 || f.Result != controls.Fail || r.Source != controls.SourceConfig || r.Check("ACC-001").Exception == nil {
		t.Errorf("%+v", f)
	}
	_, out, err = check(t, leaky, "-c", "-", "-a", "caddyfile", "--format", "sarif")
	if err != nil || !strings.Contains(out, `"version": "2.1.0"`) || !strings.Contains(out, `"suppressions"`) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestExplainAndCriteriaAreComplete(t *testing.T) {
	for _, d := range controls.Checks().Checks {
		var b bytes.Buffer
		if err := d.Write(&b); err != nil || !strings.Contains(b.String(), d.Remediation) || !strings.Contains(b.String(), d.Explain) {
			t.Errorf("%s: %v\n%s", d.ID, err, b.String())
		}
	}
	cmd := criteriaCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	if code, err := runCriteria(cmd, nil); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	for _, c := range controls.Criteria().Criteria {
		if !strings.Contains(out.String(), c.ID+" ") || c.Strength == controls.NotAssessed && !strings.Contains(out.String(), c.Limits) {
			t.Errorf("%s is not printed", c.ID)
		}
	}
	if !strings.Contains(out.String(), "not assessed") {
		t.Error("nothing is not assessed")
	}
}

// TestConfigurationsThatAreShippedCloseTheAdminEndpoint makes check ADM-001 on
// those that are meant to be used.
func TestConfigurationsThatAreShippedCloseTheAdminEndpoint(t *testing.T) {
	for _, file := range []string{"deploy/Caddyfile", "examples/node-app/Caddyfile"} {
		r, err := checkConfig(nil, file, "")
		if err != nil {
			t.Fatal(err)
		}
		if f := r.Check("ADM-001"); f.Result != controls.Pass {
			t.Errorf("%s: %s: %s", file, f.Result, f.Summary)
		}
	}
}
