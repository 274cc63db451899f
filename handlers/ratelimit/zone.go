package ratelimit

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
)

// Zone is a limit: for which requests, by what key, how many.
//
// A zone is known in the whole process by its name. Handlers that name the same
// zone share its state and must agree on it.
type Zone struct {
	// Name is the zone's name, in header fields, records, metrics and on the
	// admin API: letters, digits, dots, dashes and underscores.
	Name string `json:"name"`

	// MatcherSetsRaw says which requests count. Default: all.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	// Key is by what requests are counted; its parts are taken together. A part
	// is client_ip, principal, host, method, path, header:NAME, cookie:NAME,
	// global (all requests share one key, and are refused with 503) or text with
	// placeholders like {http.request.tls.client.fingerprint}. Default: client_ip.
	Key []string `json:"key,omitempty"`

	// IPv4Prefix is how many leading bits of an IPv4 address tell clients apart.
	// Default: 32.
	IPv4Prefix int `json:"ipv4_prefix,omitempty"`

	// IPv6Prefix is how many leading bits of an IPv6 address tell clients apart.
	// An IPv4-mapped address counts as IPv4. Default: 64, which is what a network
	// gives one customer at least.
	IPv6Prefix int `json:"ipv6_prefix,omitempty"`

	// EmptyKey says what happens to requests whose key is empty, such as without
	// the header field: with share they have one key together, with skip they are
	// not limited by this zone, with refuse they are answered 403. They are counted
	// in each case. Default: share.
	EmptyKey string `json:"empty_key,omitempty"`

	// Limit is how many requests a key may make in a period, like 100/1m, 10/s or
	// 5000/1d. The period is a duration or one of s, m, h and d. Units other than
	// requests come from costs; for bytes it can be 10MiB/1h. It may be left out
	// if concurrency is given.
	Limit string `json:"limit,omitempty"`

	// Burst is how many requests a key may make at once. In mode gcra a key that
	// was quiet can make up to burst + limit requests in its first period.
	// Default: the limit; in mode strict half of it.
	Burst int64 `json:"burst,omitempty"`

	// Mode is how the limit is held. With gcra requests come back one by one over
	// the period. With strict never more than the limit pass in any period, wherever
	// it begins; the price is a sustained rate of limit−burst+1. With exact the
	// same holds without that price, for limits up to 64. Default: gcra.
	Mode string `json:"mode,omitempty"`

	// Costs are what requests cost that a matcher matches; the first that does
	// decides. Default: 1.
	Costs []*Cost `json:"costs,omitempty"`

	// Charge says what a request costs once its response is known.
	Charge *Charge `json:"charge,omitempty"`

	// Concurrency is how many requests of a key may be under way. Default: any
	// number.
	Concurrency int64 `json:"concurrency,omitempty"`

	// Ban shuts keys out that go on although they are refused.
	Ban *Ban `json:"ban,omitempty"`

	// Allow lists clients that this zone does not limit: addresses, networks like
	// 10.0.0.0/8, or key:TEXT for a key.
	Allow []string `json:"allow,omitempty"`

	// Deny lists clients that are answered 403: as Allow.
	Deny []string `json:"deny,omitempty"`

	// Overrides are other limits for some keys, by the text of the key: a
	// principal, an address, the value of a header field.
	Overrides map[string]Override `json:"overrides,omitempty"`

	// Shadow says that the zone decides, charges and counts, but refuses nothing:
	// to find out what a limit would do.
	Shadow bool `json:"shadow,omitempty"`

	// Capacity is how many keys the zone knows at a time. Each takes 16 bytes, in
	// mode exact 8 more for each request of the limit, with ban 8 more, and with
	// charge and with concurrency 16 more each. When it is too small, keys with
	// little to lose are
	// forgotten first, and counted: with twice as many slots as keys that is less
	// than 1 % of them. Default: 65536.
	Capacity int `json:"capacity,omitempty"`

	// Debt is how many units a key can owe at most after costs that were charged
	// with the response. Default: as many as the burst.
	Debt int64 `json:"debt,omitempty"`

	// ShowKeys says that records and the admin API name keys as they are. By
	// default they name a keyed pseudonym, which stands for the same key as long as
	// the process lives, or the zone's snapshot.
	ShowKeys bool `json:"show_keys,omitempty"`

	// Persist keeps what keys have spent in Caddy's storage, so that it stays
	// spent when the process starts again. It is written once a minute and at
	// exit.
	Persist bool `json:"persist,omitempty"`

	matchers  caddyhttp.MatcherSets
	key       keyTemplate
	config    limiter.Config
	overrides map[uint64]*limiter.Rate
	allow     clients
	deny      clients
	emptyKey  int
	limitText string // with the burst, for records
	policies  policies
	capacity  bool // what is limited is shared: 503
	shared    *shared
	storage   certmagic.Storage // for Persist
	claimant  <-chan struct{}   // the configuration that this zone is of
	joined    bool
	version   int64
	applied   atomic.Bool
}

