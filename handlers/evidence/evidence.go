// Package evidence serves what an auditor asks of the log: its signed head,
// its records with their proofs, and a status page. The same API is served on
// sites, by Handler, and on Caddy's admin API, by Admin.
package evidence

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

// Source is the most that this package asks of the soc2 app.
type Source interface {
	// Log is the audit log.
	Log() *audit.Log
	// Instance is the name of this server in records.
	Instance() string
	// Profile is the header profile of sites that choose none.
	Profile() string
}

// defaultPrefix is where the evidence is served if nothing else is said.
const defaultPrefix = "/.soc2"

// Handler serves the evidence below a prefix and leaves all other paths to the
// handlers after it. It changes nothing: it answers GET and HEAD.
//
// It fails closed. A request is served only if its client showed a certificate
// that was verified, or if a handler before this one authenticated it, which is
// when {http.auth.user.id} is set. A configuration under which no request can
// be either is refused.
type Handler struct {
	// AllowUnauthenticated serves the evidence to everybody whom the route
	// lets through. Default: false.
	AllowUnauthenticated bool `json:"allow_unauthenticated,omitempty"`

	// Prefix is the path below which the evidence is served, as the client
	// sees it, even where handle_path strips it. Default: /.soc2.
	Prefix string `json:"prefix,omitempty"`

	// Viewers and Auditors say who has which role: role:NAME for principals with
	// a role ({http.auth.user.roles}), user:NAME for one principal
	// ({http.auth.user.id}), cert:SHA256 for a verified client certificate. A
	// viewer reads the state, the checks, counts, and the log's heads and proofs;
	// an auditor reads the records, too. Default: if both are empty, everybody
	// whom the handler serves is an auditor.
	Viewers  []string `json:"viewers,omitempty"`
	Auditors []string `json:"auditors,omitempty"`

	// Rate is how many requests a second each principal may make, or each address
	// of those who are not known; five times as many at once. Who may read the hash
	// tiles of the log has 25 times as many of those besides: of ten million records
	// there are 39,000. Default: 20.
	Rate int `json:"rate,omitempty"`

	limit  *buckets
	tiles  *buckets // of requests for hash tiles
	api    *API
	page   *page
	ending *ending
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.soc2_evidence",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision finds the log.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := secret.Fill(h); err != nil {
		return fmt.Errorf("soc2_evidence: %w", err)
	}
	if h.Prefix == "" {
		h.Prefix = defaultPrefix
	}
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !h.AllowUnauthenticated && server != nil && !mayAuthenticate(server) {
		return errors.New("soc2_evidence would serve nobody, because nothing on this server authenticates a request: " +
			"put an authenticator before it (such as basic_auth), or verify client certificates (tls client_auth with a trust_pool), or set allow_unauthenticated")
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
		return fmt.Errorf("the app soc2 is a %T, which has no evidence", app)
	}
	h.use(source)
	h.ending = newEnding(ctx, server)
	h.api.ending = func() context.Context { return h.ending.ctx }
	return nil
}

// Cleanup ends the requests that follow the log.
func (h *Handler) Cleanup() error {
	if h.ending != nil {
		h.ending.now()
	}
	return nil
}

func (h *Handler) use(source Source) {
	h.api = NewAPI(func() (Source, error) { return source, nil })
	h.page = &page{source: source, prefix: h.Prefix, now: time.Now}
	rate := h.Rate
	if rate == 0 {
		rate = defaultRate
	}
	h.limit = &buckets{rate: float64(rate), now: time.Now, all: map[string]*bucket{}}
	h.tiles = &buckets{rate: float64(rate * tileTimes), now: time.Now, all: map[string]*bucket{}}
}

