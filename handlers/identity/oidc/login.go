package oidc

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/oauth2"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwt"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/session"
)

// login is a login that was begun. It lies in a cookie of the browser, so that
// only that browser can end it.
type login struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"` // PKCE
	Return   string `json:"r"` // path and query of this site
	Begun    int64  `json:"b"` // unix seconds
}

// loginTime is how long a person may take to log in.
const loginTime = 10 * time.Minute

// maxLogins is how many logins a browser may have begun.
const maxLogins = 5

// Navigates reports whether a browser asks for a page, and would follow a
// redirect to another site.
func Navigates(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// Login sends the browser to the provider, and later back to the page that it
// asked for.
func (s *Source) Login(w http.ResponseWriter, r *http.Request) *principal.Refusal {
	return s.login(w, r, returnTo(r))
}

func (s *Source) login(w http.ResponseWriter, r *http.Request, back string) *principal.Refusal {
	if r.TLS == nil {
		return &principal.Refusal{Reason: Plaintext, Status: http.StatusForbidden}
	}
	d, err := s.Provider.Discovered()
	if err != nil || d.Authorization == "" || d.Token == "" {
		return &principal.Refusal{Reason: Unreachable, Status: http.StatusServiceUnavailable, Retry: 10 * time.Second, Cause: err}
	}
	l := login{State: session.Random(), Nonce: session.Random(), Verifier: oauth2.GenerateVerifier(), Return: back, Begun: s.Now().Unix()}
	text, err := json.Marshal(l)
	if err != nil {
		return &principal.Refusal{Reason: BadRequest, Status: http.StatusInternalServerError, Cause: err}
	}
	s.tidy(w, r)
	name := s.loginCookie(l.State)
	session.SetCookie(w, r, name, s.logins.Seal(text, name), loginTime)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", s.oauth(d, s.base(r)).AuthCodeURL(l.State,
		oauth2.S256ChallengeOption(l.Verifier), oauth2.SetAuthURLParam("nonce", l.Nonce)))
	w.WriteHeader(http.StatusFound)
	return nil
}

// tidy takes back the logins that a browser begun and did not end, if they are
// many.
func (s *Source) tidy(w http.ResponseWriter, r *http.Request) {
	var begun []string
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, s.loginCookie("")) && !slices.Contains(begun, c.Name) {
			begun = append(begun, c.Name)
		}
	}
	if len(begun) < maxLogins {
		return
	}
	for _, name := range begun {
		session.SetCookie(w, r, name, "", 0)
	}
}

// asked serves the path that begins a login.
func (s *Source) asked(w http.ResponseWriter, r *http.Request) *Served {
	q, ok := single(r.URL.RawQuery)
	if !ok || r.Method != http.MethodGet {
		return &Served{Refusal: &principal.Refusal{Reason: BadRequest, Status: http.StatusBadRequest}}
	}
	back := q["to"]
	if !local(back) {
		back = "/"
	}
	return &Served{What: "oidc_login_begun", Refusal: s.login(w, r, back)}
}

// maxReturn is the longest address that a login returns to, in bytes.
const maxReturn = 2 << 10

// returnTo is where the browser goes after the login: the page that it asked for,
// if that is surely a path of this site.
func returnTo(r *http.Request) string {
	u := r.URL
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		u = original.URL
	}
	path := u.RequestURI()
	if !local(path) {
		return "/"
	}
	return path
}

// local reports whether an address can lead nowhere but to this site. Browsers
// take // and /\ for the begin of another host, and leave out control characters.
func local(path string) bool {
	if path == "" || path[0] != '/' || len(path) > maxReturn || strings.HasPrefix(path, "//") {
		return false
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return false
		}
	}
	u, err := url.Parse(path)
	return err == nil && u.Scheme == "" && u.Host == "" && u.User == nil
}

// callback ends a login.
func (s *Source) callback(w http.ResponseWriter, r *http.Request) (*session.Session, *principal.Refusal) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer") // the code is in the address
	q, ok := single(r.URL.RawQuery)
	if !ok || r.Method != http.MethodGet {
		return nil, &principal.Refusal{Reason: BadRequest, Status: http.StatusBadRequest}
	}
	if r.TLS == nil {
		return nil, &principal.Refusal{Reason: Plaintext, Status: http.StatusForbidden}
	}
	l, refusal := s.begun(w, r, q["state"])
	if refusal != nil {
		return nil, refusal
	}
	d, err := s.Provider.Discovered()
	if err != nil {
		return nil, &principal.Refusal{Reason: Unreachable, Status: http.StatusServiceUnavailable, Retry: 10 * time.Second, Cause: err}
	}
	if issuer, there := q["iss"]; there && issuer != s.Issuer || !there && d.SendsIssuer {
		return nil, &principal.Refusal{Reason: MixUp, Status: http.StatusBadRequest}
	}
	if q["error"] != "" {
		return nil, &principal.Refusal{Reason: Denied, Status: http.StatusForbidden}
	}
	token, err := s.oauth(d, s.base(r)).Exchange(s.context(r.Context()), q["code"], oauth2.VerifierOption(l.Verifier))
	if err != nil {
		refused, said := tokenError(err)
		if refused {
			return nil, &principal.Refusal{Reason: CodeRefused, Status: http.StatusForbidden, Cause: said}
		}
		return nil, &principal.Refusal{Reason: Unreachable, Status: http.StatusServiceUnavailable, Retry: 10 * time.Second, Cause: said}
	}
	ses, refusal := s.begin(r, token, l.Nonce)
	if refusal != nil {
		refusal.Status = http.StatusForbidden
		return nil, refusal
	}
	if refusal := s.send(w, r, ses, s.Now()); refusal != nil {
		return nil, refusal
	}
	count(sessionBegun)
	w.Header().Set("Location", l.Return)
	w.WriteHeader(http.StatusSeeOther)
	return ses, nil
}

