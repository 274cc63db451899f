package record

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// states are what Go can negotiate, each with the names that a record has.
func states() (list []*tls.ConnectionState, want []audit.TLS) {
	groups := map[tls.CurveID]string{
		tls.X25519: "X25519", tls.CurveP256: "CurveP256", tls.CurveP384: "CurveP384", tls.CurveP521: "CurveP521",
		tls.X25519MLKEM768: "X25519MLKEM768", tls.SecP256r1MLKEM768: "SecP256r1MLKEM768", tls.SecP384r1MLKEM1024: "SecP384r1MLKEM1024", 0: "",
	}
	for _, suites := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, suite := range suites {
			for _, version := range suite.SupportedVersions {
				for group, name := range groups {
					list = append(list, &tls.ConnectionState{
						Version: version, CipherSuite: suite.ID, CurveID: group, ServerName: "example.com", NegotiatedProtocol: "h2",
						DidResume: true, ECHAccepted: group == tls.X25519,
					})
					number := map[uint16]string{tls.VersionTLS10: "1.0", tls.VersionTLS11: "1.1", tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[version]
					want = append(want, audit.TLS{
						Version: number, Cipher: suite.Name, Group: name, ServerName: "example.com", ALPN: "h2",
						Resumed: true, ECHAccepted: group == tls.X25519,
					})
				}
			}
		}
	}
	return list, want
}

func TestEveryNegotiationHasItsNames(t *testing.T) {
	list, want := states()
	if len(list) < 100 {
		t.Fatalf("%d states", len(list))
	}
	for i, s := range list {
		var got audit.TLS
		describeTLS(&got, s)
		if got.Version != want[i].Version || got.Cipher != want[i].Cipher || got.Group != want[i].Group ||
			got.ServerName != want[i].ServerName || got.ALPN != want[i].ALPN || got.Resumed != want[i].Resumed || got.ECHAccepted != want[i].ECHAccepted {
			t.Errorf("got %+v, want %+v", got, want[i])
		}
	}
}

func TestDescribingTLSDoesNotAllocate(t *testing.T) {
	list, _ := states()
	certificate := &x509.Certificate{Raw: []byte("a certificate")}
	list[0].PeerCertificates = []*x509.Certificate{certificate}
	list[0].VerifiedChains = [][]*x509.Certificate{{certificate}}
	var to audit.TLS
	for i, s := range list {
		if n := testing.AllocsPerRun(10, func() { describeTLS(&to, s) }); n != 0 {
			t.Fatalf("%g allocations for state %d: %+v", n, i, to)
		}
	}
}

func TestFingerprintIsOfTheCertificateAtHand(t *testing.T) {
	var table certificateTable
	a := &x509.Certificate{Raw: []byte("one that ends in x")}
	b := &x509.Certificate{Raw: []byte("another that ends in x")}
	for range 3 {
		for _, c := range []*x509.Certificate{a, b, b, a, {}} {
			sum := sha256.Sum256(c.Raw)
			if got, want := table.of(c), hex.EncodeToString(sum[:]); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
}

func BenchmarkDescribeTLS(b *testing.B) {
	list, _ := states()
	var to audit.TLS
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		describeTLS(&to, list[i%len(list)])
	}
}
