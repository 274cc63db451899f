package soc2_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"
)

// withCertificate gives a configuration with a TLS app the certificate of
// localhost. Without it Caddy would issue one, and read it from the storage again
// when it starts once more: its TLS app then emits an event while it is being
// started (Caddy 2.11.9, caddytls.TLS.Start and onEvent; the order of apps is
// random), which is a data race of Caddy alone. What is recorded of certificates
// that are issued is tested in processes of their own, in e2e.
func withCertificate(t *testing.T, config string) string {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(config), &doc); err != nil {
		return config // a test of what cannot be read
	}
	apps, _ := doc["apps"].(map[string]any)
	app, _ := apps["tls"].(map[string]any)
	if app == nil || app["certificates"] != nil {
		return config
	}
	app["certificates"] = map[string]any{"load_pem": []any{certificate()}}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// certificate of localhost, with its key, as Caddy's load_pem has them.
var certificate = sync.OnceValue(func() map[string]any {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return map[string]any{
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"key":         string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}
})
