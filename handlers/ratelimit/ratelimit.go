// Package ratelimit is the handler that limits what clients may do.
//
// A zone says which requests count, by what key, and how many a key may make.
// The state of a zone is the process's own, by the zone's name: it survives a
// reload, also one that changes the limit. What decides is internal/limiter; this
// package finds keys and costs, answers those that are refused, and records
// when a key begins and ceases to be refused.
package ratelimit

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

// Handler limits the requests that pass through it by its zones. All zones that
// a request matches are asked; if one of them refuses, none is charged, and the
// request is answered with 429, or with 503 where the clients share what is
// used up.
type Handler struct {
	// Zones are what requests are limited by.
	Zones []*Zone `json:"zones,omitempty"`

	// Phase is where the handler stands: pre_auth, before authentication, so that
	// a client over its limit costs no password hash, or post_auth, after it.
	// Zones that need the principal are refused in pre_auth. Default: pre_auth.
	Phase string `json:"phase,omitempty"`

	// Headers are the header fields that tell a client about its limits: draft
	// for RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-11),
	// legacy for X-RateLimit-Limit, -Remaining and -Reset, or off. Retry-After is
	// sent with a refusal in any case. Default: draft.
	Headers string `json:"headers,omitempty"`

	// Always says that the header fields are sent on responses to admitted
	// requests too, if they are not from a cache (a field Age greater than 0).
	// Default: false.
	Always bool `json:"always,omitempty"`

	zones []*Zone // in the order in which limiter.Decide gets them
	turns sync.Pool
	wraps bool // whether some response has to be looked at
	holds bool // whether some zone limits what is under way
}

// The phases.
const (
	PreAuth  = "pre_auth"
	PostAuth = "post_auth"
)

// The kinds of header fields.
const (
	headersDraft  = "draft"
	headersLegacy = "legacy"
	headersOff    = "off"
)

// maxZones is how many zones a handler can have.
const maxZones = 16

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.soc2_rate_limit",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision checks the zones and joins the state that they have in the process.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := secret.Fill(h); err != nil {
		return fmt.Errorf("soc2_rate_limit: %w", err)
	}
	if err := h.check(); err != nil {
		return fmt.Errorf("soc2_rate_limit: %w", err)
	}
	for _, z := range h.Zones {
		if err := z.provision(ctx, h); err != nil {
			return fmt.Errorf("soc2_rate_limit: zone %s: %w", z.Name, err)
		}
		h.wraps = h.wraps || z.Charge != nil
		h.holds = h.holds || z.Concurrency > 0
	}
	h.wraps = h.wraps || h.Always && h.Headers != headersOff
	h.zones = slices.Clone(h.Zones)
	slices.SortFunc(h.zones, func(a, b *Zone) int {
		if a.shared.zone.Before(b.shared.zone) {
			return -1
		}
		return 1
	})
	h.turns.New = func() any {
		return &turn{asks: make([]limiter.Ask, 0, len(h.zones)), zones: make([]*Zone, 0, len(h.zones))}
	}
	return nil
}

func (h *Handler) check() error {
	switch h.Phase {
	case "":
		h.Phase = PreAuth
	case PreAuth, PostAuth:
	default:
		return fmt.Errorf("phase %q: choose pre_auth or post_auth", h.Phase)
	}
	switch h.Headers {
	case "":
		h.Headers = headersDraft
	case headersDraft, headersLegacy, headersOff:
	default:
		return fmt.Errorf("headers %q: choose draft, legacy or off", h.Headers)
	}
	if len(h.Zones) == 0 || len(h.Zones) > maxZones {
		return fmt.Errorf("there are %d zones: it takes between 1 and %d", len(h.Zones), maxZones)
	}
	names := make(map[string]bool)
	for _, z := range h.Zones {
		if z == nil || !nameable(z.Name) {
			return errors.New("a zone needs a name of at most 64 letters, digits, dots, dashes and underscores, which does not begin with a dot")
		}
		if names[z.Name] {
			return fmt.Errorf("zone %s is given twice", z.Name)
		}
		names[z.Name] = true
	}
	return nil
}

// nameable reports whether a zone can have a name: it appears in header fields
// and in the paths of the admin API.
func nameable(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return s != "" && s[0] != '.' && len(s) <= 64
}

// Cleanup leaves the state of the zones.
func (h *Handler) Cleanup() error {
	var err error
	for _, z := range h.Zones {
		if z != nil {
			err = errors.Join(err, z.leave())
		}
	}
	return err
}

// turn is what a request needs while it is limited.
type turn struct {
	asks  []limiter.Ask
	zones []*Zone // of each ask
}

// ServeHTTP asks the zones and serves the request or refuses it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	t, _ := h.turns.Get().(*turn)
	t.asks, t.zones = t.asks[:0], t.zones[:0]
	for _, z := range h.zones {
		outcome, err := z.collect(t, r)
		if err != nil {
			h.turns.Put(t)
			return err
		}
		if outcome != 0 {
			h.turns.Put(t)
			return h.shut(w, r, z, outcome)
		}
	}
	if len(t.asks) == 0 {
		h.turns.Put(t)
		return next.ServeHTTP(w, r)
	}
	now := limiter.Now()
	if !limiter.Decide(now, t.asks) {
		err := h.refuse(w, r, t, now)
		h.turns.Put(t)
		return err
	}
	h.admit(r, t, now)
	if !h.wraps && !h.holds {
		h.turns.Put(t)
		return next.ServeHTTP(w, r)
	}
	return h.follow(w, r, next, t)
}

// admit counts an admitted request and annotates its record.
func (h *Handler) admit(r *http.Request, t *turn, now int64) {
	decision := audit.Decision{Outcome: "allow"}
	for i, z := range t.zones {
		a := &t.asks[i]
		if a.Verdict != limiter.Allowed { // shadow
			z.shared.counts[countShadow].Add(1)
			z.track(r, a, now)
			decision = audit.Decision{Outcome: "shadow_limited", Rule: z.Name, Reason: a.Verdict.String()}
			continue
		}
		z.shared.counts[countAllowed].Add(1)
		z.shared.tracker.Allow(a.Hash)
		if decision.Rule == "" {
			decision.Rule = z.Name
		}
	}
	note(r, decision)
}

// note annotates the request's record. What another handler of this kind found is
// kept if this one only let the request pass.
func note(r *http.Request, d audit.Decision) {
	ev := audit.FromContext(r.Context())
	if ev == nil || d.Outcome == "allow" && ev.Limit.Outcome != "" {
		return
	}
	ev.SetLimit(d)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