// Override is another limit for one key.
type Override struct {
	// Limit is as the zone's.
	Limit string `json:"limit"`
	// Burst is as the zone's.
	Burst int64 `json:"burst,omitempty"`
}

// Ban is when and for how long a key is shut out.
type Ban struct {
	// After is how many refusals within Within lead to a ban.
	After int64 `json:"after"`
	// Within is in what time. Default: 1m.
	Within caddy.Duration `json:"within,omitempty"`
	// For is how long the first ban lasts. Each one that follows is twice as long.
	// Default: 10m.
	For caddy.Duration `json:"for,omitempty"`
	// Most is how long a ban lasts at most. Default: 24h.
	Most caddy.Duration `json:"most,omitempty"`
	// Memory is how long after its end a ban makes the next one longer. Default:
	// 24h.
	Memory caddy.Duration `json:"memory,omitempty"`
}

// What happens to requests with an empty key.
const (
	emptyShare = iota
	emptySkip
	emptyRefuse
)

var emptyNames = map[string]int{"": emptyShare, "share": emptyShare, "skip": emptySkip, "refuse": emptyRefuse}

// Why a request is shut out without a limit being asked.
const (
	shutDenied = 1 + iota // by the list
	shutEmpty             // by empty_key refuse
)

func (z *Zone) provision(ctx caddy.Context, h *Handler) error {
	if err := z.configure(); err != nil {
		return err
	}
	if z.key.principal && h.Phase != PostAuth {
		return errors.New("it needs the principal, which is not known before authentication: give it in soc2_rate_limit_user, or set phase post_auth where the handler stands after access control")
	}
	if err := z.loadMatchers(ctx); err != nil {
		return err
	}
	if err := z.join(ctx); err != nil {
		return err
	}
	return z.hashKeys()
}

// loadMatchers makes the zone's matchers and those of its costs ready.
func (z *Zone) loadMatchers(ctx caddy.Context) error {
	if z.MatcherSetsRaw != nil {
		v, err := ctx.LoadModule(z, "MatcherSetsRaw")
		if err != nil {
			return fmt.Errorf("match: %w", err)
		}
		if err := z.matchers.FromInterface(v); err != nil {
			return fmt.Errorf("match: %w", err)
		}
	}
	for _, c := range z.Costs {
		if err := c.provision(ctx); err != nil {
			return err
		}
	}
	return nil
}

// configure checks all that needs no other module and makes it ready. It leaves
// the configuration as it is.
func (z *Zone) configure() (err error) {
	parts := z.Key
	if len(parts) == 0 {
		parts = []string{partClientIP}
	}
	if z.key, err = parseKey(parts, z.IPv4Prefix, z.IPv6Prefix); err != nil {
		return err
	}
	z.capacity = z.key.global()
	var ok bool
	if z.emptyKey, ok = emptyNames[z.EmptyKey]; !ok {
		return fmt.Errorf("empty_key %q: choose share, skip or refuse", z.EmptyKey)
	}
	if z.allow, err = parseClients(&z.key, z.Allow); err != nil {
		return fmt.Errorf("allow: %w", err)
	}
	if z.deny, err = parseClients(&z.key, z.Deny); err != nil {
		return fmt.Errorf("deny: %w", err)
	}
	if err := z.setLimits(); err != nil {
		return err
	}
	if err := z.checkCosts(); err != nil {
		return err
	}
	z.policies.make(z)
	return nil
}

