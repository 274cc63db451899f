package headers

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func TestCaddyfile(t *testing.T) {
	tests := []struct{ name, input, want string }{
		{"bare", "soc2_headers", `{}`},
		{"profile", "soc2_headers strict", `{"profile":"strict"}`},
		{"policy", "soc2_headers {\n csp \"default-src 'self'\"\n}", `{"csp":"default-src 'self'"}`},
		{"both", "soc2_headers api {\n csp `default-src 'none'`\n}", `{"profile":"api","csp":"default-src 'none'"}`},
		{"unknown profile", "soc2_headers lax", `error: unknown profile "lax": there are baseline, strict and api`},
		{"too much", "soc2_headers strict api", `error: wrong argument count`},
		{"unknown subdirective", "soc2_headers {\n hsts off\n}", `error: unknown subdirective "hsts": there is only csp`},
		{"no policy", "soc2_headers {\n csp\n}", `error: csp takes one policy, in quotes`},
		{"empty policy", "soc2_headers {\n csp \"\"\n}", `error: csp takes one policy, in quotes`},
		{"policy without quotes", "soc2_headers {\n csp default-src 'self'\n}", `error: csp takes one policy, in quotes`},
		{"policy twice", "soc2_headers {\n csp a\n csp b\n}", `error: csp is given twice`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h, err := ParseCaddyfile(httpcaddyfile.Helper{Dispenser: caddyfile.NewTestDispenser(test.input)})
			if message, wantErr := strings.CutPrefix(test.want, "error: "); wantErr {
				if err == nil || !strings.Contains(strings.ToLower(err.Error()), message) {
					t.Errorf("error %v, want %s", err, message)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := json.Marshal(h); err != nil || string(got) != test.want {
				t.Errorf("%s, %v; want %s", got, err, test.want)
			}
		})
	}
}

// FuzzCaddyfile looks for a panic, and for blocks that parse to a profile
// that does not exist.
func FuzzCaddyfile(f *testing.F) {
	f.Add("soc2_headers strict {\n csp \"default-src 'self'\"\n}")
	f.Add("soc2_headers {\n csp\n}")
	f.Add("soc2_headers }")
	f.Fuzz(func(t *testing.T, input string) {
		h := new(Handler)
		if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)); err != nil {
			return
		}
		if h.Profile != "" && !Known(h.Profile) {
			t.Errorf("parsed unknown profile %q", h.Profile)
		}
	})
}

// app stands for the soc2 app.
type app struct {
	Name string `json:"name,omitempty"`
}

func (app) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "soc2", New: func() caddy.Module { return new(app) }}
}
func (a app) Profile() string { return a.Name }
func (app) Start() error      { return nil }
func (app) Stop() error       { return nil }

func init() { caddy.RegisterModule(app{}) }

func TestProfileOfTheApp(t *testing.T) {
	tests := []struct {
		name, config, own, want string
	}{
		{"not configured", "", "", Baseline},
		{"says nothing", `{}`, "", Baseline},
		{"says strict", `{"name": "strict"}`, "", Strict},
		{"is overruled", `{"name": "strict"}`, API, API},
		{"says nonsense", `{"name": "lax"}`, "", `error: unknown profile "lax": there are baseline, strict and api`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := &caddy.Config{AppsRaw: caddy.ModuleMap{}}
			if test.config != "" {
				cfg.AppsRaw["soc2"] = json.RawMessage(test.config)
			}
			ctx, err := caddy.ProvisionContext(cfg)
			if err != nil {
				t.Fatal(err)
			}
			h := &Handler{Profile: test.own}
			err = h.Provision(ctx)
			if message, wantErr := strings.CutPrefix(test.want, "error: "); wantErr {
				if err == nil || err.Error() != message {
					t.Errorf("error %v, want %s", err, message)
				}
				return
			}
			if err != nil || h.policy.profile != test.want {
				t.Errorf("profile %s, %v; want %s", h.policy.profile, err, test.want)
			}
		})
	}
}

func TestPolicyMustBeSendable(t *testing.T) {
	h := Handler{Profile: Strict, CSP: "default-src 'self' \x00"}
	if err := h.Provision(caddy.Context{}); err == nil {
		t.Error("a NUL byte in the policy was accepted")
	}
}
