package risk_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/happenings/changes/risk"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// site is a configuration with one server, into which the cases put parts.
func site(soc2, server, routes, admin string) string {
	if soc2 != "" {
		soc2 = `"soc2":` + soc2 + `,`
	}
	if server != "" {
		server += ","
	}
	if admin == "" {
		admin = `{"listen":"unix//run/caddy.sock|0600"}`
	}
	return `{"admin":` + admin + `,"apps":{` + soc2 + `"http":{"servers":{"s":{` + server + `"routes":[` + routes + `]}}}}}`
}

const (
	covered = `"listener_wrappers":[{"wrapper":"soc2"},{"wrapper":"tls"}]`
	proxy   = `{"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"10.0.0.5:80"}]}]}`
	tls13   = `"tls_connection_policies":[{"protocol_min":"tls1.3"}]`
)

func deep(handler string) string {
	return `{"handle":[{"handler":"subroute","routes":[{"handle":[` + handler + `]}]}]}`
}

const authHandler = `{"handler":"authentication","providers":{"http_basic":{}}}`

var auth = deep(authHandler)

// listens gives the server an address, and renamed another name.
func listens(config string) string {
	return strings.Replace(config, `"s":{`, `"s":{"listen":[":443"],`, 1)
}

func renamed(config string) string {
	return strings.Replace(config, `"s":{`, `"s":{"listen":[":8080"]},"t":{`, 1)
}

func remote(access string) string {
	return site("", "", proxy, `{"listen":"unix//run/caddy.sock|0600","remote":{"access_control":[`+access+`]}}`)
}

func blind(dial string) string {
	return deep(`{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"insecure_skip_verify":true}},"upstreams":[{"dial":"` + dial + `"}]}`)
}

func body(size string) string { return deep(`{"handler":"request_body","max_size":` + size + `}`) }

