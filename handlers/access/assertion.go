package access

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-soc2/caddy-soc2/internal/rules"
)

// Assertion is a JWT (RFC 7519), signed with ES256, that says who the principal
// of a request is. An upstream verifies it with the keys that soc2_jwks serves,
// and so need not trust whoever can reach it.
type Assertion struct {
	// Header is the field that carries it. Default: X-Soc2-Assertion.
	Header string `json:"header,omitempty"`

	// Issuer is the claim iss. Default: soc2.
	Issuer string `json:"issuer,omitempty"`

	// Audience is the claim aud, which the upstream must check.
	Audience []string `json:"audience,omitempty"`

	// TTL is how long it is valid. Default: 60s. Maximum: 1h.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// Claims are those of the principal that it has besides sub, roles,
	// auth_method and mfa.
	Claims []string `json:"claims,omitempty"`

	// Key is the name of the set of keys. Default: default.
	Key string `json:"key,omitempty"`

	ring *ring
}

const (
	defaultAssertion = "X-Soc2-Assertion"
	defaultTTL       = caddy.Duration(time.Minute)
	maxTTL           = caddy.Duration(time.Hour)
	defaultKey       = "default"
)

// taken are the claims that an assertion sets itself.
var taken = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "roles", "auth_method", "mfa"}

func (a *Assertion) check() error {
	if a == nil {
		return nil
	}
	if a.Header == "" {
		a.Header = defaultAssertion
	}
	if a.Issuer == "" {
		a.Issuer = "soc2"
	}
	if a.TTL == 0 {
		a.TTL = defaultTTL
	}
	if a.Key == "" {
		a.Key = defaultKey
	}
	if len(a.Audience) == 0 {
		return errors.New("identity: assertion: it needs an audience, so that no other upstream takes it for its own")
	}
	if a.TTL < caddy.Duration(time.Second) || a.TTL > maxTTL {
		return fmt.Errorf("identity: assertion: ttl %s: it must be between 1s and 1h", time.Duration(a.TTL))
	}
	if !httpguts.ValidHeaderFieldName(a.Header) {
		return fmt.Errorf("identity: assertion: %q is no name of a field", a.Header)
	}
	for _, c := range a.Claims {
		for _, t := range taken {
			if c == t || c == "" {
				return fmt.Errorf("identity: assertion: claim %q is set by itself", c)
			}
		}
	}
	return checkKeyName(a.Key)
}

// sign makes the assertion for a request.
func (a *Assertion) sign(ctx context.Context, q *rules.Request, roles []string) (string, error) {
	key, err := a.ring.signing(ctx, q.Now)
	if err != nil {
		return "", err
	}
	opts := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", key.KeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key.Key}, opts)
	if err != nil {
		return "", err
	}
	more := map[string]any{"roles": roles, "mfa": q.MFA}
	if q.AuthMethod != "" {
		more["auth_method"] = q.AuthMethod
	}
	for _, name := range a.Claims {
		if v, ok := q.Claims.Claim(name); ok {
			more[name] = v
		}
	}
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: a.Issuer, Subject: q.Principal, Audience: a.Audience, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(q.Now), NotBefore: jwt.NewNumericDate(q.Now), Expiry: jwt.NewNumericDate(q.Now.Add(time.Duration(a.TTL))),
	}).Claims(more).Serialize()
}
