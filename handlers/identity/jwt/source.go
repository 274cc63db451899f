package jwt

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/reload"
)

// Source takes bearer tokens (RFC 6750) of one or several issuers.
type Source struct {
	Issuers []*Issuer
	Header  string // that has a token; empty: Authorization, with the scheme Bearer
	Now     func() time.Time
}

// Issuer is one issuer whose tokens are taken.
type Issuer struct {
	*Verifier
	Names   Names
	Revoked *reload.File[*Revoked] // nil: there is no list
	Cache   *Cache
}

// token returns the token of a request. It reports false if there is none.
func (s *Source) token(r *http.Request) (string, bool) {
	if s.Header != "" {
		list := r.Header[s.Header]
		switch len(list) {
		case 0:
			return "", false
		case 1:
			return list[0], true
		}
		return "", true // two of them: neither is taken
	}
	list := r.Header["Authorization"]
	for _, value := range list {
		scheme, token, _ := strings.Cut(value, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			continue
		}
		if len(list) > 1 {
			return "", true
		}
		return strings.TrimSpace(token), true
	}
	return "", false
}

// Authenticate implements principal.Source.
func (s *Source) Authenticate(_ http.ResponseWriter, r *http.Request) (*caddyauth.User, *principal.Refusal) {
	token, there := s.token(r)
	if !there {
		return nil, nil
	}
	now := s.Now()
	for _, issuer := range s.Issuers {
		if e, ok := issuer.Cache.find(token, now, issuer.Keys.Current(), issuer.revoked()); ok {
			hits.Add(1)
			return &e.user, nil
		}
	}
	misses.Add(1)
	issuer, why := s.issuer(token)
	if why != "" {
		return nil, principal.Refuse(why)
	}
	return issuer.admit(r, token, now)
}

var hits, misses atomic.Int64

// Lookups is how many tokens of the process were remembered and how many were
// not.
func Lookups() (hit, miss int64) { return hits.Load(), misses.Load() }

// issuer finds the issuer that a token says to be of. Where there is only one,
// it need not be asked.
func (s *Source) issuer(token string) (*Issuer, principal.Reason) {
	if len(s.Issuers) == 1 {
		return s.Issuers[0], ""
	}
	t, why := Parse(token)
	if why != "" {
		return nil, why
	}
	name, _ := t.Body["iss"].(string)
	for _, issuer := range s.Issuers {
		if issuer.Issuer == name {
			return issuer, ""
		}
	}
	return nil, WrongIssuer
}

func (i *Issuer) revoked() *Revoked {
	if i.Revoked == nil {
		return nil
	}
	return *i.Revoked.Get()
}

// admit verifies a token that the cache does not have.
func (i *Issuer) admit(r *http.Request, token string, now time.Time) (*caddyauth.User, *principal.Refusal) {
	set, list := i.Keys.Current(), i.revoked()
	v, why, err := i.Verify(r.Context(), token)
	if why != "" {
		refusal := &principal.Refusal{Reason: why, Cause: err}
		if why == KeysUnavailable {
			refusal.Status, refusal.Retry = http.StatusServiceUnavailable, 10*time.Second
		}
		return nil, refusal
	}
	p, why := i.Names.Principal(v.Claims, principal.JWT)
	if why != "" {
		return nil, principal.Refuse(why)
	}
	if list.has(v.Claims) {
		return nil, &principal.Refusal{Reason: RevokedToken, Candidate: p.ID}
	}
	e := &entry{user: p.User(), claims: v.Claims, expires: v.Expires.UnixNano(), key: v.Key, set: set, list: list}
	i.Cache.keep(token, e, now)
	return &e.user, nil
}

var _ principal.Source = (*Source)(nil)
