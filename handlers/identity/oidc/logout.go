package oidc

import (
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/session"
)

// Served is what came of a request that the source serves itself.
type Served struct {
	What    string // oidc_login_begun, oidc_login, oidc_logout, oidc_backchannel_logout, oidc_logged_out
	User    string // that logged in or out
	Refusal *principal.Refusal
}

// Serve serves what is for the source itself. It returns nothing if the request
// is not for it. A refusal is not answered yet.
func (s *Source) Serve(w http.ResponseWriter, r *http.Request) *Served {
	switch r.URL.Path {
	case s.Paths.Callback:
		ses, refusal := s.callback(w, r)
		if refusal != nil {
			return &Served{Refusal: refusal}
		}
		return &Served{What: "oidc_login", User: ses.User}
	case s.Paths.Login:
		return s.asked(w, r)
	case s.Paths.Logout:
		return s.logout(w, r)
	case s.Paths.BackChannel:
		return s.backChannel(w, r)
	case s.Paths.LoggedOut:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write([]byte("You are logged out.\n"))
		return &Served{What: "oidc_logged_out"}
	}
	return nil
}

// logout ends the session here, and at the provider (OpenID Connect RP-Initiated
// Logout 1.0).
func (s *Source) logout(w http.ResponseWriter, r *http.Request) *Served {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" ||
		r.Method != http.MethodGet && r.Method != http.MethodPost {
		return &Served{Refusal: &principal.Refusal{Reason: CrossSite, Status: http.StatusForbidden}}
	}
	out := &Served{What: "oidc_logout"}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	ses, err := s.sessions.OpenSession(session.Cookie(r, s.sessionCookie()))
	session.SetCookie(w, r, s.sessionCookie(), "", 0)
	next := s.base(r) + s.Paths.LoggedOut
	if err == nil {
		out.User = ses.User
		count(loggedOut)
		if err := s.Ended.Session(ses.ID, s.Now(), s.Limits.Absolute); err != nil && s.Warn != nil {
			s.Warn(err)
		}
		next = s.endSession(r, ses, next)
	}
	w.Header().Set("Location", next)
	w.WriteHeader(http.StatusSeeOther)
	return out
}

// endSession is where the provider ends its session too.
func (s *Source) endSession(r *http.Request, ses *session.Session, next string) string {
	d, err := s.Provider.Discovered()
	if err != nil || d.EndSession == "" {
		return next
	}
	u, err := url.Parse(d.EndSession)
	if err != nil {
		return next
	}
	q := u.Query()
	q.Set("client_id", s.ClientID)
	q.Set("post_logout_redirect_uri", next)
	if ses.IDToken != "" {
		q.Set("id_token_hint", ses.IDToken)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// event is the claim of a logout token (OpenID Connect Back-Channel Logout 1.0,
// section 2.4).
const event = "http://schemas.openid.net/event/backchannel-logout"

// maxForm is the size of the largest form that is read.
const maxForm = 32 << 10

// backChannel takes a logout token from the provider.
func (s *Source) backChannel(w http.ResponseWriter, r *http.Request) *Served {
	w.Header().Set("Cache-Control", "no-store")
	refuse := func(why principal.Reason, status int, err error) *Served {
		return &Served{Refusal: &principal.Refusal{Reason: why, Status: status, Cause: err}}
	}
	if r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return refuse(BadRequest, http.StatusBadRequest, nil)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return refuse(BadRequest, http.StatusBadRequest, nil)
	}
	form, ok := single(string(body))
	if !ok {
		return refuse(BadRequest, http.StatusBadRequest, nil)
	}
	v, why, err := s.logouts.Verify(r.Context(), form["logout_token"])
	if why != "" {
		return refuse(why, http.StatusBadRequest, err)
	}
	c := v.Claims
	events, _ := c["events"].(map[string]any)
	_, right := events[event].(map[string]any)
	_, nonce := c["nonce"]
	sid, sub, jti := c.Text("sid"), c.Text("sub"), c.Text("jti")
	now := s.Now()
	if !right || nonce || sid == "" && sub == "" || jti == "" || !s.Ended.Once("jti "+jti, now, s.logouts.MaxAge+2*s.Leeway) {
		return refuse(LogoutToken, http.StatusBadRequest, nil)
	}
	if err := s.Ended.Provider(sid, sub, now, s.Limits.Absolute); err != nil {
		return refuse(LogoutToken, http.StatusInternalServerError, err)
	}
	count(loggedOutByProvider)
	w.WriteHeader(http.StatusOK)
	served := &Served{What: "oidc_backchannel_logout"}
	if principal.Name(sub, s.Names.Unicode) {
		served.User = sub
	}
	return served
}