func (z *Zone) setLimits() error {
	z.config = limiter.Config{Concurrency: z.Concurrency, Capacity: z.Capacity, Debt: z.Debt, Later: z.Charge != nil}
	if z.Limit == "" && (z.Burst != 0 || z.Mode != "" || z.Debt != 0 || len(z.Overrides) > 0 || len(z.Costs) > 0 || z.Charge != nil) {
		return errors.New("burst, mode, debt, cost, charge and overrides need a limit")
	}
	if b := z.Ban; b != nil {
		if b.After < 1 {
			return errors.New("ban: after must be at least 1")
		}
		z.config.Ban = limiter.Ban{After: b.After, Within: dur(b.Within), For: dur(b.For), Most: dur(b.Most), Memory: dur(b.Memory)}
	}
	if z.Limit != "" {
		rate, err := z.rate(z.Limit, z.Burst)
		if err != nil {
			return err
		}
		z.config.Rate, z.limitText = rate, rate.String()
		for text, o := range z.Overrides {
			rate, err := z.rate(o.Limit, o.Burst)
			if err != nil {
				return fmt.Errorf("override %q: %w", text, err)
			}
			z.config.Largest = max(z.config.Largest, rate.N)
			if err := z.passes(rate); err != nil {
				return fmt.Errorf("override %q: %w", text, err)
			}
			if err := z.key.checkText(text); err != nil {
				return fmt.Errorf("override %q: %w", text, err)
			}
		}
		if err := z.passes(rate); err != nil {
			return err
		}
	}
	if z.Concurrency > 0 {
		z.limitText = strings.TrimSpace(fmt.Sprintf("%s concurrency %d", z.limitText, z.Concurrency))
	}
	if len(z.Overrides) > 0 && len(z.key.parts) > 1 {
		return errors.New("overrides are by the text of the key, which here has several parts")
	}
	return z.config.Check()
}

// passes checks that each cost can be spent under a rate.
func (z *Zone) passes(rate *limiter.Rate) error {
	for _, c := range z.Costs {
		if c != nil && c.Units > rate.Units() {
			return fmt.Errorf("cost %d is more than the burst of %d: such a request would never pass", c.Units, rate.Units())
		}
	}
	return nil
}

func (z *Zone) rate(limit string, burst int64) (*limiter.Rate, error) {
	l, err := limiter.ParseLimit(limit)
	if err != nil {
		return nil, err
	}
	if l.Mode, err = limiter.ParseMode(z.Mode); err != nil {
		return nil, err
	}
	l.Burst = burst
	return l.Rate()
}

// hashKeys makes the hashes of the keys that the configuration names. They mean
// something only to the zone's state.
func (z *Zone) hashKeys() error {
	hash := func(text string) uint64 { return z.key.hashText(&z.shared.zone.Hasher, text) }
	if len(z.Overrides) > 0 {
		z.overrides = make(map[uint64]*limiter.Rate, len(z.Overrides))
	}
	for text, o := range z.Overrides {
		rate, err := z.rate(o.Limit, o.Burst)
		if err != nil {
			return err
		}
		z.overrides[hash(text)] = rate
	}
	z.allow.hash(hash)
	z.deny.hash(hash)
	return nil
}

// collect adds what the zone is to be asked about a request, or returns why
// the request is shut out.
func (z *Zone) collect(t *turn, r *http.Request) (shut int, err error) {
	if len(z.matchers) > 0 {
		if match, err := z.matchers.AnyMatchWithError(r); err != nil || !match {
			return 0, err
		}
	}
	if !z.applied.Load() {
		z.apply()
	}
	var k keyed
	k.of(r)
	hash, empty := z.key.hash(&z.shared.zone.Hasher, &k)
	switch {
	case z.deny.any && z.deny.has(&k, hash):
		return z.shut(shutDenied)
	case z.allow.any && z.allow.has(&k, hash):
		z.shared.counts[countExempt].Add(1)
		return 0, nil
	case empty:
		z.shared.counts[countEmpty].Add(1)
		if z.emptyKey == emptyRefuse {
			return z.shut(shutEmpty)
		}
		if z.emptyKey == emptySkip {
			return 0, nil
		}
	}
	a := limiter.Ask{Zone: z.shared.zone, Hash: hash, Shadow: z.Shadow, Later: z.Charge != nil}
	if a.Cost, err = z.cost(r); err != nil {
		return 0, err
	}
	if z.overrides != nil {
		a.Rate = z.overrides[hash]
	}
	t.asks = append(t.asks, a)
	t.zones = append(t.zones, z)
	return 0, nil
}

func (z *Zone) shut(why int) (int, error) {
	if z.Shadow {
		z.shared.counts[countShadow].Add(1)
		return 0, nil
	}
	z.shared.counts[countDenied].Add(1)
	return why, nil
}
