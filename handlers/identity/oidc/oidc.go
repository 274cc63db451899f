// Package oidc logs people in with a browser at an OpenID provider: the
// authorization code flow (OpenID Connect Core 1.0, section 3.1) with PKCE (RFC
// 7636), state and nonce. The login lies in an encrypted cookie: see session.
package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwks"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwt"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/session"
)

// Why a login or a session is refused. Reasons of an ID token are those of
// package jwt.
const (
	Plaintext     principal.Reason = "oidc_plaintext" // without TLS no browser keeps the cookie
	State         principal.Reason = "oidc_state"     // is not that of a login begun here, by this browser
	StateOld      principal.Reason = "oidc_state_expired"
	StateUsed     principal.Reason = "oidc_state_used"
	MixUp         principal.Reason = "oidc_issuer" // another provider answers (RFC 9207)
	Denied        principal.Reason = "oidc_denied" // the provider answers with an error
	CodeRefused   principal.Reason = "oidc_code_refused"
	NoIDToken     principal.Reason = "oidc_no_id_token" //nolint:gosec // the name of a reason
	Nonce         principal.Reason = "oidc_nonce"
	Party         principal.Reason = "oidc_authorized_party" // azp
	Unreachable   principal.Reason = "oidc_provider_unreachable"
	TooLarge      principal.Reason = "oidc_session_too_large"
	RefreshDenied principal.Reason = "oidc_refresh_refused"
	OtherSubject  principal.Reason = "oidc_refresh_subject" // the provider refreshes with somebody else
	CrossSite     principal.Reason = "oidc_logout_cross_site"
	LogoutToken   principal.Reason = "oidc_logout_token" //nolint:gosec // the name of a reason
	BadRequest    principal.Reason = "oidc_request"
)

// Source logs in with a browser, and takes the sessions that come of it. Its
// fields do not change once it is in use.
type Source struct {
	Issuer   string
	ClientID string
	Secret   func() string // of the client; empty for a public client
	Scopes   []string
	Names    jwt.Names
	Require  map[string][]string // claims of the ID token: see jwt.Verifier
	Algs     []string
	Leeway   time.Duration
	Base     string // address of the site, https://app.example; empty: https:// and the request's host
	Paths    Paths
	Limits   session.Limits
	Grace    time.Duration // for which a session outlives its tokens while the provider is away

	Provider *jwks.Remote
	Seals    *session.Keys
	Ended    *session.Ended
	Client   *http.Client
	Now      func() time.Time
	Warn     func(error)

	ids, logouts *jwt.Verifier
	sessions     *session.Box
	logins       *session.Box
	name         string // of the cookies

	flights singleflight.Group
	mu      sync.Mutex // guards the field below
	renewed map[[sha256.Size]byte]renewal
}

// Paths are what the source serves itself.
type Paths struct {
	Login       string // begins a login, and returns to the path in the query's "to"
	Callback    string // where the provider sends the browser after the login
	Logout      string
	BackChannel string // where the provider sends logout tokens
	LoggedOut   string // where the browser ends after the logout
}

// DefaultPaths are the usual ones.
var DefaultPaths = Paths{
	Login: "/.soc2/auth/login", Callback: "/.soc2/auth/callback", Logout: "/.soc2/auth/logout",
	BackChannel: "/.soc2/auth/backchannel-logout", LoggedOut: "/.soc2/auth/logged-out",
}

// CookiePrefix begins the name of each cookie that is made here.
const CookiePrefix = "__Host-soc2_"

// Open makes the source ready. A session is one only where the same is asked of a
// login and made of it: sites may share a client and the keys of their cookies,
// and ask for more or less.
func (s *Source) Open() error {
	asked, err := json.Marshal([]any{s.Names, s.Require})
	if err != nil {
		return err
	}
	purpose := s.Issuer + "\x00" + s.ClientID + "\x00" + string(asked)
	sum := sha256.Sum256([]byte(purpose))
	s.name = hex.EncodeToString(sum[:3])
	if s.sessions, err = s.Seals.Box("session " + purpose); err != nil {
		return err
	}
	if s.logins, err = s.Seals.Box("login " + purpose); err != nil {
		return err
	}
	s.renewed = map[[sha256.Size]byte]renewal{}
	s.ids = &jwt.Verifier{
		Issuer: s.Issuer, Audience: []string{s.ClientID}, Algs: s.Algs, Leeway: s.Leeway, Require: s.Require,
		Types: []string{"", "jwt"}, Keys: s.Provider, Now: s.Now,
	}
	s.logouts = &jwt.Verifier{
		Issuer: s.Issuer, Audience: []string{s.ClientID}, Algs: s.Algs, Leeway: s.Leeway, MaxAge: 10 * time.Minute,
		Types: []string{"", "jwt", "logout+jwt"}, Keys: s.Provider, Now: s.Now,
	}
	return nil
}

