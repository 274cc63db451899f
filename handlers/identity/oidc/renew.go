package oidc

import (
	"context"
	"crypto/sha256"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/session"
)

// renewal is a session that was refreshed a moment ago. A page asks for many
// things at once, all with the cookie from before; a provider that sees one
// refresh token twice ends the session (RFC 9700, section 4.14.2).
type renewal struct {
	ses *session.Session
	at  time.Time
}

// remembered is how long a refreshed session is given to requests with the
// cookie from before.
const remembered = time.Minute

// maxRenewed bounds how many are remembered.
const maxRenewed = 10_000

// renew refreshes a session whose tokens are out of date: the provider says
// whether the user may still be here, and with which roles. A session without a
// refresh token is returned as it is.
func (s *Source) renew(ctx context.Context, ses *session.Session, now time.Time) (*session.Session, *principal.Refusal) {
	if ses.Renew == 0 || now.Unix() < ses.Renew {
		return ses, nil
	}
	key := sha256.Sum256([]byte(ses.ID + "\x00" + ses.Refresh))
	if again := s.lately(key, now); again != nil {
		return again, nil
	}
	type answer struct {
		ses     *session.Session
		refusal *principal.Refusal
	}
	v, _, _ := s.flights.Do(string(key[:]), func() (any, error) {
		if again := s.lately(key, now); again != nil {
			return answer{again, nil}, nil
		}
		// The client that waits may leave; a refresh token that was sent is used.
		fresh, refusal := s.refresh(context.WithoutCancel(ctx), ses, now)
		if refusal == nil && fresh != ses {
			s.keep(key, fresh, now)
		}
		return answer{fresh, refusal}, nil
	})
	a, _ := v.(answer)
	if a.refusal != nil {
		refusal := *a.refusal
		return nil, &refusal
	}
	if a.ses == ses {
		return ses, nil
	}
	own := *a.ses
	return &own, nil
}

func (s *Source) lately(key [sha256.Size]byte, now time.Time) *session.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.renewed[key]
	if !ok || now.Sub(r.at) > remembered {
		return nil
	}
	own := *r.ses
	return &own
}

func (s *Source) keep(key [sha256.Size]byte, ses *session.Session, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.renewed) >= maxRenewed {
		for k, r := range s.renewed {
			if now.Sub(r.at) > remembered {
				delete(s.renewed, k)
			}
		}
		for k := range s.renewed {
			if len(s.renewed) < maxRenewed {
				break
			}
			delete(s.renewed, k)
		}
	}
	s.renewed[key] = renewal{ses, now}
}

// refresh asks the provider. While it is away the session goes on for a time.
func (s *Source) refresh(ctx context.Context, ses *session.Session, now time.Time) (*session.Session, *principal.Refusal) {
	d, err := s.Provider.Discovered()
	if err != nil {
		return s.outlive(ses, now, err)
	}
	source := s.oauth(d, "").TokenSource(s.context(ctx), &oauth2.Token{RefreshToken: ses.Refresh})
	token, err := source.Token()
	if err != nil {
		refused, said := tokenError(err)
		if refused {
			return nil, &principal.Refusal{Reason: RefreshDenied, Cause: said}
		}
		return s.outlive(ses, now, said)
	}
	fresh := *ses
	raw, _ := token.Extra("id_token").(string)
	if raw != "" {
		v, why, err := s.ids.Verify(ctx, raw)
		if why != "" {
			return nil, &principal.Refusal{Reason: why, Cause: err}
		}
		if v.Claims.Text("sub") != ses.Subject {
			return nil, principal.Refuse(OtherSubject)
		}
		if refusal := s.adopt(&fresh, v.Claims, now); refusal != nil {
			return nil, refusal
		}
	}
	s.tokens(&fresh, token, raw, now)
	count(refreshed)
	return &fresh, nil
}

// outlive lets a session go on while the provider is away, for the grace.
func (s *Source) outlive(ses *session.Session, now time.Time, err error) (*session.Session, *principal.Refusal) {
	if s.Warn != nil {
		s.Warn(err)
	}
	if now.Sub(time.Unix(ses.Renew, 0)) < s.Grace {
		count(outlived)
		return ses, nil
	}
	return nil, &principal.Refusal{Reason: Unreachable, Status: http.StatusServiceUnavailable, Retry: 10 * time.Second, Cause: err}
}
