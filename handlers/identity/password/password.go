// Package password takes names and passwords (HTTP Basic, RFC 7617). Whoever is
// locked out is refused before anything is hashed.
package password

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/reload"
)

// Why a password is refused.
const (
	Malformed principal.Reason = "password_malformed"
	Wrong     principal.Reason = "password_wrong" // or there is no such account
	Busy      principal.Reason = "password_busy"  // too many are being tried
)

// Guard locks out who fails too often.
type Guard interface {
	// Locked returns how long a principal is locked out at the client's network,
	// or 0.
	Locked(r *http.Request, principal string) time.Duration
	// Known reports whether the principal lately logged in from there.
	Known(r *http.Request, principal string) bool
	// Failed counts a failure.
	Failed(r *http.Request, principal string)
	// Succeeded ends the count.
	Succeeded(r *http.Request, principal string)
}

// UnknownPrefix begins the name under which failures of a principal are counted
// that does not exist. What follows is a keyed hash: people type passwords into
// the wrong field.
const UnknownPrefix = "unknown:"

// The longest name and password that are looked at, in bytes.
const (
	maxName     = 256
	maxPassword = 1024
)

// Source takes passwords.
type Source struct {
	Accounts *reload.File[*Accounts]
	Guard    Guard
	Gate     *Gate
	Now      func() time.Time

	key  [32]byte
	once sync.Once

	mu    sync.Mutex // guards the field below
	right map[[sha256.Size]byte]time.Time
}

// A password that was right is known again for a while without being hashed, by
// a keyed hash of it, of the name and of the account's hash.
const (
	remembered    = 5 * time.Minute
	maxRemembered = 4096
)

func (s *Source) init() {
	_, _ = rand.Read(s.key[:]) // never fails
	s.right = map[[sha256.Size]byte]time.Time{}
}

// Authenticate implements principal.Source.
func (s *Source) Authenticate(_ http.ResponseWriter, r *http.Request) (*caddyauth.User, *principal.Refusal) {
	list := r.Header["Authorization"]
	basic := false
	for _, value := range list {
		scheme, _, _ := strings.Cut(value, " ")
		basic = basic || strings.EqualFold(scheme, "Basic")
	}
	if !basic {
		return nil, nil
	}
	s.once.Do(s.init)
	name, password, ok := r.BasicAuth()
	if !ok || len(list) > 1 || name == "" || len(name) > maxName || len(password) > maxPassword {
		return nil, principal.Refuse(Malformed)
	}
	return s.admit(r, name, password)
}

func (s *Source) admit(r *http.Request, name, password string) (*caddyauth.User, *principal.Refusal) {
	accounts := *s.Accounts.Get()
	account := accounts.byName[name]
	subject, candidate := name, name
	if account == nil {
		subject, candidate = s.unknown(name), ""
	}
	if wait := s.Guard.Locked(r, subject); wait > 0 {
		return nil, lockedOut(wait, candidate)
	}
	if account != nil && s.remembers(account, password) {
		s.Guard.Succeeded(r, name)
		return &account.user, nil
	}
	if !s.Gate.Enter(r.Context(), account != nil && s.Guard.Known(r, name)) {
		return nil, &principal.Refusal{Reason: Busy, Status: http.StatusServiceUnavailable, Retry: 10 * time.Second, Candidate: candidate}
	}
	// Others may have failed while this one waited.
	if wait := s.Guard.Locked(r, subject); wait > 0 {
		s.Gate.Leave(0, false)
		return nil, lockedOut(wait, candidate)
	}
	// Others may have shown the same password meanwhile, as a browser does that
	// fetches a page's parts at once.
	if account != nil && s.remembers(account, password) {
		s.Gate.Leave(0, false)
		s.Guard.Succeeded(r, name)
		return &account.user, nil
	}
	with := account
	if with == nil {
		with = accounts.stand(name)
	}
	right, err := s.hash(r, subject, with, password, account != nil)
	if !right {
		return nil, &principal.Refusal{Reason: Wrong, Candidate: candidate, Cause: err}
	}
	s.Guard.Succeeded(r, name)
	return &account.user, nil
}

// hash compares a password with that of an account, and leaves the gate. One that
// is only for the time that it takes is always wrong. What came of it is noted
// before the next one is let in, who asks for it.
func (s *Source) hash(r *http.Request, subject string, with *Account, password string, own bool) (right bool, err error) {
	begin := time.Now() // what it costs, not what time it is
	defer func() {
		spent := time.Since(begin)
		tell(spent, right)
		if right {
			s.remember(with, password)
		} else {
			s.Guard.Failed(r, subject)
		}
		s.Gate.Leave(spent, !right)
	}()
	same, err := with.compare.Compare([]byte(with.Hash), []byte(password))
	return same && own && err == nil, err
}

func lockedOut(wait time.Duration, candidate string) *principal.Refusal {
	return &principal.Refusal{Reason: principal.LockedOut, Status: http.StatusTooManyRequests, Retry: wait, Candidate: candidate}
}

// unknown is what a name that no account has is counted under.
func (s *Source) unknown(name string) string {
	sum := s.sum("unknown", name)
	return UnknownPrefix + hex.EncodeToString(sum[:8])
}

func (s *Source) sum(parts ...string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, s.key[:])
	for _, part := range parts {
		h.Write([]byte{byte(len(part) >> 8), byte(len(part))})
		h.Write([]byte(part))
	}
	h.Sum(sum[:0])
	return sum
}

func (s *Source) remembers(a *Account, password string) bool {
	sum := s.sum("right", a.Name, a.Hash, password)
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.right[sum]
	if ok && !s.Now().Before(until) {
		delete(s.right, sum)
		ok = false
	}
	return ok
}

func (s *Source) remember(a *Account, password string) {
	sum := s.sum("right", a.Name, a.Hash, password)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.right) >= maxRemembered {
		for k := range s.right { // begins anywhere
			delete(s.right, k)
			break
		}
	}
	s.right[sum] = s.Now().Add(remembered)
}

var _ principal.Source = (*Source)(nil)
