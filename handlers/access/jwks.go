package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

// JWKS serves the public keys (RFC 7517, section 5) by which upstreams verify
// assertions.
type JWKS struct {
	// Key is the name of the set of keys. Default: default.
	Key string `json:"key,omitempty"`

	ring *ring
	now  func() time.Time
}

// CaddyModule returns the Caddy module information.
func (*JWKS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.soc2_jwks",
		New: func() caddy.Module { return new(JWKS) },
	}
}

// Provision finds the keys. They are made when they are first needed.
func (j *JWKS) Provision(ctx caddy.Context) error {
	if err := secret.Fill(j); err != nil {
		return fmt.Errorf("soc2_jwks: %w", err)
	}
	if j.Key == "" {
		j.Key = defaultKey
	}
	if err := checkKeyName(j.Key); err != nil {
		return fmt.Errorf("soc2_jwks: %w", err)
	}
	j.ring, j.now = openRing(ctx, j.Key), time.Now
	return nil
}

// ServeHTTP answers with the keys.
func (j *JWKS) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return caddyhttp.Error(http.StatusMethodNotAllowed, errors.New("keys can only be read"))
	}
	set, err := j.ring.public(r.Context(), j.now())
	if err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	b, err := json.Marshal(set)
	if err != nil {
		return fmt.Errorf("encoding keys: %w", err)
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, _ = w.Write(b) // a client that has left is no error
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*JWKS)(nil)
	_ caddyhttp.MiddlewareHandler = (*JWKS)(nil)
)
