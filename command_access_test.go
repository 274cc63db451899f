package soc2

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-soc2/caddy-soc2/handlers/access"
)

const accessConfig = `
a.example {
	soc2_access {
		name a
		source idp {http.request.header.Groups}
		rule admin {
			role idp:admin
			path /admin/*
			require mfa
		}
		rule late {
			until 2026-01-01
			path /late
		}
		rule public {
			anonymous
			method GET
			cel "headers[\"x\"] == \"y\" && claims == claims || client_ip == \"192.0.2.1\""
		}
	}
}
b.example {
	soc2_access {
		mode shadow
		rule none {
			role none
		}
	}
}
`

func TestAccessTestExplainsWhatDecides(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(accessConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, c := range map[string]struct {
		code int
		want string
	}{
		"--host a.example --as x --role idp:admin --mfa /admin/y":       {0, "rule     admin\nreason   rule"},
		"--host a.example --as x --role idp:admin POST /admin/y":        {1, "matches: mfa_required"},
		"--policy a --as x --role admin DELETE /admin/y":                {1, "does not match: role: idp:admin"},
		"--policy a --ip 192.0.2.1 /":                                   {0, "read as  GET /\n"},
		"--policy a --ip 192.0.2.1 //a/b":                               {0, "read as  GET /b\n"},
		"--policy a --ip 192.0.2.1 /%2e%2e/":                            {1, "reason   path_dot_segment"},
		"--policy a --ip 192.0.2.1 /?_method=DELETE":                    {1, "read as  DELETE /\n"},
		"--policy a --as x /late":                                       {1, "warning: soc2_access: a: rule late can no longer match"},
		"--policy default /":                                            {0, "SHADOW_DENY   policy default (shadow, "},
		"--policy a --at 2025-01-01T00:00:00Z --as x --claim k=v /late": {0, "rule     late"},
	} {
		cmd := accessTestCommand()
		if err := cmd.ParseFlags(append([]string{"--config", file}, strings.Fields(line)...)); err != nil {
			t.Fatal(err)
		}
		var text, machine bytes.Buffer
		cmd.SetOut(&text)
		code, err := runAccessTest(cmd, cmd.Flags().Args())
		if err != nil || code != c.code || !strings.Contains(text.String(), c.want) {
			t.Errorf("%s: exit %d, %v\n%s", line, code, err, text.String())
		}
		cmd.SetOut(&machine)
		_ = cmd.Flags().Set("json", "true")
		var list []access.Outcome
		if code, err := runAccessTest(cmd, cmd.Flags().Args()); err != nil || code != c.code || json.Unmarshal(machine.Bytes(), &list) != nil || len(list) != 1 {
			t.Errorf("%s: %d, %v, %s", line, code, err, machine.String())
		}
	}
	for _, line := range []string{"--policy none /", "--host c.example /", "--claim x /", "--at x /", "--ip x /", "--role x /", "--header x /", "not-a-path"} {
		cmd := accessTestCommand()
		if err := cmd.ParseFlags(append([]string{"--config", file}, strings.Fields(line)...)); err != nil {
			t.Fatal(err)
		}
		if code, err := runAccessTest(cmd, cmd.Flags().Args()); err == nil || code != 2 {
			t.Errorf("%s: exit %d", line, code)
		}
	}
}
