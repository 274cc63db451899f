package jwt_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwks"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwt"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/reload"
)

var now = time.Unix(1_800_000_000, 0)

// issuer is an issuer of tokens with an RSA and an EC key.
type issuer struct {
	t      testing.TB
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
	clock  time.Time
	source *jwt.Source
	file   string
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{t: t, clock: now}
	var err error
	if i.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	i.file = filepath.Join(t.TempDir(), "jwks.json")
	i.publish(jose.JSONWebKey{Key: &i.rsa.PublicKey, KeyID: "r1", Algorithm: "RS256", Use: "sig"}, jose.JSONWebKey{Key: &i.ec.PublicKey, KeyID: "e1", Use: "sig"})
	file, err := reload.Open(i.file, i.time, func(err error) { t.Log(err) }, jwks.Parse)
	if err != nil {
		t.Fatal(err)
	}
	i.source = &jwt.Source{Now: i.time, Issuers: []*jwt.Issuer{{
		Verifier: &jwt.Verifier{
			Issuer: "https://idp.example", Audience: []string{"api"}, Algs: []string{"RS256", "ES256"}, Leeway: time.Minute,
			MaxAge: 12 * time.Hour, Keys: jwks.File{File: file}, Now: i.time,
		},
		Names: jwt.Names{Roles: "groups", Show: []string{"tenant"}}, Cache: jwt.NewCache(64),
	}}}
	return i
}

func (i *issuer) time() time.Time { return i.clock }

func (i *issuer) publish(keys ...jose.JSONWebKey) {
	i.t.Helper()
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		i.t.Fatal(err)
	}
	if err := os.WriteFile(i.file, data, 0o600); err != nil {
		i.t.Fatal(err)
	}
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

const goodHeader = `{"alg":"RS256","kid":"r1","typ":"JWT"}`

func goodClaims() string {
	return fmt.Sprintf(`{"iss":"https://idp.example","aud":"api","sub":"alice","exp":%d,"iat":%d,"groups":["staff","admin"],"tenant":"t1","amr":["pwd","otp"]}`,
		now.Add(time.Hour).Unix(), now.Unix())
}

