package tlsfloor_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/tlsfloor"
)

// config makes a configuration of the members of an HTTP server each.
func config(servers ...string) []byte {
	for i, s := range servers {
		servers[i] = fmt.Sprintf(`"srv%d":{%s}`, i, s)
	}
	return []byte(`{"apps":{"http":{"servers":{` + strings.Join(servers, ",") + `}}}}`)
}

// site is a route that answers a host.
func site(host string) string {
	return `{"match":[{"host":["` + host + `"]}],"handle":[{"handler":"static_response","body":"ok"}]}`
}

const (
	onTLS     = `"listen":[":443"],`
	onHTTP    = `"listen":[":80"],`
	covered   = `"listener_wrappers":[{"wrapper":"soc2"},{"wrapper":"tls"}],`
	pool      = `"ca":{"provider":"inline"}`
	redirect  = `{"handler":"static_response","status_code":308,"headers":{"Location":["https://{http.request.host}{http.request.uri}"]}}`
	respond   = `{"handler":"static_response","body":"ok"}`
	hsts      = `{"handler":"headers","response":{"set":{"Strict-Transport-Security":["max-age=1"]}}}`
	toAppPort = `"routes":[{"handle":[{"handler":"subroute","routes":[{"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"%s"}]%s}]}]}]}]`
)

func policies(list ...string) string {
	return onTLS + `"tls_connection_policies":[` + strings.Join(list, ",") + `]`
}

func proxied(dial, transport string) string {
	if transport != "" {
		transport = `,"transport":` + transport
	}
	return onTLS + `"tls_connection_policies":[{"protocol_min":"tls1.3"}],` + fmt.Sprintf(toAppPort, dial, transport)
}

// one is a finding as the tests write it: kind, server, policy, have.
type one struct {
	kind   tlsfloor.Kind
	server string
	policy int
	have   string
}

