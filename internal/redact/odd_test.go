package redact_test

import (
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// TestSecretsAreHiddenInOddPlaces: in URLs, in JSON in strings, in pairs and
// expressions, behind placeholders, and in the fields of modules of others.
func TestSecretsAreHiddenInOddPlaces(t *testing.T) {
	for _, c := range []string{
		`{"x":"https://canary@github.com/a"}`,
		`{"x":"postgres://user:can/ary@db/x"}`,
		`{"x":"postgres://user:can#ary@db/x"}`,
		`{"x":"{\"password\":\"canary\"}"}`,
		`{"x":"{\"a\":\"{\\\"password\\\":\\\"canary\\\"}\"}"}`,
		`{"headers":[{"name":"X-Api-Key","value":"canary"}]}`,
		`{"headers":[["Authorization","canary"]]}`,
		`{"headers":["X-Auth: canary"]}`,
		`{"headers":{"X-Auth":["canary"]}}`,
		`{"headers":{"X-Functions-Key":["canary"]}}`,
		`{"headers":{"Ocp-Apim-Subscription-Key":["canary"]}}`,
		`{"expression":"{http.request.header.X-Api-Key} == 'canary'"}`,
		`{"expression":"header({'X-Api-Key': 'canary'})"}`,
		`{"expression":"{http.request.uri.query.token} == \"canary\""}`,
		`{"expression":"{http.request.cookie.session} != 'canary'"}`,
		`{"handler":"map","source":"{http.request.header.X-Api-Key}","destinations":["{user}"],"mappings":[{"input":"canary","outputs":["alice"]}]}`,
		`{"vars":{"{http.request.header.X-Api-Key}":["canary"]}}`,
		`{"api_keys":{"canary":"alice"}}`,
		`{"tokens":["canary"]}`,
		`{"keys":{"canary":"alice"}}`,
		`{"apps":{"tls":{"dns":{"name":"acme","login":"canary"}}}}`,
		`{"apps":{"tls":{"dns":{"provider":{"name":"acme","login":{"x":["canary"]}}}}}}`,
		`{"apps":{"dynamic_dns":{"dns_provider":{"name":"acme","login":"canary"}}}}`,
		`{"x":"Basic YWxhZGRpbjpjYW5hcnk="}`,
		`{"x":"Bearer canary1"}`,
		`{"x":"{$TOKEN:canary}"}`,
		`{"password":"{$TOKEN:canary}"}`,
		`{"password":"{env.PRE}canary"}`,
		`{"x":"password={canary}"}`,
		`{"x":"password={env.A}canary"}`,
		`{"x":"pwd=canary"}`,
		`{"x":"Server=db;Uid=a;Pwd=canary;"}`,
		`{"x":"AccountKey=canary;"}`,
		`{"x":"https://h/?sig=canary"}`,
		`{"x":"https://h/?key=canary"}`,
		`{"client_secret_file":"/x","client":{"secret":{"value":"canary"}}}`,
		`{"passwords":"canary"}`,
		`{"PASSWORD":"canary"}`,
		`{"Pass Word":"canary"}`,
		`{"user_pass":"canary"}`,
		`{"db_pass":"canary"}`,
		`{"smtpPass":"canary"}`,
		`{"webhook_url":"https://h/canary"}`,
		`{"hmac":"canary"}`,
		`{"seed":"canary"}`,
		`{"otp":"canary"}`,
		`{"signature":"canary"}`,
		`{"sas":"canary"}`,
		`{"env":["PASSWORD=canary"]}`,
		`{"args":["--password","canary"]}`,
		`{"args":["--token=canary"]}`,
		`{"env":{"DB_PASS":"canary"}}`,
		`{"a":"password: 'canary x'"}`,
		`{"basic_auth":{"alice":"canary"}}`,
		`{"access_key_id":"canary"}`,
		`{"tls":{"certificates":{"load_pem":[{"certificate":"c","key":"canary"}]}}}`,
		`{"key":"{canary}"}`,
		`{"@id":"canary","token":"canary"}`,
		`{"canary":1,"token":"canary"}`,
		`{"private_key":{"jwk":{"k":"canary"}}}`,
		`{"jwk":{"kty":"oct","k":"canary"}}`,
		`{"d":"canary","kty":"EC"}`,
	} {
		got, _ := document(t, c)
		for _, trace := range []string{"canary", "ary@", "can/", "can#", "YWxhZGRp", "Y2FuYXJ5"} {
			if strings.Contains(got, trace) {
				t.Errorf("%s\nbecame %s", c, got)
				break
			}
		}
	}
}

// TestHarmlessNeighborsOfSecretsStay: what only resembles the places above.
func TestHarmlessNeighborsOfSecretsStay(t *testing.T) {
	for _, c := range []string{
		`{"x":"https://medium.example/@user/path"}`,
		`{"x":"http://localhost:8080/@user"}`,
		`{"x":"redis://{env.USER}:{env.PASS}@host:6379"}`,
		`{"expression":"{http.request.method} == 'POST' && {http.request.uri.path}.startsWith('/api')"}`,
		`{"handler":"map","source":"{http.request.host}","mappings":[{"input":"a.example","outputs":["a"]}]}`,
		`{"headers":[{"name":"Accept","value":"text/html"}]}`,
		`{"copy":["Authorization","Cookie"]}`,
		`{"args":["--listen","127.0.0.1:80"]}`,
		`{"x":"Basic authentication of the bearer of a token"}`,
		`{"bypass":"canary","public_key":"canary","proxy_pass":"canary"}`,
		`{"providers":{"http_basic":{"accounts":[{"username":"alice"}],"realm":"staff"}}}`,
		`{"encoder":{"level_key":"lvl","message_key":"text"},"max_keys":10000}`,
		`{"dns":{"resolvers":["1.1.1.1"]}}`,
		`{"x":"token={env.TOKEN}&a=b"}`,
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

// TestOnlyATokenPassesForOne: a secret that looks like the place of another is
// hidden all the same.
func TestOnlyATokenPassesForOne(t *testing.T) {
	for _, c := range []string{
		`{"x":"password=\"[secret]canary\""}`,
		`{"x":"password=[secret-canary"}`,
		`{"x":"a://b:[secretcanary@c"}`,
		`{"x":"password='[secret 0123456789abcdef01234567]canary'"}`,
	} {
		if got, _ := document(t, c); strings.Contains(got, "canary") {
			t.Errorf("%s\nbecame %s", c, got)
		}
	}
}