// Validate checks the prefix.
func (h *Handler) Validate() error {
	switch {
	case !strings.HasPrefix(h.Prefix, "/"):
		return fmt.Errorf("soc2_evidence: prefix %q: it must begin with a slash, like %s", h.Prefix, defaultPrefix)
	case strings.HasSuffix(h.Prefix, "/"):
		return fmt.Errorf("soc2_evidence: prefix %q: it must have a name and no slash at its end, like %s", h.Prefix, defaultPrefix)
	case path.Clean(h.Prefix) != h.Prefix:
		return fmt.Errorf("soc2_evidence: prefix %q: write it as %s", h.Prefix, path.Clean(h.Prefix))
	case strings.ContainsFunc(h.Prefix, notInPrefix):
		return fmt.Errorf("soc2_evidence: prefix %q: it may have letters, digits and -._~ between its slashes", h.Prefix)
	case h.AllowUnauthenticated && len(h.Viewers)+len(h.Auditors) > 0:
		return errors.New("soc2_evidence: allow_unauthenticated serves everything to everybody, so that viewers and auditors mean nothing: remove one or the other")
	case h.Rate < 0 || h.Rate > maxRate:
		return fmt.Errorf("soc2_evidence: rate %d: it is a number of requests a second from 1 to %d", h.Rate, maxRate)
	}
	if err := checkNames("viewers", h.Viewers); err != nil {
		return err
	}
	return checkNames("auditors", h.Auditors)
}

// notInPrefix holds for all but slashes and the characters that a URL never
// has to escape (RFC 3986, section 2.3).
func notInPrefix(r rune) bool {
	alphanumeric := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !alphanumeric && !strings.ContainsRune("/-._~", r)
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	rel, ok := h.relative(r)
	if !ok {
		return next.ServeHTTP(w, r)
	}
	who := h.who(r)
	route := routeOf(rel)
	v, r := begin(w, r, h.page.source, who, route.resource, time.Now())
	limit := h.limit
	if route.tile && who.role.may(route.least) { // others would make more records of refusals
		limit = h.tiles
	}
	if ok, first := limit.take(who.key); !ok {
		v.writer.Header().Set("Retry-After", "1")
		problem(v.writer, r, http.StatusTooManyRequests, "These are more requests than one reader may make: ask again in a second.")
		if first {
			h.keep(v, route)
		}
		return nil
	}
	if h.admit(v.writer, r, who, route) {
		defer func() {
			if !route.open || v.writer.status >= http.StatusBadRequest {
				h.keep(v, route)
			}
		}()
		h.answer(v.writer, r, rel, who)
		return nil
	}
	h.keep(v, route)
	return nil
}

// maxRate is the greatest Handler.Rate.
const maxRate = 10_000

// admit reports whether somebody may read a resource, and else answers.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request, who reader, route route) bool {
	switch {
	case !who.known && !h.AllowUnauthenticated:
		problem(w, r, http.StatusForbidden, forbidden)
	case !who.role.may(route.least):
		problem(w, r, http.StatusForbidden, "You are known, but have no role that may read this: the operator names viewers and auditors.")
	case !route.state && !route.open && h.page.source.Log().Ready() != nil:
		problem(w, r, http.StatusServiceUnavailable, "The audit log takes no records, so that this read could not be recorded: only the state is shown.")
	default:
		return readOnly(w, r)
	}
	return false
}

// answer serves what may be read.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, rel string, who reader) {
	if api, ok := below(rel, apiVersion); ok {
		h.api.Serve(w, r, api)
		return
	}
	h.page.serve(w, r, rel, who.role)
}

// keep records a read. That it cannot is told to the server's log; the audit log
// itself counts what it did not take.
func (h *Handler) keep(v *reading, route route) {
	if err := v.keep(); err != nil && !route.state {
		report(err)
	}
}

// relative returns the request's path below the prefix. Where an outer handler
// stripped the prefix, the path that the client sent still has it.
func (h *Handler) relative(r *http.Request) (string, bool) {
	if rel, ok := below(r.URL.Path, h.Prefix); ok {
		return rel, true
	}
	original, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if original.URL == nil {
		return "", false
	}
	if _, ok := below(original.URL.Path, h.Prefix); !ok {
		return "", false
	}
	return "/" + strings.TrimPrefix(r.URL.Path, "/"), true
}

// below returns what follows a prefix of whole path elements: a slash at least.
func below(p, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(p, prefix)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	if rest == "" {
		rest = "/"
	}
	return rest, true
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
