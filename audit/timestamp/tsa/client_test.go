package tsa_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	rfc3161 "github.com/digitorus/timestamp"

	"github.com/caddy-soc2/caddy-soc2/audit/timestamp"
	"github.com/caddy-soc2/caddy-soc2/audit/timestamp/tsa"
)

func TestStampTakesWhatIsInOrder(t *testing.T) {
	a := newAuthority(t, nil)
	cp := []byte("a note")
	c := &tsa.Client{URL: a.start(), Roots: a.roots(), Policy: asn1.ObjectIdentifier{1, 2, 3, 9}}
	tok, err := c.Stamp(context.Background(), cp)
	if err != nil {
		t.Fatal(err)
	}
	again, err := timestamp.Verify(tok.Response, cp, a.roots())
	if err != nil || again != tok.Stamp || tok.TSA != "CN=Test time stamps" || tok.Policy != "1.2.3.9" {
		t.Errorf("%+v, %+v, %v", tok.Stamp, again, err)
	}
}

// TestBadStampsAreRefused has an authority that answers in every wrong way.
func TestBadStampsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		cert  func(*x509.Certificate)
		stamp func(*rfc3161.Timestamp)
		want  error
	}{
		"another nonce":  {nil, func(s *rfc3161.Timestamp) { s.Nonce = big.NewInt(7) }, timestamp.ErrMismatch},
		"no nonce":       {nil, func(s *rfc3161.Timestamp) { s.Nonce = nil }, timestamp.ErrMismatch},
		"another hash":   {nil, func(s *rfc3161.Timestamp) { s.HashedMessage = make([]byte, 32) }, timestamp.ErrMismatch},
		"another length": {nil, func(s *rfc3161.Timestamp) { s.HashedMessage = s.HashedMessage[:31] }, timestamp.ErrMismatch},
		"another algorithm": {nil, func(s *rfc3161.Timestamp) {
			s.HashAlgorithm, s.HashedMessage = crypto.SHA512, make([]byte, 64)
		}, timestamp.ErrMismatch},
		"another policy": {nil, func(s *rfc3161.Timestamp) { s.Policy = asn1.ObjectIdentifier{1, 2, 4} }, timestamp.ErrMismatch},
		"no certificate": {nil, func(s *rfc3161.Timestamp) { s.AddTSACertificate = false }, timestamp.ErrMalformed},
		"a critical extension": {nil, func(s *rfc3161.Timestamp) {
			s.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, timestamp.ErrMalformed},
		"an accuracy of a year":        {nil, func(s *rfc3161.Timestamp) { s.Accuracy = 365 * 24 * time.Hour }, timestamp.ErrMalformed},
		"an expired certificate":       {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, nil, timestamp.ErrUntrusted},
		"a certificate of later":       {func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, nil, timestamp.ErrUntrusted},
		"a time before the authority":  {nil, func(s *rfc3161.Timestamp) { s.Time = time.Now().Add(-2 * time.Hour) }, timestamp.ErrUntrusted},
		"no extended key usage":        {func(c *x509.Certificate) { c.ExtraExtensions = nil }, nil, timestamp.ErrUntrusted},
		"a usage that is not critical": {func(c *x509.Certificate) { c.ExtraExtensions[0] = stampUsage(false, timeStamping) }, nil, timestamp.ErrUntrusted},
		"a second usage":               {func(c *x509.Certificate) { c.ExtraExtensions[0] = stampUsage(true, timeStamping, codeSigning) }, nil, timestamp.ErrUntrusted},
		"an unknown second usage": {func(c *x509.Certificate) {
			c.ExtraExtensions[0] = stampUsage(true, timeStamping, asn1.ObjectIdentifier{1, 2, 3})
		}, nil, timestamp.ErrUntrusted},
		"another usage": {func(c *x509.Certificate) { c.ExtraExtensions[0] = stampUsage(true, codeSigning) }, nil, timestamp.ErrUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t, c.cert)
			a.stamp = c.stamp
			client := &tsa.Client{URL: a.start(), Roots: a.roots(), Policy: asn1.ObjectIdentifier{1, 2, 3}}
			if tok, err := client.Stamp(context.Background(), []byte("a note")); !errors.Is(err, c.want) || tok.Response != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestBadAnswersAreRefused has a server that is no authority, or a broken one.
func TestBadAnswersAreRefused(t *testing.T) {
	answer := func(b []byte) func([]byte) []byte { return func([]byte) []byte { return b } }
	refused, err := rfc3161.CreateErrorResponse(rfc3161.Rejection, rfc3161.TimeNotAvailable)
	if err != nil {
		t.Fatal(err)
	}
	empty, err := asn1.Marshal(struct{ Status struct{ Status int } }{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		response func([]byte) []byte
		serve    func(http.ResponseWriter) bool
		want     string
	}{
		"HTTP 500": {nil, func(w http.ResponseWriter) bool { http.Error(w, "broken", 500); return true }, "500 Internal Server Error"},
		"a redirect": {nil, func(w http.ResponseWriter) bool {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}, `redirect to "/elsewhere", which is not followed`},
		"a web page": {nil, func(w http.ResponseWriter) bool { _, _ = w.Write([]byte("<html>")); return true }, "not the URL of a time-stamping authority"},
		"a broken body": {nil, func(w http.ResponseWriter) bool {
			w.Header().Set("Content-Type", "application/timestamp-reply")
			w.Header().Set("Content-Length", "9")
			return true
		}, "reading the answer"},
		"nothing":               {answer(nil), nil, "malformed"},
		"garbage":               {answer([]byte("garbage, not DER")), nil, "malformed"},
		"BER":                   {func(b []byte) []byte { return append(append([]byte{0x30, 0x80}, b[4:]...), 0, 0) }, nil, "not DER"},
		"a deep nest":           {answer(nest(2000)), nil, "too deeply"},
		"oversized":             {func(b []byte) []byte { return append(b, make([]byte, timestamp.MaxResponse)...) }, nil, "longer than 65536 bytes"},
		"something behind":      {func(b []byte) []byte { return append(b, 0) }, nil, "something follows"},
		"cut":                   {func(b []byte) []byte { return b[:len(b)-1] }, nil, "ends within"},
		"a refusal":             {answer(refused), nil, "time source is not available"},
		"granted, but no token": {answer(empty), nil, "no token"},
		"another signature":     {func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, nil, "signature"},
		"another time": {func(b []byte) []byte {
			at := bytes.Index(b, []byte(time.Now().UTC().Format("200601")))
			b[at+3] ^= 1
			return b
		}, nil, "digest mismatch"},
		"another content": {func(b []byte) []byte {
			return bytes.Replace(b, []byte{1, 9, 16, 1, 4}, []byte{1, 9, 16, 1, 5}, 1)
		}, nil, "does not hold a signed TSTInfo"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t, nil)
			a.response, a.serve = c.response, c.serve
			client := &tsa.Client{URL: a.start(), Roots: a.roots()}
			if tok, err := client.Stamp(context.Background(), []byte("a note")); err == nil || !strings.Contains(err.Error(), c.want) || tok.Response != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

// nest is well-formed DER of the given depth.
func nest(depth int) []byte {
	b := []byte{5, 0}
	for range depth {
		head := []byte{0x30, byte(len(b))}
		if len(b) >= 0x80 {
			head = []byte{0x30, 0x82, byte(len(b) >> 8), byte(len(b))}
		}
		if len(b) >= 0x80 && len(b) < 0x100 {
			head = []byte{0x30, 0x81, byte(len(b))}
		}
		b = append(head, b...)
	}
	return b
}

func TestOtherAuthoritiesAreNotTrusted(t *testing.T) {
	a, b := newAuthority(t, nil), newAuthority(t, nil)
	client := &tsa.Client{URL: a.start(), Roots: b.roots()}
	if _, err := client.Stamp(context.Background(), []byte("x")); !errors.Is(err, timestamp.ErrUntrusted) {
		t.Errorf("another root: %v", err)
	}
	client.Roots = nil
	if _, err := client.Stamp(context.Background(), []byte("x")); err == nil || !strings.Contains(err.Error(), "root") {
		t.Errorf("no roots: %v", err)
	}
}

// TestTheNamedCertificateMustHaveSigned puts in the place of the certificate
// another one of the same name, number and key.
func TestTheNamedCertificateMustHaveSigned(t *testing.T) {
	a := newAuthority(t, nil)
	var twin *x509.Certificate
	for twin == nil || len(twin.Raw) != len(a.cert.Raw) { // ECDSA signatures differ in length
		twin = a.issue(a.template(func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Minute) }), a.root, &a.key.PublicKey)
	}
	a.response = func(b []byte) []byte {
		if bytes.Count(b, a.cert.Raw) != 1 {
			t.Error("the certificate is not there once")
		}
		return bytes.Replace(b, a.cert.Raw, twin.Raw, 1)
	}
	client := &tsa.Client{URL: a.start(), Roots: a.roots()}
	if _, err := client.Stamp(context.Background(), []byte("x")); !errors.Is(err, timestamp.ErrUntrusted) || !strings.Contains(err.Error(), "name the certificate") {
		t.Errorf("%v", err)
	}
}

// TestHugeKeysAreNotComputedWith puts an RSA key into the token with which a
// signature would take long, and too many certificates.
func TestHugeKeysAreNotComputedWith(t *testing.T) {
	a := newAuthority(t, nil)
	n := new(big.Int).Lsh(big.NewInt(1), 100_000)
	r, err := rand.Int(rand.Reader, n)
	if err != nil {
		t.Fatal(err)
	}
	huge := a.issue(a.template(nil), a.root, &rsa.PublicKey{N: r.Or(r, n).SetBit(r, 0, 1), E: 1<<31 - 1})
	client := &tsa.Client{URL: a.start(), Roots: a.roots()}
	a.response = func(b []byte) []byte { return withCertificates(t, b, huge) }
	if _, err := client.Stamp(context.Background(), []byte("x")); !errors.Is(err, timestamp.ErrMalformed) || !strings.Contains(err.Error(), "8192 bits") {
		t.Errorf("%v", err)
	}
	a.response = func(b []byte) []byte {
		return withCertificates(t, b, slices.Repeat([]*x509.Certificate{a.root}, 20)...)
	}
	if _, err := client.Stamp(context.Background(), []byte("x")); !errors.Is(err, timestamp.ErrMalformed) || !strings.Contains(err.Error(), "21 certificates") {
		t.Errorf("%v", err)
	}
	a.response = func(b []byte) []byte { return withCertificates(t, b, a.root) }
	if _, err := client.Stamp(context.Background(), []byte("x")); err != nil {
		t.Errorf("a certificate more: %v", err)
	}
}

// withCertificates adds certificates to a response, beside its signature.
func withCertificates(t *testing.T, response []byte, certs ...*x509.Certificate) []byte {
	t.Helper()
	type signedData struct {
		Version        int
		Digests, Encap asn1.RawValue
		Certificates   asn1.RawValue
		Signers        asn1.RawValue
	}
	var r struct {
		Status asn1.RawValue
		Token  struct {
			Type asn1.ObjectIdentifier
			Data signedData `asn1:"explicit,tag:0"`
		}
	}
	if _, err := asn1.Unmarshal(response, &r); err != nil {
		t.Error(err)
	}
	c := &r.Token.Data.Certificates
	c.FullBytes = nil
	for _, cert := range certs {
		c.Bytes = append(slices.Clip(c.Bytes), cert.Raw...)
	}
	b, err := asn1.Marshal(r)
	if err != nil {
		t.Error(err)
	}
	return b
}

// TestStampDoesNotWaitForever has an authority that does not answer.
func TestStampDoesNotWaitForever(t *testing.T) {
	a := newAuthority(t, nil)
	release := make(chan struct{})
	a.serve = func(http.ResponseWriter) bool { <-release; return true }
	client := &tsa.Client{URL: a.start(), Roots: a.roots(), Timeout: 50 * time.Millisecond}
	_, err := client.Stamp(context.Background(), []byte("x"))
	close(release)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := client.Stamp(ctx, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	client.URL = "http://user:hidden@127.0.0.1:1/tsa"
	if _, err := client.Stamp(context.Background(), []byte("x")); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("%v", err)
	}
	client.URL = "no URL \x00"
	if _, err := client.Stamp(context.Background(), []byte("x")); err == nil {
		t.Error("no error without a URL")
	}
}
