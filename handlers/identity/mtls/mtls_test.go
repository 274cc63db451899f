package mtls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/reload"
)

// authority issues certificates and lists.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, SubjectKeyId: []byte{1},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	return a
}

var now = time.Unix(1_800_000_000, 0)

func (a *authority) issue(serial int64, names ...string) *x509.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "machine"}, DNSNames: []string{"m.example"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(100 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		u, err := url.Parse(name)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return cert
}

// list writes a list of revoked certificates.
func (a *authority) list(path string, next time.Time, serials ...int64) {
	a.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: next}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: now})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(path, der, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func check(t *testing.T, s *Source, want principal.Reason, verified bool, chain ...*x509.Certificate) {
	t.Helper()
	r := httptest.NewRequest("GET", "https://app.example/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: chain}
	if verified {
		r.TLS.VerifiedChains = [][]*x509.Certificate{chain}
	}
	user, refusal := s.Authenticate(nil, r)
	switch {
	case !verified && (user != nil || refusal != nil):
		t.Fatal("a certificate that nobody verified is looked at")
	case verified && want == "" && (user == nil || user.ID != "spiffe://example/m" || user.Metadata["method"] != "mtls"):
		t.Fatal(user, refusal)
	case want != "" && (user != nil || refusal == nil || refusal.Reason != want):
		t.Fatalf("%v %v, want %s", user, refusal, want)
	}
}

func TestOnlyVerifiedCertificatesCount(t *testing.T) {
	a := newAuthority(t, "ca")
	s := &Source{Identity: SANURI, Now: func() time.Time { return now }}
	good := a.issue(7, "spiffe://example/m")
	check(t, s, "", true, good, a.cert)
	check(t, s, "", false, good, a.cert)
	check(t, s, NoIdentity, true, a.issue(8), a.cert)
	check(t, s, Ambiguous, true, a.issue(9, "spiffe://example/m", "spiffe://example/n"), a.cert)
	s.Authorities = []*x509.Certificate{newAuthority(t, "ca").cert}
	check(t, s, Authority, true, good, a.cert)
	s.Authorities = append(s.Authorities, a.cert)
	check(t, s, "", true, good, a.cert)
	s.Now = func() time.Time { return good.NotAfter.Add(time.Second) }
	check(t, s, Expired, true, good, a.cert)
}

func TestRevocationIsSeenOnConnectionsThatAreOpen(t *testing.T) {
	a, path, clock := newAuthority(t, "ca"), filepath.Join(t.TempDir(), "crl"), now
	a.list(path, now.Add(24*time.Hour), 99)
	list, err := reload.Open(path, func() time.Time { return clock }, func(err error) { t.Log(err) }, ParseList)
	if err != nil {
		t.Fatal(err)
	}
	s := &Source{Identity: SANURI, Lists: []*reload.File[*List]{list}, Now: func() time.Time { return clock }}
	good := a.issue(7, "spiffe://example/m")
	check(t, s, "", true, good, a.cert)
	check(t, s, Revoked, true, a.issue(99, "spiffe://example/m"), a.cert)
	other := newAuthority(t, "ca") // of the same name: its signature is another
	check(t, s, CRLMissing, true, other.issue(7, "spiffe://example/m"), other.cert)

	a.list(path, now.Add(24*time.Hour), 99, 7)
	clock = clock.Add(reload.Interval)
	check(t, s, Revoked, true, good, a.cert)
	a.list(path, now.Add(24*time.Hour))
	clock = clock.Add(reload.Interval)
	check(t, s, "", true, good, a.cert)

	if err := os.WriteFile(path, []byte("half a li"), 0o600); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(reload.Interval)
	check(t, s, "", true, good, a.cert) // what was read before stays in force
	clock = now.Add(25 * time.Hour)
	check(t, s, CRLStale, true, good, a.cert)
	s.AcceptStale = true
	check(t, s, "", true, good, a.cert)
}

func FuzzList(f *testing.F) {
	f.Add([]byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if list, err := ParseList(data); err == nil && list.list.NextUpdate.IsZero() {
			t.Fatal("a list that is never stale")
		}
	})
}

func FuzzRoles(f *testing.F) {
	f.Add([]byte(`{"spiffe://a/b": ["ops", "dev"], "c": []}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		roles, err := ParseRoles(data)
		if (roles == nil) == (err == nil) {
			t.Fatal(roles, err)
		}
		for name, list := range roles {
			for _, role := range list {
				if role == "" || strings.ContainsAny(role, ",\n") {
					t.Fatalf("%q has the role %q", name, role)
				}
			}
		}
	})
}
