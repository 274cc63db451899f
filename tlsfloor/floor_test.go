package tlsfloor_test

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/tlsfloor"
)

// good is a connection that Go's client and server make.
func good() *tls.ConnectionState {
	return &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, CurveID: tls.X25519MLKEM768, ServerName: "a.example"}
}

func TestConnectionsAreHeldAgainstTheFloor(t *testing.T) {
	verified := [][]*x509.Certificate{{{}}}
	for _, c := range []struct {
		name   string
		rules  tlsfloor.Rules
		change func(*tls.ConnectionState)
		host   string
		want   string
	}{
		{"what Go negotiates", tlsfloor.Rules{Min: "1.3"}, nil, "a.example", ""},
		{"1.2 below 1.3", tlsfloor.Rules{Min: "1.3", Suites: []string{"TLS_AES_128_GCM_SHA256"}}, func(s *tls.ConnectionState) {
			s.Version, s.CipherSuite = tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
		}, "", "version cipher"},
		{"1.1", tlsfloor.Rules{}, func(s *tls.ConnectionState) { s.Version = tls.VersionTLS11 }, "", "version"},
		{"CBC", tlsfloor.Rules{}, func(s *tls.ConnectionState) {
			s.Version, s.CipherSuite = tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA
		}, "", "cipher"},
		{"a key exchange by RSA", tlsfloor.Rules{}, func(s *tls.ConnectionState) {
			s.Version, s.CipherSuite, s.CurveID = tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, 0
		}, "", "cipher group"},
		{"a suite of 1.3 that is not chosen", tlsfloor.Rules{Min: "1.3", Suites: []string{"TLS_AES_256_GCM_SHA384"}}, nil, "", "cipher"},
		{"a group that is not chosen", tlsfloor.Rules{Groups: []string{"x25519"}}, nil, "", "group"},
		{"a group of Go that Caddy has not", tlsfloor.Rules{}, func(s *tls.ConnectionState) { s.CurveID = tls.SecP384r1MLKEM1024 }, "", ""},
		{"no certificate, by the name of the handshake", tlsfloor.Rules{ClientAuth: []string{"A.example"}}, nil, "b.example", "client_cert"},
		{"no certificate, by the host of the request", tlsfloor.Rules{ClientAuth: []string{"B.example"}}, nil, "b.example:8443", "client_cert"},
		{"no certificate, under a name", tlsfloor.Rules{ClientAuth: []string{"*.example"}}, nil, "", "client_cert"},
		{"no certificate, two labels under a name", tlsfloor.Rules{ClientAuth: []string{"*.example"}}, func(s *tls.ConnectionState) { s.ServerName = "x.a.example" }, "", ""},
		{"no certificate for the host of another", tlsfloor.Rules{ClientAuth: []string{"c.example"}}, nil, "b.example", ""},
		{"no certificate at all", tlsfloor.Rules{ClientAuth: []string{"*"}}, func(s *tls.ConnectionState) { s.ServerName = "" }, "", "client_cert"},
		{"a certificate that is not verified", tlsfloor.Rules{ClientAuth: []string{"*"}}, func(s *tls.ConnectionState) { s.PeerCertificates = verified[0] }, "", "client_cert"},
		{"a certificate that is", tlsfloor.Rules{ClientAuth: []string{"*", "a.example"}}, func(s *tls.ConnectionState) { s.VerifiedChains = verified }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.rules.Check(); err != nil {
				t.Fatal(err)
			}
			state := good()
			if c.change != nil {
				c.change(state)
			}
			floor := c.rules.Floor()
			if got := floor.Below(state, c.host).Names(); !slices.Equal(got, strings.Fields(c.want)) {
				t.Errorf("below in %q, want %q", got, c.want)
			}
			var names []string
			if n := testing.AllocsPerRun(100, func() { names = floor.Below(state, c.host).Names() }); n != 0 {
				t.Errorf("%g allocations: %v", n, names)
			}
		})
	}
	if (&tlsfloor.Rules{Min: "1.3", ClientAuth: []string{"*"}}).Floor().Below(nil, "a.example") != 0 {
		t.Error("a connection without TLS negotiated something")
	}
}

