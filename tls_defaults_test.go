package soc2_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	soc2 "github.com/caddy-soc2/caddy-soc2"
	"github.com/caddy-soc2/caddy-soc2/tlsfloor"
)

// adapted is a Caddyfile as load runs it, in JSON.
func (s *site) adapted(caddyfile string) []byte {
	s.t.Helper()
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(s.filled(caddyfile)), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// writeAuthority writes the certificate of an authority that trusts nobody.
func writeAuthority(t *testing.T, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsTakenForCaddysDefaultsIsThat asks Caddy what a policy without
// options has. If a version of Caddy has other defaults, the floor would judge
// what is not there.
func TestWhatIsTakenForCaddysDefaultsIsThat(t *testing.T) {
	s := newSite(t)
	s.stock = true
	if err := caddy.Load(s.adapted("{\n\tGLOBAL\n}\nSITE {\n\trespond \"x\"\n}\n"), true); err != nil {
		t.Fatal(err)
	}
	s.ready()
	app, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		t.Fatal(err)
	}
	config := app.(*caddyhttp.App).Servers["srv0"].TLSConnPolicies[0].TLSConfig //nolint:forcetypeassert // it is Caddy's
	if config.MinVersion != tls.VersionTLS12 || config.MaxVersion != tls.VersionTLS13 {
		t.Errorf("versions %x to %x", config.MinVersion, config.MaxVersion)
	}
	// A floor of one suite and one group that no policy has finds all there are.
	found, err := tlsfloor.Findings([]byte(`{"apps":{"http":{"servers":{"srv0":{"listen":[":443"]}}}}}`), tlsfloor.Rules{
		Suites: []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"},
		Groups: []string{"secp521r1"},
	})
	if err != nil || len(found) != 2 {
		t.Fatal(found, err)
	}
	suites, groups := strings.Fields(found[0].Have), strings.Fields(found[1].Have)
	var n int
	for _, id := range config.CipherSuites {
		if id == tls.TLS_FALLBACK_SCSV {
			continue
		}
		n++
		if !strings.Contains(found[0].Have, tls.CipherSuiteName(id)) {
			t.Errorf("%s is not among %s", tls.CipherSuiteName(id), found[0].Have)
		}
	}
	if len(suites) != n || len(groups) != len(config.CurvePreferences) {
		t.Errorf("suites %s, groups %s; Caddy has %d and %v", suites, groups, n, config.CurvePreferences)
	}
}

// TestOptionIsReadFromAConfigurationAsTheAppReadsIt holds the two readers of the
// option tls against one another.
func TestOptionIsReadFromAConfigurationAsTheAppReadsIt(t *testing.T) {
	s := newSite(t)
	config := s.adapted(floored(`
		min 1.2
		suites TLS_AES_128_GCM_SHA256 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
		groups x25519 secp256r1
		mode report
		client_auth localhost
		expiring 14d
		upstream {
			min 1.3
			unverified a.example
			plaintext 10.0.0.0/8
		}`, ""))
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	s.ready()
	app, err := caddy.ActiveContext().AppIfConfigured("soc2")
	if err != nil {
		t.Fatal(err)
	}
	want, _ := app.(*soc2.App).TLSFloor() //nolint:forcetypeassert // it is ours
	got, given, err := tlsfloor.Configured(config)
	if err != nil || !given || !reflect.DeepEqual(got, *want) {
		t.Errorf("read as %+v, %v; the app has %+v", got, err, *want)
	}
}

// TestGroupsAreThoseOfCaddy holds the names of options against Caddy's own.
func TestGroupsAreThoseOfCaddy(t *testing.T) {
	for name := range caddytls.SupportedCurves {
		if err := (&tlsfloor.Rules{Groups: []string{name}}).Check(); err != nil {
			t.Error(err)
		}
	}
}