// fixtures are for each flag a change that has it, and the same change in the
// other direction or a harmless one, which has not.
var fixtures = []struct {
	flag        risk.Flag
	name        string
	before, bad string
	good        string // empty: the way back, from bad to before
}{
	{risk.AuditRemoved, "app removed", site(`{}`, covered, proxy, ""), site("", "", proxy, ""), ""},
	{risk.AuditRemoved, "configuration removed", site(`{}`, covered, proxy, ""), `null`, ""},
	{risk.AuditBypassed, "wrapper removed", site(`{}`, covered, proxy, ""), site(`{}`, "", proxy, ""), ""},
	{risk.AuditBypassed, "handler removed", site(`{}`, "", deep(`{"handler":"soc2_audit"}`), ""), site(`{}`, "", proxy, ""), ""},
	{risk.AuditBypassed, "hosts skipped", site(`{}`, covered, proxy, ""), site(`{}`, covered+`,"logs":{"skip_hosts":["a.example"]}`, proxy, ""), ""},
	{risk.AuditBypassed, "log_skip set", site(`{}`, covered, proxy, ""), site(`{}`, covered, deep(`{"handler":"vars","log_skip":true}`), ""), ""},
	{
		risk.AuditBypassed, "server without coverage", site(`{}`, covered, proxy, ""),
		strings.Replace(site(`{}`, covered, proxy, ""), `"servers":{`, `"servers":{"other":{"routes":[]},`, 1),
		strings.Replace(site(`{}`, covered, proxy, ""), `"servers":{`, `"servers":{"other":{`+covered+`,"routes":[]},`, 1),
	},
	{risk.AuditWeakened, "mode", site(`{"audit":{"mode":"strict"}}`, covered, proxy, ""), site(`{"audit":{"mode":"durable"}}`, covered, proxy, ""), ""},
	{risk.AuditWeakened, "mode from the default", site(`{}`, covered, proxy, ""), site(`{"audit":{"mode":"async"}}`, covered, proxy, ""), ""},
	{risk.AuditWeakened, "on_failure", site(`{}`, covered, proxy, ""), site(`{"audit":{"on_failure":"count"}}`, covered, proxy, ""), ""},
	{risk.AuditWeakened, "retain", site(`{"audit":{"retain":"400d"}}`, covered, proxy, ""), site(`{"audit":{"retain":"48h"}}`, covered, proxy, ""), ""},
	{risk.AuditWeakened, "retain from the default", site(`{}`, covered, proxy, ""), site(`{"audit":{"retain":86400000000000}}`, covered, proxy, ""), ""},
	{risk.AuditWeakened, "another log", site(`{}`, covered, proxy, ""), site(`{"audit":{"dir":"/elsewhere"}}`, covered, proxy, ""), site(`{"instance":"edge-2"}`, covered, proxy, "")},
	{risk.AccessControlRemoved, "authenticator", site("", "", deep(`{"handler":"authentication","providers":{"http_basic":{}}}`), ""), site("", "", proxy, ""), ""},
	{risk.AccessControlRemoved, "rule", site("", "", deep(`{"handler":"soc2_access","rules":[{"name":"a"},{"name":"b"}]}`), ""), site("", "", deep(`{"handler":"soc2_access","rules":[{"name":"a"}]}`), ""), ""},
	{risk.AccessControlRemoved, "client certificates", site("", `"tls_connection_policies":[{"client_authentication":{"mode":"require_and_verify"}}]`, proxy, ""), site("", `"tls_connection_policies":[{"client_authentication":{"mode":"request"}}]`, proxy, ""), ""},
	{risk.TLSFloorLowered, "lower", site("", tls13, proxy, ""), site("", `"tls_connection_policies":[{"protocol_min":"tls1.2"}]`, proxy, ""), ""},
	{risk.TLSFloorLowered, "the floor is gone", site(`{"tls":{}}`, covered, proxy, ""), site(`{}`, covered, proxy, ""), ""},
	{risk.TLSFloorLowered, "the floor's version", site(`{"tls":{"min":"1.3"}}`, covered, proxy, ""), site(`{"tls":{"min":"1.2"}}`, covered, proxy, ""), ""},
	{risk.TLSFloorLowered, "the floor is reported", site(`{"tls":{"min":"1.3"}}`, covered, proxy, ""), site(`{"tls":{"min":"1.3","mode":"report"}}`, covered, proxy, ""), ""},
	{risk.TLSFloorLowered, "a group more", site(`{"tls":{"groups":["x25519"]}}`, covered, proxy, ""), site(`{"tls":{"groups":["x25519","secp256r1"]}}`, covered, proxy, ""), ""},
	{risk.TLSFloorLowered, "suites of the default", site(`{"tls":{"suites":["TLS_AES_128_GCM_SHA256"]}}`, covered, proxy, ""), site(`{"tls":{}}`, covered, proxy, ""), ""},
	{risk.TLSFloorLowered, "a host that asks for no certificate any more", site(`{"tls":{"client_auth":["a","b"]}}`, covered, proxy, ""), site(`{"tls":{"client_auth":["a"]}}`, covered, proxy, ""), ""},
	{risk.TLSFloorLowered, "upstreams", site(`{"tls":{"upstream":{}}}`, covered, proxy, ""), site(`{"tls":{}}`, covered, proxy, ""), ""},
	{risk.TLSFloorLowered, "default", site("", tls13, proxy, ""), site("", "", proxy, ""), ""},
	{risk.TLSFloorLowered, "one policy of two", site("", tls13, proxy, ""), site("", `"tls_connection_policies":[{"match":{"sni":["a"]}},{"protocol_min":"tls1.3"}]`, proxy, ""), ""},
	{risk.TLSSecretsLogged, "file", site("", tls13, proxy, ""), site("", `"tls_connection_policies":[{"protocol_min":"tls1.3","insecure_secrets_log":"/tmp/k"}]`, proxy, ""), ""},
	{risk.HTTPSDisabled, "off", site("", "", proxy, ""), site("", `"automatic_https":{"disable":true}`, proxy, ""), ""},
	{risk.HTTPSDisabled, "redirects off", site("", "", proxy, ""), site("", `"automatic_https":{"disable_redirects":true}`, proxy, ""), ""},
	{risk.AdminOpened, "socket to port", site("", "", proxy, ""), site("", "", proxy, `{"listen":"localhost:2019"}`), ""},
	{risk.AdminOpened, "socket to the default", site("", "", proxy, ""), site("", "", proxy, `{}`), ""},
	{risk.AdminOpened, "loopback to all", site("", "", proxy, `{"listen":"127.0.0.1:2019"}`), site("", "", proxy, `{"listen":":2019"}`), ""},
	{risk.AdminOpened, "disabled to socket", site("", "", proxy, `{"disabled":true}`), site("", "", proxy, `{"listen":"soc2unix//run/a"}`), ""},
	{risk.AdminOpened, "mode of the socket", site("", "", proxy, ""), site("", "", proxy, `{"listen":"unix//run/caddy.sock|0666"}`), ""},
	{risk.AdminOpened, "origin not enforced", site("", "", proxy, `{"enforce_origin":true}`), site("", "", proxy, `{}`), ""},
	{risk.AdminOpened, "remote", site("", "", proxy, ""), site("", "", proxy, `{"listen":"unix//run/caddy.sock|0600","remote":{"access_control":[{"public_keys":["a"]}]}}`), ""},
	{risk.AdminOpened, "permissions removed", site("", "", proxy, `{"remote":{"access_control":[{"public_keys":["a"],"permissions":[{"methods":["GET"]}]}]}}`), site("", "", proxy, `{"remote":{"access_control":[{"public_keys":["a"]}]}}`), ""},
	{risk.ChangeGuardRemoved, "observe", site(`{"changes":"load_only"}`, covered, proxy, ""), site(`{}`, covered, proxy, ""), ""},
	{risk.UpstreamVerificationOff, "skip verify", site("", "", deep(`{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{}},"upstreams":[{"dial":"a:443"}]}`), ""), site("", "", deep(`{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{"insecure_skip_verify":true}},"upstreams":[{"dial":"a:443"}]}`), ""), ""},
	{risk.UpstreamVerificationOff, "no TLS", site("", "", deep(`{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{}},"upstreams":[{"dial":"a:443"}]}`), ""), site("", "", deep(`{"handler":"reverse_proxy","upstreams":[{"dial":"a:443"}]}`), ""), ""},
	{risk.UpstreamExternalNew, "name", site("", "", proxy, ""), site("", "", deep(`{"handler":"reverse_proxy","upstreams":[{"dial":"collector.example.com:443"}]}`), ""), site("", "", deep(`{"handler":"reverse_proxy","upstreams":[{"dial":"app2:3000"},{"dial":"db.internal:1"},{"dial":"unix//run/a"},{"dial":"{http.vars.up}"}]}`), "")},
	{risk.UpstreamExternalNew, "address", site("", "", proxy, ""), site("", "", deep(`{"handler":"reverse_proxy","upstreams":[{"dial":"203.0.113.7:80"}]}`), ""), site("", "", deep(`{"handler":"reverse_proxy","upstreams":[{"dial":"[fd00::1]:80"},{"dial":"127.0.0.1:1"}]}`), "")},
	{risk.LimitsLoosened, "limiter", site("", "", deep(`{"handler":"soc2_rate_limit","zones":[{}]}`), ""), site("", "", proxy, ""), ""},
	{risk.LimitsLoosened, "zone", site("", "", deep(`{"handler":"soc2_rate_limit","zones":[{},{}]}`), ""), site("", "", deep(`{"handler":"soc2_rate_limit","zones":[{}]}`), ""), ""},
	{risk.LimitsLoosened, "body", site("", "", deep(`{"handler":"request_body","max_size":1000}`), ""), site("", "", deep(`{"handler":"request_body","max_size":2000}`), ""), ""},
	{risk.LimitsLoosened, "timeout", site("", `"read_timeout":"10s"`, proxy, ""), site("", `"read_timeout":60000000000`, proxy, ""), ""},
	{risk.LimitsLoosened, "timeout gone", site("", `"read_header_timeout":"10s"`, proxy, ""), site("", "", proxy, ""), ""},
	{risk.HeadersWeakened, "profile", site(`{"profile":"strict"}`, covered, proxy, ""), site(`{}`, covered, proxy, ""), ""},
	{risk.HeadersWeakened, "handler", site("", "", deep(`{"handler":"soc2_headers","profile":"strict"}`), ""), site("", "", proxy, ""), ""},
	{risk.HeadersWeakened, "header", site("", "", deep(`{"handler":"headers","response":{"set":{"Strict-Transport-Security":["max-age=1"]}}}`), ""), site("", "", deep(`{"handler":"headers","response":{"set":{"X-Other":["1"]}}}`), ""), ""},
	{risk.TrustWidened, "range", site("", `"trusted_proxies":{"source":"static","ranges":["10.0.0.0/8"]}`, proxy, ""), site("", `"trusted_proxies":{"source":"static","ranges":["10.0.0.0/8","0.0.0.0/0"]}`, proxy, ""), ""},
	{risk.TrustWidened, "not strict", site("", `"trusted_proxies":{"source":"static","ranges":["10.0.0.0/8"]},"trusted_proxies_strict":1`, proxy, ""), site("", `"trusted_proxies":{"source":"static","ranges":["10.0.0.0/8"]}`, proxy, ""), ""},
	{risk.UpstreamVerificationOff, "another spelling", site("", "", deep(`{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{}},"upstreams":[{"dial":"a:443"}]}`), ""), site("", "", deep(`{"handler":"reverse_proxy","Transport":{"protocol":"http","tls":{"Insecure_ſkip_verify":true}},"upstreams":[{"dial":"a:443"}]}`), ""), ""},
	{risk.AccessControlRemoved, "only looks on", site("", "", deep(`{"handler":"soc2_access","rules":[{"name":"a"}]}`), ""), site("", "", deep(`{"handler":"soc2_access","mode":"shadow","rules":[{"name":"a"}]}`), ""), ""},
	{risk.AccessControlRemoved, "optional", site("", "", deep(`{"handler":"soc2_auth"}`), ""), site("", "", deep(`{"handler":"soc2_auth","optional":true}`), ""), ""},
	{risk.AccessControlRemoved, "optional provider", site("", "", deep(`{"handler":"authentication","providers":{"soc2":{}}}`), ""), site("", "", deep(`{"handler":"authentication","providers":{"soc2":{"optional":true}}}`), ""), ""},
	{risk.LimitsLoosened, "zone in shadow", site("", "", deep(`{"handler":"soc2_rate_limit","zones":[{}]}`), ""), site("", "", deep(`{"handler":"soc2_rate_limit","zones":[{"shadow":true}]}`), ""), ""},
	{risk.AuditBypassed, "wrapper removed with another name", listens(site(`{}`, covered, proxy, "")), renamed(listens(site(`{}`, "", proxy, ""))), strings.Replace(renamed(listens(site(`{}`, covered, proxy, ""))), `":8080"]`, `":8080"],`+covered, 1)},
	{risk.AuditWeakened, "witness removed", site(`{"audit":{"witnesses":[{"url":"a"},{"url":"b"}]}}`, covered, proxy, ""), site(`{"audit":{"witnesses":[{"url":"a"}]}}`, covered, proxy, ""), ""},
	{risk.AuditWeakened, "timestamps removed", site(`{"audit":{"timestamp":{"url":"a"}}}`, covered, proxy, ""), site(`{}`, covered, proxy, ""), ""},
	{risk.AccessControlRemoved, "with another name", listens(site("", "", auth, "")), renamed(listens(site("", "", proxy, ""))), renamed(listens(site("", "", auth, "")))},
	{risk.AccessControlRemoved, "behind a matcher", site("", "", auth, ""), site("", "", `{"match":[{"path":["/x"]}],"handle":[`+authHandler+`]}`, ""), site("", "", auth+`,{"match":[{"path":["/x"]}],"handle":[`+authHandler+`]}`, "")},
	{risk.TLSFloorLowered, "with another name", listens(site("", tls13, proxy, "")), renamed(listens(site("", "", proxy, ""))), renamed(listens(site("", tls13, proxy, "")))},
	{risk.HTTPSDisabled, "for a host", site("", "", proxy, ""), site("", `"automatic_https":{"skip":["a.example"]}`, proxy, ""), ""},
	{risk.AdminOpened, "origin added", site("", "", proxy, `{"listen":"localhost:2019"}`), site("", "", proxy, `{"listen":"localhost:2019","origins":["evil.example"]}`), site("", "", proxy, `{"listen":"localhost:2019","origins":["127.0.0.1:2019","http://localhost"]}`)},
	{risk.AdminOpened, "origin replaced", site("", "", proxy, `{"listen":"localhost:2019","origins":["a.example"]}`), site("", "", proxy, `{"listen":"localhost:2019","origins":["b.example"]}`), site("", "", proxy, `{"listen":"localhost:2019"}`)},
	{risk.AdminOpened, "another remote key", remote(`{"public_keys":["a"]}`), remote(`{"public_keys":["b"]}`), remote(`{"public_keys":["a"],"permissions":[{"paths":["/soc2/"]}]}`)},
	{risk.AdminOpened, "more for a remote key", remote(`{"public_keys":["a"],"permissions":[{"paths":["/soc2/"],"methods":["GET"]}]}`), remote(`{"public_keys":["a"],"permissions":[{"paths":["/soc2/","/load"],"methods":["GET"]}]}`), remote(`{"public_keys":["a"],"permissions":[{"paths":["/soc2/v1/"],"methods":["GET"]}]}`)},
	{risk.AdminOpened, "loader", site("", "", proxy, ""), site("", "", proxy, `{"listen":"unix//run/caddy.sock|0600","config":{"load":{"module":"http","url":"http://x"}}}`), ""},
	{risk.AdminOpened, "abstract socket", site("", "", proxy, ""), site("", "", proxy, `{"listen":"unix/@caddy"}`), ""},
	{risk.UpstreamVerificationOff, "of another upstream", site("", "", blind("a:443"), ""), site("", "", blind("b:443"), ""), site("", "", proxy, "")},
	{risk.UpstreamExternalNew, "looked up", site("", "", proxy, ""), site("", "", deep(`{"handler":"reverse_proxy","dynamic_upstreams":{"source":"multi","sources":[{"source":"a","name":"collector.example.com"}]}}`), ""), site("", "", deep(`{"handler":"reverse_proxy","dynamic_upstreams":{"source":"srv","name":"_app._tcp.app.internal"}}`), "")},
	{risk.UpstreamExternalNew, "chosen by the client", site("", "", proxy, ""), site("", "", deep(`{"handler":"reverse_proxy","upstreams":[{"dial":"{http.request.header.X-To}:80"}]}`), ""), ""},
	{risk.LimitsLoosened, "body of one of two", site("", "", body("1000")+","+body("9000"), ""), site("", "", body("2000")+","+body("9000"), ""), site("", "", body("1000")+","+body("9000")+","+body("10000"), "")},
	{risk.LimitsLoosened, "rate", site("", "", deep(`{"handler":"rate_limit","rate_limits":{"z":{"window":"1m","max_events":10}}}`), ""), site("", "", deep(`{"handler":"rate_limit","rate_limits":{"z":{"window":"10s","max_events":10}}}`), ""), ""},
	{risk.TrustWidened, "with another name", listens(site("", "", proxy, "")), renamed(listens(site("", `"trusted_proxies":{"source":"static","ranges":["10.0.0.0/8"]}`, proxy, ""))), ""},
	{risk.CredentialsLogged, "server", site("", "", proxy, ""), site("", `"logs":{"should_log_credentials":true}`, proxy, ""), ""},
}

