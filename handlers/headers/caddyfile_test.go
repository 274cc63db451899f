package headers

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestCaddyfile(t *testing.T) {
	tests := []struct{ name, input, want string }{
		{"bare", "soc2_headers", `{}`},
		{"profile", "soc2_headers strict", `{"profile":"strict"}`},
		{"policy", "soc2_headers {\n csp \"default-src 'self'\"\n}", `{"csp":"default-src 'self'"}`},
		{"both", "soc2_headers api {\n csp `default-src 'none'`\n}", `{"profile":"api","csp":"default-src 'none'"}`},
		{
			"policy in parts", "soc2_headers {\n csp report_only {\n  +script-src https://cdn.example\n  -object-src\n  img-src 'self' data:\n }\n}",
			`{"policies":[{"report_only":true,"directives":[{"name":"script-src","sources":["https://cdn.example"],"merge":"add"},` +
				`{"name":"object-src","merge":"remove"},{"name":"img-src","sources":["'self'","data:"]}]}]}`,
		},
		{
			"rules", "soc2_headers {\n set X-Robots-Tag noindex {\n  types document image/*\n  status 2xx 404\n  methods GET\n }\n default X-A 1\n remove X-B\n}",
			`{"rules":[{"field":"X-Robots-Tag","action":"set","value":"noindex","when":{"types":["document","image/*"],"status":["2xx","404"],"methods":["GET"]}},` +
				`{"field":"X-A","action":"default","value":"1"},{"field":"X-B","action":"remove"}]}`,
		},
		{
			"bounds", "soc2_headers {\n bound Strict-Transport-Security min max-age 31536000\n bound Strict-Transport-Security require includeSubDomains\n bound Content-Security-Policy forbid 'unsafe-inline'\n}",
			`{"bounds":[{"field":"Strict-Transport-Security","param":"max-age","min":31536000,"require":["includeSubDomains"]},` +
				`{"field":"Content-Security-Policy","forbid":["'unsafe-inline'"]}]}`,
		},
		{
			"parts", "soc2_headers {\n cookies {\n  http_only off\n  readable a b\n  same_site Strict\n  prefix on\n }\n cors https://a.example {\n  credentials\n }\n no_store never\n reports_to /r\n report csp\n enforce hsts\n nonces X-Nonce\n}",
			`{"cookies":{"http_only":false,"readable":["a","b"],"same_site":"Strict","prefix":true},"cors":{"origins":["https://a.example"],"credentials":true},` +
				`"no_store":"never","reports_to":"/r","report":["csp"],"enforce":["hsts"],"nonces":{"request_header":"X-Nonce"}}`,
		},
		{
			"request", "soc2_headers {\n request {\n  hosts a.example *.b.example\n  methods GET POST\n  require X-A\n  remove X-B\n  max_url 8KiB\n  max_headers 50\n  max_header 4KiB\n  max_body 10MB\n  trace generate\n  request_id generate\n }\n}",
			`{"request":{"hosts":["a.example","*.b.example"],"methods":["GET","POST"],"require":["X-A"],"remove":["X-B"],"max_url":8192,"max_headers":50,` +
				`"max_header":4096,"max_body":10000000,"trace":"generate","request_id":"generate"}}`,
		},

		{"unknown profile", "soc2_headers lax", `error: unknown profile "lax": there are baseline, strict and api`},
		{"too much", "soc2_headers strict api", `error: wrong argument count`},
		{"unknown subdirective", "soc2_headers {\n hsts off\n}", `error: unknown subdirective "hsts": there are bound, cookies, cors, csp,`},
		{"no policy", "soc2_headers {\n csp\n}", `error: csp takes one policy, in quotes, or a block`},
		{"empty policy", "soc2_headers {\n csp \"\"\n}", `error: csp takes one policy, in quotes`},
		{"policy without quotes", "soc2_headers {\n csp default-src 'self'\n}", `error: csp takes one policy, in quotes`},
		{"policy twice", "soc2_headers {\n csp img-src *\n csp \"img-src *\"\n}", `error: csp takes one policy`},
		{"policy two times", "soc2_headers {\n csp \"img-src *\"\n csp \"img-src *\"\n}", `error: csp is given twice`},
		{"unknown directive", "soc2_headers {\n csp {\n  script-source 'self'\n }\n}", `error: csp: there is no directive "script-source", at Testfile:3`},
		{"keyword without quotes", "soc2_headers {\n csp {\n  script-src self\n }\n}", `error: the keyword self stands in quotes: 'self', at Testfile:3`},
		{"unknown keyword", "soc2_headers {\n csp {\n  script-src 'unsafe-inlin'\n }\n}", `error: unknown keyword 'unsafe-inlin', at Testfile:3`},
		{"none and more", "soc2_headers {\n csp {\n  script-src 'none' 'self'\n }\n}", `error: 'none' contradicts the other sources, at Testfile:3`},
		{"none in capitals and more", "soc2_headers {\n csp {\n  script-src 'NONE' 'self'\n }\n}", `error: 'none' contradicts the other sources, at Testfile:3`},
		{"none added", "soc2_headers {\n csp {\n  +script-src 'none'\n }\n}", `error: 'none' cannot be added: script-src 'none', without the plus, takes the place of the other sources, at Testfile:3`},
		{"nonce in capitals", "soc2_headers {\n csp {\n  +script-src 'Nonce'\n }\n}", `error: write 'nonce', in small letters, for one of each response, at Testfile:3`},
		{"fixed nonce", "soc2_headers {\n csp {\n  script-src 'nonce-abc'\n }\n}", `error: a nonce that stays the same`},
		{"directive twice", "soc2_headers {\n csp {\n  img-src *\n  img-src 'self'\n }\n}", `error: img-src is given twice: browsers ignore the second, at Testfile:4`},
		{"bound that contradicts itself", "soc2_headers {\n bound Strict-Transport-Security min max-age 10\n bound Strict-Transport-Security max max-age 5\n}", `error: no value can satisfy it: max-age has to be at least 10 and at most 5, at Testfile:3`},
		{"bound that forbids what it requires", "soc2_headers {\n bound Vary require Cookie\n bound Vary forbid cookie\n}", `error: no value can satisfy it: cookie is required and forbidden`},
		{"bound without value", "soc2_headers {\n bound X-Frame-Options one_of DENY\n bound X-Frame-Options forbid DENY\n}", `error: none of the values that it allows`},
		{"bound without room", "soc2_headers {\n bound Vary require Accept-Encoding\n bound Vary max_length 3\n}", `error: what is required has 15 bytes`},
		{"value out of bounds", "soc2_headers {\n set Strict-Transport-Security max-age=5\n bound Strict-Transport-Security min max-age 10\n}", `error: the value is out of bounds`},
		{"policy out of bounds", "soc2_headers {\n csp \"script-src 'unsafe-inline'\"\n bound Content-Security-Policy forbid 'unsafe-inline'\n}", `error: the policy is out of bounds`},
		{"source out of bounds", "soc2_headers {\n csp {\n  script-src 'unsafe-inline'\n }\n bound Content-Security-Policy forbid 'unsafe-inline'\n}", `error: a source or directive is forbidden`},
		{"field twice", "soc2_headers {\n set X-A 1\n remove X-A\n}", `error: remove x-a contradicts set x-a`},
		{"leak", "soc2_headers {\n set Server mine\n}", `error: the profiles remove this field, at Testfile:2`},
		{"framing", "soc2_headers {\n set Content-Length 1\n}", `error: the field is not for rules`},
		{"bound of framing", "soc2_headers {\n bound Content-Length max n 1\n}", `error: the field is not for bounds`},
		{"bound of cookies", "soc2_headers {\n bound set-cookie forbid Domain\n}", `error: the field is not for bounds`},
		{"bound without room, twice", "soc2_headers {\n bound Vary require Accept-Encoding\n bound Vary max_length 30\n bound Vary max_length 3\n}", `error: what is required has 15 bytes`},
		{"bound of the same field in capitals", "soc2_headers {\n bound Vary require Cookie\n bound VARY forbid cookie\n}", `error: no value can satisfy it: cookie is required and forbidden`},
		{"unknown referrer policy", "soc2_headers {\n set Referrer-Policy never\n}", `error: unknown policy "never"`},
		{"unknown value", "soc2_headers {\n set X-Frame-Options ALLOWALL\n}", `error: unknown value "allowall": there are deny, sameorigin, at Testfile:2`},
		{"preload too short", "soc2_headers {\n set Strict-Transport-Security \"max-age=600; includeSubDomains; preload\"\n}", `error: preload needs includesubdomains and a max-age of at least 31536000`},
		{"permission without list", "soc2_headers {\n set Permissions-Policy camera\n}", `error: "camera" is no feature=(allowlist)`},
		{"unknown rule", "soc2_headers {\n report cps\n}", `error: there is no rule "cps"`},
		{"rule both ways", "soc2_headers {\n report csp\n enforce csp\n}", `error: rule "csp" is to report and to enforce`},
		{"every origin with credentials", "soc2_headers {\n cors * {\n  credentials\n }\n}", `error: every origin with credentials`},
		{"origin with a star", "soc2_headers {\n cors https://*.app.example\n}", `error: "https://*.app.example" is no origin`},
		{"origin with the usual port", "soc2_headers {\n cors https://app.example:443\n}", `error: browsers leave it out`},
		{"no origin", "soc2_headers {\n cors app.example\n}", `error: "app.example" is no origin`},
		{"no status", "soc2_headers {\n set X-A 1 {\n  status 2x\n }\n}", `error: status "2x"`},
		{"no site", "soc2_headers {\n cookies {\n  same_site None\n }\n}", `error: a cookie for other sites`},
		{"reports elsewhere", "soc2_headers {\n reports_to https://x.example/\n}", `error: it is no path on this site`},
		{"required and removed", "soc2_headers {\n request {\n  require X-A\n  remove x-a\n }\n}", `error: x-a is required and removed, at Testfile:4`},
		{"no size", "soc2_headers {\n request {\n  max_body much\n }\n}", `error: max_body "much"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := new(Handler)
			err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.input))
			if message, wantErr := strings.CutPrefix(test.want, "error: "); wantErr {
				if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(message)) {
					t.Errorf("error %v, want %s", err, message)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := json.Marshal(h); err != nil || strings.NewReplacer("\\u0026", "&").Replace(string(got)) != test.want {
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
	f.Add("soc2_headers {\n csp {\n +script-src 'nonce'\n -img-src\n }\n bound Vary require A\n set X-A 1 {\n status 2xx\n }\n request {\n max_url 1\n }\n}")
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
