// Package evidence serves what the audit log holds to people and programs
// that may see it.
package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// Source is what this package asks of the soc2 app.
type Source interface {
	Log() *audit.Log
	Instance() string
	Profile() string
}

// Handler serves the status of the audit log, its signed head and its records
// below one path prefix. It only reads: GET and HEAD.
//
// It serves a request only if the client's certificate was verified, if an
// authentication handler in front set {http.auth.user.id}, or if
// allow_unauthenticated is set.
type Handler struct {
	// Prefix is the path below which the evidence is served. It begins with
	// a slash and does not end with one. Default: /.soc2
	Prefix string `json:"prefix,omitempty"`

	// AllowUnauthenticated serves everybody who can reach the handler. It is
	// meant for a site that only this host reaches. Default: false.
	AllowUnauthenticated bool `json:"allow_unauthenticated,omitempty"`

	api *api
}

const defaultPrefix = "/.soc2"

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.soc2_evidence",
		New: func() caddy.Module { return new(Handler) },
	}
}

var errNobody = errors.New("soc2_evidence would answer nobody: put an authentication handler such as basic_auth in front of it, have the server verify client certificates, or set allow_unauthenticated")

// Provision finds the log. It refuses a configuration in which no request can
// be authenticated; where that cannot be known, the requests are.
func (h *Handler) Provision(ctx caddy.Context) error {
	if h.Prefix == "" {
		h.Prefix = defaultPrefix
	}
	app, err := ctx.AppIfConfigured("soc2")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errors.New("soc2_evidence needs the audit log: add a soc2 block to the global options, or \"soc2\" to the apps")
	}
	if err != nil {
		return err
	}
	source, ok := app.(Source)
	if !ok {
		return fmt.Errorf("the app soc2 is a %T, which has no log", app)
	}
	h.api = newAPI(h.Prefix, func() (Source, error) { return source, nil })
	srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if ok && !h.AllowUnauthenticated && !canAuthenticate(srv) {
		return errNobody
	}
	return nil
}

// Validate checks the prefix.
func (h *Handler) Validate() error {
	if !strings.HasPrefix(h.Prefix, "/") || h.Prefix == "/" || path.Clean(h.Prefix) != h.Prefix {
		return fmt.Errorf("soc2_evidence prefix %q: it must begin with a slash, not end with one, and be clean, for example %s", h.Prefix, defaultPrefix)
	}
	return nil
}

// canAuthenticate reports whether some request to the server could have a
// principal or a verified certificate.
func canAuthenticate(srv *caddyhttp.Server) bool {
	for _, p := range srv.TLSConnPolicies {
		if p.ClientAuthentication != nil && p.ClientAuthentication.Active() {
			return true
		}
	}
	if authenticates(srv.Routes) || srv.Errors != nil && authenticates(srv.Errors.Routes) {
		return true
	}
	for _, r := range srv.NamedRoutes {
		if r != nil && authenticates(caddyhttp.RouteList{*r}) {
			return true
		}
	}
	return false
}

// authenticates looks for an authentication handler, in the configuration of
// routes that are not provisioned yet and in the handlers of those that are.
func authenticates(routes caddyhttp.RouteList) bool {
	for _, r := range routes {
		for _, raw := range r.HandlersRaw {
			if bytes.Contains(raw, []byte(`"authentication"`)) {
				return true
			}
		}
		for _, handler := range r.Handlers {
			if sub, ok := handler.(*caddyhttp.Subroute); ok && authenticates(sub.Routes) {
				return true
			}
			if m, ok := handler.(caddy.Module); ok && m.CaddyModule().ID == "http.handlers.authentication" {
				return true
			}
		}
	}
	return false
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	rest, ok := h.below(r)
	if !ok {
		return next.ServeHTTP(w, r)
	}
	if !h.AllowUnauthenticated && !authenticated(r) {
		problem(w, http.StatusForbidden, "The evidence is served to authenticated users and to clients with a verified certificate only.")
		return nil
	}
	h.api.serve(w, r, rest)
	return nil
}

// below returns the path below the prefix, whether handle_path has taken the
// prefix off or not.
func (h *Handler) below(r *http.Request) (rest string, ok bool) {
	if rest, ok := cutPrefix(r.URL.Path, h.Prefix); ok {
		return rest, true
	}
	orig, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || orig.URL == nil {
		return "", false
	}
	if rest, ok := cutPrefix(orig.URL.Path, h.Prefix); ok && "/"+strings.TrimPrefix(r.URL.Path, "/") == rest {
		return rest, true
	}
	return "", false
}

// cutPrefix returns the path below prefix, which begins with a slash.
func cutPrefix(p, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(p, prefix)
	if rest == "" {
		return "/", ok
	}
	return rest, ok && rest[0] == '/'
}

func authenticated(r *http.Request) bool {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return false
	}
	user, _ := repl.GetString("http.auth.user.id")
	return user != ""
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
