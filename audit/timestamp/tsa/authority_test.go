package tsa_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	rfc3161 "github.com/digitorus/timestamp"
)

// authority is a time-stamping authority in this process, which does what it
// should not when told to.
type authority struct {
	t        testing.TB
	root     *x509.Certificate
	rootKey  *ecdsa.PrivateKey
	cert     *x509.Certificate
	key      *ecdsa.PrivateKey
	stamp    func(*rfc3161.Timestamp)                // changes what is stamped
	response func([]byte) []byte                     // changes the response
	serve    func(w http.ResponseWriter) (done bool) // answers instead
}

// stampUsage is the extended key usage of the given purposes.
func stampUsage(critical bool, purposes ...asn1.ObjectIdentifier) pkix.Extension {
	b, err := asn1.Marshal(purposes)
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical, Value: b}
}

var (
	timeStamping = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}
	codeSigning  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3}
)

// newAuthority makes an authority whose certificate is changed by change.
func newAuthority(t testing.TB, change func(*x509.Certificate)) *authority {
	t.Helper()
	a := &authority{t: t, rootKey: newKey(t), key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.root = a.issue(template, template, &a.rootKey.PublicKey)
	a.cert = a.issue(a.template(change), a.root, &a.key.PublicKey)
	return a
}

// template is the certificate of an authority, before it is signed.
func (a *authority) template(change func(*x509.Certificate)) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Test time stamps"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{stampUsage(true, timeStamping)},
	}
	if change != nil {
		change(c)
	}
	return c
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (a *authority) issue(template, parent *x509.Certificate, public any) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.rootKey)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.root)
	return pool
}

// reply answers a query.
func (a *authority) reply(query []byte) []byte {
	q, err := rfc3161.ParseRequest(query)
	if err != nil {
		a.t.Errorf("a query that does not parse: %v", err)
		return nil
	}
	if !q.Certificates || q.HashAlgorithm != crypto.SHA256 || q.Nonce == nil || q.Nonce.BitLen() != 63 {
		a.t.Errorf("the query asks for %+v", q)
	}
	s := &rfc3161.Timestamp{
		HashAlgorithm: q.HashAlgorithm, HashedMessage: q.HashedMessage, Nonce: q.Nonce,
		Policy: asn1.ObjectIdentifier{1, 2, 3}, Time: time.Now().Truncate(time.Second), AddTSACertificate: true,
	}
	if q.TSAPolicyOID != nil {
		s.Policy = q.TSAPolicyOID
	}
	if a.stamp != nil {
		a.stamp(s)
	}
	response, err := s.CreateResponseWithOpts(a.cert, a.key, crypto.SHA256)
	if err != nil {
		a.t.Error(err)
	}
	if a.response != nil {
		response = a.response(bytes.Clone(response))
	}
	return response
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Error(err)
	}
	if a.serve != nil && a.serve(w) {
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	_, _ = w.Write(a.reply(query))
}

func (a *authority) start() string {
	s := httptest.NewServer(a)
	a.t.Cleanup(s.Close)
	return s.URL
}