func parse(t *testing.T, text string) any {
	t.Helper()
	v, err := jsonpatch.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

func TestFlagMarksTheBadChangeAndNotTheGood(t *testing.T) {
	seen := map[risk.Flag]bool{}
	for _, f := range fixtures {
		t.Run(string(f.flag)+"/"+f.name, func(t *testing.T) {
			seen[f.flag] = true
			before, bad := parse(t, f.before), parse(t, f.bad)
			if got := risk.Of(before, bad, "localhost:2019"); !slices.Contains(got, string(f.flag)) {
				t.Errorf("the bad change has %v", got)
			}
			from, to := bad, before
			if f.good != "" {
				from, to = before, parse(t, f.good)
			}
			if got := risk.Of(from, to, "localhost:2019"); slices.Contains(got, string(f.flag)) {
				t.Errorf("the good change has %v", got)
			}
			if got := risk.Of(before, before, "localhost:2019"); len(got) > 0 {
				t.Errorf("no change has %v", got)
			}
		})
	}
	for _, flag := range risk.Flags() {
		if !seen[flag] {
			t.Errorf("%s has no fixture", flag)
		}
	}
}

func FuzzOf(f *testing.F) {
	for _, x := range fixtures {
		f.Add([]byte(x.before), []byte(x.bad))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		before, err := jsonpatch.Parse(a)
		if err != nil {
			return
		}
		after, err := jsonpatch.Parse(b)
		if err != nil {
			return
		}
		if got := risk.Of(before, before, ""); len(got) > 0 {
			t.Fatalf("no change has %v", got)
		}
		_ = risk.Of(before, after, "")
	})
}
