package session

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
)

// Session is the login of a browser.
type Session struct {
	ID      string            `json:"i"` // random; new at each login
	User    string            `json:"u"`
	Subject string            `json:"s"` // claim sub
	Roles   []string          `json:"r,omitempty"`
	Claims  map[string]string `json:"c,omitempty"`
	AMR     []string          `json:"m,omitempty"`
	MFA     bool              `json:"x,omitempty"` // more than one factor
	Sid     string            `json:"d,omitempty"` // of the provider's session
	Login   int64             `json:"l"`           // unix seconds, when the provider saw the user
	Begun   int64             `json:"b"`           // unix seconds, when the session began
	Seen    int64             `json:"a"`           // unix seconds, of the last request that was noted
	Renew   int64             `json:"n,omitempty"` // unix seconds, when to refresh; 0: never
	Refresh string            `json:"f,omitempty"` // refresh token
	IDToken string            `json:"t,omitempty"` // names the session to the provider at logout
}

// Random returns 32 random bytes as text.
func Random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// Limits say how long a session lasts.
type Limits struct {
	Idle     time.Duration // without a request
	Absolute time.Duration // in all
}

// The default limits.
const (
	DefaultIdle     = 15 * time.Minute
	DefaultAbsolute = 12 * time.Hour
)

// Why a session is not believed.
const (
	Forged    principal.Reason = "oidc_session_forged" // or sealed with a key that is gone
	Idle      principal.Reason = "oidc_session_idle"
	TooOld    principal.Reason = "oidc_session_expired"
	LoggedOut principal.Reason = "oidc_session_logged_out"
)

// Ended reports why a session has ended, or nothing. One from the future, by more
// than a minute, was not made here.
func (l Limits) Ended(s *Session, now time.Time) principal.Reason {
	begun, seen := time.Unix(s.Begun, 0), time.Unix(s.Seen, 0)
	switch {
	case begun.After(now.Add(time.Minute)) || seen.After(now.Add(time.Minute)):
		return Forged
	case now.Sub(begun) >= l.Absolute:
		return TooOld
	case now.Sub(seen) >= l.Idle:
		return Idle
	}
	return ""
}

// Stale reports whether the last request was noted so long ago that it is worth a
// new cookie.
func (l Limits) Stale(s *Session, now time.Time) bool {
	return now.Sub(time.Unix(s.Seen, 0)) >= min(l.Idle/10, time.Minute)
}

// Left is how long the session's cookie is of use.
func (l Limits) Left(s *Session, now time.Time) time.Duration {
	return max(min(l.Idle, time.Unix(s.Begun, 0).Add(l.Absolute).Sub(now)), time.Second)
}

// SealSession seals a session.
func (b *Box) SealSession(s *Session) (string, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	return b.Seal(text, ""), nil
}

// OpenSession opens what SealSession made.
func (b *Box) OpenSession(text string) (*Session, error) {
	plain, err := b.Open(text, "")
	if err != nil {
		return nil, err
	}
	s := new(Session)
	if json.Unmarshal(plain, s) != nil || s.ID == "" || s.User == "" {
		return nil, ErrForged
	}
	return s, nil
}

// Principal is who the session is of.
func (s *Session) Principal() *principal.Principal {
	return &principal.Principal{
		ID: s.User, Method: principal.OIDC, Roles: s.Roles, Claims: s.Claims, IssuedAt: time.Unix(s.Login, 0), AMR: s.AMR, MFA: s.MFA,
	}
}