// single reads a query or a form in which no name is there twice.
func single(query string) (map[string]string, bool) {
	values, err := url.ParseQuery(query)
	if err != nil || len(query) > maxForm {
		return nil, false
	}
	q := make(map[string]string, len(values))
	for name, list := range values {
		if len(list) > 1 {
			return nil, false
		}
		q[name] = list[0]
	}
	return q, true
}

// begun finds the login that a state is of. It can be ended once.
func (s *Source) begun(w http.ResponseWriter, r *http.Request, state string) (*login, *principal.Refusal) {
	refuse := func(why principal.Reason) (*login, *principal.Refusal) {
		return nil, &principal.Refusal{Reason: why, Status: http.StatusForbidden}
	}
	if len(state) != len(session.Random()) || strings.ContainsAny(state, " ;,=\"\\\t\r\n") {
		return refuse(State)
	}
	name := s.loginCookie(state)
	text, err := s.logins.Open(session.Cookie(r, name), name)
	if err != nil {
		return refuse(State)
	}
	session.SetCookie(w, r, name, "", 0)
	l := new(login)
	if json.Unmarshal(text, l) != nil || subtle.ConstantTimeCompare([]byte(l.State), []byte(state)) != 1 {
		return refuse(State)
	}
	now := s.Now()
	if age := now.Sub(time.Unix(l.Begun, 0)); age > loginTime || age < -time.Minute {
		return refuse(StateOld)
	}
	if !s.Ended.Once("login "+state, now, loginTime) {
		return refuse(StateUsed)
	}
	return l, nil
}

// begin makes a session of the provider's answer.
func (s *Source) begin(r *http.Request, token *oauth2.Token, nonce string) (*session.Session, *principal.Refusal) {
	now := s.Now()
	ses := &session.Session{ID: session.Random(), Begun: now.Unix(), Seen: now.Unix()}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, principal.Refuse(NoIDToken)
	}
	v, why, err := s.ids.Verify(r.Context(), raw)
	if why != "" {
		return nil, &principal.Refusal{Reason: why, Cause: err}
	}
	if subtle.ConstantTimeCompare([]byte(v.Claims.Text("nonce")), []byte(nonce)) != 1 {
		return nil, principal.Refuse(Nonce)
	}
	if refusal := s.adopt(ses, v.Claims, now); refusal != nil {
		return nil, refusal
	}
	s.tokens(ses, token, raw, now)
	return ses, nil
}

// adopt takes the user over from an ID token.
func (s *Source) adopt(ses *session.Session, c jwt.Claims, now time.Time) *principal.Refusal {
	audience, _ := c.Texts("aud")
	azp, there := c["azp"]
	if (there || len(audience) > 1) && azp != s.ClientID {
		return principal.Refuse(Party)
	}
	p, why := s.Names.Principal(c, principal.OIDC)
	if why != "" {
		return principal.Refuse(why)
	}
	ses.Subject = c.Text("sub")
	if ses.Subject == "" {
		return principal.Refuse(jwt.NoSubject)
	}
	ses.User, ses.Roles, ses.Claims, ses.AMR, ses.MFA = p.ID, p.Roles, p.Claims, p.AMR, p.MFA
	if sid := c.Text("sid"); sid != "" {
		ses.Sid = sid
	}
	if ses.Login == 0 {
		ses.Login = now.Unix()
	}
	if at, there, ok := c.Time("auth_time"); there && ok && !at.After(now) {
		ses.Login = at.Unix()
	}
	return nil
}

// tokens notes what the session is refreshed with, and when.
func (s *Source) tokens(ses *session.Session, token *oauth2.Token, idToken string, now time.Time) {
	if token.RefreshToken != "" {
		ses.Refresh = token.RefreshToken
	}
	if idToken != "" {
		ses.IDToken = idToken
	}
	ses.Renew = 0
	if ses.Refresh != "" {
		life := defaultLife
		if token.ExpiresIn > 0 {
			life = time.Duration(token.ExpiresIn) * time.Second
		}
		ses.Renew = now.Add(max(life-life/10, minLife)).Unix()
	}
}

// How long an access token is good, if the provider does not say; and the least
// that is believed.
const (
	defaultLife = 5 * time.Minute
	minLife     = 5 * time.Second
)