func TestRulesThatContradictThemselvesAreRefused(t *testing.T) {
	for _, c := range []struct {
		rules tlsfloor.Rules
		want  string
	}{
		{tlsfloor.Rules{Min: "1.1"}, `min "1.1": choose 1.2 or 1.3`},
		{tlsfloor.Rules{Min: "tls1.3"}, "choose 1.2 or 1.3"},
		{tlsfloor.Rules{Suites: []string{"AES"}}, `suites "AES"`},
		{tlsfloor.Rules{Suites: []string{"TLS_RSA_WITH_RC4_128_SHA"}}, "takes for secure"},
		{tlsfloor.Rules{Suites: []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}}, "name one of TLS 1.3"},
		{tlsfloor.Rules{Suites: []string{"TLS_AES_128_GCM_SHA256"}}, "min 1.2 needs one of TLS 1.2"},
		{tlsfloor.Rules{Min: "1.3", Suites: []string{"TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}}, "leave it out"},
		{tlsfloor.Rules{Groups: []string{"CurveP256"}}, "secp256r1"},
		{tlsfloor.Rules{FIPS: "yes"}, "on or only"},
		{tlsfloor.Rules{ClientAuth: []string{"a.*.example"}}, "client_auth"},
		{tlsfloor.Rules{Upstream: &tlsfloor.Upstream{Min: "1"}}, "upstream min"},
		{tlsfloor.Rules{Upstream: &tlsfloor.Upstream{Plaintext: []string{"10.0.0.0/99"}}}, "upstream plaintext"},
	} {
		if err := c.rules.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.rules, err, c.want)
		}
	}
}

func TestCertificatesNearTheirEndAreFound(t *testing.T) {
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	certificate := func(lived, left time.Duration, managed bool) tlsfloor.Certificate {
		return tlsfloor.Certificate{Name: "a.example", NotBefore: now.Add(-lived), NotAfter: now.Add(left), Managed: managed}
	}
	rules := tlsfloor.Rules{Expiring: 14 * day}
	for _, c := range []struct {
		certificate tlsfloor.Certificate
		have        string // empty: none is found
	}{
		{certificate(75*day, 15*day, true), ""},
		{certificate(80*day, 10*day, true), "240h0m0s left for a.example"},
		{certificate(5*day, 2*day, true), ""},                                             // a sixth of 7 days
		{certificate(5*day, 2*day, false), "48h0m0s left for a.example"},                  // a third of them
		{certificate(11*time.Hour, time.Hour, true), "1h0m0s left for a.example"},         // of 12 hours
		{certificate(90*day, -time.Hour, true), "the certificate for a.example ended 1h"}, // it has ended
	} {
		found := rules.Expire([]tlsfloor.Certificate{c.certificate}, now)
		if c.have == "" && len(found) > 0 || c.have != "" && (len(found) != 1 || !strings.HasPrefix(found[0].Have, c.have)) {
			t.Errorf("%+v: found %+v, want %q", c.certificate, found, c.have)
		}
		for _, f := range found {
			complete(t, f)
		}
	}
	if found := (&tlsfloor.Rules{}).Expire([]tlsfloor.Certificate{certificate(1, -1, false)}, now); found != nil {
		t.Errorf("nobody asked for %v", found)
	}
}

func TestStateOfTheFIPSModuleIsStatedAsItIs(t *testing.T) {
	frozen := tlsfloor.Module{Enabled: true, Version: "v1.0.0"}
	own := tlsfloor.Module{Enabled: true, Enforced: true, Version: "latest"}
	only := tlsfloor.Module{Enabled: true, Enforced: true, Version: "v1.0.0"}
	for _, c := range []struct {
		module tlsfloor.Module
		asked  string
		have   string
	}{
		{tlsfloor.Module{Version: "latest"}, "", ""},
		{tlsfloor.Module{Version: "v1.0.0"}, "on", "the FIPS 140-3 mode off"},
		{frozen, "on", ""},
		{frozen, "only", "the FIPS 140-3 mode on, and not enforced"},
		{only, "only", ""},
		{own, "on", "the FIPS 140-3 mode with the module's version latest"},
		{own, "only", "the FIPS 140-3 mode with the module's version latest"},
	} {
		module := c.module.Described()
		if module.Frozen != (module.Version == "v1.0.0") {
			t.Errorf("%+v", module)
		}
		found := (&tlsfloor.Rules{FIPS: c.asked}).Module(module)
		if c.have == "" && len(found) > 0 || c.have != "" && (len(found) != 1 || found[0].Have != c.have) {
			t.Errorf("%+v asked for %q: found %+v, want %q", module, c.asked, found, c.have)
		}
		for _, word := range []string{"compliant", "certified", "approved"} {
			if strings.Contains(module.Meaning, word) {
				t.Errorf("it says %q: %s", word, module.Meaning)
			}
		}
	}
	current := tlsfloor.CurrentModule()
	if current.Version == "" || current.Meaning == "" || !current.Enabled && !strings.Contains(current.Meaning, "is off") {
		t.Errorf("%+v", current)
	}
}

func BenchmarkBelow(b *testing.B) {
	floor := (&tlsfloor.Rules{Min: "1.3", ClientAuth: []string{"admin.example", "*.internal.example"}}).Floor()
	state := good()
	b.ReportAllocs()
	for b.Loop() {
		floor.Below(state, "a.example:8443")
	}
}
