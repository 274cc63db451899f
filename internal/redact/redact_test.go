package redact_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
	"github.com/caddy-soc2/caddy-soc2/internal/redact"
)

var key = redact.Key("0123456789abcdef0123456789abcdef")

func document(t testing.TB, text string) (string, *redact.Secrets) {
	t.Helper()
	doc, err := jsonpatch.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	s := key.NewSecrets()
	b, err := jsonpatch.Canonical(s.Document(doc))
	if err != nil {
		t.Fatal(err)
	}
	return string(b), s
}

const pem = `-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIKcanary\n-----END EC PRIVATE KEY-----\n`

func TestSecretsAreHiddenWhereverTheyStand(t *testing.T) {
	for _, c := range []string{
		`{"password":"canary"}`,
		`{"accounts":[{"username":"bob","password":"$2a$14$canarycanarycanary"}]}`,
		`{"client_secret":"canary"}`,
		`{"ClientSecret":"canary"}`,
		`{"api_token":"canary","zone-token":"canary"}`,
		`{"apps":{"tls":{"automation":{"policies":[{"issuers":[{"challenges":{"dns":{"provider":{"name":"acme","who":"canary","more":{"deep":["canary"]}}}}}]}]}}}}`,
		`{"external_account":{"key_id":"canary","mac_key":"canary"}}`,
		`{"headers":{"request":{"set":{"Authorization":["Bearer canary"],"Cookie":["a=canary"],"X-Api-Key":["canary"]}}}}`,
		`{"match":[{"header":{"X-Internal-Token":["canary"]}}]}`,
		`{"load_pem":[{"certificate":"x","key":"` + pem + `"}]}`,
		`{"unknown":"` + pem + `"}`,
		`{"body":"before ` + pem + ` after"}`,
		`{"key":"canary"}`,
		`{"keys":["canary","canary2"]}`,
		`{"storage":{"module":"redis","url":"redis://user:canary@host:6379/0"}}`,
		`{"dial":"https://x.example/?a=1&token=canary&b=2"}`,
		`{"note":"password: canary"}`,
		`{"note":"curl -H 'Authorization: Bearer canary' x"}`,
		`{"field":"ghp_canarycanary"}`,
		`{"field":"canary8fK2mQ9xZ7pL4vB1nR6t"}`,
		`{"field":"say canary8fK2mQ9xZ7pL4vB1nR6t twice"}`,
		`{"canary8fK2mQ9xZ7pL4vB1nR6t":true}`,
		`{"secret":{"a":{"b":["canary"]}}}`,
		`{"password":"{env.X}canary"}`,
		`{"password":"{canary}"}`,
		`{"password":"canary{http.x}"}`,
		`{"PassWord":"canary"}`,
		`{"dsn":"canary"}`,
		`{"token":[["canary"]]}`,
	} {
		if got, _ := document(t, c); strings.Contains(strings.ToLower(got), "canary") {
			t.Errorf("%s\nbecame %s", c, got)
		}
	}
	if got, _ := document(t, `{"pin":12345}`); strings.Contains(got, "12345") {
		t.Errorf("a secret number is shown: %s", got)
	}
}

func TestWhatIsNoSecretStays(t *testing.T) {
	for _, c := range []string{
		`{"handler":"reverse_proxy","upstreams":[{"dial":"app2.internal.example.com:3000"}]}`,
		`{"listen":[":443","unix//run/caddy/admin-socket.sock|0200","127.0.0.1:2019"]}`,
		`{"password":"{env.DB_PASSWORD}","header":"Bearer {env.TOKEN}","key":"{http.request.remote.host}"}`,
		`{"certificate":"/etc/ssl/certs/site.example.com.pem","key":"/etc/ssl/private/site.example.com.pem"}`,
		`{"key":"client_ip"}`,
		`{"protocol_min":"tls1.2","cipher_suites":["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],"curves":["x25519mlkem768","secp256r1"]}`,
		`{"Strict-Transport-Security":["max-age=31536000; includeSubDomains; preload"]}`,
		`{"Content-Security-Policy":["default-src 'self'; script-src 'self' https://cdn.example.com; frame-ancestors 'none'"]}`,
		`{"root":"/var/www/customers/production/releases/current/public"}`,
		`{"@id":"customer-portal-route"}`,
		`{"should_log_credentials":true,"retain":34560000000000000}`,
		`{"ranges":["10.0.0.0/8","2001:db8:85a3:8d3:1319:8a2e:370:7348"]}`,
		`{"insecure_secrets_log":"/tmp/keys.log"}`,
		`{"handler":"soc2_rate_limit","zones":[{"name":"login"}]}`,
		`{"body":"Hello, this is a longer greeting from the server, with 12345 in it."}`,
	} {
		doc, err := jsonpatch.Parse([]byte(c))
		if err != nil {
			t.Fatal(err)
		}
		want, err := jsonpatch.Canonical(doc)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := document(t, c); got != string(want) {
			t.Errorf("%s\nbecame %s", c, got)
		}
	}
}

