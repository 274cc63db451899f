package redact_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// BenchmarkDocument is a configuration of a thousand sites.
func BenchmarkDocument(b *testing.B) {
	var sites []string
	for i := range 1000 {
		sites = append(sites, fmt.Sprintf(`{"@id":"site%d","match":[{"host":["site%d.example.com"]}],"handle":[{"handler":"subroute","routes":[{"handle":[{"handler":"headers","response":{"set":{"Strict-Transport-Security":["max-age=31536000; includeSubDomains"],"Content-Security-Policy":["default-src 'self'"]}}},{"handler":"authentication","providers":{"http_basic":{"accounts":[{"username":"u","password":"$2a$14$%022d"}]}}},{"handler":"reverse_proxy","upstreams":[{"dial":"app%d.internal:3000"}]}]}]}]}`, i, i, i, i))
	}
	text := `{"apps":{"http":{"servers":{"s":{"routes":[` + strings.Join(sites, ",") + `]}}}}}`
	doc, err := jsonpatch.Parse([]byte(text))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		key.NewSecrets().Document(doc)
	}
}
