package soc2_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/argon2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/apikey"
)

// identities are the files that a site takes identities from.
type identities struct {
	*site
	ec     *ecdsa.PrivateKey
	apiKey string
}

func newIdentities(t *testing.T) *identities {
	t.Helper()
	i := &identities{site: newSite(t)}
	var err error
	if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &i.ec.PublicKey, KeyID: "e1"}}})
	if err != nil {
		t.Fatal(err)
	}
	i.file("jwks.json", string(set))
	// A hash that costs next to nothing: on a busy machine the gate would else have
	// wrong passwords wait.
	salt, encode := []byte("0123456789abcdef"), base64.RawStdEncoding.EncodeToString
	hash := argon2.IDKey([]byte("the-right-password"), salt, 1, 64, 1, 32)
	i.file("accounts", fmt.Sprintf("alice:$argon2id$v=19$m=64,t=1,p=1$%s$%s:staff\n", encode(salt), encode(hash)))
	key, sum, err := apikey.New("robot")
	if err != nil {
		t.Fatal(err)
	}
	i.apiKey = key
	i.file("keys.json", fmt.Sprintf(`[{"id":"robot","hash":%q,"expires":"2100-01-01T00:00:00Z"}]`, sum))
	return i
}

func (i *identities) file(name, text string) {
	i.t.Helper()
	if err := os.WriteFile(filepath.Join(i.data, name), []byte(text), 0o600); err != nil {
		i.t.Fatal(err)
	}
}

const identityCaddyfile = `
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
	}
}
SITE {
	route {
	soc2_auth {
		jwt https://idp.example {
			audience app
			jwks_file ROOT/jwks.json
			roles groups
		}
		api_key ROOT/keys.json
		password ROOT/accounts
		lockout {
			failures 3
			network_failures 7
		}
	}
	header X-Who "{http.auth.user.id} {http.auth.user.roles} {http.auth.user.method} {http.request.header.X-Api-Key}"
	respond ok
	}
}
`