func TestFindings(t *testing.T) {
	min13 := tlsfloor.Rules{Min: "1.3"}
	filling := tlsfloor.Rules{Min: "1.3", Groups: []string{"x25519"}, Fills: true}
	upstream := tlsfloor.Rules{Upstream: &tlsfloor.Upstream{}}
	for _, c := range []struct {
		name   string
		config []byte
		rules  tlsfloor.Rules
		want   []one
	}{
		{"nothing is configured", []byte(`{}`), min13, nil},
		{"a server without TLS", config(onHTTP + `"routes":[` + site("a.example") + `]`), min13, nil},
		{"an empty policy allows 1.2", config(policies(`{}`)), min13, []one{{tlsfloor.Version, "srv0", 0, "TLS 1.2"}}},
		{"an empty policy is right for 1.2", config(policies(`{}`)), tlsfloor.Rules{}, nil},
		{"the policy at fault is named", config(policies(`{"protocol_min":"tls1.3"}`, `{"protocol_min":"tls1.2"}`)), min13, []one{{tlsfloor.Version, "srv0", 1, "TLS 1.2"}}},
		{"a policy that drops", config(policies(`{"drop":true}`, `{"protocol_min":"tls1.3"}`)), min13, nil},
		{"the policy that a host brings", config(onTLS + `"routes":[` + site("a.example") + `]`), min13, []one{{tlsfloor.Version, "srv0", 0, "TLS 1.2"}}},
		{"the policy that the port brings", config(onTLS + `"routes":[]`), min13, []one{{tlsfloor.Version, "srv0", 0, "TLS 1.2"}}},
		{"another port and no host", config(`"listen":[":8080"],"routes":[]`), min13, nil},
		{"another port and a host", config(`"listen":[":8080"],"routes":[` + site("a.example") + `]`), min13, []one{{tlsfloor.Version, "srv0", 0, "TLS 1.2"}}},
		{"another port and a host that is left out", config(`"listen":[":8080"],"automatic_https":{"skip":["a.example"]},"routes":[` + site("a.example") + `]`), min13, nil},
		{"automatic HTTPS is off", config(onTLS + `"automatic_https":{"disable":true},"routes":[` + site("a.example") + `]`), min13, nil},
		{"each server", config(policies(`{}`), policies(`{}`)), min13, []one{{tlsfloor.Version, "srv0", 0, ""}, {tlsfloor.Version, "srv1", 0, ""}}},

		{"1.2 at most", config(policies(`{"protocol_max":"tls1.2"}`)), min13, []one{{tlsfloor.Version, "srv0", 0, "TLS 1.2 at most"}}},
		{"what is not said is filled", config(covered + policies(`{}`, `{"alpn":["h2"]}`)), filling, nil},
		{"what is not said is not filled without the wrapper", config(policies(`{"alpn":["h2"]}`)), filling, []one{{tlsfloor.Version, "srv0", 0, "TLS 1.2"}, {tlsfloor.Groups, "srv0", 0, "x25519mlkem768 secp256r1"}}},
		{"what is said is not filled", config(covered + policies(`{"protocol_min":"tls1.2","curves":["secp256r1"]}`)), filling, []one{{tlsfloor.Version, "srv0", 0, "TLS 1.2"}, {tlsfloor.Groups, "srv0", 0, "secp256r1"}}},
		{"1.2 at most is not filled", config(covered + policies(`{"protocol_max":"tls1.2"}`)), filling, []one{{tlsfloor.Version, "srv0", 0, "TLS 1.2 at most"}}},
		{"groups that Caddy has no names for", config(covered + policies(`{}`)), tlsfloor.Rules{Groups: []string{"secp384r1mlkem1024"}, Fills: true}, []one{{tlsfloor.Groups, "srv0", 0, "x25519mlkem768 x25519 secp256r1"}}},

		{"a suite with CBC", config(policies(`{"cipher_suites":["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA","TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]}`)), tlsfloor.Rules{}, []one{{tlsfloor.Suites, "srv0", 0, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"}}},
		{"suites of 1.2 are nothing to 1.3", config(policies(`{"protocol_min":"tls1.3","cipher_suites":["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"]}`)), tlsfloor.Rules{}, nil},
		{"more suites than chosen", config(covered + policies(`{}`)), tlsfloor.Rules{Suites: []string{"TLS_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}}, []one{{tlsfloor.Suites, "srv0", 0, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}}},
		{"the suites that are chosen", config(covered + policies(`{"cipher_suites":["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]}`)), tlsfloor.Rules{Suites: []string{"TLS_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}}, nil},

		{
			"suites of 1.3, which nobody can choose, without the wrapper",
			config(policies(`{"protocol_min":"tls1.3"}`)),
			tlsfloor.Rules{Min: "1.3", Suites: []string{"TLS_AES_256_GCM_SHA384"}},
			[]one{{tlsfloor.Suites, "srv0", 0, "TLS_AES_128_GCM_SHA256 TLS_CHACHA20_POLY1305_SHA256"}},
		},
		{"suites of 1.3 with the wrapper", config(covered + policies(`{"protocol_min":"tls1.3"}`)), tlsfloor.Rules{Min: "1.3", Suites: []string{"TLS_AES_256_GCM_SHA384"}}, nil},
		{
			"names in other letters, which Caddy reads as well",
			config(`"Listen":[":443"],"TLS_Connection_Policies":[{"Protocol_Min":"tls1.2","Insecure_Secrets_Log":"/keys"}]`), min13,
			[]one{{tlsfloor.Version, "srv0", 0, "TLS 1.2"}, {tlsfloor.SecretsLog, "srv0", 0, "insecure_secrets_log"}},
		},

		{"more groups than chosen", config(policies(`{"curves":["x25519","secp521r1"]}`)), tlsfloor.Rules{Groups: []string{"x25519"}}, []one{{tlsfloor.Groups, "srv0", 0, "secp521r1"}}},
		{"Caddy's own groups", config(policies(`{}`)), tlsfloor.Rules{Groups: []string{"x25519mlkem768"}}, []one{{tlsfloor.Groups, "srv0", 0, "x25519 secp256r1"}}},
		{"the groups that are chosen", config(policies(`{"curves":["x25519"]}`)), tlsfloor.Rules{Groups: []string{"x25519", "x25519mlkem768"}}, nil},

		{"session keys in a file", config(policies(`{"insecure_secrets_log":"/tmp/keys"}`)), tlsfloor.Rules{}, []one{{tlsfloor.SecretsLog, "srv0", 0, "insecure_secrets_log"}}},
		{"clients verified by the system's authorities", config(policies(`{"client_authentication":{"mode":"require_and_verify"}}`)), tlsfloor.Rules{}, []one{{tlsfloor.ClientPool, "srv0", 0, "require_and_verify with the authorities of the system"}}},
		{"leaf certificates alone", config(policies(`{"client_authentication":{"trusted_leaf_certs":["x"]}}`)), tlsfloor.Rules{}, []one{{tlsfloor.ClientPool, "srv0", 0, "require_and_verify with"}}},
		{"clients verified by one's own", config(policies(`{"client_authentication":{"mode":"verify_if_given",` + pool + `}}`)), tlsfloor.Rules{}, nil},

		{"no client authentication", config(policies(`{}`)), tlsfloor.Rules{ClientAuth: []string{"*"}}, []one{{tlsfloor.ClientAuth, "srv0", 0, "no client authentication"}}},
		{"certificates that need not be", config(policies(`{"client_authentication":{"mode":"verify_if_given",` + pool + `}}`)), tlsfloor.Rules{ClientAuth: []string{"*"}}, []one{{tlsfloor.ClientAuth, "srv0", 0, "verify_if_given"}}},
		{"the mode that a pool brings", config(policies(`{"client_authentication":{` + pool + `}}`)), tlsfloor.Rules{ClientAuth: []string{"*"}}, nil},
		{
			"the policy of the host, and no other",
			config(policies(`{"match":{"sni":["b.example"]}}`, `{"match":{"sni":["a.example"]},"client_authentication":{"mode":"request"}}`, `{}`)),
			tlsfloor.Rules{ClientAuth: []string{"a.example"}},
			[]one{{tlsfloor.ClientAuth, "srv0", 1, "request"}},
		},
		{
			"all policies before the one that always matches",
			config(policies(`{"match":{"remote_ip":{"ranges":["10.0.0.0/8"]}}}`, `{"client_authentication":{`+pool+`}}`, `{}`) + `,"routes":[` + site("a.example") + `]`),
			tlsfloor.Rules{ClientAuth: []string{"a.example"}},
			[]one{{tlsfloor.ClientAuth, "srv0", 0, "no client authentication"}},
		},
		{
			"a name with a star covers the names under it",
			config(policies(`{"match":{"sni":["x.a.example"]}}`, `{"match":{"sni":["*.a.example"]},"client_authentication":{`+pool+`}}`)),
			tlsfloor.Rules{ClientAuth: []string{"*.a.example"}},
			[]one{{tlsfloor.ClientAuth, "srv0", 0, "no client authentication"}},
		},
		{"a host that nobody serves", config(policies(`{}`) + `,"routes":[` + site("a.example") + `]`), tlsfloor.Rules{ClientAuth: []string{"b.example"}}, []one{{tlsfloor.ClientAuth, "", -1, "no site b.example"}}},
		{"a request for another host than the handshake's", config(`"strict_sni_host":false,` + policies(`{"client_authentication":{`+pool+`}}`)), tlsfloor.Rules{ClientAuth: []string{"*"}}, []one{{tlsfloor.ClientAuth, "srv0", -1, "strict_sni_host false"}}},

		{
			"a host with client certificates, without TLS beside",
			config(policies(`{"client_authentication":{`+pool+`}}`)+`,"routes":[`+site("a.example")+`]`, `"listen":[":8080"],"automatic_https":{"disable":true},"routes":[`+site("a.example")+`]`),
			tlsfloor.Rules{ClientAuth: []string{"*.example", "a.example"}},
			[]one{{tlsfloor.ClientAuth, "srv1", -1, "without TLS a.example is answered"}},
		},
		{
			"all hosts with client certificates, without TLS beside",
			config(policies(`{"client_authentication":{`+pool+`}}`)+`,"routes":[`+site("a.example")+`]`, `"listen":[":8080"],"routes":[{"handle":[`+respond+`]}]`),
			tlsfloor.Rules{ClientAuth: []string{"*"}},
			[]one{{tlsfloor.ClientAuth, "srv1", -1, "without TLS every host is answered"}},
		},
		{
			"a host with client certificates, redirected",
			config(policies(`{"client_authentication":{`+pool+`}}`)+`,"routes":[`+site("a.example")+`]`, onHTTP+`"routes":[{"handle":[`+respond+`]}]`),
			tlsfloor.Rules{ClientAuth: []string{"a.example"}},
			nil,
		},

		{
			"HSTS and a plain site of all hosts by a path",
			config(covered+policies(`{}`)+`,"routes":[`+site("a.example")+`]`, `"listen":[":8080"],"automatic_https":{"disable":true},"routes":[{"match":[{"host":["b.example"]},{"path":["/x"]}],"handle":[`+respond+`]}]`),
			tlsfloor.Rules{},
			[]one{{tlsfloor.HSTS, "srv1", -1, "without TLS a.example is answered"}},
		},
		{"HSTS, redirected by automatic HTTPS", config(covered + policies(`{}`) + `,"routes":[` + site("a.example") + `]`), tlsfloor.Rules{}, nil},
		{"HSTS and a plain site", config(covered+policies(`{}`)+`,"routes":[`+site("a.example")+`]`, onHTTP+`"routes":[`+site("a.example")+`]`), tlsfloor.Rules{}, []one{{tlsfloor.HSTS, "srv1", -1, "without TLS a.example is answered"}}},
		{"a plain site of another host", config(covered+policies(`{}`)+`,"routes":[`+site("a.example")+`]`, onHTTP+`"routes":[`+site("b.example")+`]`), tlsfloor.Rules{}, nil},
		{"a plain site, and no HSTS", config(policies(`{}`)+`,"routes":[`+site("a.example")+`]`, onHTTP+`"routes":[`+site("a.example")+`]`), tlsfloor.Rules{}, nil},
		{"HSTS by the directive header", config(policies(`{}`)+`,"routes":[{"match":[{"host":["a.example"]}],"handle":[{"handler":"subroute","routes":[{"handle":[`+hsts+`,`+respond+`]}]}]}]`, onHTTP+`"routes":[`+site("a.example")+`]`), tlsfloor.Rules{}, []one{{tlsfloor.HSTS, "srv1", -1, ""}}},
		{"HSTS, redirected by hand", config(covered+policies(`{}`)+`,"routes":[`+site("a.example")+`]`, onHTTP+`"routes":[{"match":[{"host":["a.example"]}],"handle":[{"handler":"subroute","routes":[{"handle":[`+redirect+`]}]}]}]`), tlsfloor.Rules{}, nil},
		{"a redirect of one path, and an answer", config(covered+policies(`{}`)+`,"routes":[`+site("a.example")+`]`, onHTTP+`"routes":[{"match":[{"host":["a.example"],"path":["/x"]}],"handle":[`+redirect+`]},`+site("a.example")+`]`), tlsfloor.Rules{}, []one{{tlsfloor.HSTS, "srv1", -1, ""}}},
		{"an answer for all, behind the redirects", config(covered+policies(`{}`)+`,"routes":[`+site("a.example")+`]`, onHTTP+`"routes":[{"handle":[`+respond+`]}]`), tlsfloor.Rules{}, nil},
		{"an answer for all, and no redirects", config(covered+policies(`{}`)+`,"automatic_https":{"disable_redirects":true},"routes":[`+site("a.example")+`]`, onHTTP+`"routes":[{"handle":[`+respond+`]}]`), tlsfloor.Rules{}, []one{{tlsfloor.HSTS, "srv1", -1, ""}}},
		{"an answer for all on another port", config(covered+policies(`{}`)+`,"routes":[`+site("a.example")+`]`, `"listen":[":8080"],"automatic_https":{"disable":true},"routes":[{"handle":[`+respond+`]}]`), tlsfloor.Rules{}, []one{{tlsfloor.HSTS, "srv1", -1, ""}}},
		{"a server with both ports", config(covered + `"listen":[":443",":80"],"tls_connection_policies":[{}],"routes":[` + site("a.example") + `]`), tlsfloor.Rules{}, []one{{tlsfloor.HSTS, "srv0", -1, ""}}},

		{"plaintext to another machine", config(proxied("app:3000", "")), upstream, []one{{tlsfloor.UpstreamPlain, "srv0", -1, "no TLS to app:3000"}}},
		{"plaintext to this machine", config(proxied("127.0.0.1:3000", ""), proxied("localhost:3000", ""), proxied("[::1]:3000", ""), proxied("unix//run/app.sock", "")), upstream, nil},
		{"plaintext to what a placeholder says", config(proxied("{env.APP}", "")), upstream, []one{{tlsfloor.UpstreamPlain, "srv0", -1, "no TLS to {env.APP}"}}},
		{"plaintext over FastCGI", config(proxied("tcp/php:9000", `{"protocol":"fastcgi"}`)), upstream, []one{{tlsfloor.UpstreamPlain, "srv0", -1, "no TLS to tcp/php:9000"}}},
		{"plaintext that is excepted by name", config(proxied("app:3000", "")), tlsfloor.Rules{Upstream: &tlsfloor.Upstream{Plaintext: []string{"app"}}}, nil},
		{"plaintext that is excepted by network", config(proxied("10.1.2.3:3000", "")), tlsfloor.Rules{Upstream: &tlsfloor.Upstream{Plaintext: []string{"10.0.0.0/8"}}}, nil},
		{"plaintext beyond the network", config(proxied("11.1.2.3:3000", "")), tlsfloor.Rules{Upstream: &tlsfloor.Upstream{Plaintext: []string{"10.0.0.0/8"}}}, []one{{tlsfloor.UpstreamPlain, "srv0", -1, ""}}},
		{"plaintext, and upstreams are not asked for", config(proxied("app:3000", "")), min13, nil},
		{"a port without TLS", config(proxied("app:3000", `{"protocol":"http","tls":{"except_ports":["3000"]}}`)), upstream, []one{{tlsfloor.UpstreamPlain, "srv0", -1, ""}}},
		{"TLS", config(proxied("app:443", `{"protocol":"http","tls":{}}`)), upstream, nil},
		{"no verification", config(proxied("app:443", `{"protocol":"http","tls":{"insecure_skip_verify":true}}`)), upstream, []one{{tlsfloor.UpstreamVerify, "srv0", -1, "insecure_skip_verify to app:443"}}},
		{"no verification, excepted", config(proxied("app:443", `{"protocol":"http","tls":{"insecure_skip_verify":true}}`)), tlsfloor.Rules{Upstream: &tlsfloor.Upstream{Unverified: []string{"app"}}}, nil},
		{"1.3 to upstreams", config(proxied("app:443", `{"protocol":"http","tls":{}}`)), tlsfloor.Rules{Upstream: &tlsfloor.Upstream{Min: "1.3"}}, []one{{tlsfloor.UpstreamVersion, "srv0", -1, "TLS 1.2 at least to app:443"}}},
		{"1.3 to upstreams by HTTP/3", config(proxied("app:443", `{"protocol":"http","tls":{},"versions":["3"]}`)), tlsfloor.Rules{Upstream: &tlsfloor.Upstream{Min: "1.3"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.rules.Check(); err != nil {
				t.Fatal(err)
			}
			got, err := tlsfloor.Findings(c.config, c.rules)
			if err != nil {
				t.Fatalf("%v: %s", err, c.config)
			}
			if len(got) != len(c.want) {
				t.Fatalf("found %v, want %v\n%s", got, c.want, c.config)
			}
			for i, f := range got {
				w := c.want[i]
				if f.Kind != w.kind || f.Server != w.server || f.Policy != w.policy || !strings.HasPrefix(f.Have, w.have) {
					t.Errorf("found %+v, want %+v", f, w)
				}
				complete(t, f)
			}
		})
	}
}

// complete reports a finding that does not say what there is to do.
func complete(t *testing.T, f tlsfloor.Finding) {
	t.Helper()
	if f.Have == "" || f.Want == "" || f.Remedy == "" || !slices.Contains(tlsfloor.Kinds(), f.Kind) || strings.Contains(f.String(), "\n") {
		t.Errorf("the finding is not complete: %+v", f)
	}
	if f.Server != "" && !strings.HasPrefix(f.Pointer, "/apps/http/servers/"+f.Server) {
		t.Errorf("the finding does not say where: %+v", f)
	}
}

func TestPointerOfAnUpstreamIsThatOfItsProxy(t *testing.T) {
	got, err := tlsfloor.Findings(config(proxied("app:3000", "")), tlsfloor.Rules{Upstream: &tlsfloor.Upstream{}})
	if err != nil || len(got) != 1 || got[0].Pointer != "/apps/http/servers/srv0/routes/0/handle/0/routes/0/handle/0" {
		t.Errorf("found %+v, %v", got, err)
	}
}

func TestFindingSaysWhereWhatAndHowToMendIt(t *testing.T) {
	got, err := tlsfloor.Findings(config(policies(`{}`)), tlsfloor.Rules{Min: "1.3"})
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	const want = "server srv0, connection policy 0: version: have TLS 1.2, want TLS 1.3 at least: in the site's tls write protocols tls1.3 (JSON: protocol_min)"
	if got[0].String() != want {
		t.Errorf("got  %s\nwant %s", got[0], want)
	}
}

func TestWhatIsNoConfigurationIsAnError(t *testing.T) {
	for _, config := range []string{"", "[]", "1", `{"apps":`} {
		if _, err := tlsfloor.Findings([]byte(config), tlsfloor.Rules{}); err == nil {
			t.Errorf("%q is taken for a configuration", config)
		}
	}
}

func TestNamesThatAreThereTwiceAreAnError(t *testing.T) {
	for _, server := range []string{
		policies(`{"protocol_min":"tls1.3","Protocol_Min":"tls1.2"}`),
		policies(`{}`) + `,"TLS_connection_policies":[]`,
	} {
		if got, err := tlsfloor.Findings(config(server), tlsfloor.Rules{}); err == nil {
			t.Errorf("%s: %v", server, got)
		}
	}
	if _, err := tlsfloor.Findings([]byte(`{"apps":{"http":{"servers":{"Routes":{},"routes":{"errors":{}}}}}}`), tlsfloor.Rules{}); err != nil {
		t.Errorf("names of servers: %v", err)
	}
}

func FuzzFindings(f *testing.F) {
	f.Add(config(policies(`{}`)))
	f.Add(config(proxied("app:3000", `{"protocol":"http","tls":{}}`), onHTTP+`"routes":[{"handle":[`+redirect+`]}]`))
	f.Add([]byte(`{"apps":{"http":{"http_port":"x","servers":{"a/~b":{"listen":[1,"unix//x",":","[::]:1-9"],"routes":[1,{"handle":[[]]}],"tls_connection_policies":[null,1,{"match":{"sni":1}}]}}}}}`))
	rules := tlsfloor.Rules{Min: "1.3", Groups: []string{"x25519"}, ClientAuth: []string{"*", "a.example", "*.b.example"}, Upstream: &tlsfloor.Upstream{Min: "1.3", Plaintext: []string{"10.0.0.0/8"}}}
	f.Fuzz(func(t *testing.T, config []byte) {
		got, err := tlsfloor.Findings(config, rules)
		if err != nil {
			return
		}
		again, err := tlsfloor.Findings(config, rules)
		if err != nil || !slices.Equal(got, again) {
			t.Fatalf("twice: %v, %v, %v", got, again, err)
		}
		for _, finding := range got {
			b, err := json.Marshal(finding)
			var back tlsfloor.Finding
			if err != nil || json.Unmarshal(b, &back) != nil || back.Kind != finding.Kind || finding.Remedy == "" {
				t.Fatalf("%+v: %v", finding, err)
			}
		}
	})
}
