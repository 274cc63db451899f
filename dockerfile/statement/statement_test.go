package statement_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/statement"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/verdict"
)

func verdicts(t *testing.T) []*verdict.Verdict {
	t.Helper()
	data := []byte("FROM node:20-slim\n")
	f, err := dockerfile.Parse("Dockerfile", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := dockerfile.Options{BuildArgs: map[string]string{"API_TOKEN": "canary"}}
	found, err := f.Check(o)
	if err != nil {
		t.Fatal(err)
	}
	return []*verdict.Verdict{verdict.New("Dockerfile", "0", &o, found, []verdict.Input{verdict.NewInput("Dockerfile", data), verdict.NewInput("policy.yaml", nil)})}
}

func pemKeys(t *testing.T) (private, public []byte, key ed25519.PublicKey) {
	t.Helper()
	key, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: a}), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: b}), key
}

func TestSignedStatementIsVerifiedAndAChangedOneIsNot(t *testing.T) {
	private, public, raw := pemKeys(t)
	signer, err := statement.ParsePEM(private)
	if err != nil {
		t.Fatal(err)
	}
	data, err := statement.Sign(statement.New(verdicts(t), "test", time.Unix(1, 0)), signer)
	if err != nil {
		t.Fatal(err)
	}
	verify, err := statement.VerifierPEM(public)
	if err != nil {
		t.Fatal(err)
	}
	s, err := statement.Open(data, verify)
	if err != nil {
		t.Fatal(err)
	}
	if s.Predicate.Result != "FAILED" || len(s.Subject) != 1 || s.Subject[0].Digest["sha256"] == "" || len(s.Predicate.Configuration) != 1 {
		t.Errorf("%+v", s)
	}
	var e statement.Envelope
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	payload, _ := base64.StdEncoding.DecodeString(e.Payload)
	if bytes.Contains(payload, []byte("canary")) {
		t.Error("the value of a secret is in the statement")
	}
	// The signed bytes are those of the DSSE specification.
	sig, _ := base64.StdEncoding.DecodeString(e.Signatures[0].Sig)
	if !ed25519.Verify(raw, fmt.Appendf(nil, "DSSEv1 28 application/vnd.in-toto+json %d %s", len(payload), payload), sig) {
		t.Error("the signature is not over the pre-authentication encoding")
	}
	e.Payload = base64.StdEncoding.EncodeToString(bytes.Replace(payload, []byte("FAILED"), []byte("PASSED"), 1))
	changed, _ := json.Marshal(e)
	if _, err := statement.Open(changed, verify); err == nil {
		t.Error("a changed statement is verified")
	}
	_, other, _ := pemKeys(t)
	if verify, err = statement.VerifierPEM(other); err != nil {
		t.Fatal(err)
	}
	if _, err := statement.Open(data, verify); err == nil {
		t.Error("another key verifies it")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"keyid":"","sig":""}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := statement.Open(data, func(_, _ []byte) bool { return true }); err == nil && s.Type != statement.StatementType {
			t.Error(s.Type)
		}
	})
}

// TestWhatWasNotAppliedHasNotPassed has rules off, waived, with a graver finding
// before a lighter one, and a rule of BuildKit's linter that blocks.
func TestWhatWasNotAppliedHasNotPassed(t *testing.T) {
	found := []dockerfile.Finding{
		{Rule: "S02", Severity: dockerfile.Warn},
		{Rule: "S02", Severity: dockerfile.Info},
		{Rule: "U01", Severity: dockerfile.Block, Waived: &dockerfile.Waived{Reason: "r"}},
		{Rule: "StageNameCasing", Severity: dockerfile.Block},
		{Rule: "L01", Severity: dockerfile.Info},
	}
	v := verdict.New("Dockerfile", "app", &dockerfile.Options{Off: []string{"B01"}}, found, []verdict.Input{{Name: "Dockerfile"}})
	p := statement.New([]*verdict.Verdict{v}, "test", time.Unix(1, 0)).Predicate
	for _, id := range []string{"S02", "U01", "B01"} {
		if slices.Contains(p.Passed, id) {
			t.Errorf("%s is said to have passed", id)
		}
	}
	if !slices.Equal(p.Warned, []string{"S02"}) || !slices.Equal(p.Failed, []string{"StageNameCasing"}) || p.Result != "FAILED" || v.Outcome != verdict.Fail || !slices.Contains(p.Passed, "L01") {
		t.Errorf("%+v, outcome %s", p, v.Outcome)
	}
}