func (s *Source) sessionCookie() string { return CookiePrefix + "session_" + s.name }

// loginCookie names the cookie of a login by the state, so that two tabs do not
// overwrite each other's.
func (s *Source) loginCookie(state string) string {
	return CookiePrefix + "login_" + s.name + "_" + state[:min(len(state), 10)]
}

// Authenticate implements principal.Source: it takes the session of the request.
// One that has ended is no credential any more: its cookie is taken back, and
// the reason is returned with no status of its own.
func (s *Source) Authenticate(w http.ResponseWriter, r *http.Request) (*caddyauth.User, *principal.Refusal) {
	sealed := session.Cookie(r, s.sessionCookie())
	if sealed == "" {
		return nil, nil
	}
	now := s.Now()
	ses, err := s.sessions.OpenSession(sealed)
	if err != nil {
		return nil, s.end(w, r, session.Forged, "")
	}
	if why := s.Limits.Ended(ses, now); why != "" {
		return nil, s.end(w, r, why, ses.User)
	}
	if s.Ended.Has(ses) {
		return nil, s.end(w, r, session.LoggedOut, ses.User)
	}
	fresh, refusal := s.renew(r.Context(), ses, now)
	if refusal != nil {
		if refusal.Status == 0 {
			_ = s.end(w, r, refusal.Reason, ses.User)
		}
		refusal.Candidate = ses.User
		return nil, refusal
	}
	if fresh != ses || s.Limits.Stale(ses, now) {
		fresh.Seen = now.Unix()
		if refusal := s.send(w, r, fresh, now); refusal != nil {
			return nil, refusal
		}
	}
	user := fresh.Principal().User()
	return &user, nil
}

// end takes the session's cookie back.
func (s *Source) end(w http.ResponseWriter, r *http.Request, why principal.Reason, user string) *principal.Refusal {
	countOver(why)
	session.SetCookie(w, r, s.sessionCookie(), "", 0)
	return &principal.Refusal{Reason: why, Candidate: user}
}

// send sends a session's cookie.
func (s *Source) send(w http.ResponseWriter, r *http.Request, ses *session.Session, now time.Time) *principal.Refusal {
	for {
		sealed, err := s.sessions.SealSession(ses)
		if err != nil {
			return &principal.Refusal{Reason: TooLarge, Status: http.StatusInternalServerError, Cause: err}
		}
		if session.SetCookie(w, r, s.sessionCookie(), sealed, s.Limits.Left(ses, now)) {
			w.Header().Add("Cache-Control", "no-store")
			return nil
		}
		if ses.IDToken == "" {
			err := fmt.Errorf("the session of a user needs %d bytes of cookies, and %d can be had: ask the provider for fewer claims or shorter tokens", len(sealed), session.MaxSealed)
			return &principal.Refusal{Reason: TooLarge, Status: http.StatusInternalServerError, Cause: err}
		}
		short := *ses // the provider asks whom to log out, then
		short.IDToken = ""
		ses = &short
	}
}

// oauth is the client's configuration at the provider.
func (s *Source) oauth(d *jwks.Discovery, base string) *oauth2.Config {
	c := &oauth2.Config{
		ClientID: s.ClientID, Scopes: s.Scopes, RedirectURL: base + s.Paths.Callback,
		Endpoint: oauth2.Endpoint{AuthURL: d.Authorization, TokenURL: d.Token, AuthStyle: oauth2.AuthStyleInHeader},
	}
	c.ClientSecret = s.Secret()
	basic := len(d.TokenAuth) == 0
	for _, method := range d.TokenAuth {
		basic = basic || method == "client_secret_basic"
	}
	if c.ClientSecret == "" || !basic {
		c.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return c
}

// context gives oauth2 the client of this source.
func (s *Source) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, s.Client)
}

// tokenError is what the provider answered at its token endpoint, without what
// may be secret in it. It reports whether the provider refused, and was not away.
func tokenError(err error) (refused bool, said error) {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) {
		return false, errors.New("the provider's token endpoint gave no answer that could be read")
	}
	status := 0
	if answer.Response != nil {
		status = answer.Response.StatusCode
	}
	said = fmt.Errorf("the provider's token endpoint answered %d %s", status, word(answer.ErrorCode))
	return status >= 400 && status < 500 && status != http.StatusTooManyRequests, said
}

// word returns an error code of RFC 6749, or nothing if a text is none.
func word(code string) string {
	if len(code) > 64 || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return code
}

// base is the address of the site without a path.
func (s *Source) base(r *http.Request) string {
	if s.Base != "" {
		return s.Base
	}
	return "https://" + r.Host
}

var _ principal.Source = (*Source)(nil)

// Strip takes the cookies that are made here out of a request, so that no
// upstream gets them.
func (s *Source) Strip(r *http.Request) { session.Strip(r, CookiePrefix) }
