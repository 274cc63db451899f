package registry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/registry"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestDigestIsAskedWithATokenWhereTheRegistryWantsOne(t *testing.T) {
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token" && r.URL.Query().Get("scope") == "repository:library/node:pull" && r.URL.Query().Get("service") == "hub":
			fmt.Fprint(w, `{"token":"abc"}`)
		case r.URL.Path == "/v2/library/node/manifests/20-slim" && r.Method == http.MethodHead && strings.Contains(r.Header.Get("Accept"), "index"):
			if r.Header.Get("Authorization") != "Bearer abc" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+server.URL+`/token",service="hub",scope="repository:library/node:pull"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Header().Set("Docker-Content-Digest", digest)
		case r.URL.Path == "/v2/library/bad/manifests/1":
			w.Header().Set("Docker-Content-Digest", "sha256:x")
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	c := registry.Client{HTTP: server.Client(), URL: func(string) string { return server.URL }}
	if got, err := c.Digest(t.Context(), dockerfile.ParseImage("node:20-slim")); got != digest || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	for _, name := range []string{"node:21", "bad:1", "node", "NODE:1"} {
		if got, err := c.Digest(t.Context(), dockerfile.ParseImage(name)); err == nil {
			t.Errorf("%s has the digest %s", name, got)
		}
	}
}
