package jwt

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwks"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
)

// Keys is where the keys of the issuer are.
type Keys interface {
	// Find returns the keys of a name, or all if it is empty. If there is none
	// the issuer may be asked again, unless quiet. The error is that keys cannot
	// be had; no keys and no error means that there are none by that name.
	Find(ctx context.Context, kid string, quiet bool) ([]jwks.Key, error)
	// Current is the set that is in force now. Keys that are not in it any more
	// verify nothing. It is nil if there is none.
	Current() *jwks.Set
}

// Verifier verifies the tokens of one issuer. Its fields do not change once it is
// in use.
type Verifier struct {
	Issuer   string              // exactly as the claim iss has it
	Audience []string            // one of them must be in the claim aud
	Algs     []string            // algorithms that are taken
	Leeway   time.Duration       // by how much clocks may differ
	MaxAge   time.Duration       // of a token since iat; 0 means as old as exp allows
	Types    []string            // values of typ that are taken, in small letters, "" for none; empty: JWT, at+jwt or none
	Require  map[string][]string // claims that must have one of these values
	Keys     Keys
	Now      func() time.Time
}

// Verified is a token that can be believed until Expires.
type Verified struct {
	Claims  Claims
	Expires time.Time // with the leeway and the greatest age; the zero time never comes
	Key     string    // thumbprint of the key that signed it
}

// Verify parses and verifies a token. The error is the technical reason for
// KeysUnavailable.
func (v *Verifier) Verify(ctx context.Context, text string) (*Verified, principal.Reason, error) {
	t, why := Parse(text)
	if why != "" {
		return nil, why, nil
	}
	if !slices.Contains(v.Algs, t.Alg) {
		return nil, AlgNotAllowed, nil
	}
	if !v.typed(t.Typ) {
		return nil, Type, nil
	}
	key, why, err := v.signed(ctx, t)
	if why != "" {
		return nil, why, err
	}
	claims := Claims(t.Body)
	expires, why := v.valid(claims)
	if why != "" {
		return nil, why, nil
	}
	return &Verified{Claims: claims, Expires: expires, Key: key}, "", nil
}

func (v *Verifier) typed(typ string) bool {
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	if len(v.Types) > 0 {
		return slices.Contains(v.Types, typ)
	}
	return typ == "" || typ == "jwt" || typ == "at+jwt"
}

// signed returns the thumbprint of the key that signed the token.
func (v *Verifier) signed(ctx context.Context, t *Token) (string, principal.Reason, error) {
	keys, err := v.Keys.Find(ctx, t.Kid, t.Kid == "" || odd(t.Kid))
	switch {
	case err != nil:
		return "", KeysUnavailable, err
	case len(keys) > 0:
	case t.Kid != "" && odd(t.Kid):
		return "", KidMalformed, nil
	default:
		return "", KidUnknown, nil
	}
	var fit []jwks.Key
	for _, key := range keys {
		if key.Fits(t.Alg) {
			fit = append(fit, key)
		}
	}
	switch {
	case len(fit) == 0:
		return "", AlgMismatch, nil
	case t.Kid == "" && len(fit) > 1:
		return "", KidMissing, nil
	}
	for _, key := range fit {
		if key.Verify(t.Alg, []byte(t.input), t.signature) {
			return key.Thumbprint, "", nil
		}
	}
	return "", Signature, nil
}

// valid checks the claims and returns when they are out of date.
func (v *Verifier) valid(c Claims) (time.Time, principal.Reason) {
	now := v.Now()
	if issuer, ok := c["iss"].(string); !ok || issuer != v.Issuer {
		return time.Time{}, WrongIssuer
	}
	audience, ok := c.Texts("aud")
	if !ok || !slices.ContainsFunc(audience, func(a string) bool { return slices.Contains(v.Audience, a) }) {
		return time.Time{}, Audience
	}
	expires, why := v.times(c, now)
	if why != "" {
		return time.Time{}, why
	}
	for name, values := range v.Require {
		has, _ := c.Texts(name)
		if !slices.ContainsFunc(has, func(h string) bool { return slices.Contains(values, h) }) {
			return time.Time{}, ClaimMissing
		}
	}
	return expires, ""
}

func (v *Verifier) times(c Claims, now time.Time) (time.Time, principal.Reason) {
	exp, there, ok := c.Time("exp")
	switch {
	case !ok:
		return time.Time{}, ClaimType
	case !there:
		return time.Time{}, NoExpiry
	}
	expires := exp.Add(v.Leeway)
	if !now.Before(expires) {
		return time.Time{}, Expired
	}
	nbf, there, ok := c.Time("nbf")
	switch {
	case !ok:
		return time.Time{}, ClaimType
	case there && now.Add(v.Leeway).Before(nbf):
		return time.Time{}, NotYet
	}
	iat, there, ok := c.Time("iat")
	switch {
	case !ok:
		return time.Time{}, ClaimType
	case there && now.Add(v.Leeway).Before(iat):
		return time.Time{}, Future
	case v.MaxAge == 0:
		return expires, ""
	case !there:
		return time.Time{}, TooOld // how old it is cannot be told
	}
	if oldest := iat.Add(v.MaxAge + v.Leeway); oldest.Before(expires) {
		expires = oldest
	}
	if !now.Before(expires) {
		return time.Time{}, TooOld
	}
	return expires, ""
}

// Algorithms are those that can be configured. All have a public key.
var Algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