func TestSecretIsHiddenWhereItStandsAgain(t *testing.T) {
	got, _ := document(t, `{"password":"canary one","profile":"canary one","list":["x canary one y"],"canary one":1}`)
	if strings.Contains(got, "canary") {
		t.Error(got)
	}
}

func TestTokenIsNotHiddenAgain(t *testing.T) {
	s := key.NewSecrets()
	token := key.Token("a")
	for _, text := range []string{token, "x " + token + " y", "password: " + token} {
		if got := s.Scrub(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestEqualSecretsAreSeenToBeEqual(t *testing.T) {
	got, s := document(t, `[{"password":"a1"},{"token":"a1"},{"password":"a2"}]`)
	var list []map[string]string
	if err := json.Unmarshal([]byte(got), &list); err != nil {
		t.Fatal(err)
	}
	if list[0]["password"] != list[1]["token"] || list[0]["password"] == list[2]["password"] {
		t.Errorf("tokens do not tell which secrets are equal: %s", got)
	}
	if s.Len() != 2 {
		t.Errorf("%d secrets, want 2", s.Len())
	}
	if other := redact.Key("another key").Token("a1"); other == list[0]["password"] {
		t.Error("tokens do not depend on the key")
	}
}

func TestMessagesAreScrubbed(t *testing.T) {
	secret := "can\"ary\\<\n1"
	b, err := json.Marshal(map[string]string{"password": secret, "token": "canary", "pass": "canary-long"})
	if err != nil {
		t.Fatal(err)
	}
	_, s := document(t, string(b))
	for _, message := range []string{
		fmt.Sprintf("bad value %q", secret), "bad value " + secret, "in " + string(b), "plain canary here", "a canary-long b",
		"url https://a:canaryX@b/", "password=canary9",
	} {
		if got := s.Scrub(message); strings.Contains(got, "ary") || strings.Contains(got, "long") {
			t.Errorf("%q became %q", message, got)
		}
	}
}

func TestMessagesAboutUnreadableTextShowNoneOfIt(t *testing.T) {
	source := "{\n\tbasic_auth {\n\t\tbob hunter2canary\n\t}\n\tsecretly \"canary two\"\n"
	harmless := func(w string) bool { return w == "unrecognized" || w == "basic_auth" || w == "directive:" }
	got := key.NewSecrets().Quoted("Caddyfile:3: unrecognized directive: hunter2canary after 'canary two' in basic_auth", source, harmless)
	if strings.Contains(got, "canary") || !strings.Contains(got, "unrecognized directive: [secret ") || !strings.HasSuffix(got, "in basic_auth") {
		t.Errorf("%q", got)
	}
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"password":"canarycanary","a":["x",{"key":"b"}]}`))
	f.Add([]byte(`{"dns":{"provider":{"name":"n","x":{"y":1}}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := jsonpatch.Parse(b)
		if err != nil {
			return
		}
		const canary = "canary-of-the-fuzzer"
		s := key.NewSecrets()
		out, err := jsonpatch.Canonical(s.Document(map[string]any{"doc": doc, "api_token": canary, "list": []any{doc}}))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), canary) && !strings.Contains(string(b), canary) {
			t.Fatalf("shown: %s", out)
		}
		again, err := jsonpatch.Canonical(key.NewSecrets().Document(map[string]any{"doc": doc, "api_token": canary, "list": []any{doc}}))
		if err != nil || string(again) != string(out) {
			t.Fatalf("not always the same: %s %s", out, again)
		}
		if got := s.Scrub("it said " + canary + string(b)); strings.Contains(got, canary) {
			t.Fatalf("scrubbed: %s", got)
		}
	})
}