// sign signs as RS256, whatever the header says.
func (i *issuer) sign(header, claims string) string {
	i.t.Helper()
	input := encode(header) + "." + encode(claims)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, i.rsa, crypto.SHA256, sum[:])
	if err != nil {
		i.t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// claims are the good ones with one changed.
func with(name, value string) string {
	var m map[string]json.RawMessage
	_ = json.Unmarshal([]byte(goodClaims()), &m)
	if value == "" {
		delete(m, name)
	} else {
		m[name] = json.RawMessage(value)
	}
	b, _ := json.Marshal(m)
	return string(b)
}

func bearer(token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func TestAGoodTokenIsAPrincipal(t *testing.T) {
	i := newIssuer(t)
	user, refusal := i.source.Authenticate(nil, bearer(i.sign(goodHeader, goodClaims())))
	if refusal != nil {
		t.Fatal(refusal)
	}
	want := map[string]string{"method": "jwt", "roles": "staff,admin", "issued_at": "1800000000", "mfa": "true", "amr": "pwd,otp", "claim.tenant": "t1"}
	if user.ID != "alice" || fmt.Sprint(user.Metadata) != fmt.Sprint(want) {
		t.Errorf("%q %v", user.ID, user.Metadata)
	}
}

// TestAttacks is a table of tokens that somebody makes up or alters. Each has a
// reason of its own.
func TestAttacks(t *testing.T) {
	i := newIssuer(t)
	good := i.sign(goodHeader, goodClaims())
	parts := strings.Split(good, ".")
	pub, err := json.Marshal(jose.JSONWebKey{Key: &i.rsa.PublicKey, KeyID: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	hs := encode(`{"alg":"HS256","kid":"r1"}`) + "." + parts[1]
	mac := hmac.New(sha256.New, pub)
	mac.Write([]byte(hs))
	at := func(d time.Duration) string { return fmt.Sprint(now.Add(d).Unix()) }
	for name, c := range map[string]struct {
		token string
		why   principal.Reason
	}{
		"alg none":                      {encode(`{"alg":"none"}`) + "." + parts[1] + ".", jwt.AlgNone},
		"alg nOnE":                      {encode(`{"alg":"nOnE","kid":"r1"}`) + "." + parts[1] + "." + parts[2], jwt.AlgNone},
		"HS256 with the public key":     {hs + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), jwt.AlgSymmetric},
		"algorithm that is not pinned":  {i.sign(`{"alg":"RS512","kid":"r1"}`, goodClaims()), jwt.AlgNotAllowed},
		"ES256 with an RSA key":         {i.sign(`{"alg":"ES256","kid":"r1"}`, goodClaims()), jwt.AlgMismatch},
		"no alg":                        {i.sign(`{"kid":"r1"}`, goodClaims()), jwt.Malformed},
		"kid is a path":                 {i.sign(`{"alg":"RS256","kid":"../../../../dev/null"}`, goodClaims()), jwt.KidMalformed},
		"kid is a URL":                  {i.sign(`{"alg":"RS256","kid":"https://evil.example/jwks.json"}`, goodClaims()), jwt.KidMalformed},
		"kid is SQL":                    {i.sign(`{"alg":"RS256","kid":"x' UNION SELECT 'key"}`, goodClaims()), jwt.KidMalformed},
		"kid is unknown":                {i.sign(`{"alg":"RS256","kid":"r9"}`, goodClaims()), jwt.KidUnknown},
		"kid of another key":            {i.sign(`{"alg":"RS256","kid":"e1"}`, goodClaims()), jwt.AlgMismatch},
		"kid is a number":               {i.sign(`{"alg":"RS256","kid":1}`, goodClaims()), jwt.KidMalformed},
		"embedded jwk":                  {i.sign(`{"alg":"RS256","jwk":`+string(pub)+`}`, goodClaims()), jwt.HeaderJWK},
		"jku":                           {i.sign(`{"alg":"RS256","kid":"r1","jku":"https://evil.example/"}`, goodClaims()), jwt.HeaderJKU},
		"x5u":                           {i.sign(`{"alg":"RS256","kid":"r1","x5u":"https://evil.example/"}`, goodClaims()), jwt.HeaderX5U},
		"x5c":                           {i.sign(`{"alg":"RS256","kid":"r1","x5c":["MIIB"]}`, goodClaims()), jwt.HeaderX5C},
		"crit":                          {i.sign(`{"alg":"RS256","kid":"r1","crit":["exp"]}`, goodClaims()), jwt.HeaderCrit},
		"b64":                           {i.sign(`{"alg":"RS256","kid":"r1","b64":false}`, goodClaims()), jwt.HeaderCrit},
		"typ of another token":          {i.sign(`{"alg":"RS256","kid":"r1","typ":"logout+jwt"}`, goodClaims()), jwt.Type},
		"expired":                       {i.sign(goodHeader, with("exp", at(-2*time.Minute))), jwt.Expired},
		"not valid yet":                 {i.sign(goodHeader, with("nbf", at(2*time.Minute))), jwt.NotYet},
		"issued in the future":          {i.sign(goodHeader, with("iat", at(2*time.Minute))), jwt.Future},
		"too old":                       {i.sign(goodHeader, with("iat", at(-13*time.Hour))), jwt.TooOld},
		"no iat where age counts":       {i.sign(goodHeader, with("iat", "")), jwt.TooOld},
		"no exp":                        {i.sign(goodHeader, with("exp", "")), jwt.NoExpiry},
		"exp is text":                   {i.sign(goodHeader, with("exp", `"9999999999"`)), jwt.ClaimType},
		"exp is enormous":               {i.sign(goodHeader, with("exp", `1e300`)), jwt.ClaimType},
		"other audience":                {i.sign(goodHeader, with("aud", `["other"]`)), jwt.Audience},
		"no audience":                   {i.sign(goodHeader, with("aud", "")), jwt.Audience},
		"other issuer":                  {i.sign(goodHeader, with("iss", `"https://idp.example/"`)), jwt.WrongIssuer},
		"no subject":                    {i.sign(goodHeader, with("sub", "")), jwt.NoSubject},
		"subject that looks like alice": {i.sign(goodHeader, with("sub", `"аlice"`)), jwt.SubjectName},
		"subject with a line break":     {i.sign(goodHeader, with("sub", `"alice\nX-Role: admin"`)), jwt.SubjectName},
		"subject with a zero":           {i.sign(goodHeader, with("sub", `"alice\u0000"`)), jwt.SubjectName},
		"huge":                          {good + strings.Repeat("A", jwt.MaxBytes), jwt.TooLarge},
		"huge header":                   {i.sign(`{"alg":"RS256","kid":"r1","a":"`+strings.Repeat("a", 3000)+`"}`, goodClaims()), jwt.TooLarge},
		"two claims of a name":          {i.sign(goodHeader, `{"sub":"bob",`+goodClaims()[1:]), jwt.Duplicate},
		"two of a name, escaped":        {i.sign(goodHeader, `{"s\u0075b":"bob",`+goodClaims()[1:]), jwt.Duplicate},
		"two of a name, deep":           {i.sign(goodHeader, `{"x":{"a":1,"a":2},`+goodClaims()[1:]), jwt.Duplicate},
		"two alg":                       {i.sign(`{"alg":"none","alg":"RS256","kid":"r1"}`, goodClaims()), jwt.Duplicate},
		"deep nesting":                  {i.sign(goodHeader, `{"x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`,`+goodClaims()[1:]), jwt.Malformed},
		"padding":                       {good + "=", jwt.Base64},
		"standard alphabet":             {parts[0] + "." + parts[1] + "." + "+/" + parts[2][2:], jwt.Base64},
		"line break":                    {parts[0] + "." + parts[1] + "." + parts[2][:10] + "\n" + parts[2][10:], jwt.Base64},
		"bits that do not count":        {parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-1] + flip(parts[2][len(parts[2])-1]), jwt.Base64},
		"signature of other claims":     {parts[0] + "." + encode(with("sub", `"root"`)) + "." + parts[2], jwt.Signature},
		"no signature":                  {parts[0] + "." + parts[1] + ".", jwt.Signature},
		"two parts":                     {parts[0] + "." + parts[1], jwt.Malformed},
		"five parts":                    {"a.b.c.d.e", jwt.Encrypted},
		"not UTF-8":                     {i.sign(goodHeader, "{\"sub\":\"\xff\"}"), jwt.Malformed},
		"text after the claims":         {i.sign(goodHeader, goodClaims()+"{}"), jwt.Malformed},
		"claims are a list":             {i.sign(goodHeader, "[]"), jwt.Malformed},
		"nothing":                       {"", jwt.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			user, refusal := i.source.Authenticate(nil, bearer(c.token))
			if user != nil || refusal == nil || refusal.Reason != c.why {
				t.Fatalf("user %v, refusal %v; want %s", user, refusal, c.why)
			}
			for part := range strings.SplitSeq(c.token, ".") {
				if len(part) > 8 && strings.Contains(fmt.Sprintf("%+v %v", *refusal, refusal.Cause), part) {
					t.Error("the refusal has a part of the token in it")
				}
			}
		})
	}
	if i.source.Issuers[0].Cache.Len() != 0 {
		t.Error("a token that was refused is remembered")
	}
}

// flip changes the last bits of a character that no byte depends on.
func flip(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)|1])
}

func TestARememberedTokenEndsWithItsTimeItsKeyAndItsRevocation(t *testing.T) {
	i := newIssuer(t)
	list := filepath.Join(t.TempDir(), "revoked")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# nobody\n")
	revoked, err := reload.Open(list, i.time, nil, jwt.ParseRevoked)
	if err != nil {
		t.Fatal(err)
	}
	i.source.Issuers[0].Revoked = revoked
	check := func(token string, want principal.Reason) {
		t.Helper()
		user, refusal := i.source.Authenticate(nil, bearer(token))
		if want == "" && user == nil || want != "" && (refusal == nil || refusal.Reason != want) {
			t.Fatalf("user %v, refusal %v, want %q", user, refusal, want)
		}
	}
	token := i.sign(goodHeader, with("jti", `"t-1"`))
	other := i.sign(goodHeader, with("sub", `"bob"`))
	check(token, "")
	check(token, "")
	check(other, "")
	if n := i.source.Issuers[0].Cache.Len(); n != 2 {
		t.Fatal(n, "remembered")
	}
	write("jti t-1\n")
	i.clock = i.clock.Add(reload.Interval)
	check(token, jwt.RevokedToken)
	check(other, "")
	write("sub bob before " + now.Add(time.Second).UTC().Format(time.RFC3339) + "\n")
	i.clock = i.clock.Add(reload.Interval)
	check(token, "")
	check(other, jwt.RevokedToken)

	i.publish(jose.JSONWebKey{Key: &i.ec.PublicKey, KeyID: "e1"})
	i.clock = i.clock.Add(reload.Interval)
	check(token, jwt.KidUnknown)
	i.publish(jose.JSONWebKey{Key: &i.rsa.PublicKey, KeyID: "r1"})
	i.clock = i.clock.Add(reload.Interval)
	check(token, "")
	i.clock = now.Add(time.Hour + 59*time.Second)
	check(token, "")
	i.clock = now.Add(time.Hour + 60*time.Second)
	check(token, jwt.Expired)
}

func TestTheCacheStaysSmall(t *testing.T) {
	i := newIssuer(t)
	for n := range 300 {
		if user, refusal := i.source.Authenticate(nil, bearer(i.sign(goodHeader, with("sub", fmt.Sprintf(`"u%d"`, n))))); user == nil {
			t.Fatal(refusal)
		}
	}
	if n := i.source.Issuers[0].Cache.Len(); n > 64 || n < 16 {
		t.Error(n, "tokens are remembered")
	}
}

func BenchmarkRememberedToken(b *testing.B) {
	i := newIssuer(b)
	i.source.Now = time.Now // what a server calls
	i.source.Issuers[0].Now = time.Now
	claims := strings.ReplaceAll(strings.ReplaceAll(goodClaims(), fmt.Sprint(now.Unix()), fmt.Sprint(time.Now().Unix())),
		fmt.Sprint(now.Add(time.Hour).Unix()), fmt.Sprint(time.Now().Add(time.Hour).Unix()))
	r := bearer(i.sign(goodHeader, claims))
	b.ReportAllocs()
	for b.Loop() {
		if user, refusal := i.source.Authenticate(nil, r); user == nil {
			b.Fatal(refusal)
		}
	}
}

func FuzzVerify(f *testing.F) {
	i := newIssuer(f)
	good := i.sign(goodHeader, goodClaims())
	parts := strings.Split(good, ".")
	f.Add(good)
	f.Add(encode(`{"alg":"none"}`) + "." + parts[1] + ".")
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		user, refusal := i.source.Authenticate(nil, bearer(text))
		if user == nil && (refusal == nil || refusal.Reason == "") {
			t.Fatal("neither a user nor a reason")
		}
		if user != nil && strings.TrimSpace(text) != good {
			t.Fatalf("a token that nobody signed is taken: %q", text)
		}
	})
}

// TestSeveralFactorsAreTold holds what rules that require them go by.
func TestSeveralFactorsAreTold(t *testing.T) {
	i := newIssuer(t)
	i.source.Issuers[0].Names.MFA = map[string][]string{"acr": {"loa3"}}
	for change, want := range map[[2]string]string{
		{"amr", `["pwd"]`}:            "false pwd",
		{"amr", `["pwd","pin"]`}:      "false pwd,pin", // two that one knows
		{"amr", `["otp","sms"]`}:      "false otp,sms", // two that one has
		{"amr", `["pwd","user"]`}:     "false pwd,user",
		{"amr", `["true"]`}:           "false true",
		{"amr", `["pwd,otp"]`}:        "false ",
		{"amr", `["pwd","otp"]`}:      "true pwd,otp",
		{"amr", `["hwk","fpt"]`}:      "true hwk,fpt",
		{"amr", `["mfa"]`}:            "true mfa",
		{"acr", `"loa3"`}:             "true pwd,otp",
		{"amr", `{"mfa":true}`}:       "false ",
		{"amr", ``}:                   "false ",
		{"amr", `"mfa"`}:              "true mfa",
		{"amr", `["pwd","otp","\n"]`}: "true pwd,otp",
	} {
		user, refusal := i.source.Authenticate(nil, bearer(i.sign(goodHeader, with(change[0], change[1]))))
		if refusal != nil {
			t.Fatal(change, refusal)
		}
		if got := user.Metadata["mfa"] + " " + user.Metadata["amr"]; got != want {
			t.Errorf("%v: %q, want %q", change, got, want)
		}
	}
	only := map[string]json.RawMessage{}
	_ = json.Unmarshal([]byte(with("amr", `["pwd"]`)), &only)
	only["acr"] = json.RawMessage(`"loa3"`)
	b, _ := json.Marshal(only)
	if user, refusal := i.source.Authenticate(nil, bearer(i.sign(goodHeader, string(b)))); refusal != nil || user.Metadata["mfa"] != "true" {
		t.Error("the class that the configuration names does not count", refusal)
	}
}

func TestARoleWithACommaIsNoRole(t *testing.T) {
	i := newIssuer(t)
	for groups, want := range map[string]string{
		`["x,admin"]`: "", `["x,admin","staff"]`: "staff", `["x",",admin,"]`: "x", `[" admin"]`: "", `["admin\n"]`: "", `["x\u00a0admin"]`: "",
		`{"a":"admin"}`: "", `[["admin"]]`: "",
	} {
		user, refusal := i.source.Authenticate(nil, bearer(i.sign(goodHeader, with("groups", groups))))
		if refusal != nil || user.Metadata["roles"] != want {
			t.Errorf("%s: %v %v", groups, user, refusal)
		}
	}
}

func TestAnAddressThatTheIssuerDidNotVerifyIsNoName(t *testing.T) {
	i := newIssuer(t)
	i.source.Issuers[0].Names.User = "email"
	for verified, want := range map[string]string{`false`: "", `"false"`: "", `true`: "a@example.com", ``: "a@example.com"} {
		m := map[string]json.RawMessage{}
		_ = json.Unmarshal([]byte(with("email", `"a@example.com"`)), &m)
		if verified != "" {
			m["email_verified"] = json.RawMessage(verified)
		}
		b, _ := json.Marshal(m)
		user, refusal := i.source.Authenticate(nil, bearer(i.sign(goodHeader, string(b))))
		if want == "" && (refusal == nil || refusal.Reason != jwt.EmailUnverified) || want != "" && (user == nil || user.ID != want) {
			t.Errorf("email_verified %s: %v %v", verified, user, refusal)
		}
	}
}

func TestOfSeveralLinesOnOneSubjectTheStrictestCounts(t *testing.T) {
	for name, text := range map[string]string{
		"all, then before":   "sub alice\nsub alice before 2020-01-01T00:00:00Z\n",
		"before, then all":   "sub alice before 2020-01-01T00:00:00Z\nsub alice\n",
		"late, then earlier": "sub alice before 2100-01-01T00:00:00Z\nsub alice before 2020-01-01T00:00:00Z\n",
	} {
		i := newIssuer(t)
		list := filepath.Join(t.TempDir(), "revoked")
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var err error
		if i.source.Issuers[0].Revoked, err = reload.Open(list, i.time, nil, jwt.ParseRevoked); err != nil {
			t.Fatal(err)
		}
		if user, refusal := i.source.Authenticate(nil, bearer(i.sign(goodHeader, goodClaims()))); user != nil || refusal.Reason != jwt.RevokedToken {
			t.Errorf("%s: %v %v", name, user, refusal)
		}
	}
}

func FuzzRevoked(f *testing.F) {
	f.Add([]byte("# gone\njti a\nsub bob before 2027-01-31T08:00:00Z\nsub carol\n"))
	f.Add([]byte("sub bob before now"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := jwt.ParseRevoked(data)
		if (list == nil) == (err == nil) {
			t.Fatal(list, err)
		}
		again, err2 := jwt.ParseRevoked(append(bytes.Clone(data), "\n# end\n"...))
		if (err == nil) != (err2 == nil) || err == nil && !reflect.DeepEqual(list, again) {
			t.Fatalf("a comment changes the list: %v, %v", err, err2)
		}
	})
}