// token is a token of the issuer, with a header and claims.
func (i *identities) token(header map[jose.HeaderKey]any, claims map[string]any) string {
	i.t.Helper()
	o := &jose.SignerOptions{ExtraHeaders: header}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.ec}, o)
	if err != nil {
		i.t.Fatal(err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatal(err)
	}
	jws, err := signer.Sign(body)
	if err != nil {
		i.t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return text
}

func claims(name string, value any) map[string]any {
	m := map[string]any{"iss": "https://idp.example", "aud": "app", "sub": "bob", "groups": []string{"ops"}, "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	m[name] = value
	return m
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func basic(name, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(name, password) }
}

// TestEachRefusalHasItsReasonInTheRecord sends credentials to a running server and
// reads in its log who was let in, and why others were not.
func TestEachRefusalHasItsReasonInTheRecord(t *testing.T) {
	i := newIdentities(t)
	if err := i.load(identityCaddyfile); err != nil {
		t.Fatal(err)
	}
	before := figures(t)
	e1 := map[jose.HeaderKey]any{"kid": "e1"}
	good := i.token(e1, claims("x", 1))
	parts := strings.Split(good, ".")
	rows := []struct {
		path   string
		edit   func(*http.Request)
		status int
		who    string // or the reason
		method string
	}{
		{"/nobody", func(*http.Request) {}, 401, "no_credentials", ""},
		{"/jwt", header("Authorization", "Bearer "+good), 200, "bob ops jwt", "jwt"},
		{"/jwt-again", header("Authorization", "bearer "+good), 200, "bob ops jwt", "jwt"},
		{"/key", header("X-Api-Key", i.apiKey), 200, "robot  api_key", "api_key"},
		{"/password", basic("alice", "the-right-password"), 200, "alice staff password", "password"},
		{"/none", header("Authorization", "Bearer eyJhbGciOiJub25lIn0."+parts[1]+"."), 401, "jwt_alg_none", ""},
		{"/jku", header("Authorization", "Bearer "+i.token(map[jose.HeaderKey]any{"kid": "e1", "jku": "https://evil.example"}, claims("x", 1))), 401, "jwt_header_jku", ""},
		{"/kid-path", header("Authorization", "Bearer "+i.token(map[jose.HeaderKey]any{"kid": "../../dev/null"}, claims("x", 1))), 401, "jwt_kid_malformed", ""},
		{"/kid", header("Authorization", "Bearer "+i.token(map[jose.HeaderKey]any{"kid": "e2"}, claims("x", 1))), 401, "jwt_kid_unknown", ""},
		{"/expired", header("Authorization", "Bearer "+i.token(e1, claims("exp", 1_000_000))), 401, "jwt_expired", ""},
		{"/future", header("Authorization", "Bearer "+i.token(e1, claims("iat", time.Now().Add(time.Hour).Unix()))), 401, "jwt_issued_in_future", ""},
		{"/aud", header("Authorization", "Bearer "+i.token(e1, claims("aud", "other"))), 401, "jwt_audience", ""},
		{"/iss", header("Authorization", "Bearer "+i.token(e1, claims("iss", "https://evil.example"))), 401, "jwt_issuer", ""},
		{"/look-alike", header("Authorization", "Bearer "+i.token(e1, claims("sub", "аdmin"))), 401, "jwt_subject_characters", ""},
		{"/huge", header("Authorization", "Bearer "+good+strings.Repeat("A", 12<<10)), 401, "jwt_too_large", ""},
		{"/forged", header("Authorization", "Bearer "+parts[0]+"."+parts[1]+"."+strings.Repeat("A", 86)), 401, "jwt_signature", ""},
		{"/two", func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + good, "Bearer " + good} }, 401, "jwt_malformed", ""},
		{"/wrong-key", header("X-Api-Key", i.apiKey[:len(i.apiKey)-4]+"AAAA"), 401, "api_key_unknown", ""},
		{"/no-key", header("X-Api-Key", "x"), 401, "api_key_malformed", ""},
		{"/wrong-1", basic("carol", "p1"), 401, "password_wrong", ""},
		{"/wrong-2", basic("carol", "p2"), 401, "password_wrong", ""},
		{"/wrong-3", basic("carol", "p3"), 401, "password_wrong", ""},
		{"/wrong-4", basic("carol", "p4"), 429, "locked_out", ""},
		{"/wrong-5", basic("alice", "p5"), 401, "password_wrong", ""},
		{"/wrong-6", basic("alice", "p6"), 401, "password_wrong", ""},
		{"/network", basic("alice", "the-right-password"), 429, "locked_out", ""},
		{"/token-still", header("Authorization", "Bearer "+good), 200, "bob ops jwt", "jwt"},
	}
	for _, row := range rows {
		got := i.get(i.url(row.path), row.edit)
		if got.status != row.status {
			t.Errorf("%s: %d, want %d", row.path, got.status, row.status)
		}
		if who := strings.TrimSpace(got.header.Get("X-Who")); row.status == 200 && who != row.who {
			t.Errorf("%s: %q, want %q", row.path, who, row.who)
		}
		if challenge := fmt.Sprint(got.header["Www-Authenticate"]); (row.status == 401) != strings.Contains(challenge, "Bearer realm=") {
			t.Errorf("%s: challenge %s", row.path, challenge)
		}
		if (row.status == 429) != (got.header.Get("Retry-After") != "") {
			t.Errorf("%s: Retry-After %q", row.path, got.header.Get("Retry-After"))
		}
	}
	i.unlocks()
	if got := i.get(i.url("/let-in"), basic("alice", "the-right-password")); got.status != 200 {
		t.Error("who was let in again is refused:", got.status)
	}
	grew(t, before, map[string]float64{
		"authentications_total method=jwt outcome=accepted":        3,
		"authentications_total method=jwt outcome=refused":         12,
		"authentications_total method=api_key outcome=accepted":    1,
		"authentications_total method=api_key outcome=refused":     2,
		"authentications_total method=password outcome=accepted":   2,
		"authentications_total method=password outcome=refused":    5,
		"authentications_total method=password outcome=locked_out": 2,
		"authentications_total method=none outcome=refused":        1,
		"jwt_cache_lookups_total result=hit":                       2,
		"jwt_cache_lookups_total result=miss":                      13,
		"jwt_cache_tokens":                                         1,
		"password_hashes_total result=right":                       1,
		"password_hashes_total result=wrong":                       5,
		"password_hashes_waiting":                                  0,
		"password_hashes_running":                                  0,
		"lockouts what=principal":                                  1,
		"lockouts what=network":                                    0,
		"lockout_changes_total action=lock what=principal":         1,
		"lockout_changes_total action=lock what=network":           1,
		"lockout_changes_total action=unlock what=network":         1,
		"lockout_evicted_total":                                    0,
	})
	i.verify()

	seen, all, locks := map[string]string{}, "", ""
	_, err := records.Dir{FS: os.DirFS(i.dir())}.Scan(0, func(_ int64, b []byte) error {
		all += string(b)
		var r struct {
			Kind, Action, What, Subject string
			Request                     struct{ Path string }
			Auth                        struct{ User, Method string }
			Access                      struct{ Outcome, Rule, Reason string }
		}
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		if r.Kind == string(audit.KindLockout) {
			locks += r.Action + " " + r.What + "; "
		}
		seen[r.Request.Path] = fmt.Sprintf("%s %s %s %s", r.Auth.Method, r.Access.Outcome, r.Access.Rule, r.Access.Reason)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		want := row.method + "   "
		if row.status != 200 {
			want = " deny soc2_auth " + row.who
		}
		if seen[row.path] != want {
			t.Errorf("%s: the record says %q, want %q", row.path, seen[row.path], want)
		}
	}
	if locks != "lock principal; lock network; unlock network; " {
		t.Error(locks)
	}
	for _, secret := range []string{"the-right-password", i.apiKey, parts[1], parts[2], "carol"} {
		if strings.Contains(all, secret) {
			t.Errorf("%.8s… is in the log", secret)
		}
	}
}

// unlocks lets the network in again through the admin API.
func (i *identities) unlocks() {
	i.t.Helper()
	mux := http.NewServeMux()
	for _, route := range new(identity.Admin).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler.ServeHTTP(w, r); err != nil {
				i.t.Error(err)
			}
		})
	}
	const list, unlock = "/soc2/v1/lockouts", "/soc2/v1/lockouts/unlock"
	call := func(path, method, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w
	}
	if w := call(list, "GET", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"what":"network","subject":"127.0.0.1"`) || strings.Contains(w.Body.String(), "carol") {
		i.t.Error(w.Code, w.Body)
	}
	for body, want := range map[string]int{``: 400, `{"what":"all","subject":"x"}`: 400, `{"what":"network","subject":"127.0.0.1"}`: 400, `{"what":"principal","subject":"dave","reason":"r"}`: 404} {
		if w := call(unlock, "POST", body); w.Code != want {
			i.t.Error(body, w.Code, w.Body)
		}
	}
	if w := call(unlock, "GET", ""); w.Code != 405 {
		i.t.Error(w.Code)
	}
	if w := call(unlock, "POST", `{"what":"network","subject":"127.0.0.1","reason":"ticket 4711"}`); w.Code != 200 {
		i.t.Error(w.Code, w.Body)
	}
}

func TestWhatIdentitiesAreTakenFromMustBeThere(t *testing.T) {
	i := newIdentities(t)
	i.file("empty", "")
	i.file("blank", "\n")
	i.file("seal", "c2hvcnQ=\n")
	for block, want := range map[string]string{
		"":                               "there is no source of identity",
		"optional":                       "there is no source of identity",
		"password ROOT/missing":          "no such file",
		"password ROOT/empty":            "the file is empty",
		"password {env.SOC2_TEST_UNSET}": "SOC2_TEST_UNSET is not set",
		"api_key ROOT/missing":           "no such file",
		"api_key ROOT/accounts":          "no JSON list",
		"jwt https://idp.example":        "there is no audience",
		"jwt http://idp.example {\naudience a\n}":                                                             "is not https",
		"jwt https://idp.example {\naudience a\njwks_file ROOT/missing\n}":                                    "no such file",
		"jwt https://idp.example {\naudience a\nalgs HS256\n}":                                                `"HS256" is not one of`,
		"jwt https://idp.example {\naudience a\nalgs none\n}":                                                 `"none" is not one of`,
		"jwt https://idp.example {\naudience a\nleeway 1h\n}":                                                 "at most 5m",
		"jwt https://idp.example {\naudience a\nrevoked ROOT/missing\n}":                                      "no such file",
		"mtls {\ncrl ROOT/missing\n}":                                                                         "no such file",
		"mtls {\nidentity dn\n}":                                                                              "it is one of san_uri",
		"oidc https://idp.example {\nclient_id a\n}":                                                          "there are no session_keys",
		"oidc https://idp.example {\nclient_id a\nsession_keys ROOT/missing\n}":                               "no such file",
		"oidc https://idp.example {\nclient_id a\nsession_keys ROOT/seal\n}":                                  "not 32 bytes",
		"oidc https://idp.example {\nclient_id a\nsession_keys ROOT/seal\nclient_secret_file ROOT/missing\n}": "/missing: no such file",
		"oidc https://idp.example {\nclient_id a\nsession_keys ROOT/seal\nclient_secret_file ROOT/blank\n}":   "there is no secret in it",
		"oidc https://idp.example {\nclient_id a\nsession_keys ROOT/seal\nbase http://x\n}":                   "is not an address like",
		"oidc https://idp.example {\nclient_id a\nsession_keys ROOT/seal\ncallback /a/../b\n}":                "not a path of its own",
		"password ROOT/accounts\nlockout {\nduration 100ms\n}":                                                "at least 1s",
	} {
		err := i.load("{\nGLOBAL\nsoc2 {\ndata_dir DATA\n}\n}\nSITE {\nsoc2_auth {\n" + block + "\n}\nrespond ok\n}\n")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", block, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "c2hvcnQ=") {
			t.Errorf("the error has a secret in it: %v", err)
		}
	}
	_ = caddy.Stop()
}

// TestNoOptionTakesAMissingSecret holds that each option which names a file is an
// error with its name when the configuration is validated, if that file is not
// there or empty, or if a placeholder in its name stands for nothing; and that
// what a placeholder stands for is not told.
func TestNoOptionTakesAMissingSecret(t *testing.T) {
	i := newIdentities(t)
	i.file("empty", "")
	i.file("secret", "hunter2-hunter2")
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	i.file("seal", base64.StdEncoding.EncodeToString(key)+"\n")
	t.Setenv("SOC2_TEST_EMPTY", "")
	const jwtOf, oidcOf = "jwt https://idp.example {\naudience a\n", "oidc https://idp.example {\nclient_id a\n"
	options := map[string]string{ // by the name that errors have
		"mtls: authorities":        "mtls {\nauthorities FILE\n}",
		"mtls: roles":              "mtls {\nroles FILE\n}",
		"mtls: crl":                "mtls {\ncrl FILE\n}",
		"jwks_file":                jwtOf + "jwks_file FILE\n}",
		"revoked":                  jwtOf + "jwks_file ROOT/jwks.json\nrevoked FILE\n}",
		"authorities":              jwtOf + "authorities FILE\n}",
		"api_key: file":            "api_key FILE",
		"password: file":           "password FILE",
		"oidc: session_keys":       oidcOf + "session_keys FILE\n}",
		"oidc: client_secret_file": oidcOf + "session_keys ROOT/seal\nclient_secret_file FILE\n}",
		"oidc: authorities":        oidcOf + "session_keys ROOT/seal\nauthorities FILE\n}",
	}
	files := map[string]string{
		"ROOT/missing":                       "no such file",
		"ROOT":                               "not a regular file",
		"ROOT/empty":                         "the file is empty",
		"{env.SOC2_TEST_UNSET}":              "SOC2_TEST_UNSET is not set",
		"{env.SOC2_TEST_EMPTY}":              "SOC2_TEST_EMPTY is empty",
		"ROOT/{env.SOC2_TEST_EMPTY}/missing": "SOC2_TEST_EMPTY is empty",
		"{file.ROOT/missing}":                "no such file",
		"{file.ROOT/empty}":                  "is empty",
		"{file.ROOT/secret}":                 "no such file",
		"{http.request.host}":                "no placeholder {http.request.host}",
	}
	for option, block := range options {
		for file, want := range files {
			i.refuses(strings.ReplaceAll(block, "FILE", file), option, want)
		}
	}
	for option, block := range map[string]string{
		"issuer":    `jwt {env.SOC2_TEST_UNSET} {` + "\naudience a\n}",
		"audience":  "jwt https://idp.example {\naudience a {env.SOC2_TEST_UNSET}\n}",
		"jwks_url":  jwtOf + "jwks_url https://{env.SOC2_TEST_UNSET}/keys\n}",
		"client_id": "oidc https://idp.example {\nclient_id {env.SOC2_TEST_UNSET}\nsession_keys ROOT/seal\n}",
		"base":      oidcOf + "session_keys ROOT/seal\nbase https://{env.SOC2_TEST_UNSET}\n}",
	} {
		i.refuses(block, option, "SOC2_TEST_UNSET is not set")
	}
	_ = caddy.Stop()
}

// refuses loads a block of soc2_auth that must be refused.
func (i *identities) refuses(block, option, want string) {
	i.t.Helper()
	err := i.load("{\nGLOBAL\nsoc2 {\ndata_dir DATA\n}\n}\nSITE {\nsoc2_auth {\n" + block + "\n}\nrespond ok\n}\n")
	switch {
	case err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), option):
		i.t.Errorf("%q: %v, want %s and %q", block, err, option, want)
	case strings.Contains(err.Error(), "hunter2"):
		i.t.Errorf("the error has a secret in it: %v", err)
	}
}

// TestTheProviderServesCaddysHandler uses the sources without soc2_auth.
func TestTheProviderServesCaddysHandler(t *testing.T) {
	i := newIdentities(t)
	config := fmt.Sprintf(`{"admin":{"disabled":true},"storage":{"module":"file_system","root":%q},"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:%d"],"routes":[{"handle":[
		{"handler":"authentication","providers":{"soc2":{"clients":{"file":%q}}}},{"handler":"static_response","body":"{http.auth.user.method}"}]}]}}}}}`,
		filepath.Join(i.data, "caddy"), i.http, filepath.Join(i.data, "keys.json"))
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("http://127.0.0.1:%d/", i.http)
	if got := i.get(address); got.status != 401 {
		t.Error(got.status)
	}
	if got := i.get(address, header("X-Api-Key", i.apiKey)); got.status != 200 {
		t.Error(got.status)
	}
	browser := strings.Replace(config, `"clients":`, `"oidc":{"issuer":"https://idp.example","client_id":"a","session_keys":"x"},"clients":`, 1)
	if err := caddy.Load([]byte(browser), true); err == nil || !strings.Contains(err.Error(), "needs the handler soc2_auth") {
		t.Error(err)
	}
}
